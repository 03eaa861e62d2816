// The engine's ports with nothing behind them but one misbehaviour, which the job's N chooses. For tests of the checks.
module redmule(
    input clk, rst, cfg__req, cfg__we, input [9:0] cfg__addr, input [31:0] cfg__wdata, output [31:0] cfg__rdata,
    output reg tcdm__req, input tcdm__gnt, output reg tcdm__we, output reg [31:0] tcdm__addr,
    output [35:0] tcdm__be, output [287:0] tcdm__wdata, input [287:0] tcdm__rdata,
    output reg evt, output [7:0] evt_job, output busy);
    localparam HANG = 1, CHANGE = 2, BELOW_L1 = 3, WRITE_ASIDE = 4, READ_ASIDE = 5, MISALIGNED = 6, RESULT = 7;
    reg [31:0] z, n;
    assign cfg__rdata = 0;
    assign evt_job = 0;
    assign busy = 0;
    assign tcdm__be = n == RESULT ? 36'h03 : 36'h0F;
    assign tcdm__wdata = 288'h1234;
    always @(posedge clk) begin
        evt <= 0;
        if (cfg__req & cfg__we & cfg__addr == 10'h04C) z <= cfg__wdata;
        if (cfg__req & cfg__we & cfg__addr == 10'h060) n <= cfg__wdata >> 16;
        if (cfg__req & cfg__we & cfg__addr == 10'h000 & n != HANG) begin
            tcdm__req <= 1;
            tcdm__we <= n == WRITE_ASIDE | n == RESULT;
            tcdm__addr <= n == BELOW_L1 ? 32'h0FFFFFFC : n == WRITE_ASIDE ? z - 4 : n == MISALIGNED ? z + 2 : z;
        end
        if (tcdm__req & ~tcdm__gnt & n == CHANGE) tcdm__addr <= tcdm__addr + 4;
        if (tcdm__req & tcdm__gnt) begin
            tcdm__req <= 0;
            evt <= 1;
        end
        if (rst) tcdm__req <= 0;
    end
endmodule
