"""LayerNormalization over the last dimension; its gradients with respect to x and, apart, to gamma and beta.

With g = dy * gamma and c = (x - mean) * rstd: dx = rstd * (g - mean(g) - c * mean(g * c)), dgamma = sum(dy * c) and
dbeta = sum(dy) over all rows (Ba et al., arXiv:1607.06450, differentiated).
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
    require_last_axis,
    require_same_shape,
    row_domain,
    row_sizes,
)


def require_rows(x: TensorType, attrs: Attrs) -> None:
    require_dtype(x, "x", "f16")
    require_last_axis(x, attrs)
    if len(x.shape) < 2:
        raise TdcoError(f"x is {x}, but must have at least two dimensions", hint="reshape it to one row")


def require_stats(x: TensorType, *stats: TensorType) -> None:
    for stat, name in zip(stats, ("mean", "rstd"), strict=True):
        require_dtype(stat, name, "f32")
        require_same_shape(stat, name, TensorType(x.shape[:-1], "f32"), "a value per row")


def require_vector(x: TensorType, vector: TensorType, name: str) -> None:
    require_dtype(vector, name, "f16")
    require_same_shape(vector, name, TensorType(x.shape[-1:]), "a row of x")


def infer(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    """attrs: epsilon > 0 (default 1e-5), axis (default -1). Outputs y, mean and rstd: 1 / sqrt(variance + epsilon)."""
    require_inputs(types, "x", "gamma", "beta")
    x, gamma, beta = types
    require_rows(x, attrs)
    require_vector(x, gamma, "gamma")
    require_vector(x, beta, "beta")
    if not attrs.get("epsilon", 1e-5) >= 2.0**-126:
        raise TdcoError(f"epsilon must be positive, not {attrs['epsilon']}")
    stat = TensorType(x.shape[:-1], "f32")
    return (x, stat, stat)


def evaluate(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, gamma, beta = inputs
    mean = x.mean(axis=-1)
    centred = x - mean[..., None]
    rstd = 1 / np.sqrt((centred * centred).mean(axis=-1) + attrs.get("epsilon", 1e-5))
    return (centred * rstd[..., None] * gamma + beta, mean, rstd)


def grad(b: Builder, node: Node, dys: Sequence[str | None], wanted: Sequence[bool]) -> Sequence[str | None]:
    x, gamma, beta = node.inputs
    dy, *dstats = dys
    if any(dstats):
        raise TdcoError("mean and rstd cannot be differentiated", f"LayerNormalization node {node.source}")
    if dy is None:
        return (None, None, None)
    _, mean, rstd = node.outputs
    dx = dgamma = dbeta = None
    if wanted[0]:
        dx = b.add1("LayerNormalizationGrad", [dy, x, gamma, mean, rstd], name=f"{x}.grad", source=node.source)
    if wanted[1] or wanted[2]:
        names = (f"{gamma}.grad", f"{beta}.grad")
        dgamma, dbeta = b.add("LayerNormalizationParamGrad", [dy, x, mean, rstd], {}, names, node.source)
    return (dx, dgamma if wanted[1] else None, dbeta if wanted[2] else None)


def lower(node: Node, tile: Tile) -> Commands:
    x = tile.inputs[0]
    assert x
    epsilon = float(np.float32(node.attrs.get("epsilon", 1e-5)))
    operands = refs(*tile.inputs, *tile.outputs)
    return [KernelCall("tdco_layer_norm_f16", operands, row_sizes(x), (epsilon,), writes=3)]


def infer_grad(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    require_inputs(types, "dy", "x", "gamma", "mean", "rstd")
    dy, x, gamma, *stats = types
    require_rows(x, attrs)
    require_dtype(dy, "dy", "f16")
    require_same_shape(dy, "dy", x, "x")
    require_vector(x, gamma, "gamma")
    require_stats(x, *stats)
    return (x,)


def evaluate_grad(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    dy, x, gamma, mean, rstd = inputs
    g, c = dy * gamma, (x - mean[..., None]) * rstd[..., None]
    means = g.mean(axis=-1, keepdims=True), (g * c).mean(axis=-1, keepdims=True)
    return (rstd[..., None] * (g - means[0] - c * means[1]),)


def lower_grad(node: Node, tile: Tile) -> Commands:
    dy = tile.inputs[0]
    assert dy
    return [KernelCall("tdco_layer_norm_grad_f16", refs(*tile.inputs, *tile.outputs), row_sizes(dy))]


def infer_param_grad(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    require_inputs(types, "dy", "x", "mean", "rstd")
    dy, x, *stats = types
    require_rows(x, attrs)
    require_dtype(dy, "dy", "f16")
    require_same_shape(dy, "dy", x, "x")
    require_stats(x, *stats)
    vector = TensorType(x.shape[-1:], "f32")
    return (vector, vector)


def evaluate_param_grad(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    dy, x, mean, rstd = inputs
    lead = tuple(range(dy.ndim - 1))
    return ((dy * (x - mean[..., None]) * rstd[..., None]).sum(axis=lead), dy.sum(axis=lead))


def domain_param_grad(node: Node, inputs: Sequence[Any], outputs: Sequence[TensorType]) -> Domain:
    """Columns are parallel. Of the dimensions summed over, only the first that is longer than 1 may be split: then the
    additions stay in row order whatever the tiles."""
    *lead, columns = inputs[0].shape
    split = next((d for d, n in enumerate(lead) if n > 1), 0)
    loops = [Loop(f"d{d}", n, "reduce" if d == split else "whole") for d, n in enumerate(lead)]
    stats, vector = tuple(Dim(loop.name) for loop in loops), (Dim("c"),)
    full = (*stats, *vector)
    return Domain((*loops, Loop("c", columns)), (full, full, stats, stats, vector, vector))


def lower_param_grad(node: Node, tile: Tile) -> Commands:
    dy = tile.inputs[0]
    assert dy
    ints = (*row_sizes(dy), int(tile.first))
    return [KernelCall("tdco_layer_norm_param_grad_f16", refs(*tile.inputs, *tile.outputs), ints, writes=2)]


def vectors(columns: int, count: int) -> list[TensorType]:
    return [TensorType((columns,))] * count


def stats(*rows: int) -> list[TensorType]:
    return [TensorType(rows, "f32")] * 2


CONSTANT_ROWS = np.outer([0.0, 1.0, 1000.5, -3.25], np.ones(7))
SHAPES = ((1, 64, 128), (3, 5, 7), (2, 3, 4, 5), (6, 6), (5, 1))

OPS = (
    OpDef(
        name="LayerNormalization",
        infer=infer,
        eval=evaluate,
        grad=grad,
        domain=row_domain("rows", "vector", "vector", "rows", "value", "value"),
        lower=lower,
        samples=(
            *(Sample((TensorType(s), *vectors(s[-1], 2)), {"epsilon": 1e-5}) for s in SHAPES),
            Sample((TensorType((3, 128)), *vectors(128, 2)), {"axis": 1, "epsilon": 1e-6}, scale=30.0),
            Sample((CONSTANT_ROWS, *vectors(7, 2))),
        ),
    ),
    OpDef(
        name="LayerNormalizationGrad",
        infer=infer_grad,
        eval=evaluate_grad,
        domain=row_domain("rows", "rows", "vector", "value", "value", "rows"),
        lower=lower_grad,
        samples=tuple(Sample((TensorType(s), TensorType(s), *vectors(s[-1], 1), *stats(*s[:-1]))) for s in SHAPES),
    ),
    OpDef(
        name="LayerNormalizationParamGrad",
        infer=infer_param_grad,
        eval=evaluate_param_grad,
        domain=domain_param_grad,
        lower=lower_param_grad,
        samples=tuple(Sample((TensorType(s), TensorType(s), *stats(*s[:-1]))) for s in SHAPES),
    ),
)
