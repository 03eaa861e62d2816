"""Every kernel on the cluster: the bits of the host's build over every operator sample, and cycles per element.

``pytest -s tests/soc/test_kernels_soc.py`` prints the table.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import pytest
from tdco.ir import Node
from tdco.ops import OpDef, all_ops
from tdco.program import KernelCall
from tdco_sim.soc.kernels import KernelRunner
from tdco_spec import get_config

from ..ops import harness

CASES = [(op, n) for op in all_ops().values() if op.domain for n in range(len(op.samples))]
cycles: dict[str, list[tuple[int, int]]] = defaultdict(list)  # kernel -> (elements of its largest operand, cycles)


@pytest.fixture(scope="module")
def runner() -> Iterator[KernelRunner]:
    runner = KernelRunner(get_config("rm_12x4"))
    yield runner
    runner.close()
    print(f"\n{'kernel':40} {'calls':>5} {'elements':>9} {'cycles':>9} {'cycles/element':>15}")
    for symbol, runs in sorted(cycles.items()):
        elements, spent = max(runs)
        print(f"{symbol:40} {len(runs):5} {elements:9} {spent:9} {spent / elements:15.2f}")


@pytest.mark.parametrize(("op", "index"), CASES, ids=[f"{op.name}-{n}" for op, n in CASES])
def test_kernels_give_the_bits_of_the_host(
    op: OpDef, index: int, runner: KernelRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_host = harness.run_kernel

    def on_both(l1: harness.L1, call: KernelCall, cores: int) -> None:
        size = l1.top + harness.GUARD_BYTES
        if size > runner.room_bytes:
            pytest.skip(f"the untiled sample takes {size} bytes of L1")
        before = l1.memory[:size].copy()
        on_host(l1, call, cores)
        offsets = [l1.buffers[r.buffer][0] + r.offset if r else None for r in call.refs]
        buffers = [l1.buffers[r.buffer] for r in call.refs if r]
        spent = runner.run(call.symbol, before, offsets, buffers, call.ints, call.floats)
        item_bytes = 4 if call.symbol.endswith("f32") else 2
        cycles[call.symbol].append((max(1, max(size for _, size in buffers) // item_bytes), spent))
        np.testing.assert_array_equal(before, l1.memory[:size])

    monkeypatch.setattr(harness, "run_kernel", on_both)
    sample = op.samples[index]
    types = harness.sample_types(sample)
    inputs = harness.stored(harness.sample_arrays(sample, np.random.default_rng(index)), types)
    out_types = op.infer(types, sample.attrs)
    node = Node(
        op.name, tuple(f"i{n}" for n in range(len(types))), tuple(f"o{n}" for n in range(len(out_types))), sample.attrs
    )
    harness.run_node(node, inputs, types, out_types)
