"""Every kernel on the cluster over every operator sample: the bits of the host's build, and eval within its tolerance.

``tdco bench kernels`` prints cycles per element.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest
from tdco.cli.bench_soc import bench_costs, bench_samples
from tdco.cores import gemm_call
from tdco.cost import CORE_CYCLES
from tdco.ops import OpDef, all_ops
from tdco.program import GemmJob, KernelCall, Ref
from tdco_sim.errors import SimError
from tdco_sim.soc.kernels import KernelRunner
from tdco_spec import MEMORY_MAP, get_config

from ..ops import harness
from ..ops.test_cores import Y_FORMS
from ..ops.test_cores import job as product_job
from ..ops.test_samples import test_host_c_against_eval as against_eval

CFG = get_config("rm_12x4")
INSTEAD_OF_THE_ENGINE = "tdco_gemm_f16"
"""No operator asks for it: the compiler puts it in the place of engine jobs, on request."""
CASES = [(op, n) for op in all_ops().values() if op.domain for n in range(len(op.samples))]


@pytest.fixture(scope="module")
def runner() -> Iterator[KernelRunner]:
    runner = KernelRunner(CFG)
    yield runner
    runner.close()


@pytest.mark.parametrize(("op", "index"), CASES, ids=[f"{op.name}-{n}" for op, n in CASES])
def test_kernels_give_the_bits_of_the_host_and_eval(
    op: OpDef, index: int, runner: KernelRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_host = harness.run_kernel

    def on_both(l1: harness.L1, call: KernelCall, cores: int) -> None:
        size = l1.top + harness.GUARD_BYTES
        if size > runner.room_bytes:
            pytest.skip(f"the untiled sample takes {size} bytes of L1")
        memory = l1.memory[:size].copy()
        on_host(l1, call, cores)
        offsets = [l1.buffers[r.buffer][0] + r.offset if r else None for r in call.refs]
        buffers = [l1.buffers[r.buffer] for r in call.refs if r]
        assert runner.run(call.symbol, memory, offsets, buffers, call.ints, call.floats, overflowed=True) > 0
        np.testing.assert_array_equal(memory, l1.memory[:size])

    monkeypatch.setattr(harness, "run_kernel", on_both)
    against_eval(op, op.samples[index])


def test_the_samples_reach_every_kernel(runner: KernelRunner) -> None:
    """And so does ``tdco bench kernels``."""
    measured = {row["kernel"] for row in bench_samples(CFG) if "skipped" not in row}
    assert measured | {INSTEAD_OF_THE_ENGINE} == set(runner.kernels)
    assert len(measured) > 30


@pytest.mark.parametrize("y", Y_FORMS)
@pytest.mark.parametrize("flips", list(np.ndindex(2, 2, 2)))
def test_products_on_the_cores_give_the_engines_bits_and_eval(
    flips: tuple[int, int, int], y: str, runner: KernelRunner
) -> None:
    """The bits of a chain of multiply-adds in numpy; eval within an fp16's error for each step of K."""
    for shape in ((5, 7, 9), (12, 16, 33)):
        l1, relu = harness.L1(), flips[0] != flips[1]
        job = product_job(l1, shape, (bool(flips[0]), bool(flips[1]), bool(flips[2])), y, relu, flips[2])
        size = (l1.top + harness.GUARD_BYTES) & ~1
        l1.memory[:size] = np.random.default_rng(sum(shape)).normal(size=size // 2).astype(np.float16).view(np.uint8)
        memory, call = l1.memory[:size].copy(), gemm_call(job)
        x, w, addend = (operand.copy() if operand is not None else None for operand in factors(l1, job))
        harness.run_gemm(l1, job)
        offsets = [l1.buffers[r.buffer][0] + r.offset if r else None for r in call.refs]
        buffers = [l1.buffers[r.buffer] for r in call.refs if r]
        assert runner.run(call.symbol, memory, offsets, buffers, call.ints, call.floats) > 0
        np.testing.assert_array_equal(memory, l1.memory[:size])
        (want,) = all_ops()["MatMul"].eval([x, w], {})
        want = want if addend is None else want + addend
        z = matrix(l1, job.z, (job.m, job.n), job.z_stride, job.trans_z)
        np.testing.assert_allclose(z, np.maximum(want, 0) if relu else want, atol=job.k * 8 * 2**-11)


def matrix(l1: harness.L1, ref: Ref, shape: tuple[int, int], stride: int, transposed: bool) -> np.ndarray:
    stored = l1.view(ref, shape[::-1] if transposed else shape, (stride, 2), np.dtype(np.float16))
    return (stored.T if transposed else stored).astype(np.float64)


def factors(l1: harness.L1, job: GemmJob) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """X, W and Y of a job in binary64."""
    x = matrix(l1, job.x, (job.m, job.k), job.x_stride, job.trans_x)
    w = matrix(l1, job.w, (job.k, job.n), job.w_stride, job.trans_w)
    if job.y is None:
        return x, w, None
    if not job.y_column:
        return x, w, matrix(l1, job.y, (job.m, job.n), job.y_stride, job.trans_z)
    column = l1.view(job.y, (job.n if job.trans_z else job.m, 1), (job.y_stride, 2), np.dtype(np.float16))
    return x, w, (column.T if job.trans_z else column).astype(np.float64)


def test_the_compiler_counts_with_measured_cycles() -> None:
    """``tdco bench kernels --costs`` prints the table to put there."""
    measured = bench_costs(CFG)
    assert measured.keys() == CORE_CYCLES.keys()
    for kernel, cycles in measured.items():
        assert CORE_CYCLES[kernel] == pytest.approx(cycles, rel=0.03), kernel


def why_stopped(symbol: str, offsets: list[int]) -> str:
    """Why a call of a kernel with 8 elements at ``offsets`` is stopped; its buffer is the first 64 bytes."""
    runner = KernelRunner(CFG)
    with closing(runner), pytest.raises(SimError) as error:
        runner.run(symbol, np.zeros(64, np.uint8), offsets, [(0, 64)], [8])
    return str(error.value)


def test_a_kernel_that_works_in_l2_is_stopped(runner: KernelRunner) -> None:
    outside = MEMORY_MAP["l2"].base - runner.base
    assert re.search(r"store to a tensor in L2.*in tdco_relu_f16", why_stopped("tdco_relu_f16", [0, outside]))


@pytest.mark.parametrize("below", [4, 64, 512, 1200, CFG.l1_reserved_bytes - 16])
def test_a_kernel_that_works_below_its_tensors_is_stopped(below: int, runner: KernelRunner) -> None:
    """In the runtime's memory, in what kernels may load from it, in another core's stack."""
    stack = "access to another core's stack"
    store = why_stopped("tdco_relu_f16", [0, -below])
    what = rf"({stack}|store of a kernel to the runtime's memory|store to the program's code or constants)"
    assert re.search(rf"{what}.*in tdco_relu_f16, elementwise.c:", store)
    first, end = (runner.elf.addresses[name] - runner.base for name in ("tdco_kernel_data", "tdco_kernel_data_end"))
    if not first <= -below < end:
        load = why_stopped("tdco_relu_f16", [-below, 0])
        assert re.search(rf"({stack}|load of a kernel from the runtime's memory).*in tdco_relu_f16", load)


@pytest.mark.parametrize("symbol", ["_start", "tdco_prog", "kernel_call"])
def test_a_kernel_that_works_in_the_firmware_is_stopped(symbol: str, runner: KernelRunner) -> None:
    """In its code, its constants, its data."""
    there = runner.elf.addresses[symbol] - runner.base
    what = "of a kernel to the firmware's memory" if symbol == "kernel_call" else "to the program's code or constants"
    assert re.search(rf"store {what}.*in tdco_relu_f16, elementwise.c:", why_stopped("tdco_relu_f16", [0, there]))
    load = why_stopped("tdco_relu_f16", [there, 0])
    assert re.search(r"load of a kernel from the firmware's memory.*in tdco_relu_f16", load)
