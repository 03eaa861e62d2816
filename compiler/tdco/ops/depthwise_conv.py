"""DepthwiseConv: every channel is convolved with a filter of its own, channels last, on the cores in fp32.

Z[B,H',W',C] = X[B,H,W,C] * W[kh,kw,C] + bias[C]. A channel has nothing to reduce over but its window, so the engine,
which multiplies matrices, would idle.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ..domain import Dim, Domain, Loop, Tile
from ..errors import TdcoError
from ..ir import Attrs, Node, TensorType
from ..program import KernelCall
from . import OpDef, Sample
from ._elementwise import Commands, refs, require_inputs, require_same_shape
from .conv import grad, padded
from .conv_grad import met, taps
from .matmul import require_f16
from .max_pool import domain as pool_domain
from .max_pool import kernel_ints, output_shape


def pooling(attrs: Attrs, kernel: Sequence[int]) -> dict[str, Any]:
    """The attributes of the pooling with the same windows."""
    return {**attrs, "kernel_shape": tuple(kernel)}


def require_filters(x: TensorType, w: TensorType) -> None:
    if len(x.shape) != 4 or len(w.shape) != 3 or x.shape[3] != w.shape[2]:
        raise TdcoError(f"X {x} and W {w} must be [B,H,W,C] and [kh,kw,C]")


def infer(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    """attrs: strides (y, x), pads (top, left, bottom, right). The bias is optional."""
    require_inputs(types[:2], "X", "W")
    x, w, *rest = types
    require_f16(types, ("X", "W", "the bias"))
    require_filters(x, w)
    if rest and rest[0] is not None:
        require_same_shape(rest[0], "the bias", TensorType(w.shape[2:]), "a value per channel")
    return (TensorType(output_shape(x, pooling(attrs, w.shape[:2]))),)


def evaluate(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, w, *rest = inputs
    (out,) = infer([TensorType(x.shape), TensorType(w.shape)], attrs)
    z = np.zeros(out.shape, x.dtype)
    for ky, kx, part in taps(padded(x, attrs), w.shape[:2], out.shape[1:3], attrs):
        z += part * w[ky, kx]
    return (z + rest[0] if rest and rest[0] is not None else z,)


def domain(node: Node, inputs: Sequence[Any], outputs: Sequence[TensorType]) -> Domain:
    pool = pool_domain(Node("", (), (), pooling(node.attrs, inputs[1].shape[:2])), inputs[:1], outputs)
    x, z = pool.operands
    bias = [(Dim("c"),) if t is not None else None for t in inputs[2:]]
    return Domain(pool.loops, (x, (Dim(), Dim(), Dim("c")), *bias, z))


def lower(node: Node, tile: Tile) -> Commands:
    (x, w, *rest), (z,) = tile.inputs, tile.outputs
    assert x and w and z
    ints = kernel_ints(x, z, pooling(node.attrs, w.shape[:2]))
    return [KernelCall("tdco_depthwise_conv_f16", refs(x, w, rest[0] if rest else None, z), ints)]


def infer_weight(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    """attrs: kernel_shape (kh, kw) and those of the convolution. dW is f32: a long sum."""
    require_inputs(types, "X", "dY")
    require_f16(types, ("X", "dY"))
    x, dy = types
    require_same_shape(dy, "dY", TensorType(output_shape(x, attrs)), "the convolution's output")
    return (TensorType((*attrs["kernel_shape"], x.shape[3]), "f32"),)


def evaluate_weight(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, dy = inputs
    dw = np.empty((*attrs["kernel_shape"], x.shape[3]), x.dtype)
    for ky, kx, part in taps(padded(x, attrs), attrs["kernel_shape"], dy.shape[1:3], attrs):
        dw[ky, kx] = (part * dy).sum(axis=(0, 1, 2))
    return (dw,)


def domain_weight(node: Node, inputs: Sequence[Any], outputs: Sequence[TensorType]) -> Domain:
    """Only images, or the rows of the only one, are split: the sum keeps its order. Cores share the channels, so these
    stay together."""
    batch, rows, _, channels = inputs[1].shape
    stride, top = node.attrs["strides"][0], node.attrs["pads"][0]
    loops = (
        Loop("b", batch, "reduce" if batch > 1 else "whole"),
        Loop("oh", rows, "whole" if batch > 1 else "reduce"),
        Loop("c", channels, "whole"),
    )
    x = (Dim("b"), Dim("oh", stride, -top, node.attrs["kernel_shape"][0] - 1 - top), Dim(), Dim("c"))
    return Domain(loops, (x, (Dim("b"), Dim("oh"), Dim(), Dim("c")), (Dim(), Dim(), Dim("c"))))


def lower_weight(node: Node, tile: Tile) -> Commands:
    (x, dy), (dw,) = tile.inputs, tile.outputs
    assert x and dy and dw
    ints = kernel_ints(x, dy, node.attrs)
    return [KernelCall("tdco_depthwise_conv_weight_grad_f32", refs(x, dy, dw), ints, (float(not tile.first),))]


def infer_input(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    """attrs: size (H, W) of X and those of the convolution."""
    require_inputs(types, "dY", "W")
    require_f16(types, ("dY", "W"))
    dy, w = types
    x = TensorType((dy.shape[0], *attrs["size"], dy.shape[3]))
    require_filters(x, w)
    want = TensorType(output_shape(x, pooling(attrs, w.shape[:2])))
    require_same_shape(dy, "dY", want, "the convolution's output")
    return (x,)


def evaluate_input(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    dy, w = inputs
    (top, left, _, _), (height, width) = attrs["pads"], attrs["size"]
    dx = padded(np.zeros((dy.shape[0], height, width, dy.shape[3]), dy.dtype), attrs)
    for ky, kx, part in taps(dx, w.shape[:2], dy.shape[1:3], attrs):
        part += dy * w[ky, kx]
    return (dx[:, top : top + height, left : left + width],)


def domain_input(node: Node, inputs: Sequence[Any], outputs: Sequence[TensorType]) -> Domain:
    """Tiled over images, as many rows together as the stride, and channels."""
    (batch, height, _, channels), kernel_h = outputs[0].shape, inputs[1].shape[0]
    stride, top = node.attrs["strides"][0], node.attrs["pads"][0]
    loops = (Loop("b", batch), Loop("y", -(-height // stride)), Loop("c", channels))
    rows = met("y", loops[1].extent, inputs[0].shape[1], kernel_h, stride, top)
    dy, dx = (Dim("b"), rows, Dim(), Dim("c")), (Dim("b"), Dim("y", stride, 0, stride - 1), Dim(), Dim("c"))
    return Domain(loops, (dy, (Dim(), Dim(), Dim("c")), dx))


def lower_input(node: Node, tile: Tile) -> Commands:
    (dy, w), (dx,) = tile.inputs, tile.outputs
    assert dy and w and dx
    ints = kernel_ints(dx, dy, pooling(node.attrs, w.shape[:2]))
    return [KernelCall("tdco_depthwise_conv_input_grad_f16", refs(dy, w, dx), ints)]


def flop(inputs: Sequence[Any], outputs: Sequence[TensorType], attrs: Attrs) -> int:
    return 2 * outputs[0].size * prod(inputs[1].shape[:2])


def flop_weight(inputs: Sequence[Any], outputs: Sequence[TensorType], attrs: Attrs) -> int:
    return 2 * inputs[1].size * prod(attrs["kernel_shape"])


def flop_input(inputs: Sequence[Any], outputs: Sequence[TensorType], attrs: Attrs) -> int:
    return 2 * inputs[0].size * prod(inputs[1].shape[:2])


Case = tuple[tuple[int, ...], tuple[int, int], dict[str, Any]]


def case(x: tuple[int, ...], kernel: tuple[int, int], strides: tuple[int, int], pads: tuple[int, ...]) -> Case:
    return x, kernel, {"strides": strides, "pads": pads}


CASES = (
    case((1, 8, 8, 16), (3, 3), (1, 1), (1, 1, 1, 1)),
    case((1, 16, 16, 32), (3, 3), (1, 1), (1, 1, 1, 1)),
    case((1, 9, 8, 8), (3, 3), (2, 2), (1, 1, 1, 1)),
    case((2, 7, 6, 3), (3, 2), (2, 1), (1, 0, 2, 1)),
    case((1, 9, 5, 4), (5, 3), (3, 2), (4, 2, 0, 1)),
    case((2, 4, 3, 5), (1, 1), (2, 2), (0, 0, 0, 0)),
    case((1, 1, 1, 1), (3, 3), (1, 1), (1, 1, 1, 1)),
)


def types(x: tuple[int, ...], kernel: tuple[int, int], attrs: Attrs) -> tuple[TensorType, TensorType, TensorType]:
    """Of X, W and Z."""
    w = TensorType((*kernel, x[3]))
    return TensorType(x), w, infer([TensorType(x), w], attrs)[0]


OPS = (
    OpDef(
        name="DepthwiseConv",
        infer=infer,
        eval=evaluate,
        grad=grad,
        domain=domain,
        lower=lower,
        flop=flop,
        samples=tuple(
            Sample((*types(*c)[:2], *([TensorType(c[0][3:])] if bias else [])), c[2]) for c in CASES for bias in (0, 1)
        ),
    ),
    OpDef(
        name="DepthwiseConvWeightGrad",
        infer=infer_weight,
        eval=evaluate_weight,
        domain=domain_weight,
        lower=lower_weight,
        flop=flop_weight,
        samples=tuple(Sample((types(*c)[0], types(*c)[2]), pooling(c[2], c[1])) for c in CASES),
    ),
    OpDef(
        name="DepthwiseConvInputGrad",
        infer=infer_input,
        eval=evaluate_input,
        domain=domain_input,
        lower=lower_input,
        flop=flop_input,
        samples=tuple(Sample((types(*c)[2], types(*c)[1]), {**c[2], "size": c[0][1:3]}) for c in CASES),
    ),
)
