"""How matrix products become engine jobs: orientation, merged rows, bias, split K, and the engine's fp16 chain."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tdco.domain import Operand
from tdco.errors import TdcoError
from tdco.ops.matmul import product_jobs
from tdco.program import GemmJob, Ref

from .harness import L1, run_gemm


def operand(name: str, shape: tuple[int, ...], order: tuple[int, ...] = ()) -> Operand:
    """A dense operand stored with its dimensions in ``order`` (empty: row-major)."""
    strides, step = [0] * len(shape), 1
    for d in reversed(order or range(len(shape))):
        strides[d] = step
        step *= shape[d]
    return Operand(Ref(name), (0,) * len(shape), shape, tuple(strides), shape, "f16")


def test_leading_dimensions_become_rows() -> None:
    x, w, z = operand("x", (2, 3, 4, 5)), operand("w", (5, 6)), operand("z", (2, 3, 4, 6))
    (job,) = product_jobs(x, w, z, operand("b", (6,)), True)
    assert (job.m, job.n, job.k, job.x_stride, job.w_stride, job.z_stride) == (24, 6, 5, 10, 12, 12)
    assert (job.y, job.y_stride, job.y_column) == (Ref("b"), 0, False)


def test_single_rows_of_a_batch_become_the_rows_of_one_job() -> None:
    x, w, z = operand("x", (7, 1, 5), (1, 2, 0)), operand("w", (5, 6)), operand("z", (7, 1, 6))
    (job,) = product_jobs(x, w, z, None, True)
    assert (job.m, job.trans_x, job.x_stride, job.trans_z, job.z_stride) == (7, True, 14, False, 12)


def test_a_batch_of_matrices_is_one_job_each() -> None:
    x, w, z = operand("x", (2, 4, 5)), operand("w", (2, 5, 6)), operand("z", (2, 4, 6))
    jobs = product_jobs(x, w, z, None, True)
    assert [(j.x.offset, j.w.offset, j.z.offset, j.y) for j in jobs] == [(0, 0, 0, None), (40, 60, 48, None)]


def test_transposed_storage_sets_flags_and_turns_the_bias_into_a_column() -> None:
    x, w, z = operand("x", (4, 5), (1, 0)), operand("w", (5, 6), (1, 0)), operand("z", (4, 6), (1, 0))
    (job,) = product_jobs(x, w, z, operand("b", (6,)), True)
    assert (job.trans_x, job.trans_w, job.trans_z, job.y_column) == (True, True, True, True)
    assert (job.x_stride, job.w_stride, job.z_stride, job.y_stride) == (8, 10, 8, 2)


def test_later_tiles_of_k_accumulate_onto_z() -> None:
    x, w, z = operand("x", (4, 5)), operand("w", (5, 6)), operand("z", (4, 6), (1, 0))
    (job,) = product_jobs(x, w, z, operand("b", (6,)), False)
    assert (job.y, job.y_stride, job.y_column) == (job.z, job.z_stride, False)


def test_a_matrix_without_contiguous_dimension_is_refused() -> None:
    x = Operand(Ref("x"), (0, 0), (4, 5), (20, 2), (4, 5), "f16")
    with pytest.raises(TdcoError, match=r"4x5 matrix of strides \(20, 2\) has no contiguous dimension"):
        product_jobs(x, operand("w", (5, 6)), operand("z", (4, 6)), None, True)


def fma16(a: np.float16, b: np.float16, c: np.float16) -> np.float16:
    """a * b + c with one rounding to nearest even, in integers; finite operands."""

    def parts(h: np.float16) -> int:  # in units of 2^-24
        return int(np.float64(h) * 2**24)

    exact = parts(a) * parts(b) + (parts(c) << 24)  # in units of 2^-48
    if exact == 0:
        return np.float16(float(a) * float(b) + float(c))  # the sign of zero
    magnitude = abs(exact)
    drop = max(magnitude.bit_length() - 11, 24)
    kept, rest = magnitude >> drop, magnitude & ((1 << drop) - 1)
    half = 1 << (drop - 1)
    kept += rest > half or (rest == half and kept & 1)
    value = kept * 2.0 ** (drop - 48)
    return np.float16(np.copysign(np.inf if value >= 65536 else value, exact))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 0xFFFF), min_size=3, max_size=3))
def test_the_reference_chain_rounds_once(bits: list[int]) -> None:
    values = np.array(bits, np.uint16).view(np.float16)
    if not np.isfinite(values).all():
        return
    l1 = L1()
    for name, value in zip("xwy", values, strict=True):
        l1.view(l1.alloc(name, 2), (1,), (2,), np.dtype(np.float16))[0] = value
    l1.alloc("z", 2)
    one = dict.fromkeys(("x_stride", "w_stride", "z_stride", "y_stride"), 2)
    run_gemm(l1, GemmJob(m=1, n=1, k=1, x=Ref("x"), w=Ref("w"), z=Ref("z"), y=Ref("y"), **one))
    got = l1.view(Ref("z"), (1,), (2,), np.dtype(np.float16))
    assert got.tobytes() == np.array([fma16(*values)]).tobytes()


@pytest.mark.parametrize("shape", [(12, 5, 7), (1, 64, 1), (3, 1, 33)])
def test_every_orientation_gives_the_same_bits(shape: tuple[int, int, int]) -> None:
    m, n, k = shape
    rng = np.random.default_rng(prod(shape))
    x, w, bias = (rng.normal(size=s).astype(np.float16) for s in ((m, k), (k, n), (n,)))
    results = set()
    for flips in np.ndindex(2, 2, 2):
        l1 = L1()
        operands = []
        for name, dims, flip in zip("xwz", ((m, k), (k, n), (m, n)), flips, strict=True):
            l1.alloc(name, 2 * prod(dims))
            operands.append(operand(name, dims, (1, 0) if flip else (0, 1)))
        l1.alloc("b", 2 * n)
        b = operand("b", (n,))
        for o, value in zip((*operands[:2], b), (x, w, bias), strict=True):
            l1.operand(o)[...] = value
        for job in product_jobs(*operands, b, True):
            run_gemm(l1, job)
        results.add(np.ascontiguousarray(l1.operand(operands[2])).tobytes())
    assert len(results) == 1
