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
from tdco.cost import CORE_CYCLES
from tdco.ops import OpDef, all_ops
from tdco.program import KernelCall
from tdco_sim.errors import SimError
from tdco_sim.soc.kernels import KernelRunner
from tdco_spec import MEMORY_MAP, get_config

from ..ops import harness
from ..ops.test_samples import test_host_c_against_eval as against_eval

CFG = get_config("rm_12x4")
INSTEAD_OF_THE_ENGINE = {"tdco_gemm_f16"}
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
    measured = {row["kernel"] for row in bench_samples(CFG)}
    assert measured == set(runner.kernels) - INSTEAD_OF_THE_ENGINE
    assert len(measured) > 30


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
