"""The soc platform on a hand-written program: the host's bits, and faults that name core, line and tensor."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import redmule.verilog
from tdco_sim import golden, host
from tdco_sim.errors import SimError
from tdco_sim.soc.run import run
from tdco_spec import get_config

from ..cosim import tiny

CFG = get_config("rm_12x4")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, tiny.M, tiny.K)).astype(np.float16)
W = RNG.normal(size=(tiny.K, tiny.N)).astype(np.float16)


@pytest.mark.parametrize("engine", ["golden", pytest.param("rtl", marks=pytest.mark.slow)])
def test_steps_give_the_bits_of_the_host(engine: str, tmp_path: Path) -> None:
    out = tiny.write(tmp_path, CFG, W)
    want = host.run(out, golden.build(CFG), inputs={"x": X})
    got = run(out, redmule.verilog.emit(CFG) if engine == "rtl" else None, inputs={"x": X})
    np.testing.assert_array_equal(got.outputs["r"].view(np.uint16), want.outputs["r"].view(np.uint16))
    np.testing.assert_array_equal(got.state["w"].view(np.uint16), want.state["w"].view(np.uint16))
    for name in ("steps", "jobs", "macs", "status_flags", "l2_peak_bytes", "l1_peak_bytes"):
        # the simulator counts L1 in words
        assert want.stats[name] <= got.stats[name] <= want.stats[name] + 3 * (name == "l1_peak_bytes"), name
    assert {k: got.stats["dma_bytes"][k] for k in want.stats["dma_bytes"]} == want.stats["dma_bytes"]
    assert len(set(got.stats["step_cycles"])) == 1


BROKEN = {
    "a kernel that leaves its buffers": (
        {"relu_count": tiny.M * tiny.N + 40},
        ["outside the buffers of this kernel call", "in tdco_relu_f16", "elementwise.c:", "core "],
    ),
    "a kernel that leaves bytes unwritten": (
        {"relu_count": tiny.M * tiny.N - 10},
        ["read by the DMA of bytes nobody wrote", "the address is in r"],
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


def test_trace_and_profile(tmp_path: Path) -> None:
    out = tiny.write(tmp_path, CFG, W)
    trace = tmp_path / "trace.json"
    stats = run(out, inputs={"x": X[:1]}, trace=trace).stats
    events = json.loads(trace.read_text())["traceEvents"]
    tracks = {e["tid"]: e["args"]["name"] for e in events if e["ph"] == "M"}
    seen = {(tracks[e["tid"]], e["name"]) for e in events if e["ph"] == "X"}
    assert {("core 7", "tdco_relu_f16"), ("core 0", "tdco_add_f16_f16"), ("controller", "sleep")} <= seen
    assert {("engine", "5x7x9"), ("DMA to L1", "90 bytes"), ("DMA from L1", "126 bytes")} <= seen
    assert stats["profile"]["kernels"]["tdco_relu_f16"]["calls"] == 1
    assert 0 < stats["profile"]["kernels"]["tdco_relu_f16"]["cycles"] < stats["cycles"]
