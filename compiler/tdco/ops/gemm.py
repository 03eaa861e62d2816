"""Gemm: Z[...,M,N] = X[...,M,K] . W[K,N] + Y, rectified on request, with any number of leading dimensions.

Y is a bias, [N], or a tensor of the shape of Z. ``GemmUpdate`` is the same where Z takes the place of Y, a weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..domain import Dim, Domain, Tile
from ..errors import TdcoError
from ..ir import Attrs, Builder, Node, TensorType
from ..program import GemmJob, KernelCall
from . import OpDef, Sample
from ._elementwise import require_inputs
from .matmul import flat, flop, product_domain, product_grads, product_jobs, rectifies, require_f16
from .relu import rectified, unrectified


def infer(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    require_inputs(types, "X", "W", "Y")
    x, w, y = types
    require_f16(types, ("X", "W", "Y"))
    if len(x.shape) < 2:
        raise TdcoError(f"X is {x}, but it needs at least two dimensions", hint="reshape a vector first")
    if len(w.shape) != 2 or x.shape[-1] != w.shape[0]:
        raise TdcoError(f"W must be [K,N] with K = {x.shape[-1]} as in X {x}, but it is {w}")
    z = TensorType((*x.shape[:-1], w.shape[1]))
    if y.shape not in (w.shape[1:], z.shape):
        raise TdcoError(f"Y must be [{w.shape[1]}] as the columns of W {w}, or like the result {z}, but it is {y}")
    return (z,)


def infer_update(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    (z,) = infer(types, attrs)
    if types[2] != z:
        raise TdcoError(f"the weight is {types[2]}, but the product is {z}")
    return (z,)


def evaluate(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, w, y = inputs
    return (rectified(np.matmul(x, w) + y, attrs),)


def grad(b: Builder, node: Node, dys: Sequence[str | None], wanted: Sequence[bool]) -> Sequence[str | None]:
    (dy,) = dys
    if dy is None:
        return (None, None, None)
    dy = unrectified(b, node, dy)
    dx, dw = product_grads(b, node, dy, wanted)
    if b.type(node.inputs[2]).shape == b.type(dy).shape:
        return dx, dw, dy
    dbias = None
    if wanted[2]:
        rows, hint = flat(b, dy, node.source), f"{node.inputs[2]}.grad"
        if b.type(rows).shape[0] == 1:
            dbias = b.add1("Reshape", [rows], {"shape": b.type(rows).shape[1:]}, hint, node.source)
        else:  # a long sum of an activation's size: fp32
            attrs = {"axes": (0,), "keepdims": 0, "dtype": "f32"}
            dbias = b.add1("ReduceSum", [rows], attrs, hint, node.source)
    return dx, dw, dbias


def domain(node: Node, inputs: Sequence[Any], outputs: Sequence[TensorType]) -> Domain:
    product = product_domain(inputs[0], inputs[1], outputs[0])
    x, w, z = product.operands
    if len(inputs[2].shape) == 1:
        return replace(product, operands=(x, w, (Dim("n"),), z))
    return replace(product, operands=(x, w, z, z), rows=(2, 3))


def domain_update(node: Node, inputs: Sequence[Any], outputs: Sequence[TensorType]) -> Domain:
    """Cut by rows alone: they lie behind each other, in L1 as in L2."""
    product = domain(node, inputs, outputs)
    loops = tuple(replace(loop, kind="whole") if loop.name == "n" else loop for loop in product.loops)
    return replace(product, loops=loops)


def lower(node: Node, tile: Tile) -> Sequence[GemmJob | KernelCall]:
    x, w, y = tile.inputs
    (z,) = tile.outputs
    assert x and w and y and z
    return product_jobs(x, w, z, y, tile.first, rectifies(node, tile))


OPS = (
    OpDef(
        name="Gemm",
        infer=infer,
        eval=evaluate,
        grad=grad,
        domain=domain,
        lower=lower,
        flop=flop,
        samples=(
            Sample((TensorType((13, 7)), TensorType((7, 18)), TensorType((18,)))),
            Sample((TensorType((1, 9, 33)), TensorType((33, 10)), TensorType((10,)))),
            Sample((TensorType((2, 3, 4, 5)), TensorType((5, 6)), TensorType((6,)))),
            Sample((TensorType((1, 12)), TensorType((12, 10)), TensorType((10,)))),
            Sample((TensorType((3, 5, 8)), TensorType((8, 1)), TensorType((1,)))),
            Sample((TensorType((2, 9, 70)), TensorType((70, 10)), TensorType((10,))), {"relu": 1}),
            Sample((TensorType((2, 9, 20)), TensorType((20, 10)), TensorType((2, 9, 10)))),
            Sample((TensorType((7, 5)), TensorType((5, 1)), TensorType((7, 1))), {"relu": 1}),
            Sample((TensorType((3, 1, 4)), TensorType((4, 6)), TensorType((3, 1, 6)))),
        ),
    ),
    OpDef(
        name="GemmUpdate",
        infer=infer_update,
        eval=evaluate,
        domain=domain_update,
        lower=lower,
        flop=flop,
        update=True,
        samples=(
            Sample((TensorType((12, 1)), TensorType((1, 20)), TensorType((12, 20)))),
            Sample((TensorType((13, 30)), TensorType((30, 18)), TensorType((13, 18)))),
        ),
    ),
)
