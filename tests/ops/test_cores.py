"""The engine's products on the cores: the same bits, in every orientation, at every edge, for special values too."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tdco.cores import gemm_call
from tdco.program import GemmJob

from .harness import L1, run_gemm, run_kernel
from .test_products import fma16

SHAPES = (
    (1, 1, 1), (4, 4, 4), (12, 16, 64), (5, 7, 9), (1, 10, 33), (64, 1, 5), (9, 4, 3), (3, 11, 8), (8, 8, 2),
    (1, 37, 6), (37, 2, 5), (6, 35, 3),
)  # fmt: skip
Y_FORMS = ("none", "matrix", "row", "column")


def job(l1: L1, shape: tuple[int, int, int], flips: tuple[bool, bool, bool], y: str, relu: bool, gap: int) -> GemmJob:
    """A job on fresh buffers; every line of a matrix is ``gap`` elements longer than needed."""
    m, n, k = shape
    sides = {"x": (m, k), "w": (k, n), "z": (m, n)}
    lines = {
        name: (cols, rows) if flip else (rows, cols)
        for (name, (rows, cols)), flip in zip(sides.items(), flips, strict=True)
    }
    lines["y"] = {"row": (1, lines["z"][1]), "column": (lines["z"][0], 1)}.get(y, lines["z"])
    refs = {name: l1.alloc(name, 2 * rows * (cols + gap)) for name, (rows, cols) in lines.items()}
    strides = {f"{name}_stride": 2 * (cols + gap) for name, (_, cols) in lines.items()}
    if y == "row":
        strides["y_stride"] = 0
    orient = dict(zip(("trans_x", "trans_w", "trans_z"), flips, strict=True))
    return GemmJob(
        m=m, n=n, k=k, x=refs["x"], w=refs["w"], z=refs["z"], y=None if y == "none" else refs["y"],
        y_column=y == "column", relu=relu, **strides, **orient,
    )  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("y", Y_FORMS)
def test_cores_compute_the_engines_bits(shape: tuple[int, int, int], y: str) -> None:
    rng = np.random.default_rng(sum(shape))
    for case, flips in enumerate(np.ndindex(2, 2, 2)):
        l1 = L1()
        given_job = job(l1, shape, tuple(map(bool, flips)), y, bool(case & 1), case & 1)  # type: ignore[arg-type]
        values = rng.normal(0, 1, l1.top // 2 + 8).astype(np.float16)
        values[rng.random(values.size) < 0.02] = rng.choice(np.array([np.inf, -np.inf, np.nan, -0.0, 6e-8, 65504]))
        values = np.where(np.isnan(values), np.array([0x7E00], np.uint16).view(np.float16), values)
        l1.memory[: 2 * values.size] = values.view(np.uint8)
        start = l1.memory.copy()
        with np.errstate(invalid="ignore"):
            run_gemm(l1, given_job)
        want = l1.memory.copy()
        for cores in (1, 8):
            l1.memory[:] = start
            run_kernel(l1, gemm_call(given_job), cores)
            np.testing.assert_array_equal(canonical(l1.memory), canonical(want), err_msg=f"{flips}, {cores} cores")


@pytest.mark.parametrize("gap", [0, 1])
def test_cores_on_the_cluster(gap: int) -> None:
    """The same bits on the cluster simulator, at 3.5 MAC/cycle and more on 8 cores; ``pytest -s`` prints them.

    With a gap of 1, lines do not begin at words.
    """
    from tdco_sim.soc.kernels import KernelRunner
    from tdco_spec import get_config

    runner = KernelRunner(get_config("rm_12x4"))
    for flips in np.ndindex(2, 2):
        l1 = L1()
        given_job = job(l1, (64, 128, 128), (*map(bool, flips), False), "row", False, gap)  # type: ignore[arg-type]
        size = (l1.top + 32) & ~1
        l1.memory[:size] = np.random.default_rng(0).normal(size=size // 2).astype(np.float16).view(np.uint8)
        memory, call = l1.memory[:size].copy(), gemm_call(given_job)
        run_gemm(l1, given_job)
        offsets = [l1.buffers[r.buffer][0] + r.offset if r else None for r in call.refs]
        buffers = [l1.buffers[r.buffer] for r in call.refs if r]
        cycles = runner.run(call.symbol, memory, offsets, buffers, call.ints, call.floats)
        np.testing.assert_array_equal(canonical(memory), canonical(l1.memory[:size]))
        print(f"trans_x {flips[0]}, trans_w {flips[1]}: {64 * 128 * 128 / cycles:.2f} MAC/cycle")
        assert 64 * 128 * 128 / cycles >= 3.5
    runner.close()


def canonical(memory: np.ndarray) -> np.ndarray:
    """numpy may give a NaN a sign; the device's is 0x7E00."""
    half = memory.view(np.float16)
    return np.where(np.isnan(half), np.uint16(0x7E00), half.view(np.uint16))


@settings(max_examples=500, deadline=None)
@given(st.lists(st.integers(0, 0xFFFF), min_size=3, max_size=3))
def test_a_multiply_add_rounds_once(bits: list[int]) -> None:
    """Against integers: any finite binary16."""
    values = np.array(bits, np.uint16).view(np.float16)
    if not np.isfinite(values).all():
        return
    l1 = L1()
    single = job(l1, (1, 1, 1), (False, False, False), "matrix", False, 0)
    for ref, value in zip((single.x, single.w, single.y), values, strict=True):
        assert ref
        l1.view(ref, (1,), (2,), np.dtype(np.float16))[0] = value
    run_kernel(l1, gemm_call(single), 1)
    got = l1.view(single.z, (1,), (2,), np.dtype(np.float16))
    assert got.tobytes() == np.array([fma16(*values)]).tobytes()
