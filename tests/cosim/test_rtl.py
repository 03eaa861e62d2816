"""The Verilated engine behind engine.h: equal to golden, its port guarded, and every check seen to fail."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import redmule.verilog
from tdco_sim import bench, golden, host, rtl
from tdco_sim.engine import L1_BASE, TimedEngine, job_words
from tdco_sim.errors import SimError
from tdco_spec import get_config

from . import tiny

SMALL = replace(get_config("rm_12x4"), name="small", rows=3, cols=2, pipe=1)
HANG, CHANGE, BELOW_L1, WRITE_ASIDE, READ_ASIDE, MISALIGNED, RESULT = range(1, 8)


@pytest.fixture(scope="session")
def engine() -> Path:
    return rtl.build(redmule.verilog.emit(SMALL), SMALL)


@pytest.fixture(scope="session")
def faulty() -> Path:
    return rtl.build((Path(__file__).parent / "faulty.v").read_text(), get_config("rm_12x4"))


@pytest.mark.parametrize(
    "flags", [{}, {"trans_x": True}, {"trans_w": True, "bias": True}, {"trans_z": True, "y": False}]
)
@pytest.mark.parametrize(("stall", "repeat"), [(0.0, 1), (0.3, 1), (0.0, 7), (0.2, 6)])
def test_jobs_equal_golden(engine: Path, flags: dict[str, bool], stall: float, repeat: int, seed: int) -> None:
    shapes = [(1, 1, 1), (3, 4, 5), (7, 9, 2), (12, 17, 33)]
    results = bench.bench_gemm(engine, SMALL, shapes, stall=stall, repeat=repeat, seed=seed, **flags)
    for shape, result in zip(shapes, results, strict=True):
        assert (result["mismatches"], result["guard_errors"]) == (0, 0), result
        assert result["macs"] == repeat * np.prod(shape)
        assert result["words_compared"] == repeat * shape[0] * shape[1]
        assert 0 < result["utilization"] <= 1
        assert result["busy"] <= result["cycles"] <= result["busy"] + (0 if repeat == 1 else 10**6)


def test_step_with_check(engine: Path, tmp_path: Path, seed: int) -> None:
    """A whole program with the RTL, compared with golden after every job; the ID register is this configuration's."""
    rng = np.random.default_rng(seed)
    x, w = (rng.normal(size=size).astype(np.float16) for size in ((2, tiny.M, tiny.K), (tiny.K, tiny.N)))
    out = tiny.write(tmp_path, SMALL, w)
    result = host.run(out, engine, golden.build(SMALL), {"x": x})
    assert result.stats["mismatches"] == 0
    assert result.stats["words_compared"] == 2 * tiny.M * tiny.N
    assert result.stats["macs"] == 2 * tiny.M * tiny.N * tiny.K
    assert result.stats["cycles"] == result.stats["busy"] > 0
    np.testing.assert_array_equal(result.outputs["r"], host.run(out, golden.build(SMALL), None, {"x": x}).outputs["r"])


def run_faulty(faulty: Path, fault: int, stall: float = 0.0) -> tuple[int, int, int]:
    l1 = np.zeros(4096, np.uint8)
    device = TimedEngine(faulty, l1)
    device.set_stall(stall, 1)
    addrs, strides = {"x": L1_BASE, "w": L1_BASE + 64, "z": L1_BASE + 128}, dict.fromkeys("xwz", 64)
    try:
        return device.run_queue([job_words((1, fault, 1), addrs, strides)])
    finally:
        device.close()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (HANG, "hang, in cycle .*, job 1x1x1"),
        (CHANGE, "request changed before it was granted.*job 1x2x1"),
        (BELOW_L1, "read of 0xFFFFFFC, outside L1"),
        (MISALIGNED, "access to 0x10000082, which is not a word's address"),
    ],
)
def test_protocol_errors(faulty: Path, fault: int, message: str) -> None:
    with pytest.raises(SimError, match=message):
        run_faulty(faulty, fault, stall=0.9 if fault == CHANGE else 0.0)


def test_guard(faulty: Path) -> None:
    assert run_faulty(faulty, WRITE_ASIDE)[1] == 4  # bytes
    assert run_faulty(faulty, READ_ASIDE)[1] == 1  # word
    assert run_faulty(faulty, RESULT)[1] == 0


def test_wrong_result_is_a_mismatch(faulty: Path) -> None:
    (result,) = bench.bench_gemm(faulty, get_config("rm_12x4"), [(1, RESULT, 1)])
    assert result["mismatches"] > 0 and result["guard_errors"] == 0


def test_verilog_errors_are_shown() -> None:
    with pytest.raises(SimError, match=r"Verilog of redmule: (?s:.*)syntax error"):
        rtl.build("module redmule(input clk; endmodule\n", SMALL)
