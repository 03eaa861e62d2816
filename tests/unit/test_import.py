"""ONNX models -> graphs: the spellings that are recognised, what is folded, what is refused and how it is said."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from tdco.autodiff import parameters
from tdco.errors import TdcoError
from tdco.ir import Graph, evaluate
from tdco.onnx_import import import_onnx
from torch import nn

RNG = np.random.default_rng(0)


def node(op: str, inputs: str, output: str, **attrs: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), output.split(), name=f"node_{output.split()[0]}", **attrs)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, Sequence[int | str]],
    arrays: dict[str, Any] | None = None,
    opset: int = 20,
    output: str = "y",
) -> onnx.ModelProto:
    feeds = [helper.make_tensor_value_info(k, onnx.TensorProto.FLOAT, v) for k, v in inputs.items()]
    initialisers = [numpy_helper.from_array(np.asarray(v), k) for k, v in (arrays or {}).items()]
    results = [helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None)]
    graph = helper.make_graph(list(nodes), "test", feeds, results, initialisers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def ops(graph: Graph) -> list[str]:
    return [n.op for n in graph.nodes]


def check(proto: onnx.ModelProto, **shapes: Sequence[int]) -> Graph:
    """Imports ``proto`` and compares the graph with onnx's own evaluator."""
    feeds = {k: RNG.normal(size=s).astype(np.float32) for k, s in shapes.items()}
    graph = import_onnx(proto)
    (want,) = ReferenceEvaluator(proto).run(None, feeds)
    np.testing.assert_allclose(evaluate(graph, feeds)[graph.outputs[0]], np.asarray(want), rtol=1e-4, atol=1e-5)
    return graph


ROOT2 = np.float32(2**0.5)
GELU_SPELLINGS = {
    "x*0.5 first": ["Mul x half h", "Div x root d", "Erf d e", "Add e one a", "Mul h a y"],
    "x*(1+erf) first": ["Div x root d", "Erf d e", "Add e one a", "Mul x a p", "Mul p half y"],
    "(1+erf)*0.5 first": ["Mul x inverse d", "Erf d e", "Add one e a", "Mul half a p", "Mul p x y"],
    "divided by two": ["Mul inverse x d", "Erf d e", "Add e one a", "Mul a x p", "Div p two y"],
}


@pytest.mark.parametrize("spelling", GELU_SPELLINGS)
def test_spelled_out_gelu_is_recognised(spelling: str) -> None:
    nodes = [node(op, f"{' '.join(rest)}", out) for op, *rest, out in map(str.split, GELU_SPELLINGS[spelling])]
    numbers = {"half": 0.5, "root": 2**0.5, "inverse": 0.5**0.5, "one": 1.0, "two": 2.0}
    graph = check(model(nodes, {"x": (3, 4)}, {k: np.float32(v) for k, v in numbers.items()}, 17), x=(3, 4))
    assert ops(graph) == ["Gelu"]


def test_something_like_gelu_is_not_taken_for_it() -> None:
    nodes = [node("Div", "x root", "d"), node("Erf", "d", "e"), node("Add", "e one", "a"), node("Mul", "x a", "y")]
    numbers = {"root": ROOT2, "one": np.float32(1)}
    with pytest.raises(TdcoError, match="Erf node node_e: operator Erf is not supported"):
        import_onnx(model(nodes, {"x": (3, 4)}, numbers, 17))


def test_opset_20_gelu_and_its_approximation() -> None:
    assert ops(check(model([node("Gelu", "x", "y")], {"x": (5,)}), x=(5,))) == ["Gelu"]
    with pytest.raises(TdcoError, match=r"uses the tanh approximation .use nn\.GELU"):
        import_onnx(model([node("Gelu", "x", "y", approximate="tanh")], {"x": (5,)}))


@pytest.mark.parametrize("square", ["Pow c two s", "Mul c c s"])
def test_spelled_out_layer_norm_is_recognised(square: str) -> None:
    op, *operands, s = square.split()
    nodes = [
        node("ReduceMean", "x", "m", axes=[-1]), node("Sub", "x m", "c"), node(op, " ".join(operands), s),
        node("ReduceMean", "s", "v", axes=[-1]), node("Add", "v eps", "t"), node("Sqrt", "t", "r"),
        node("Div", "c r", "n"), node("Mul", "n gamma", "g"), node("Add", "g beta", "y"),
    ]  # fmt: skip
    arrays: dict[str, Any] = {"two": np.float32(2), "eps": np.float32(1e-5)}
    arrays |= {k: RNG.normal(size=8).astype(np.float32) for k in ("gamma", "beta")}
    graph = check(model(nodes, {"x": (3, 8)}, arrays, 13), x=(3, 8))
    assert ops(graph) == ["LayerNormalization"] and set(parameters(graph)) == {"gamma", "beta"}


def test_nodes_may_stand_in_any_order() -> None:
    nodes = [node("Relu", "b", "y"), node("Relu", "a", "b"), node("Relu", "x", "a")]
    assert ops(import_onnx(model(nodes, {"x": (2,)}))) == ["Relu"] * 3


def test_a_fixed_batch_stays() -> None:
    given = model([node("Relu", "x", "y")], {"x": (2, 5)})
    assert import_onnx(given, batch=2).type("x").shape == (2, 5)
    with pytest.raises(TdcoError, match=r"input x: has the fixed shape \[2, 5\], so that its batch cannot be 8"):
        import_onnx(given, batch=8)
    given.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    assert import_onnx(given, batch=8).type("x").shape == (8, 5)


def test_missing_values_and_cycles_are_named() -> None:
    with pytest.raises(TdcoError, match="Relu node node_y: reads 'z', which nothing defines"):
        import_onnx(model([node("Relu", "z", "y")], {"x": (2,)}))
    with pytest.raises(TdcoError, match="reads 'y', of a cycle"):
        import_onnx(model([node("Relu", "y", "a"), node("Relu", "a", "y")], {"x": (2,)}))


@pytest.mark.parametrize("trans_a", [0, 1])
@pytest.mark.parametrize("trans_b", [0, 1])
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (0.5, 1.0), (1.0, 2.0), (0.25, 0.0)])
def test_gemm(trans_a: int, trans_b: int, alpha: float, beta: float) -> None:
    a, w = (5, 3)[:: -1 if trans_a else 1], (3, 4)[:: -1 if trans_b else 1]
    arrays = {"w": RNG.normal(size=w).astype(np.float32), "c": RNG.normal(size=4).astype(np.float32)}
    proto = model(
        [node("Gemm", "x w c", "y", transA=trans_a, transB=trans_b, alpha=alpha, beta=beta)], {"x": a}, arrays
    )
    graph = check(proto, x=a)
    assert "Gemm" in ops(graph) or alpha != 1 or beta == 0


SHAPE_OPS: dict[str, tuple[list[onnx.NodeProto], dict[str, Any], tuple[int, ...]]] = {
    "Squeeze": ([node("Squeeze", "x axes", "y")], {"axes": np.array([1])}, (3, 1, 4)),
    "Unsqueeze": ([node("Unsqueeze", "x axes", "y")], {"axes": np.array([0, -1])}, (3, 4)),
    "Flatten": ([node("Flatten", "x", "y", axis=-1)], {}, (2, 3, 4)),
    "Reshape -1, 0": ([node("Reshape", "x shape", "y")], {"shape": np.array([0, -1, 2])}, (3, 4, 2)),
    "Split": (
        [node("Split", "x sizes", "a b", axis=1), node("Add", "a b", "y")], {"sizes": np.array([2, 2])}, (3, 4)
    ),
    "equal Split": ([node("Split", "x", "a b", axis=0, num_outputs=2), node("Mul", "a b", "y")], {}, (4, 3)),
    "Slice": (
        [node("Slice", "x start end axes", "y")],
        {"start": np.array([-3]), "end": np.array([1000]), "axes": np.array([-1])},
        (2, 5),
    ),
    "Gather": ([node("Gather", "x index", "y", axis=1)], {"index": np.array(2)}, (2, 5, 3)),
    "Expand": ([node("Expand", "x shape", "y")], {"shape": np.array([2, 1, 4])}, (3, 1)),
    "Transpose": ([node("Transpose", "x", "y")], {}, (2, 3, 4)),
    "Shape arithmetic": (
        [
            node("Shape", "x", "s"), node("Gather", "s zero", "n"), node("Unsqueeze", "n axes", "u"),
            node("Concat", "u rest", "t", axis=0), node("Relu", "x", "r"), node("Reshape", "r t", "y"),
        ],
        {"zero": np.array(0), "axes": np.array([0]), "rest": np.array([-1])},
        (2, 3, 4),
    ),
    "Identity, Dropout": ([node("Identity", "x", "a"), node("Dropout", "a", "b"), node("Relu", "b", "y")], {}, (4,)),
    "Softmax in the middle": ([node("Softmax", "x", "y", axis=1)], {}, (2, 5, 3)),
    "Softmax before ones": ([node("Softmax", "x", "y", axis=1)], {}, (2, 5, 1)),
    "ReduceMean": ([node("ReduceMean", "x axes", "y", keepdims=0)], {"axes": np.array([-1, 1])}, (2, 5, 3)),
    "ReduceSum of all": ([node("ReduceSum", "x", "y")], {}, (2, 5)),
    "GlobalAveragePool": ([node("GlobalAveragePool", "x", "y")], {}, (2, 5, 4, 3)),
    "Div, Sub, Neg": (
        [node("Div", "x four", "a"), node("Sub", "a two", "b"), node("Neg", "b", "c"), node("Sub", "c x", "y")],
        {"four": np.float32(4), "two": np.float32(2)},
        (3, 4),
    ),
    "Pow 2": ([node("Pow", "x two", "y")], {"two": np.float32(2)}, (3, 4)),
    "scale on the left": ([node("Mul", "third x", "y")], {"third": np.float32(1 / 3)}, (3, 4)),
}  # fmt: skip


@pytest.mark.parametrize("case", SHAPE_OPS)
def test_onnx_operators_mean_what_onnx_says(case: str) -> None:
    nodes, arrays, shape = SHAPE_OPS[case]
    check(model(nodes, {"x": shape}, arrays), x=shape)


@pytest.mark.parametrize(
    ("kernel", "attrs"),
    [
        ((3, 3), {"pads": [1, 1, 1, 1]}),
        ((2, 3), {"pads": [1, 0, 0, 2], "strides": [2, 1]}),
        ((3, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
        ((1, 1), {}),
    ],
)
def test_convolution_and_pooling_become_channels_last(kernel: tuple[int, int], attrs: dict[str, Any]) -> None:
    arrays = {"w": RNG.normal(size=(4, 3, *kernel)).astype(np.float32), "b": RNG.normal(size=4).astype(np.float32)}
    graph = check(model([node("Conv", "x w b", "y", **attrs)], {"x": (2, 3, 7, 6)}, arrays), x=(2, 3, 7, 6))
    assert ops(graph) == ["Transpose", "Transpose", "Conv", "Transpose"]
    check(model([node("MaxPool", "x", "y", kernel_shape=kernel, **attrs)], {"x": (2, 3, 7, 6)}), x=(2, 3, 7, 6))


@pytest.mark.parametrize("groups", [2, 4])
def test_grouped_convolution(groups: int) -> None:
    w = RNG.normal(size=(8, 4 // groups, 3, 3)).astype(np.float32)
    check(
        model([node("Conv", "x w", "y", group=groups, strides=[2, 1])], {"x": (2, 4, 7, 6)}, {"w": w}), x=(2, 4, 7, 6)
    )


def test_a_zero_bias_of_a_convolution_is_dropped() -> None:
    nodes = [node("Expand", "zero four", "b"), node("Conv", "x w b", "y")]
    arrays = {"w": np.ones((4, 3, 1, 1), np.float32), "zero": np.float32(0), "four": np.array([4])}
    (conv,) = [n for n in import_onnx(model(nodes, {"x": (1, 3, 2, 2)}, arrays)).nodes if n.op == "Conv"]
    assert len(conv.inputs) == 2


UNSUPPORTED = {
    "operator Tan is not supported .supported: .*Softmax": node("Tan", "x", "y"),
    "node_y: X .* has 3 channels, but the filters .* take 1 in 2 groups": node("Conv", "x w3", "y", group=2),
    "node_y: is dilated by": node("Conv", "x w", "y", dilations=[2, 2]),
    "node_y: has ceil_mode": node("MaxPool", "x", "y", kernel_shape=[2, 2], ceil_mode=1),
    "node_y: its divisor 'x' is computed from data": node("Div", "x x", "y"),
    "node_y: slices with steps": node("Slice", "x i0 i4 i1 i2", "y"),
    "node_y: cannot reshape": node("Reshape", "x i5", "y"),
    "node_y: has exponent 0.5": node("Pow", "x half", "y"),
    "LayerNormalization node node_y: normalises dimensions 2 to 3": node("LayerNormalization", "x w", "y", axis=2),
    "MatMul node node_y: columns of X and rows of W": node("MatMul", "x m", "y"),
}


@pytest.mark.parametrize("message", UNSUPPORTED)
def test_unsupported_forms_name_the_node_and_the_reason(message: str) -> None:
    arrays = {"w": np.ones((4, 3, 1, 1), np.float32), "w3": np.ones((4, 1, 1, 1), np.float32), "half": np.float32(0.5)}
    arrays |= {f"i{n}": np.array([n]) for n in (0, 1, 2, 4, 5)}
    arrays |= {"m": np.ones((7, 2), np.float32)}
    with pytest.raises(TdcoError, match=message):
        import_onnx(model([UNSUPPORTED[message]], {"x": (1, 3, 4, 4)}, arrays))


def test_dropout_in_training_mode_is_refused() -> None:
    with pytest.raises(TdcoError, match=r"Dropout node node_y: is in training mode \(export the model in eval mode"):
        import_onnx(
            model([node("Dropout", "x ratio on", "y")], {"x": (2,)}, {"ratio": np.float32(0.5), "on": np.array(True)})
        )


def test_a_free_dimension_becomes_the_batch() -> None:
    proto = model([node("Relu", "x", "y")], {"x": ("batch", 3)})
    assert import_onnx(proto, batch=5).type("x").shape == (5, 3)


def test_initialisers_are_parameters_and_numbers_are_not() -> None:
    nodes = [node("MatMul", "x fc.weight", "h"), node("Add", "h fc.bias", "s"), node("Mul", "s scale", "y")]
    arrays = {"fc.weight": np.ones((3, 2), np.float32), "fc.bias": np.ones(2, np.float32), "scale": np.float32(0.125)}
    graph = import_onnx(model(nodes, {"x": (1, 3)}, arrays))
    assert set(parameters(graph)) == {"fc.weight", "fc.bias"} and graph.type("scale").dtype == "f32"


def test_a_warning_names_initialisers_with_several_users() -> None:
    nodes = [node("Add", "x ones", "a"), node("Mul", "a ones", "y")]
    with pytest.warns(UserWarning, match="several nodes share these initialisers.*: ones"):
        import_onnx(model(nodes, {"x": (2, 3)}, {"ones": np.ones(3, np.float32), "more": np.ones(3, np.float32)}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        import_onnx(model(nodes[:1], {"x": (2, 3)}, {"ones": np.ones(3, np.float32)}, output="a"))


def test_torchs_default_export_merges_equal_initialisers_and_we_say_so(tmp_path: Any) -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 4), nn.LayerNorm(4)).eval()
    program = torch.onnx.export(module, (torch.randn(2, 4),), dynamo=True, verbose=False)
    assert program is not None
    with pytest.warns(UserWarning, match=r"1\.(weight|bias)"):
        import_onnx(program.model_proto)
