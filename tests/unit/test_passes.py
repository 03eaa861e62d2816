"""Each pass keeps the values and makes the graph smaller in the way it promises."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
from tdco.autodiff import training_graph
from tdco.cost import default_costs
from tdco.ir import Builder, Graph, TensorType, evaluate, verify
from tdco.passes import (
    eliminate_common,
    fold_constants,
    fuse_bias,
    fuse_relu,
    fuse_scale,
    fuse_sum,
    merge_slices,
    multiply_twice,
    sink_transposes,
    store_as_read,
    watch_flags,
)
from tdco_spec import get_config

from ..flow.models import cct2, own

RNG = np.random.default_rng(0)


def same(before: Graph, transform: Callable[[Graph], Graph]) -> Graph:
    """``transform(before)``, checked to be legal and to compute the same outputs."""
    after = verify(transform(verify(before)))
    feeds = {n: RNG.normal(size=before.type(n).shape) for n in before.inputs}
    expected, got = evaluate(before, feeds, np.float64), evaluate(after, feeds, np.float64)
    assert after.outputs == before.outputs
    for name in before.outputs:
        np.testing.assert_allclose(got[name], expected[name], rtol=1e-12)
    return after


def count(graph: Graph) -> Counter[str]:
    return Counter(n.op for n in graph.nodes)


def transposed(b: Builder, x: str, *perm: int) -> str:
    return b.add1("Transpose", [x], {"perm": perm})


def test_transposes_cancel_through_elementwise_operators() -> None:
    b = Builder()
    x, y = b.input("x", TensorType((1, 4, 5, 3))), b.input("y", TensorType((1, 4, 5, 3)))
    scale = b.constant("scale", np.array(0.5), "f32")
    left = b.add1("Relu", [transposed(b, x, 0, 3, 1, 2)])
    both = b.add1("Add", [left, b.add1("Mul", [transposed(b, y, 0, 3, 1, 2), scale])])
    b.outputs = [b.add1("Relu", [transposed(b, both, 0, 2, 3, 1)], name="z")]
    after = same(b.graph(), sink_transposes)
    assert count(after) == {"Relu": 2, "Mul": 1, "Add": 1}


def test_a_transpose_stays_where_the_order_matters() -> None:
    b = Builder()
    x, bias = b.input("x", TensorType((2, 3, 4))), b.constant("bias", RNG.normal(size=3))
    t = transposed(b, x, 0, 2, 1)
    b.outputs = [b.add1("Softmax", [b.add1("Add", [t, bias])], {"axis": -1}, "y"), transposed(b, t, 2, 1, 0)]
    after = same(b.graph(), sink_transposes)
    assert count(after)["Transpose"] == 2


def test_outputs_keep_their_order_of_dimensions() -> None:
    b = Builder()
    b.outputs = [b.add1("Relu", [transposed(b, b.input("x", TensorType((2, 3))), 1, 0)], name="y")]
    assert same(b.graph(), sink_transposes).type("y").shape == (3, 2)


def test_a_chain_of_transposes_becomes_one() -> None:
    b = Builder()
    x = b.input("x", TensorType((2, 3, 4)))
    t = transposed(b, transposed(b, x, 1, 0, 2), 2, 1, 0)
    b.outputs = [b.add1("Softmax", [t], {"axis": -1})]
    assert count(same(b.graph(), sink_transposes))["Transpose"] == 1


def test_product_and_bias_become_a_gemm() -> None:
    b = Builder()
    x = b.input("x", TensorType((2, 5, 3)))
    w, bias = b.constant("w", RNG.normal(size=(3, 4))), b.constant("bias", RNG.normal(size=4))
    first = b.add1("Add", [bias, b.add1("MatMul", [x, w])])
    kept = b.add1("MatMul", [x, w], name="kept")
    b.outputs = [b.add1("Add", [first, b.add1("Add", [kept, bias])], name="y"), kept]
    assert count(same(b.graph(), fuse_bias)) == {"Gemm": 1, "MatMul": 1, "Add": 2}


def test_a_residual_is_no_bias() -> None:
    b = Builder()
    x, w = b.input("x", TensorType((4, 4))), b.constant("w", RNG.normal(size=(4, 4)))
    b.outputs = [b.add1("Add", [b.add1("MatMul", [x, w]), x])]
    assert count(same(b.graph(), fuse_bias)) == {"MatMul": 1, "Add": 1}


def test_sums_of_products_are_one_chain() -> None:
    b = Builder()
    x, y = b.input("x", TensorType((2, 4, 3))), b.input("y", TensorType((2, 4, 5)))
    first, second = (b.add1("MatMul", [x, b.constant(f"w{i}", RNG.normal(size=(3, 5)))]) for i in range(2))
    residual = b.add1("Softmax", [y])
    third = b.add1("MatMul", [x, b.constant("w2", RNG.normal(size=(3, 5)))])
    b.outputs = [b.add1("Relu", [b.add1("Add", [third, b.add1("Add", [first, second])])], name="z")]
    b.outputs += [b.add1("Add", [residual, b.add1("MatMul", [y, b.constant("w3", RNG.normal(size=(5, 5)))])], name="r")]
    after = same(b.graph(), lambda graph: fuse_relu(fuse_sum(graph)))
    assert count(after) == {"MatMul": 1, "Gemm": 3, "Softmax": 1}
    assert sum(n.attrs.get("relu", 0) for n in after.nodes) == 1


def test_what_is_added_to_a_sum_goes_to_its_beginning() -> None:
    b = Builder()
    y, x = b.input("y", TensorType((4, 5))), b.input("x", TensorType((4, 3)))
    w, v = (b.constant(n, RNG.normal(size=(3, 5))) for n in "wv")
    both = b.add1("Add", [b.add1("MatMul", [x, w]), b.add1("MatMul", [x, v])])
    b.outputs = [b.add1("Add", [y, both], name="z")]
    after = same(b.graph(), fuse_sum)
    assert [(n.inputs[1:], n.outputs == ("z",)) for n in after.nodes] == [
        (("w", "y"), False),
        (("v", after.nodes[0].outputs[0]), True),
    ]


def test_sums_that_the_engine_cannot_start_from_stay() -> None:
    b = Builder()
    x, w = b.input("x", TensorType((4, 4))), b.constant("w", RNG.normal(size=(4, 4)))
    batch = b.input("batch", TensorType((2, 4, 4)))
    read, early = b.add1("MatMul", [x, w], name="read"), b.add1("MatMul", [w, x])
    sums = [
        b.add1("Add", [x, read]),  # somebody else reads the product
        b.add1("Add", [early, b.add1("Softmax", [x])]),  # the product comes first
        b.add1("Add", [b.add1("MatMul", [x, w]), b.input("row", TensorType((4,)))]),  # is broadcast
        b.add1("Add", [x, b.add1("Gemm", [x, w, b.constant("bias", RNG.normal(size=4))])]),  # a bias has the place
    ]
    b.outputs = [*sums, b.add1("Add", [batch, b.add1("MatMul", [batch, batch])]), read]
    assert count(same(b.graph(), fuse_sum)) == {"MatMul": 4, "Gemm": 1, "Softmax": 1, "Add": 5}


def test_a_relu_goes_into_its_product() -> None:
    b = Builder()
    x, w = b.input("x", TensorType((1, 4, 4, 3))), b.constant("w", RNG.normal(size=(3, 3, 3, 5)))
    conv = b.add1("Relu", [b.add1("Conv", [x, w], {"strides": (1, 1), "pads": (1, 1, 1, 1)})])
    rows = b.add1("Reshape", [conv], {"shape": (16, 5)})
    v, bias = b.constant("v", RNG.normal(size=(5, 6))), b.constant("bias", RNG.normal(size=6))
    product = b.add1("Relu", [b.add1("MatMul", [rows, v])])
    b.outputs = [b.add1("Relu", [b.add1("Gemm", [rows, v, bias])], name="y"), b.add1("Softmax", [product])]
    after = same(b.graph(), fuse_relu)
    assert count(after) == {"Conv": 1, "Reshape": 1, "MatMul": 1, "Gemm": 1, "Softmax": 1}
    assert [n.attrs.get("relu") for n in after.nodes if n.op in ("Conv", "MatMul", "Gemm")] == [1, 1, 1]


def test_a_product_with_other_readers_keeps_its_relu() -> None:
    b = Builder()
    x, w = b.input("x", TensorType((4, 4))), b.constant("w", RNG.normal(size=(4, 4)))
    read, shown = b.add1("MatMul", [x, w]), b.add1("MatMul", [w, x], name="shown")
    total = b.add1("Add", [b.add1("Relu", [read]), b.add1("Add", [read, b.add1("Relu", [shown])])], name="total")
    b.outputs = [b.add1("Relu", [total], name="y"), shown]
    assert count(same(b.graph(), fuse_relu)) == {"MatMul": 2, "Relu": 3, "Add": 2}


def test_the_mask_of_a_fused_relu_is_read_from_its_output() -> None:
    _, forward = own("mlp")
    step = training_graph(forward, ["0.weight", "0.bias"])
    fused = verify(fuse_relu(step))
    feeds = {"input": RNG.normal(size=(4, 64)), "label": np.array([3, 1, 4, 1], np.int32)}
    want, got = evaluate(step, feeds, np.float64), evaluate(fused, feeds, np.float64)
    for name in (*step.outputs, *step.updates.values()):
        np.testing.assert_array_equal(got[name], want[name])
    (mask,) = (n for n in fused.nodes if n.op == "ReluGrad")
    (product,) = (n for n in fused.nodes if n.attrs.get("relu"))
    assert mask.inputs[1] == product.outputs[0] and not count(fused)["Relu"]


def scaled_softmax(factor: float) -> Graph:
    """The forward and the backward pass of softmax(x * factor)."""
    b = Builder()
    x, dy = b.input("x", TensorType((4, 6))), b.input("dy", TensorType((4, 6)))
    c = b.constant("c", np.array(factor), "f32")
    y = b.add1("Softmax", [b.add1("Mul", [x, c])], name="y")
    b.outputs = [y, b.add1("Mul", [b.add1("SoftmaxGrad", [dy, y]), c], name="dx")]
    return b.graph()


def test_a_scale_goes_into_softmax_and_its_gradient() -> None:
    after = same(scaled_softmax(0.125), fuse_scale)
    assert count(after) == {"Softmax": 1, "SoftmaxGrad": 1}
    assert [n.attrs["scale"] for n in after.nodes] == [0.125, 0.125]


def test_a_scale_that_is_negative_or_read_elsewhere_stays() -> None:
    assert count(same(scaled_softmax(-0.5), fuse_scale)) == {"Mul": 2, "Softmax": 1, "SoftmaxGrad": 1}
    b = Builder()
    x, c = b.input("x", TensorType((4, 6))), b.constant("c", np.array(0.5), "f32")
    scaled = b.add1("Mul", [x, c], name="scaled")
    b.outputs = [b.add1("Softmax", [scaled], name="y"), scaled]
    assert count(same(b.graph(), fuse_scale)) == {"Mul": 1, "Softmax": 1}


def test_only_gradients_of_the_engine_are_watched() -> None:
    """A bias's gradient is a sum on the cores, which may overflow where no product does."""
    _, forward = own("mlp")
    step = verify(watch_flags(training_graph(forward, ["0.weight", "0.bias"])))
    watched = {n.outputs[0]: n.attrs.get("engine", 0) for n in step.nodes if n.op == "Finite"}
    assert watched == {"0.weight.ok": 1, "0.bias.ok": 0}


def test_equal_nodes_become_one_and_equal_weights_stay_two() -> None:
    b = Builder()
    x = b.input("x", TensorType((3, 4)))
    gammas = [b.constant(f"gamma{i}", np.ones(4), source=f"gamma{i}") for i in (0, 1)]
    halves = [b.constant("half", np.array(0.5), "f32") for _ in range(2)]
    scaled = [b.add1("Mul", [b.add1("Relu", [x]), h]) for h in halves]
    b.outputs = [b.add1("Add", [b.add1("Mul", [s, g]) for s, g in zip(scaled, gammas, strict=True)])]
    after = same(b.graph(), eliminate_common)
    assert count(after) == {"Relu": 1, "Mul": 3, "Add": 1} and set(after.constants) == {*gammas, "half"}


def test_nodes_that_differ_in_attributes_stay() -> None:
    b = Builder()
    x = b.input("x", TensorType((3, 3)))
    sums = [b.add1("ReduceSum", [x], {"axes": (axis,), "keepdims": 0}) for axis in (0, 1, 0)]
    b.outputs = [b.add1("Add", [b.add1("Add", sums[:2]), sums[2]])]
    assert count(same(b.graph(), eliminate_common))["ReduceSum"] == 2


def test_both_equal_outputs_keep_their_names() -> None:
    b = Builder()
    x = b.input("x", TensorType((3,)))
    b.outputs = [b.add1("Relu", [x], name="a"), b.add1("Relu", [x], name="b")]
    same(b.graph(), eliminate_common)


def test_frozen_weights_are_transposed_at_compile_time_once() -> None:
    b = Builder()
    x = b.input("x", TensorType((2, 3)))
    alone, shared = (b.constant(n, RNG.normal(size=(4, 3)), source=n) for n in ("alone", "shared"))
    trained = b.add_state("trained", RNG.normal(size=(4, 3)), "f16", "trained")
    products = [b.add1("MatMul", [x, transposed(b, w, 1, 0)]) for w in (alone, shared, trained)]
    back = b.add1("MatMul", [products[0], shared])
    b.outputs = [*products, back]
    after = same(b.graph(), fold_constants)
    assert count(after)["Transpose"] == 2, "folding a weight with two readers would store it twice"
    folded = after.constants.keys() - {alone, shared}
    assert alone not in after.constants and [after.values[n].source for n in folded] == [alone]


def test_cct2_needs_no_transposed_activations_around_its_convolutions() -> None:
    _, graph = cct2()
    tokenizer = [n for n in graph.nodes if graph.source(n).startswith("tokenizer")]
    assert [n.op for n in tokenizer if n.op not in ("Transpose", "Reshape")] == ["Conv", "Relu", "MaxPool"] * 2
    moving = [n for n in tokenizer if n.op == "Transpose" and not n.inputs[0].endswith("weight")]
    assert len(moving) == 3, "the image comes channels first; the tokens leave as rows"
    assert count(graph)["Gemm"] == 8 and not any(n.op == "Add" and len(n.inputs) != 2 for n in graph.nodes)


def slice_gradient(b: Builder, x: str, start: int, shape: tuple[int, ...], axis: int) -> str:
    return b.add1("SliceGrad", [x], {"shape": shape, "starts": (start,), "axes": (axis,)})


def test_gradients_of_slices_that_fill_a_tensor_are_joined() -> None:
    b = Builder()
    x, y, z = (b.input(n, TensorType((4, c))) for n, c in (("x", 2), ("y", 3), ("z", 1)))
    parts = [slice_gradient(b, v, at, (4, 6), 1) for v, at in ((y, 3), (x, 1), (z, 0))]
    b.outputs = [b.add1("Add", [b.add1("Add", parts[:2]), parts[2]], name="out")]
    assert count(same(b.graph(), merge_slices)) == {"Concat": 1}


def test_gradients_of_slices_that_overlap_or_leave_a_gap_are_not() -> None:
    for second in (1, 3):
        b = Builder()
        x, y = b.input("x", TensorType((4, 2))), b.input("y", TensorType((4, 2)))
        parts = [slice_gradient(b, x, 0, (4, 5), 1), slice_gradient(b, y, second, (4, 5), 1)]
        b.outputs = [b.add1("Add", parts, name="out")]
        assert count(same(b.graph(), merge_slices)) == {"SliceGrad": 2, "Add": 1}


def test_filters_are_stored_as_they_are_read() -> None:
    b = Builder()
    x, w = b.input("x", TensorType((1, 5, 5, 2))), b.constant("w", RNG.normal(size=(4, 2, 3, 3)), source="w")
    attrs = {"strides": (1, 1), "pads": (1, 1, 1, 1)}
    b.outputs = [b.add1("Conv", [x, transposed(b, w, 2, 3, 1, 0)], attrs, "y")]
    before = b.graph()
    after = same(before, store_as_read)
    assert count(after) == {"Conv": 1} and after.type("w").shape == (3, 3, 2, 4) and after.values["w"].source == "w"
    np.testing.assert_array_equal(after.values["w"].as_user(after.constants["w"]), before.constants["w"])


def test_matrices_and_weights_with_other_readers_stay() -> None:
    b = Builder()
    w, v = b.constant("w", RNG.normal(size=(4, 3)), source="w"), b.constant("v", RNG.normal(size=(2, 3, 4)), source="v")
    product = b.add1("MatMul", [transposed(b, v, 0, 2, 1), v])
    b.outputs = [b.add1("MatMul", [b.input("x", TensorType((2, 3))), transposed(b, w, 1, 0)], name="y"), product]
    assert count(same(b.graph(), store_as_read))["Transpose"] == 2


def test_large_gradients_of_few_samples_are_multiplied_twice() -> None:
    """A look and an update read each; where somebody else reads the gradient, where it is small or where a second
    product takes longer than moving it, it is made once."""
    costs = default_costs(get_config("rm_12x4"))

    def ops(m: int, k: int, read: bool = False) -> Counter[str]:
        b = Builder()
        x, dy = b.input("x", TensorType((m, k))), b.input("dy", TensorType((k, 128)))
        w, master = (b.add_state(n, np.zeros((m, 128), np.float32), d) for n, d in (("w", "f16"), ("w.master", "f32")))
        grad = b.add1("MatMul", [x, dy])
        ok = b.add1("Finite", [grad])
        outs = b.add("SGD", [master, grad, ok], {"lr": 0.5})
        b.updates[master], b.updates[w] = outs
        b.outputs = [b.add1("Relu", [grad])] if read else []
        before = verify(b.graph())
        after = verify(multiply_twice(before, costs))
        feeds = {n: np.random.default_rng(0).standard_normal(b.type(n).shape) for n in (x, dy)}
        for name, value in evaluate(after, feeds).items():
            np.testing.assert_array_equal(value, evaluate(before, feeds)[name])
        return Counter(node.op for node in after.nodes)

    assert ops(640, 8) == Counter({"ProductFinite": 1, "ProductUpdate": 1})
    for once in (ops(640, 8, read=True), ops(32, 8), ops(640, 128)):
        assert once["MatMul"] == once["SGD"] == 1
