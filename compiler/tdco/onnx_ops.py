"""How each ONNX operator becomes nodes of the graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from .autodiff import LOSS_SCALE
from .errors import TdcoError
from .onnx_import import Import, OnnxNode
from .ops.reshape import infer as infer_reshape

Results = Sequence[str]
Lower = Callable[[Import, OnnxNode], Results]

TO_NHWC, TO_NCHW, OIHW_TO_HWIO = (0, 2, 3, 1), (0, 3, 1, 2), (2, 3, 1, 0)


def lower(im: Import, node: OnnxNode) -> Results:
    """Adds ``node`` to ``im.builder``; returns the graph's names of its outputs.

    Raises:
        TdcoError: the operator or this form of it is not supported.
    """
    if node.type in LOWER:
        return LOWER[node.type](im, node)
    known = sorted(name for name in LOWER if not name.endswith("Grad"))
    raise TdcoError(f"operator {node.type} is not supported", hint="supported: " + ", ".join(known))


def _hint(node: OnnxNode) -> str:
    return node.name or node.outputs[0]


def _add(im: Import, node: OnnxNode, op: str, inputs: Sequence[str], **attrs: Any) -> str:
    """Adds operator ``op`` on graph values ``inputs`` in the name of ``node``; returns its first output."""
    return im.builder.add(op, inputs, attrs, [_hint(node)], node.name)[0]


def _require(condition: bool, what: str, hint: str = "") -> None:
    if not condition:
        raise TdcoError(what, hint=hint)


def _alias(im: Import, node: OnnxNode) -> Results:
    return [im.tensor(node.inputs[0])]


def _cast(im: Import, node: OnnxNode) -> Results:
    kind = {1: "f", 10: "f", 11: "f", 6: "i", 7: "i"}.get(node.attrs.get("to", 1))
    own = im.builder.type(im.tensor(node.inputs[0])).dtype[0]
    _require(kind == own, "casts between integers and floating point", "cast before the model's input")
    return _alias(im, node)


def _cast_like(im: Import, node: OnnxNode) -> Results:
    x, like = (im.builder.type(im.tensor(i)) for i in node.inputs)
    _require(x.dtype[0] == like.dtype[0], "casts between integers and floating point", "cast before the model's input")
    return _alias(im, node)


def _dropout(im: Import, node: OnnxNode) -> Results:
    training = node.input(2)
    _require(
        not training or not bool(im.value(training, "training mode")),
        "is in training mode",
        "export the model in eval mode: tdco trains without dropout",
    )
    return _alias(im, node)


def _transpose(im: Import, node: OnnxNode, x: str, perm: Sequence[int]) -> str:
    if tuple(perm) == tuple(range(len(perm))):
        return x
    return im.builder.add1("Transpose", [x], {"perm": tuple(perm)}, f"{x}.t", node.name)


def _onnx_transpose(im: Import, node: OnnxNode) -> Results:
    x = im.tensor(node.inputs[0])
    perm = node.attrs.get("perm") or range(len(im.shape(node.inputs[0])))[::-1]
    return [_transpose(im, node, x, perm)]


def _reshape(im: Import, node: OnnxNode, x: str, shape: Sequence[int]) -> str:
    type = im.builder.type(x)
    return x if tuple(shape) == type.shape else _add(im, node, "Reshape", [x], shape=tuple(shape))


def _onnx_reshape(im: Import, node: OnnxNode) -> Results:
    x = im.tensor(node.inputs[0])
    own = im.builder.type(x)
    shape = [int(n) for n in im.value(node.inputs[1], "shape")]
    if not node.attrs.get("allowzero", 0):
        shape = [own.shape[i] if n == 0 else n for i, n in enumerate(shape)]
    if -1 in shape:
        rest = prod(n for n in shape if n != -1)
        shape[shape.index(-1)] = own.size // rest if rest and own.size % rest == 0 else -1
    infer_reshape([own], {"shape": shape})
    return [_reshape(im, node, x, shape)]


def _axes(im: Import, node: OnnxNode, rank: int, default: Sequence[int] = ()) -> list[int]:
    """The axes of ``node``, an attribute in older opsets and an input in newer ones, as sorted indices >= 0."""
    axes = node.attrs.get("axes")
    if axes is None:
        axes = im.value(node.input(1), "axes").ravel().tolist() if node.input(1) else []
    return sorted(int(a) % rank for a in axes or default)


def _squeeze(im: Import, node: OnnxNode) -> Results:
    x = im.tensor(node.inputs[0])
    shape = im.builder.type(x).shape
    drop = _axes(im, node, len(shape), [i for i, n in enumerate(shape) if n == 1])
    return [_reshape(im, node, x, [n for i, n in enumerate(shape) if i not in drop])]


def _unsqueeze(im: Import, node: OnnxNode) -> Results:
    x = im.tensor(node.inputs[0])
    shape = list(im.builder.type(x).shape)
    count = len(node.attrs["axes"]) if "axes" in node.attrs else im.value(node.inputs[1], "axes").size
    for axis in _axes(im, node, len(shape) + count):
        shape.insert(axis, 1)
    return [_reshape(im, node, x, shape)]


def _flatten(im: Import, node: OnnxNode) -> Results:
    x = im.tensor(node.inputs[0])
    shape = im.builder.type(x).shape
    axis = node.attrs.get("axis", 1)
    axis += len(shape) if axis < 0 else 0
    return [_reshape(im, node, x, (prod(shape[:axis]), prod(shape[axis:])))]


def _slice_range(im: Import, node: OnnxNode, x: str, ranges: dict[int, tuple[int, int]]) -> str:
    shape = im.builder.type(x).shape
    ranges = {axis: r for axis, r in ranges.items() if r != (0, shape[axis])}
    if not ranges:
        return x
    starts, ends = zip(*ranges.values(), strict=True)
    return _add(im, node, "Slice", [x], starts=starts, ends=ends, axes=tuple(ranges))


def _slice(im: Import, node: OnnxNode) -> Results:
    x = im.tensor(node.inputs[0])
    shape = im.builder.type(x).shape

    def setting(index: int, name: str, default: Sequence[int]) -> list[int]:
        if name in node.attrs:
            return list(node.attrs[name])
        return im.value(node.input(index), name).ravel().tolist() if node.input(index) else list(default)

    starts, ends = setting(1, "starts", ()), setting(2, "ends", ())
    axes = setting(3, "axes", range(len(starts)))
    steps = setting(4, "steps", [1] * len(starts))
    _require(set(steps) <= {1}, f"slices with steps {steps}", "only steps of 1 are supported")
    ranges = {}
    for axis, start, end in zip(axes, starts, ends, strict=True):
        first, last, _ = slice(start, end).indices(shape[axis])
        ranges[axis % len(shape)] = (first, last)
    return [_slice_range(im, node, x, ranges)]


def _split(im: Import, node: OnnxNode) -> Results:
    x = im.tensor(node.inputs[0])
    shape = im.builder.type(x).shape
    axis = node.attrs.get("axis", 0) % len(shape)
    if "split" in node.attrs or node.input(1):
        sizes = list(node.attrs.get("split") or im.value(node.input(1), "sizes").tolist())
    else:
        size = -(-shape[axis] // len(node.outputs))
        sizes = [min(size, shape[axis] - i * size) for i in range(len(node.outputs))]
    _require(sum(sizes) == shape[axis], f"splits {shape[axis]} into {sizes}")
    ends = np.cumsum(sizes).tolist()
    return [_slice_range(im, node, x, {axis: (e - s, e)}) for s, e in zip(sizes, ends, strict=True)]


def _gather(im: Import, node: OnnxNode) -> Results:
    x = im.tensor(node.inputs[0])
    shape = im.builder.type(x).shape
    axis = node.attrs.get("axis", 0) % len(shape)
    index = im.value(node.inputs[1], "index")
    _require(index.size == 1, f"gathers {index.size} entries", "only a single constant index is supported")
    i = int(index.reshape(())) % shape[axis]
    part = _slice_range(im, node, x, {axis: (i, i + 1)})
    return [_reshape(im, node, part, (*shape[:axis], *index.shape, *shape[axis + 1 :]))]


def _concat(im: Import, node: OnnxNode) -> Results:
    inputs = [im.tensor(i) for i in node.inputs]
    axis = node.attrs["axis"] % len(im.builder.type(inputs[0]).shape)
    return inputs if len(inputs) == 1 else [_add(im, node, "Concat", inputs, axis=axis)]


def _expand(im: Import, node: OnnxNode) -> Results:
    x = im.tensor(node.inputs[0])
    wanted = [int(n) for n in im.value(node.inputs[1], "shape")]
    shape = np.broadcast_shapes(im.builder.type(x).shape, tuple(wanted))
    return [_broadcast(im, node, x, shape)]


def _broadcast(im: Import, node: OnnxNode, x: str, shape: Sequence[int]) -> str:
    own = im.builder.type(x).shape
    x = _reshape(im, node, x, (1,) * (len(shape) - len(own)) + own)
    return x if im.builder.type(x).shape == tuple(shape) else _add(im, node, "Expand", [x], shape=tuple(shape))


def _gemm(im: Import, node: OnnxNode) -> Results:
    """alpha * A . B + beta * C. A of more than two dimensions keeps its leading ones, as in published graphs."""
    b = im.builder
    x, w = im.tensor(node.inputs[0]), im.tensor(node.inputs[1])
    alpha, beta = node.attrs.get("alpha", 1.0), node.attrs.get("beta", 1.0)
    operands = []
    for name, flag in ((x, "transA"), (w, "transB")):
        rank = len(b.type(name).shape)
        perm = (*range(rank - 2), rank - 1, rank - 2) if node.attrs.get(flag, 0) else range(rank)
        operands.append(_transpose(im, node, name, perm))
    bias = im.tensor(node.inputs[2]) if node.input(2) and beta != 0 else ""
    if bias and beta != 1:
        bias = _scaled(im, node, bias, beta)
    columns = b.type(operands[1]).shape[-1]
    if bias and b.type(bias).size == columns and alpha == 1:
        return [_add(im, node, "Gemm", [*operands, _reshape(im, node, bias, (columns,))])]
    z = _add(im, node, "MatMul", operands)
    if alpha != 1:
        z = _scaled(im, node, z, alpha)
    return [_add(im, node, "Add", [z, bias]) if bias else z]


def _scaled(im: Import, node: OnnxNode, x: str, factor: float) -> str:
    return _add(im, node, "Mul", [x, im.constant(f"{_hint(node)}.scale", np.array(factor, np.float32))])


def _binary(op: str) -> Lower:
    """A commutative operator; data comes first, because the result is stored like the first operand."""

    def lower_binary(im: Import, node: OnnxNode) -> Results:
        return [_add(im, node, op, [im.tensor(i) for i in sorted(node.inputs, key=lambda i: i in im.known)])]

    return lower_binary


def _matmul(im: Import, node: OnnxNode) -> Results:
    return [_add(im, node, "MatMul", [im.tensor(i) for i in node.inputs])]


def _sub(im: Import, node: OnnxNode) -> Results:
    a, b = node.inputs
    if b in im.known:
        return [_add(im, node, "Add", [im.tensor(a), im.constant(f"{_hint(node)}.offset", -im.known[b])])]
    return [_add(im, node, "Add", [im.tensor(a), _scaled(im, node, im.tensor(b), -1.0)])]


def _neg(im: Import, node: OnnxNode) -> Results:
    return [_scaled(im, node, im.tensor(node.inputs[0]), -1.0)]


def _div(im: Import, node: OnnxNode) -> Results:
    x, divisor = node.inputs
    reciprocal = 1.0 / im.value(divisor, "divisor")
    return [_add(im, node, "Mul", [im.tensor(x), im.constant(f"{_hint(node)}.reciprocal", reciprocal)])]


def _pow(im: Import, node: OnnxNode) -> Results:
    exponent = im.value(node.inputs[1], "exponent")
    _require(exponent.size == 1 and float(exponent.reshape(())) == 2, f"has exponent {exponent}", "only 2 is supported")
    x = im.tensor(node.inputs[0])
    return [_add(im, node, "Mul", [x, x])]


def _gelu(im: Import, node: OnnxNode) -> Results:
    form = node.attrs.get("approximate", b"none")
    form = form.decode() if isinstance(form, bytes) else form
    _require(form == "none", f"uses the {form} approximation", "use nn.GELU() without approximate")
    return [_add(im, node, "Gelu", [im.tensor(node.inputs[0])])]


def _softmax(im: Import, node: OnnxNode) -> Results:
    """Softmax over any axis: the axis is moved last, which costs nothing where only ones follow it."""
    x = im.tensor(node.inputs[0])
    shape = im.builder.type(x).shape
    default = -1 if max((o.version for o in im.opsets if not o.domain), default=13) >= 13 else 1
    axis = node.attrs.get("axis", default) % len(shape)
    if prod(shape[axis + 1 :]) == 1:
        y = _add(im, node, "Softmax", [_reshape(im, node, x, shape[: axis + 1])], axis=-1)
        return [_reshape(im, node, y, shape)]
    _require(default == -1, f"is over axis {axis} in a model below opset 13", "re-export it with opset 13 or later")
    perm = [d for d in range(len(shape)) if d != axis] + [axis]
    y = _add(im, node, "Softmax", [_transpose(im, node, x, perm)], axis=-1)
    return [_transpose(im, node, y, np.argsort(perm).tolist())]


def _layer_norm(im: Import, node: OnnxNode) -> Results:
    x = im.tensor(node.inputs[0])
    shape = im.builder.type(x).shape
    axis = node.attrs.get("axis", -1) % len(shape)
    _require(axis == len(shape) - 1, f"normalises dimensions {axis} to {len(shape) - 1}", "only the last is supported")
    gamma = im.tensor(node.inputs[1])
    if node.input(2):
        beta = im.tensor(node.input(2))
    else:
        beta = im.constant(f"{_hint(node)}.beta", np.zeros(shape[-1], np.float32))
    eps = float(f"{node.attrs.get('epsilon', 1e-5):.6g}")  # stored as fp32: 1e-5 again, not 9.99999974e-06
    y, *stats = im.builder.add("LayerNormalization", [x, gamma, beta], {"epsilon": eps}, [_hint(node)], node.name)
    wanted = zip(stats, node.outputs[1:], strict=False)
    return [y, *(_reshape(im, node, stat, (*shape[:-1], 1)) if name else "" for stat, name in wanted)]


def _reduce(op: str) -> Lower:
    def lower_reduce(im: Import, node: OnnxNode) -> Results:
        x = im.tensor(node.inputs[0])
        rank = len(im.builder.type(x).shape)
        empty: Sequence[int] = () if node.attrs.get("noop_with_empty_axes", 0) else range(rank)
        axes = tuple(_axes(im, node, rank, empty))
        if not axes:
            return [x]
        return [_add(im, node, op, [x], axes=axes, keepdims=node.attrs.get("keepdims", 1))]

    return lower_reduce


def _unary(op: str) -> Lower:
    return lambda im, node: [_add(im, node, op, [im.tensor(node.inputs[0])])]


def _channels_last(im: Import, node: OnnxNode, x: str) -> tuple[str, Sequence[int]]:
    """``x`` [B,C,..] with its channels last, and the permutation that moves them back."""
    rank = len(im.builder.type(x).shape)
    return _transpose(im, node, x, (0, *range(2, rank), 1)), (0, rank - 1, *range(1, rank - 1))


def _global_mean(im: Import, node: OnnxNode) -> Results:
    """Channels last, so that the transposes around it meet those of the convolution before it."""
    x, back = _channels_last(im, node, im.tensor(node.inputs[0]))
    axes = tuple(range(1, len(back) - 1))
    return [_transpose(im, node, _add(im, node, "ReduceMean", [x], axes=axes, keepdims=1), back)]


def _batch_norm(im: Import, node: OnnxNode) -> Results:
    """With frozen statistics, channels last."""
    _require(not node.attrs.get("training_mode", 0), "is in training mode", "export the model in eval mode")
    _require(len([o for o in node.outputs if o]) == 1, "returns running statistics", "export the model in eval mode")
    stats = [im.builder.constants.get(im.tensor(name)) for name in node.inputs[3:5]]
    _require(all(s is not None for s in stats), "computes its statistics from data", "only constant ones are supported")
    mean, variance = (np.asarray(s, np.float64) for s in stats)
    rstd = 1 / np.sqrt(variance + node.attrs.get("epsilon", 1e-5))
    frozen = [
        im.builder.constant(f"{_hint(node)}.{name}", array, "f32") for name, array in (("mean", mean), ("rstd", rstd))
    ]
    x, back = _channels_last(im, node, im.tensor(node.inputs[0]))
    operands = [x, *(im.tensor(i) for i in node.inputs[1:3]), *frozen]
    return [_transpose(im, node, _add(im, node, "BatchNormalization", operands), back)]


def _window(im: Import, node: OnnxNode, kernel: Sequence[int]) -> dict[str, Any]:
    """Strides and explicit pads (top, left, bottom, right) of a two-dimensional window operator."""
    _require(len(kernel) == 2, f"has {len(kernel)} spatial dimensions", "two are supported")
    _require(set(node.attrs.get("dilations", [1])) == {1}, f"is dilated by {node.attrs.get('dilations')}")
    _require(not node.attrs.get("ceil_mode", 0), "has ceil_mode", "set ceil_mode=False")
    strides = tuple(node.attrs.get("strides", (1, 1)))
    mode = node.attrs.get("auto_pad", b"NOTSET").decode()
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        sizes = im.shape(node.inputs[0])[2:]
        total = [max(0, (-(-n // s) - 1) * s + k - n) for n, s, k in zip(sizes, strides, kernel, strict=True)]
        small, large = [t // 2 for t in total], [t - t // 2 for t in total]
        pads = (*small, *large) if mode == "SAME_UPPER" else (*large, *small)
    else:
        pads = tuple(node.attrs.get("pads", (0, 0, 0, 0))) if mode == "NOTSET" else (0, 0, 0, 0)
    return {"strides": strides, "pads": pads}


def _conv(im: Import, node: OnnxNode) -> Results:
    """NCHW convolution -> NHWC convolution between two transposes; a bias that is known to be zero is dropped."""
    x, w = im.tensor(node.inputs[0]), im.tensor(node.inputs[1])
    shape = im.builder.type(w).shape
    window = _window(im, node, shape[2:])
    if shape[1] == 1 and shape[0] == node.attrs.get("group", 1) == im.builder.type(x).shape[1]:
        return _depthwise_conv(im, node, x, w, window)
    if (groups := node.attrs.get("group", 1)) > 1:
        window["group"] = groups
    operands = [_transpose(im, node, x, TO_NHWC), _transpose(im, node, w, OIHW_TO_HWIO), *_conv_bias(im, node)]
    return [_transpose(im, node, _add(im, node, "Conv", operands, **window), TO_NCHW)]


def _conv_bias(im: Import, node: OnnxNode) -> list[str]:
    bias = node.input(2)
    return [im.tensor(bias)] if bias and not (bias in im.known and not im.known[bias].any()) else []


def _depthwise_conv(im: Import, node: OnnxNode, x: str, w: str, window: dict[str, Any]) -> Results:
    """A filter [C,1,kh,kw] per channel."""
    channels, _, kh, kw = im.builder.type(w).shape
    filters = _reshape(im, node, _transpose(im, node, w, (2, 3, 0, 1)), (kh, kw, channels))
    operands = [_transpose(im, node, x, TO_NHWC), filters, *_conv_bias(im, node)]
    return [_transpose(im, node, _add(im, node, "DepthwiseConv", operands, **window), TO_NCHW)]


def _pool(op: str) -> Lower:
    def lower_pool(im: Import, node: OnnxNode) -> Results:
        _require(len([o for o in node.outputs if o]) == 1, "returns indices", "only the pooled values are supported")
        kernel = tuple(node.attrs["kernel_shape"])
        window = _window(im, node, kernel)
        if node.attrs.get("count_include_pad", 0):
            window["count_include_pad"] = 1
        x = _transpose(im, node, im.tensor(node.inputs[0]), TO_NHWC)
        return [_transpose(im, node, _add(im, node, op, [x], kernel_shape=kernel, **window), TO_NCHW)]

    return lower_pool


def _cross_entropy(im: Import, node: OnnxNode) -> Results:
    """ONNX's outputs are the loss and, on request, log_prob. Training graphs may have log_prob alone: then it is what
    the gradient reads."""
    attrs = {"reduction": _text(node, "reduction", "mean"), "ignore_index": node.attrs.get("ignore_index")}
    _require(not node.input(2), "weighs its classes")
    inputs = [im.tensor(i) for i in node.inputs[:2]]
    loss, log_prob = im.builder.add("SoftmaxCrossEntropyLoss", inputs, attrs, ["loss", "log_prob"], node.name)
    if len(node.outputs) == 1 and "log_prob" in node.outputs[0]:
        return [log_prob]
    return [_reshape(im, node, loss, ()), log_prob]


def _cross_entropy_grad(im: Import, node: OnnxNode) -> Results:
    """(log_prob, labels), or ONNX Runtime's (dY, log_prob, labels): starts from tdco's loss scale."""
    *dloss, log_prob, labels = node.inputs
    seed = float(im.value(dloss[0], "dY").reshape(())) if dloss else 1.0
    scale = im.constant(f"{_hint(node)}.scale", np.full((1,), LOSS_SCALE * seed, np.float32))
    return [_add(im, node, "SoftmaxCrossEntropyLossGrad", [scale, im.tensor(log_prob), im.tensor(labels)])]


def _gelu_grad(im: Import, node: OnnxNode) -> Results:
    return [_add(im, node, "GeluGrad", [im.tensor(i) for i in node.inputs])]


def _softmax_grad(im: Import, node: OnnxNode) -> Results:
    """(dY, Y) over the last axis."""
    dy, y = (im.tensor(i) for i in node.inputs)
    shape = im.builder.type(y).shape
    axis = node.attrs.get("axis", -1) % len(shape)
    _require(axis == len(shape) - 1, f"is over axis {axis} of {len(shape)}", "only the last axis is supported")
    return [_add(im, node, "SoftmaxGrad", [dy, y])]


def _layer_norm_grad(im: Import, node: OnnxNode) -> Results:
    """(dY, X, scale, mean, rstd), or published graphs' (dY, X, scale, bias): the statistics are the forward node's."""
    names = [im.tensor(i) for i in node.inputs]
    dy, x, gamma, *rest = names
    if len(rest) == 2:
        stats = rest
    else:
        forward = (n for n in im.builder.nodes if n.op == "LayerNormalization" and n.inputs[:2] == (x, gamma))
        found = next(forward, None)
        _require(found is not None, "has no forward LayerNormalization of the same input")
        assert found
        stats = list(found.outputs[1:])
    results = [_add(im, node, "LayerNormalizationGrad", [dy, x, gamma, *stats])]
    if any(node.outputs[1:]):
        results += im.builder.add("LayerNormalizationParamGrad", [dy, x, *stats], {}, [_hint(node)], node.name)
    return results


def _text(node: OnnxNode, name: str, default: str) -> str:
    value = node.attrs.get(name, default)
    return value.decode() if isinstance(value, bytes) else str(value)


LOWER: dict[str, Lower] = {
    "Add": _binary("Add"),
    "AveragePool": _pool("AveragePool"),
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "CastLike": _cast_like,
    "Concat": _concat,
    "Conv": _conv,
    "Div": _div,
    "Dropout": _dropout,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gelu": _gelu,
    "GeluGrad": _gelu_grad,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_mean,
    "Identity": _alias,
    "LayerNormalization": _layer_norm,
    "LayerNormalizationGrad": _layer_norm_grad,
    "MatMul": _matmul,
    "MaxPool": _pool("MaxPool"),
    "Mul": _binary("Mul"),
    "Neg": _neg,
    "Pow": _pow,
    "ReduceMean": _reduce("ReduceMean"),
    "ReduceSum": _reduce("ReduceSum"),
    "Relu": _unary("Relu"),
    "Reshape": _onnx_reshape,
    "Slice": _slice,
    "Softmax": _softmax,
    "Split": _split,
    "SoftmaxCrossEntropyLoss": _cross_entropy,
    "SoftmaxCrossEntropyLossGrad": _cross_entropy_grad,
    "SoftmaxGrad": _softmax_grad,
    "Squeeze": _squeeze,
    "Sub": _sub,
    "Transpose": _onnx_transpose,
    "Unsqueeze": _unsqueeze,
}
