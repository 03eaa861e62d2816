"""AveragePool of NHWC tensors, and its gradient, which every window shares out evenly."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ..domain import Dim, Domain, Loop, Tile
from ..ir import Attrs, Builder, Node, TensorType
from ..program import KernelCall
from . import OpDef, Sample
from ._elementwise import Commands, refs, require_dtype, require_inputs, require_same_shape
from .max_pool import UNEVEN, domain, kernel_ints, output_shape, window


def infer(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    """attrs: kernel_shape, strides and pads as MaxPool; count_include_pad (default 0): padding counts as zeros."""
    require_inputs(types, "x")
    require_dtype(types[0], "x", "f16")
    return (TensorType(output_shape(types[0], attrs), "f16"),)


def sums(x: np.ndarray, attrs: Attrs) -> np.ndarray:
    """[B,OH,OW,C]: every window's sum."""
    top, left, bottom, right = attrs["pads"]
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    view = np.lib.stride_tricks.sliding_window_view(padded, tuple(attrs["kernel_shape"]), axis=(1, 2))
    return view[:, :: attrs["strides"][0], :: attrs["strides"][1]].sum(axis=(-2, -1))


def counts(size: Sequence[int], attrs: Attrs) -> np.ndarray:
    """[1,OH,OW,1]: how many elements every window's mean is over."""
    counted = sums(np.ones((1, *size, 1)), attrs)
    return np.full_like(counted, prod(attrs["kernel_shape"])) if attrs.get("count_include_pad", 0) else counted


def evaluate(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    (x,) = inputs
    return (sums(x, attrs) / counts(x.shape[1:3], attrs).astype(x.dtype),)


def grad(b: Builder, node: Node, dys: Sequence[str | None], wanted: Sequence[bool]) -> Sequence[str | None]:
    (x,), (dy,) = node.inputs, dys
    if dy is None or not wanted[0]:
        return (None,)
    attrs = {**node.attrs, "size": b.type(x).shape[1:3]}
    return (b.add1("AveragePoolGrad", [dy], attrs, f"{x}.grad", node.source),)


def floats(attrs: Attrs) -> tuple[float, ...]:
    """The count of every window, or 0: what lies inside the image."""
    return (float(prod(attrs["kernel_shape"])) if attrs.get("count_include_pad", 0) else 0.0,)


def lower(node: Node, tile: Tile) -> Commands:
    (x,), (y,) = tile.inputs, tile.outputs
    assert x and y
    return [KernelCall("tdco_average_pool_f16", refs(x, y), kernel_ints(x, y, node.attrs), floats(node.attrs))]


def infer_grad(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    """attrs: those of the pooling, and size (H, W) of x."""
    require_inputs(types, "dy")
    (dy,) = types
    require_dtype(dy, "dy", "f16")
    x = TensorType((dy.shape[0], *attrs["size"], dy.shape[-1]))
    require_same_shape(dy, "dy", TensorType(output_shape(x, attrs)), "the pooled x")
    return (x,)


def evaluate_grad(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    (dy,) = inputs
    (top, left, bottom, right), (height, width) = attrs["pads"], attrs["size"]
    (rows, cols), (oh, ow) = attrs["strides"], dy.shape[1:3]
    shares = dy / counts(attrs["size"], attrs).astype(dy.dtype)
    padded = np.zeros((dy.shape[0], height + top + bottom, width + left + right, dy.shape[3]), dy.dtype)
    for i in range(attrs["kernel_shape"][0]):
        for j in range(attrs["kernel_shape"][1]):
            padded[:, i : i + rows * (oh - 1) + 1 : rows, j : j + cols * (ow - 1) + 1 : cols] += shares
    return (padded[:, top : top + height, left : left + width],)


def domain_grad(node: Node, inputs: Sequence[Any], outputs: Sequence[TensorType]) -> Domain:
    """Tiled over images and channels: a row of x belongs to the windows of several rows of y."""
    batch, _, _, channels = outputs[0].shape
    image = (Dim("b"), Dim(), Dim(), Dim("c"))
    return Domain((Loop("b", batch), Loop("c", channels)), (image, image))


def lower_grad(node: Node, tile: Tile) -> Commands:
    (dy,), (dx,) = tile.inputs, tile.outputs
    assert dy and dx
    return [KernelCall("tdco_average_pool_grad_f16", refs(dy, dx), kernel_ints(dx, dy, node.attrs), floats(node.attrs))]


CASES: tuple[tuple[tuple[int, ...], Attrs], ...] = (
    ((1, 8, 8, 64), window(8, 1)),
    ((2, 16, 16, 4), window(3, 2, 1, 1, 1, 1)),
    ((2, 7, 5, 3), UNEVEN),
    ((2, 7, 5, 3), {**UNEVEN, "count_include_pad": 1}),
    ((1, 1, 1, 1), window(1, 1)),
)


def pooled(x: tuple[int, ...], attrs: Attrs) -> TensorType:
    return TensorType(output_shape(TensorType(x), attrs))


OPS = (
    OpDef(
        name="AveragePool",
        infer=infer,
        eval=evaluate,
        grad=grad,
        domain=domain,
        lower=lower,
        samples=tuple(Sample((TensorType(x),), attrs) for x, attrs in CASES),
    ),
    OpDef(
        name="AveragePoolGrad",
        infer=infer_grad,
        eval=evaluate_grad,
        domain=domain_grad,
        lower=lower_grad,
        samples=tuple(Sample((pooled(x, attrs),), {**attrs, "size": x[1:3]}) for x, attrs in CASES),
    ),
)
