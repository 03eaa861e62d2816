"""What is computed a second time keeps its bits, and frees the memory it was computed again for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from tdco.autodiff import training_graph
from tdco.cost import default_costs
from tdco.ir import Builder, Graph, TensorType, evaluate, verify
from tdco.layout import assign_layout
from tdco.passes import rematerialise
from tdco.tile import choose_tiling
from tdco.units import make_units
from tdco_spec import get_config

from ..flow.models import cct2
from .device import Device, compile_graph, expected, integer_values, run_out_of_order, small, toy_ops

CFG = get_config("rm_12x4")
BYTES = 2 * 32 * 32


@pytest.fixture(autouse=True, scope="module")
def _toys() -> Iterator[None]:
    with toy_ops():
        yield


def there_and_back(layers: int, op: str = "ToyMix") -> Graph:
    """Forward through ``layers``, and back through the same, each with what it computed."""
    b = Builder(name="there_and_back")
    shape = TensorType((32, 32))
    x = b.input("x", shape)
    forward = [x]
    for i in range(layers):
        w = [b.constant(f"w{i}", np.zeros(shape.shape))] if op == "MatMul" else []
        forward.append(b.add1(op, [forward[-1], *w], name=f"f{i}"))
    back = forward.pop()
    for i, kept in reversed(list(enumerate(forward[1:]))):
        back = b.add1("ToyMix", [back, kept], name=f"b{i}")
    b.outputs.append(back)
    return verify(b.graph())


@pytest.mark.parametrize("excess", [1, 3])
def test_memory_falls_and_bits_stay(excess: int) -> None:
    before = there_and_back(8)
    after, found = rematerialise(before, set(before.values), {}, excess * BYTES)
    assert sum(r.bytes for r in found) >= excess * BYTES
    assert len(after.nodes) == len(before.nodes) + sum(len(r.nodes) for r in found)
    cfg = small(CFG, 5 * BYTES)  # little enough that what is kept has to be in L2
    plain, again = compile_graph(before, cfg), compile_graph(after, cfg)
    assert again.plan.peak_bytes["l2"] <= plain.plan.peak_bytes["l2"] - excess * BYTES
    values = integer_values(before, np.random.default_rng(0))
    for seed in range(10):
        device = Device(again, values)
        run_out_of_order(device, seed)
        for name, wanted in expected(before, values).items():
            np.testing.assert_array_equal(device.tensor(name), wanted)


def test_recomputation_waits_until_it_is_wanted() -> None:
    before = there_and_back(24)
    after, found = rematerialise(before, set(before.values), {}, 2 * BYTES)
    order = [node.outputs[0] for node in after.nodes]
    for name in (name for r in found for name in r.nodes):
        node = after.producers()[name]
        assert order.index("f23") <= order.index(str(node.attrs["behind"])) < order.index(name)
    graph, layout = assign_layout(after)
    costs = default_costs(CFG)
    _, units = make_units(graph, layout, choose_tiling(graph, layout, costs), costs)
    for unit in units:
        if behind := graph.nodes[unit.node].attrs.get("behind"):
            waits = {i for i, other in enumerate(units) if graph.nodes[other.node].outputs[0] == behind}
            assert waits and waits <= set(unit.before)


def test_nothing_changes_where_nothing_can_be_won() -> None:
    before = there_and_back(8)
    assert rematerialise(before, set(before.values), {}, 0) == (before, ())
    assert rematerialise(before, set(), {}, BYTES) == (before, ()), "what has no home in L2 takes no room there"


def test_the_cheapest_goes_first_and_products_last() -> None:
    before = there_and_back(8)
    _, (only,) = rematerialise(before, set(before.values), {f"f{i}": 9 - (i == 3) for i in range(8)}, 1)
    assert only.tensor == "f3" and only.cycles == 8 and only.bytes == BYTES
    dear = dict.fromkeys((f"f{i}" for i in range(8)), 4 * BYTES)
    assert not rematerialise(before, set(before.values), dear, 1, 3.9)[1]
    assert rematerialise(before, set(before.values), dear, 1, 4)[1]
    b = Builder(there_and_back(6, "MatMul"))
    cheap = b.add1("ToyMix", ["x"], name="cheap")
    graph = b.graph()
    *nodes, last, early = graph.nodes
    last = replace(last, inputs=(*last.inputs, cheap))
    graph = verify(replace(graph, nodes=(early, *nodes, last)))
    cycles = {"cheap": 1000, **{f"f{i}": 1 for i in range(6)}}
    tensors = [r.tensor for r in rematerialise(graph, set(graph.values), cycles, 3 * BYTES)[1]]
    assert tensors[0] == "cheap" and len(tensors) > 1 and all(t.startswith("f") for t in tensors[1:])


def test_a_weight_that_has_changed_cannot_compute_the_old_again() -> None:
    b = Builder(name="updated")
    x = b.input("x", TensorType((32, 32)))
    w, m = (b.add_state(n, np.zeros((32, 32)), t) for n, t in (("w", "f16"), ("m", "f32")))
    kept = b.add1("MatMul", [x, w], name="kept")
    gradient = b.add1("ToyMix", [b.add1("ToyMix", [x, kept], name="big")], name="gradient")
    b.updates["w"], b.updates["m"] = b.add("ToyStep", [w, m, gradient], names=("w.new", "m.new"))
    b.outputs.append(b.add1("ToyMix", [kept, x], name="y"))
    graph = verify(b.graph())
    assert rematerialise(graph, {"kept", "gradient", "big"}, {}, BYTES) == (graph, ())


def test_a_training_step_keeps_its_bits() -> None:
    _, forward = cct2()
    trained = [n for n in forward.constants if n.startswith(("blocks.", "fc.", "norm."))]
    before = training_graph(forward, trained)
    after, found = rematerialise(before, set(before.values), {}, 250_000)
    ops = {after.producers()[name].op for r in found for name in r.nodes}
    assert {"Gelu", "LayerNormalization", "MatMul"} <= ops
    rng = np.random.default_rng(0)
    feeds = {"label": np.array([3]), before.inputs[0]: rng.normal(size=before.type(before.inputs[0]).shape)}
    wanted, got = evaluate(before, feeds), evaluate(after, feeds)
    for name in (*before.outputs, *before.updates.values()):
        np.testing.assert_array_equal(got[name], wanted[name])
