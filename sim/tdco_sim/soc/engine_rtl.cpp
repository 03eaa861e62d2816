// The Verilated engine, stepped with the cluster; an idle engine is not evaluated.
#include "Vredmule.h"
#include "engine_device.hpp"
#include "port.hpp"
#include "verilated.h"
#if VM_TRACE
#include <cstdlib>

#include "verilated_vcd_c.h"
#endif

namespace soc {
namespace {

struct RtlEngine final : EngineDevice {
    VerilatedContext context;
    Vredmule circuit{traced(&context)}, *const top = &circuit;
    const uint64_t &now;
    uint32_t idle_cycles = 0;
    EngineStats last{};
#if VM_TRACE
    VerilatedVcdC trace;
    uint64_t next_time = 0; // half cycles; time stands still for registers that are read between cycles
#endif

    explicit RtlEngine(const uint64_t &clock) : now(clock)
    {
#if VM_TRACE
        top->trace(&trace, 99);
        trace.open(std::getenv("TDCO_WAVES") ? std::getenv("TDCO_WAVES") : "engine.vcd");
#endif
        top->rst = 1;
        PORT(cfg, req) = 0;
        PORT(tcdm, gnt) = 0;
        for (int i = 0; i < 4; i++) {
            tick();
            top->rst = i < 1;
        }
    }
    ~RtlEngine() override
    {
#if VM_TRACE
        trace.close();
#endif
        top->final();
    }

    static VerilatedContext *traced(VerilatedContext *context)
    {
        context->traceEverOn(VM_TRACE);
        return context;
    }

    void tick()
    {
        eval(0);
        eval(1);
    }

    void eval(uint8_t clk)
    {
        top->clk = clk;
        top->eval();
#if VM_TRACE
        if (const uint64_t time = 2 * now + clk; time >= next_time) {
            trace.dump(time);
            next_time = time + 1;
        }
#endif
    }

    // The event and the request come from registers: they have settled since the last clock edge.
    void begin_cycle(WidePort &port) override
    {
        event = top->evt;
        show(tdco::request(top), port);
    }

    void end_cycle(WidePort &port) override
    {
        const bool granted = port.req && port.gnt;
        PORT(cfg, req) = access.valid;
        PORT(cfg, we) = access.write;
        PORT(cfg, addr) = access.offset;
        PORT(cfg, wdata) = access.data;
        PORT(tcdm, gnt) = granted;
        tick();
        for (uint32_t i = 0; i < TDCO_PORT_WORDS; i++)
            tdco::set_word(PORT(tcdm, rdata), i, granted && !port.we && port.be[i] ? port.data[i] : tdco::POISON);
        if (access.valid && !access.write)
            access.data = PORT(cfg, rdata);
        idle_cycles = top->busy ? 0 : idle_cycles + 1;
        port.req = false;
    }

    bool active() const override { return top->busy; }
    bool needs_cycle(uint64_t) const override { return true; }
    uint64_t next_cycle(uint64_t now) const override { return now + 1; }

    uint32_t read_register(uint32_t offset)
    {
        access = {true, false, offset, 0};
        WidePort unused;
        begin_cycle(unused);
        end_cycle(unused);
        access.valid = false;
        return access.data;
    }

    EngineStats stats() override
    {
        if (idle_cycles >= IDLE_CYCLES)
            last = read_counters(*this);
        return last;
    }
};

} // namespace

std::unique_ptr<EngineDevice> make_engine(const uint64_t &now, Tcdm &, Fault &)
{
    return std::make_unique<RtlEngine>(now);
}

} // namespace soc
