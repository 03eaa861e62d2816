"""MSELoss: the mean of (y - target)^2 over all elements, in fp32, and its gradient."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ..domain import Dim, Domain, Loop, Tile
from ..errors import TdcoError
from ..ir import Attrs, Builder, Node, TensorType
from ..program import KernelCall
from . import OpDef, Sample
from ._elementwise import Commands, elementwise_domain, refs, require_dtype, require_inputs, require_same_shape

LOSS = TensorType((1,), "f32")
SUMS_BYTES = 64
"""Of LANES of mse.c."""


def require_pair(y: TensorType, target: TensorType) -> None:
    require_dtype(y, "y", "f16")
    require_dtype(target, "target", "f16")
    require_same_shape(y, "y", target, "target")
    if y.size == 0:
        raise TdcoError(f"y is {y}, which is empty")


def infer(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    require_inputs(types, "y", "target")
    require_pair(*types)
    return (LOSS,)


def evaluate(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    y, target = inputs
    return (np.square(y - target).mean().reshape(1),)


def grad(b: Builder, node: Node, dys: Sequence[str | None], wanted: Sequence[bool]) -> Sequence[str | None]:
    (dloss,), (y, target) = dys, node.inputs
    if dloss is None:
        return (None, None)
    pairs = ((y, [y, target]), (target, [target, y]))
    return [
        b.add1("MSELossGrad", [dloss, *pair], {}, f"{x}.grad", node.source) if want else None
        for (x, pair), want in zip(pairs, wanted, strict=True)
    ]


def domain(node: Node, inputs: Sequence[Any], outputs: Sequence[TensorType]) -> Domain:
    """Never split: sums over everything, in an order of their own."""
    whole = tuple(Dim() for _ in inputs[0].shape)
    return Domain((Loop("d0", 1, "whole"),), (whole, whole, (Dim(),)), lambda sizes: SUMS_BYTES)


def lower(node: Node, tile: Tile) -> Commands:
    y, sums = tile.inputs[0], tile.scratch
    assert y
    count = prod(y.shape)
    return [
        KernelCall("tdco_mse_lanes_f16", (*refs(*tile.inputs), sums), (count,)),
        KernelCall("tdco_mse_loss_f32", (sums, *refs(*tile.outputs)), (count,)),
    ]


def infer_grad(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    require_inputs(types, "dloss", "y", "target")
    require_dtype(types[0], "dloss", "f32")
    require_same_shape(types[0], "dloss", LOSS, "the loss")
    require_pair(*types[1:])
    return (types[1],)


def evaluate_grad(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    """dy = dloss . 2 (y - target) / elements. ``dloss`` carries the loss scale."""
    dloss, y, target = inputs
    return ((y - target) * (dloss * 2 / y.size),)


def domain_grad(node: Node, inputs: Sequence[Any], outputs: Sequence[TensorType]) -> Domain:
    return elementwise_domain(node, [LOSS, *inputs[1:]], outputs)


def lower_grad(node: Node, tile: Tile) -> Commands:
    y = tile.inputs[1]
    assert y
    ints = (prod(y.shape), prod(y.full))
    return [KernelCall("tdco_mse_grad_f16", refs(*tile.inputs, *tile.outputs), ints)]


SHAPES = ((1, 640), (3, 101), (5, 7), (1,))

OPS = (
    OpDef(
        name="MSELoss",
        infer=infer,
        eval=evaluate,
        grad=grad,
        domain=domain,
        lower=lower,
        samples=tuple(Sample((TensorType(s), TensorType(s))) for s in SHAPES),
    ),
    OpDef(
        name="MSELossGrad",
        infer=infer_grad,
        eval=evaluate_grad,
        domain=domain_grad,
        lower=lower_grad,
        samples=tuple(Sample((np.array([256.0], np.float32), TensorType(s), TensorType(s))) for s in SHAPES),
    ),
)
