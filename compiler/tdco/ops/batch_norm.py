"""BatchNormalization with frozen statistics, channels last: y = (x - mean) . rstd . scale + shift, and its gradients.

Fine-tuning keeps the mean and variance it was given and trains scale and shift at most; rstd is 1 / sqrt(variance +
epsilon), known when the model is imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..domain import Dim, Domain, Loop, Tile
from ..errors import TdcoError
from ..ir import Attrs, Builder, Node, TensorType
from ..program import KernelCall
from . import OpDef, Sample
from ._elementwise import (
    Commands,
    refs,
    require_dtype,
    require_inputs,
    require_same_shape,
    row_domain,
    row_sizes,
)

NAME = "BatchNormalization"


def require_channels(x: TensorType, *vectors: tuple[TensorType, str, str]) -> None:
    """Raises TdcoError unless x is fp16 [..,C] and every (vector, name, dtype) has a value per channel."""
    require_dtype(x, "x", "f16")
    if len(x.shape) < 2 or x.size == 0:
        raise TdcoError(f"x is {x}, but must be [..,C] with at least two dimensions")
    for vector, name, dtype in vectors:
        require_dtype(vector, name, dtype)
        require_same_shape(vector, name, TensorType(x.shape[-1:], dtype), "a value per channel")


def infer(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    require_inputs(types, "x", "scale", "shift", "mean", "rstd")
    x, scale, shift, mean, rstd = types
    require_channels(x, (scale, "scale", "f16"), (shift, "shift", "f16"), (mean, "mean", "f32"), (rstd, "rstd", "f32"))
    return (x,)


def evaluate(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, scale, shift, mean, rstd = inputs
    return ((x - mean) * (rstd * scale) + shift,)


def grad(b: Builder, node: Node, dys: Sequence[str | None], wanted: Sequence[bool]) -> Sequence[str | None]:
    (dy,), (x, scale, shift, mean, rstd) = dys, node.inputs
    if any(wanted[3:]):
        raise TdcoError("the statistics are frozen", f"{NAME} node {node.source}")
    if dy is None:
        return (None,) * 5
    dx = dscale = dshift = None
    if wanted[0]:
        dx = b.add1(f"{NAME}Grad", [dy, scale, rstd], {}, f"{x}.grad", node.source)
    if wanted[1] or wanted[2]:
        names = (f"{scale}.grad", f"{shift}.grad")
        dscale, dshift = b.add(f"{NAME}ParamGrad", [dy, x, mean, rstd], {}, names, node.source)
    return (dx, dscale if wanted[1] else None, dshift if wanted[2] else None, None, None)


def lower(node: Node, tile: Tile) -> Commands:
    x = tile.inputs[0]
    assert x
    return [KernelCall("tdco_batch_norm_f16", refs(*tile.inputs, *tile.outputs), row_sizes(x))]


def infer_grad(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    require_inputs(types, "dy", "scale", "rstd")
    require_channels(types[0], (types[1], "scale", "f16"), (types[2], "rstd", "f32"))
    return (types[0],)


def evaluate_grad(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    dy, scale, rstd = inputs
    return (dy * (rstd * scale),)


def lower_grad(node: Node, tile: Tile) -> Commands:
    dy = tile.inputs[0]
    assert dy
    return [KernelCall("tdco_batch_norm_grad_f16", refs(*tile.inputs, *tile.outputs), row_sizes(dy))]


def infer_param_grad(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    require_inputs(types, "dy", "x", "mean", "rstd")
    dy, x, mean, rstd = types
    require_channels(x, (mean, "mean", "f32"), (rstd, "rstd", "f32"))
    require_dtype(dy, "dy", "f16")
    require_same_shape(dy, "dy", x, "x")
    return (mean, mean)


def evaluate_param_grad(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    """dscale = sum(dy . (x - mean) . rstd) and dshift = sum(dy) over everything but the channels."""
    dy, x, mean, rstd = inputs
    lead = tuple(range(dy.ndim - 1))
    return ((dy * ((x - mean) * rstd)).sum(axis=lead), dy.sum(axis=lead))


def domain_param_grad(node: Node, inputs: Sequence[Any], outputs: Sequence[TensorType]) -> Domain:
    """Of what is summed only the first dimension longer than 1 is split, to keep the order. Cores share the channels,
    so these stay together."""
    *lead, channels = inputs[0].shape
    split = next((d for d, n in enumerate(lead) if n > 1), 0)
    loops = [Loop(f"d{d}", n, "reduce" if d == split else "whole") for d, n in enumerate(lead)]
    full, vector = (*(Dim(loop.name) for loop in loops), Dim("c")), (Dim("c"),)
    return Domain((*loops, Loop("c", channels, "whole")), (full, full, vector, vector, vector, vector))


def lower_param_grad(node: Node, tile: Tile) -> Commands:
    dy = tile.inputs[0]
    assert dy
    ints = (*row_sizes(dy), int(tile.first))
    return [KernelCall("tdco_batch_norm_param_grad_f16", refs(*tile.inputs, *tile.outputs), ints, writes=2)]


SHAPES = ((1, 8, 8, 16), (1, 16, 16, 64), (2, 3, 5, 7), (6, 6), (5, 1))


def vectors(shape: tuple[int, ...], *dtypes: str) -> list[TensorType]:
    return [TensorType(shape[-1:], dtype) for dtype in dtypes]


OPS = (
    OpDef(
        name=NAME,
        infer=infer,
        eval=evaluate,
        grad=grad,
        frozen=(3, 4),
        domain=row_domain("rows", "vector", "vector", "vector", "vector", "rows"),
        lower=lower,
        samples=tuple(Sample((TensorType(s), *vectors(s, "f16", "f16", "f32", "f32"))) for s in SHAPES),
    ),
    OpDef(
        name=f"{NAME}Grad",
        infer=infer_grad,
        eval=evaluate_grad,
        domain=row_domain("rows", "vector", "vector", "rows"),
        lower=lower_grad,
        samples=tuple(Sample((TensorType(s), *vectors(s, "f16", "f32"))) for s in SHAPES),
    ),
    OpDef(
        name=f"{NAME}ParamGrad",
        infer=infer_param_grad,
        eval=evaluate_param_grad,
        domain=domain_param_grad,
        lower=lower_param_grad,
        samples=tuple(Sample((TensorType(s), TensorType(s), *vectors(s, "f32", "f32"))) for s in SHAPES),
    ),
)
