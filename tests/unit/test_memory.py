"""No two live buffers share a byte, none leaves its memory, and what does not fit is named."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from tdco.errors import TdcoError
from tdco.ir import Builder, Graph, TensorType, verify
from tdco.order import touches
from tdco.program import Move
from tdco_spec import get_config

from .device import Compiled, Device, compile_graph, expected, integer_values, run_out_of_order, small, toy_ops
from .test_schedule import L1_BYTES, PROPERTY, graphs

CFG = get_config("rm_12x4")


@pytest.fixture(autouse=True, scope="module")
def _toys() -> Iterator[None]:
    with toy_ops():
        yield


def check_plan(compiled: Compiled) -> None:
    cfg, places = compiled.cfg, list(compiled.plan.placements.values())
    limits = {"l1": (cfg.l1_reserved_bytes, cfg.l1_bytes), "l2": (0, cfg.l2_bytes), "l3": (0, cfg.l3_bytes)}
    for p in places:
        low, high = limits[p.buffer.level]
        assert low <= p.offset and p.offset + p.buffer.bytes <= high, p
        assert p.offset % 16 == 0, "kernels and the DMA want aligned buffers"
    for a, b in combinations(places, 2):
        apart_in_time = a.last < b.first or b.last < a.first
        apart_in_space = a.offset + a.buffer.bytes <= b.offset or b.offset + b.buffer.bytes <= a.offset
        assert a.buffer.level != b.buffer.level or apart_in_time or apart_in_space, f"{a} and {b} share memory"
    for level in ("l1", "l2", "l3"):
        top = max((p.offset + p.buffer.bytes for p in places if p.buffer.level == level), default=limits[level][0])
        assert compiled.plan.peak_bytes[level] == top
        assert compiled.plan.bound_bytes[level] <= top + 15


@PROPERTY
@given(graph=graphs(), l1_bytes=L1_BYTES)
def test_live_buffers_never_overlap(graph: Graph, l1_bytes: int) -> None:
    compiled = compile_graph(graph, small(CFG, l1_bytes))
    check_plan(compiled)
    for index, command in enumerate(compiled.schedule.commands):
        for touch in touches(command.op, compiled.schedule.buffers):
            place = compiled.plan.placements[touch.buffer]
            assert place.first <= index <= place.last, f"command {index} uses {touch.buffer} outside its life"
    end = len(compiled.schedule.commands) - 1
    for name in (*graph.inputs, *graph.outputs, *graph.constants, *graph.state):
        place = compiled.plan.placements[compiled.layout.views[name].storage]
        assert (place.first, place.last) == (0, max(0, end))


def deep(layers: int, rows: int = 64) -> Graph:
    b = Builder(name="deep")
    x = b.input("x", TensorType((rows, 64)))
    for i in range(layers):
        x = b.add1("ToyMix", [x], name=f"a{i}")
    b.outputs.append(x)
    return verify(b.graph())


def test_activations_reuse_memory() -> None:
    compiled = compile_graph(deep(20), CFG)
    tensor = 64 * 64 * 2
    assert compiled.plan.peak_bytes["l2"] == 2 * tensor, "input and output: what is between stays in L1"
    assert compiled.plan.bound_bytes["l2"] == 2 * tensor
    through_l2 = compile_graph(deep(20), small(CFG, 2 * tensor))
    assert through_l2.plan.peak_bytes["l2"] <= 4 * tensor, "input and output, and a node's own"


def test_a_crowded_l1_gives_up_prefetching_not_the_program() -> None:
    """Every node fills L1 alone: its copies then wait for the node before it."""
    b = Builder(name="crowded")
    x = b.input("x", TensorType((64, 64)))
    for i in range(4):
        x = b.add1("MatMul", [x, b.constant(f"w{i}", np.zeros((64, 64)))])
    b.outputs.append(x)
    roomy, crowded = (compile_graph(verify(b.graph()), small(CFG, n)) for n in (60_000, 3 * 8192))
    check_plan(roomy)
    check_plan(crowded)


def test_l2_overflow_names_tensor_demand_limit_and_lever() -> None:
    with pytest.raises(TdcoError) as e:
        compile_graph(deep(3, rows=512), small(CFG, 100_000, l2_bytes=120_000))
    text = str(e.value)
    assert "65536 bytes" in text and "does not fit L2" in text and "120000 are available" in text
    assert "l2_bytes" in e.value.hint and e.value.where.startswith("tensor ")


def test_the_liveness_bound_is_what_is_live() -> None:
    b = Builder(name="fork")
    x = b.input("x", TensorType((32, 32)))
    left = b.add1("ToyMix", [x], name="left")
    right = b.add1("ToyMix", [b.add1("ToyMix", [left], name="middle")], name="right")
    b.outputs.append(b.add1("ToyMix", [left, right], name="sum"))
    plan = compile_graph(verify(b.graph()), CFG).plan
    assert plan.bound_bytes["l2"] == 2 * 2048 == plan.peak_bytes["l2"], "x and sum: the others stay in L1"


L2_SHARES = st.sampled_from([0.35, 0.5, 0.7, 0.9])


@settings(PROPERTY, max_examples=8)
@given(graph=graphs(), l1_bytes=L1_BYTES, share=L2_SHARES, seed=st.integers(0, 1 << 16))
def test_with_too_little_l2_the_same_bits_come_from_l3(graph: Graph, l1_bytes: int, share: float, seed: int) -> None:
    """Any execution that the waits allow; where even the tensors of one command are too much, that is said."""
    roomy = compile_graph(graph, small(CFG, l1_bytes))
    l2_bytes = max(64, int(share * roomy.plan.peak_bytes["l2"]) & ~15)
    try:
        compiled = compile_graph(graph, small(CFG, l1_bytes, l2_bytes))
    except TdcoError as e:
        assert "does not fit L2" in str(e)
        return
    check_plan(compiled)
    values = integer_values(graph, np.random.default_rng(seed))
    device = Device(compiled, values)
    run_out_of_order(device, seed)
    for name, array in expected(graph, values).items():
        np.testing.assert_array_equal(device.tensor(name), array, err_msg=name)


def updated_layers(layers: int, rows: int = 64) -> Graph:
    """A chain of products with weights that are updated, each with a master."""
    b = Builder(name="updated")
    x = b.input("x", TensorType((rows, 64)))
    for i in range(layers):
        w, master = (
            b.add_state(f"w{i}{end}", np.zeros((64, 64)), dtype) for end, dtype in (("", "f16"), (".m", "f32"))
        )
        x = b.add1("MatMul", [x, w], name=f"a{i}")
        new, new_master = b.add("ToyStep", [w, master, x])
        b.updates |= {w: new, master: new_master}
    b.outputs.append(x)
    return verify(b.graph())


def test_state_passes_through_l2_a_window_at_a_time() -> None:
    layers, tensor = 8, 64 * 64 * 2
    roomy = compile_graph(updated_layers(layers), small(CFG, 60_000))
    assert roomy.plan.peak_bytes["l3"] == 0 and not moves(roomy)
    l2_bytes = roomy.plan.peak_bytes["l2"] - 4 * tensor
    tight = compile_graph(updated_layers(layers), small(CFG, 60_000, l2_bytes))
    check_plan(tight)
    assert 4 * tensor <= tight.plan.peak_bytes["l3"] <= 8 * tensor, "no more than has to leave"
    for to_l2 in (True, False):
        assert sum(m.bytes for m in moves(tight) if m.to_l2 == to_l2) == tight.plan.peak_bytes["l3"], "once each way"
    assert tight.schedule.cycles > roomy.schedule.cycles


def moves(compiled: Compiled) -> list[Move]:
    return [c.op for c in compiled.schedule.commands if isinstance(c.op, Move)]
