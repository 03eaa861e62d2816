"""Softmax of x * scale over the last dimension, and its gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from ..domain import Domain, Tile
from ..errors import TdcoError
from ..ir import Attrs, Builder, Node, TensorType
from ..program import KernelCall
from . import OpDef, Sample
from ._elementwise import Commands, refs, require_last_axis, row_domain, row_sizes, same_type_infer

MAX_LINES = 8
"""Rows a tile has scratch for; a cluster with more cores than that leaves the others idle in this kernel."""


def infer(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    """attrs: axis, the last (default -1), and scale, a positive number (default 1)."""
    (y,) = same_type_infer("x")(types, attrs)
    require_last_axis(y, attrs)
    if not attrs.get("scale", 1.0) > 0:
        raise TdcoError(f"scale {attrs['scale']} is not positive")
    return (y,)


def scale(attrs: Attrs, like: np.ndarray) -> np.ndarray:
    return np.asarray(attrs.get("scale", 1.0), like.dtype)


def evaluate(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    (x,) = inputs
    exponentials = np.exp((x - x.max(axis=-1, keepdims=True)) * scale(attrs, x))
    return (exponentials / exponentials.sum(axis=-1, keepdims=True),)


def grad(b: Builder, node: Node, dys: Sequence[str | None], wanted: Sequence[bool]) -> Sequence[str | None]:
    if dys[0] is None or not wanted[0]:
        return (None,)
    attrs = {"scale": node.attrs["scale"]} if "scale" in node.attrs else {}
    return (b.add1("SoftmaxGrad", [dys[0], node.outputs[0]], attrs, f"{node.inputs[0]}.grad", node.source),)


def domain(node: Node, inputs: Sequence[Any], outputs: Sequence[TensorType]) -> Domain:
    """By rows, with a line of scratch in fp32 for every core at work."""
    rows = row_domain("rows", "rows")(node, inputs, outputs)
    *lead, last = (loop.name for loop in rows.loops)

    def scratch(sizes: Mapping[str, int]) -> int:
        return 4 * min(prod(sizes[d] for d in lead), MAX_LINES) * sizes[last]

    return replace(rows, scratch=scratch)


def lower(node: Node, tile: Tile) -> Commands:
    (x,), (y,) = tile.inputs, tile.outputs
    assert x and y
    rows, n = row_sizes(x)
    operands, ints = (x.ref, tile.scratch, y.ref), (rows, n, min(rows, MAX_LINES))
    return [KernelCall("tdco_softmax_f16", operands, ints, (node.attrs.get("scale", 1.0),), writes=2)]


def infer_grad(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    (dx,) = same_type_infer("dy", "y")(types, attrs)
    require_last_axis(dx, attrs)
    return (dx,)


def evaluate_grad(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    """dx = scale * y * (dy - sum(dy * y))."""
    dy, y = inputs
    return (y * (dy - (dy * y).sum(axis=-1, keepdims=True)) * scale(attrs, y),)


def lower_grad(node: Node, tile: Tile) -> Commands:
    dy = tile.inputs[0]
    assert dy
    operands, factor = refs(*tile.inputs, *tile.outputs), node.attrs.get("scale", 1.0)
    return [KernelCall("tdco_softmax_grad_f16", operands, row_sizes(dy), (factor,))]


EXTREMES = np.array([[60000.0, -60000.0, 0.0], [-60000.0, -60000.0, -60000.0], [60000.0, 59968.0, 60000.0]])
SHAPES = ((2, 64, 64), (1, 64), (3, 5, 7), (1, 1), (5,))

OPS = (
    OpDef(
        name="Softmax",
        infer=infer,
        eval=evaluate,
        grad=grad,
        domain=domain,
        lower=lower,
        samples=(
            *(Sample((TensorType(shape),)) for shape in SHAPES),
            Sample((TensorType((3, 64)),), {"axis": 1}, scale=8.0),
            Sample((EXTREMES,)),
            Sample((TensorType((2, 9, 64)),), {"scale": 0.125}, scale=8.0),
        ),
    ),
    OpDef(
        name="SoftmaxGrad",
        infer=infer_grad,
        eval=evaluate_grad,
        domain=row_domain("rows", "rows", "rows"),
        lower=lower_grad,
        samples=(
            *(Sample((TensorType(shape), TensorType(shape))) for shape in SHAPES),
            Sample((TensorType((9, 7)), TensorType((9, 7))), {"scale": 0.3}),
        ),
    ),
)
