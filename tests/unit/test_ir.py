"""The graph, its printed form, and what its verifier rejects."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tdco.errors import TdcoError
from tdco.ir import Builder, Graph, Node, TensorType, evaluate, prune, verify


def product() -> Builder:
    b = Builder(name="product")
    x = b.input("x", TensorType((2, 3)))
    w = b.constant("w", np.arange(12, dtype=np.float32).reshape(3, 4), source="w")
    b.outputs = [b.add1("Relu", [b.add1("MatMul", [x, w], name="y", source="layer")], name="z")]
    return b


def sgd_step() -> Graph:
    """w' = w - 0.5 * g, then y = x . w: the read comes too late."""
    b = Builder(name="step")
    x, g = b.input("x", TensorType((2, 3))), b.input("g", TensorType((3, 4)))
    w = b.add_state("w", np.ones((3, 4), np.float32), "f16")
    master = b.add_state("w.master", np.ones((3, 4), np.float32), "f32")
    ok = b.add1("Finite", [g], name="ok")
    new, shadow = b.add("SGD", [master, g, ok], {"lr": 0.5, "loss_scale": 1.0}, ["new", "shadow"], "update")
    b.updates = {master: new, w: shadow}
    b.outputs = [b.add1("MatMul", [x, w], name="y", source="late reader")]
    return b.graph()


def test_types_are_inferred_and_printed() -> None:
    graph = verify(product().graph())
    assert graph.type("y") == TensorType((2, 4))
    assert "y = MatMul(x, w) : f16[2,4]  # layer" in str(graph)
    assert TensorType((2, 4), "f32").bytes == 32


def test_names_stay_unique() -> None:
    b = product()
    assert b.add1("Relu", ["x"], name="z") == "z.2"


def test_evaluate_returns_every_value() -> None:
    x = np.array([[1.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    values = evaluate(product().graph(), {"x": x}, np.float64)
    np.testing.assert_array_equal(values["z"], np.maximum(x @ np.arange(12.0).reshape(3, 4), 0))
    assert values["z"].dtype == np.float64


def test_prune_drops_what_nobody_needs() -> None:
    b = product()
    b.add1("Relu", ["x"], name="dead")
    b.constant("unread", np.ones(3))
    graph = prune(b.graph())
    assert "dead" not in graph.values and "unread" not in graph.constants and "w" in graph.constants


def test_read_after_update_is_rejected() -> None:
    with pytest.raises(TdcoError, match="late reader: reads 'w' after its update by update"):
        verify(sgd_step())


def test_read_of_a_view_after_update_is_rejected() -> None:
    graph = sgd_step()
    view = Node("Transpose", ("w",), ("w.t",), {"perm": (1, 0)})
    reader = Node("MatMul", ("x", "w.t.t"), ("y",), {}, "late reader")
    again = Node("Transpose", ("w.t",), ("w.t.t",), {"perm": (1, 0)})
    values = dict(graph.values)
    for name, shape in (("w.t", (4, 3)), ("w.t.t", (3, 4))):
        values[name] = replace(values["w"], name=name, type=TensorType(shape))
    moved = replace(graph, values=values, nodes=(view, again, *graph.nodes[:-1], reader))
    with pytest.raises(TdcoError, match=r"reads 'w.t.t' after its update"):
        verify(moved)


def test_read_before_update_is_legal() -> None:
    graph = sgd_step()
    verify(replace(graph, nodes=(graph.nodes[-1], *graph.nodes[:-1])))


def test_only_update_operators_write_state() -> None:
    b = product()
    b.add_state("s", np.zeros((2, 4), np.float32), "f16")
    b.updates = {"s": "z"}
    with pytest.raises(TdcoError, match="changes state 's' but is no update operator"):
        verify(b.graph())


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ((Node("Relu", ("nowhere",), ("z",)),), "reads 'nowhere', which nothing before it defines"),
        ((Node("Relu", ("y",), ("z",)), Node("MatMul", ("x", "w"), ("y",))), "reads 'y', which nothing before"),
        ((Node("MatMul", ("x", "w"), ("y",)),) * 2, "defines 'y' a second time"),
        ((Node("Relu", ("x",), ("y",)),), r"'y' is f16\[2,4\] but Relu gives f16\[2,3\]"),
        ((), "output 'z' is never computed"),
    ],
)
def test_malformed_graphs_are_rejected(nodes: tuple[Node, ...], message: str) -> None:
    with pytest.raises(TdcoError, match=message):
        verify(replace(product().graph(), nodes=nodes))


def test_unknown_operator_names_what_is_supported() -> None:
    with pytest.raises(TdcoError, match=r"operator Tanh is not supported \(supported: .*Softmax"):
        product().add1("Tanh", ["x"])


def test_a_bad_node_is_named() -> None:
    with pytest.raises(TdcoError, match="MatMul node layer 2: "):
        product().add1("MatMul", ["x", "x"], source="layer 2")
