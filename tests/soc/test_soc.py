"""The soc platform on a hand-written program: the host's bits, and faults that name core, line and tensor."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redmule.verilog
from tdco_sim import golden, host
from tdco_sim.errors import SimError
from tdco_sim.soc.profile import critical_path
from tdco_sim.soc.program import CALL, GEMM, IN, OUT, Command, Tables, _nodes
from tdco_sim.soc.run import run
from tdco_sim.soc.simulator import Simulator
from tdco_sim.soc.trace import Tracks
from tdco_spec import get_config

from ..cosim import tiny
from .micro import build, engine_of

CFG = get_config("rm_12x4")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, tiny.M, tiny.K)).astype(np.float16)
W = RNG.normal(size=(tiny.K, tiny.N)).astype(np.float16)


@pytest.mark.parametrize("engine", ["golden", "model", "rtl"])
def test_steps_give_the_bits_of_the_host(engine: str, tmp_path: Path) -> None:
    out = tiny.write(tmp_path, CFG, W)
    want = host.run(out, golden.build(CFG), inputs={"x": X})
    got = run(out, **engine_of(engine), inputs={"x": X})
    np.testing.assert_array_equal(got.outputs["r"].view(np.uint16), want.outputs["r"].view(np.uint16))
    np.testing.assert_array_equal(got.state["w"].view(np.uint16), want.state["w"].view(np.uint16))
    for name in ("steps", "jobs", "macs", "status_flags", "l2_peak_bytes", "l1_peak_bytes"):
        # the simulator counts L1 in words
        assert want.stats[name] <= got.stats[name] <= want.stats[name] + 3 * (name == "l1_peak_bytes"), name
    assert {k: got.stats["dma_bytes"][k] for k in want.stats["dma_bytes"]} == want.stats["dma_bytes"]
    assert len(set(got.stats["step_cycles"])) == 1
    once = run(out, **engine_of(engine), inputs={"x": X[:1]})
    assert got.stats["instructions"] == 3 * once.stats["instructions"]
    assert got.stats["busy"]["cores"] == pytest.approx(3 * once.stats["busy"]["cores"], abs=3)


BROKEN = {
    "a kernel that leaves its buffers": (
        {"relu_count": tiny.M * tiny.N + 40},
        ["outside the buffers of this kernel call", "in tdco_relu_f16", "elementwise.c:", "core "],
    ),
    "a kernel that leaves bytes unwritten": (
        {"relu_count": tiny.M * tiny.N - 10},
        ["read by the DMA of bytes nobody wrote", "the address is in r", "copy from L1 0"],
    ),
    "a job whose result is larger than its buffer": (
        {"z_bytes": 2 * tiny.M * tiny.N - 2},
        ["operand Z of an engine job outside the buffers", "controller", "in tdco_port_start, main.c:", "is in z"],
    ),
    "a job that reads a buffer after its end": (
        {"w_last": 1},
        ["operand W of an engine job outside the buffers", "engine job 0", "the address is in w"],
    ),
    "a wait for a copy that never comes": (
        {"gemm_wait": 9},
        ["deadlock: all cores sleep", "controller at pc", "in tdco_port_sleep, ", "cores 0, 1, 2, 3, 4, 5, 6, 7 at pc"],
    ),
    "a copy that leaves its tensor in L2": (
        {"r_stride": 200},
        ["DMA transfer outside the buffers of its command", "in tdco_port_start, main.c:", "copy from L1 0"],
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_fault(name: str, tmp_path: Path) -> None:
    changes, messages = BROKEN[name]
    with pytest.raises(SimError) as error:
        run(tiny.write(tmp_path, CFG, W, **changes), inputs={"x": X})
    for message in messages:
        assert message in str(error.value)


def test_a_program_for_another_configuration_is_refused(tmp_path: Path) -> None:
    out = tiny.write(tmp_path, CFG, W)
    source = out / "program.c"
    source.write_text(source.read_text().replace("TDCO_CONFIG_HASH}", "TDCO_CONFIG_HASH + 1}"))
    with pytest.raises(SimError, match="the program was compiled for"):
        run(out, inputs={"x": X})


def check_trace(file: Path) -> tuple[list[dict[str, Any]], dict[int, str]]:
    """The slices of a trace and the names of the tracks; slices lie on named tracks, one after the other."""
    events = json.loads(file.read_text())["traceEvents"]
    tracks = {e["tid"]: e["args"]["name"] for e in events if e["ph"] == "M" and e["name"] == "thread_name"}
    cores = [*(f"core {n}" for n in range(CFG.cores)), "controller"]
    assert list(tracks.values()) == [*cores, "engine", "DMA to L1", "DMA from L1", "L3 DMA", "barriers"]
    slices = sorted((e for e in events if e["ph"] != "M"), key=lambda e: (e["tid"], e["ts"]))
    assert len(slices) > 30
    for e in slices:
        assert e["ph"] == "X" and e["name"] and e["pid"] == 0
        assert e["dur"] == pytest.approx(e["args"]["cycles"] / CFG.clock_hz * 1e6)
        assert e["dur"] > 0 or tracks[e["tid"]] == "barriers"  # all may come in the same cycle
    for before, e in pairwise(slices):
        assert before["tid"] != e["tid"] or before["ts"] + before["dur"] <= e["ts"] + 1e-9, f"{before} overlaps {e}"
    return slices, tracks


def test_trace_and_profile(tmp_path: Path) -> None:
    out = tiny.write(tmp_path, CFG, W)
    trace = tmp_path / "trace.json"
    stats = run(out, inputs={"x": X[:2]}, trace=trace, with_profile=True).stats
    events, tracks = check_trace(trace)
    seen = {(tracks[e["tid"]], e["name"]) for e in events if e["ph"] == "X"}
    assert {("core 7", "tdco_relu_f16"), ("core 0", "tdco_add_f16_f16"), ("core 7", "sleep")} <= seen
    assert {("engine", "5x7x9"), ("DMA to L1", "90 bytes"), ("DMA from L1", "126 bytes")} <= seen
    assert {("core 3", "barrier"), ("barriers", "barrier 0")} <= seen
    (job, _) = [e["args"] for e in events if e["ph"] == "X" and e["name"] == "5x7x9"]
    assert (job["M"], job["N"], job["K"]) == (5, 7, 9) and 0 <= job["stall_share"] < 1
    last = [e for e in events if e["ts"] >= (stats["cycles"] - stats["step_cycles"][1]) / CFG.clock_hz * 1e6]
    busy = {name: sum(e["args"]["cycles"] for e in last if tracks[e["tid"]] == name) for name in tracks.values()}
    nodes = stats["profile"]["nodes"].values()
    assert sum(node["engine"] for node in nodes) == busy["engine"] > 0
    assert sum(node["dma"] for node in nodes) == busy["DMA to L1"] + busy["DMA from L1"] > 0
    assert sum(node["critical"] + node["waiting"] for node in nodes) < stats["step_cycles"][1]
    kernel = stats["profile"]["kernels"]["tdco_relu_f16"]
    assert kernel["calls"] == 1
    assert 0 < kernel["fetch"] < kernel["cycles"] < stats["step_cycles"][1]
    path = stats["profile"]["critical_path"]
    assert sum(path.values()) == stats["step_cycles"][1]
    assert all(cycles > 0 for resource, cycles in path.items() if resource != "l3")


def test_a_transfer_of_l3_is_traced(tmp_path: Path) -> None:
    text = """
        void tdco_start(uint32_t hart)
        {
            if (hart == TDCO_CORES) {
                *tdco_reg(TDCO_L2_BASE) = 1;
                tdco_l3_copy(TDCO_L2_BASE, TDCO_L3_BASE, 4, 0);
                tdco_exit(0);
            }
            tdco_wait_event(TDCO_EVENT_WORK);
        }
    """
    with Simulator(CFG, build(text, tmp_path)) as sim:
        sim.trace()
        sim.start()
        assert sim.run(100_000).exit_code == 0
        (l3,) = [e for e in sim.events if e.track == Tracks(CFG).l3]
    assert l3.end - l3.start == CFG.l3_startup_cycles + 4 * CFG.l3_cycles_per_byte


@pytest.mark.slow
def test_waves_of_a_step(tmp_path: Path) -> None:
    import pylibfst

    cfg = replace(CFG, name="small", rows=2, cols=2, pipe=1)
    out = tiny.write(tmp_path / "out", cfg, W)
    run(out, redmule.verilog.emit(cfg), inputs={"x": X[:1]}, waves=tmp_path / "w.fst")
    context = pylibfst.lib.fstReaderOpen(str(tmp_path / "w.fst").encode())
    assert pylibfst.lib.fstReaderGetVarCount(context) > 100
    assert pylibfst.lib.fstReaderGetEndTime(context) > 1000
    run(out, redmule.verilog.emit(cfg), inputs={"x": X[:1]}, waves=tmp_path / "w.vcd")
    assert (tmp_path / "w.vcd").read_text().count("$var") > 100


def test_critical_path() -> None:
    """copy 0 -> job 0 -> call 0 -> copy 1; a second, earlier job of less consequence runs beside them."""
    commands = (Command(IN, 0, (0, 0, 0, 0)), Command(GEMM, 0, (1, 0, 0, 0)), Command(CALL, 0, (0, 0, 1, 0)))
    commands += (Command(GEMM, 1, (1, 0, 0, 0)), Command(OUT, 0, (0, 0, 0, 1)))
    tables = Tables(commands, (), ((1, 1, 1),) * 2, ((8,), (8,)), (), ((), (), (), ()))
    spans = {(IN, 0): (10, 30), (GEMM, 0): (35, 60), (GEMM, 1): (60, 75), (CALL, 0): (66, 90), (OUT, 0): (95, 100)}
    assert critical_path(tables, spans, 0, 110) == [
        ((OUT, 0), 10, 5),
        ((CALL, 0), 5, 24),
        ((GEMM, 0), 6, 25),
        ((IN, 0), 5, 20),
        (None, 10, 0),
    ]


def test_entries_of_several_lines_are_one(tmp_path: Path) -> None:
    source = tmp_path / "program.c"
    source.write_text(
        "static const tdco_call calls[] = {\n    /* 1 Add a */\n    {{0, 0, {0}}, f, {1,\n        {2, 3}}},\n"
        "    /* 2 Mul b */\n    {{1, {0}}, g},\n    {{2, {0}}, g},\n};\n"
    )
    assert _nodes(source, "calls") == ("1 Add a", "2 Mul b", "2 Mul b")
