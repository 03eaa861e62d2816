"""ProductUpdate and ProductFinite: an update, and the look for overflow before it, of a gradient that is a product.

Each multiplies X[M,K] . W[K,N] itself, tile by tile in scratch memory, so that the gradient is never stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..domain import Dim, Domain, Loop, Operand, Tile
from ..ir import Attrs, Node, TensorType
from . import OpDef, Sample, get_op, matmul, momentum, sgd
from ._elementwise import Commands

OWN = ("body", "at")
"""Attributes that are not the body's."""
UPDATES_AHEAD, LOOKS_AHEAD = 2, 3
"""Tiles that the engine may have filled when the cores get to them; looks may have to wait for a longer call."""


def with_product(others: Sequence[Any], product: Any, attrs: Attrs) -> list[Any]:
    """The body's inputs: the product between the others."""
    return [*others[: attrs["at"]], product, *others[attrs["at"] :]]


def body_attrs(attrs: Attrs) -> Attrs:
    return {name: value for name, value in attrs.items() if name not in OWN}


def infer(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    """Inputs X, W and those of the ``body``, the operator that takes the product, but for the product. attrs: ``body``;
    ``at``, the position of the product among the body's inputs; and the body's own."""
    x, w, *others = types
    (product,) = matmul.infer((x, w), {})
    return get_op(attrs["body"]).infer(with_product(others, product, attrs), body_attrs(attrs))


def evaluate(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, w, *others = inputs
    return get_op(attrs["body"]).eval(with_product(others, np.matmul(x, w), attrs), body_attrs(attrs))


def domain(node: Node, inputs: Sequence[Any], outputs: Sequence[TensorType]) -> Domain:
    """The body's loops, and K, which is never split: no part of a sum outlives its tile. An update goes row by row, as
    what it changes lies in memory."""
    x, w, *others = inputs
    (product,) = matmul.infer((x, w), {})
    body = get_op(node.attrs["body"])
    assert body.domain
    plain = body.domain(node, with_product(others, product, node.attrs), outputs)
    beside = list(plain.operands)
    rows, cols = beside.pop(node.attrs["at"]) or ()
    outer, inner = plain.loops
    looks = body.name == "Finite"

    def scratch(sizes: Mapping[str, int]) -> int:
        return matmul.ELEMENT_BYTES * sizes[str(rows.loop)] * sizes[str(cols.loop)]

    return Domain(
        (outer, inner if looks else replace(inner, kind="whole"), Loop("k", x.shape[1], "whole")),
        ((rows, Dim("k")), (Dim("k"), cols), *beside),
        scratch,
        dense=False,
        packed=tuple(range(2, 2 + len(beside))),
        scratch_tiles=LOOKS_AHEAD if looks else UPDATES_AHEAD,
        early=looks,
    )


def lower(node: Node, tile: Tile) -> Commands:
    x, w, *others = tile.inputs
    assert x and w and tile.scratch
    start, shape = (x.start[0], w.start[1]), (x.shape[0], w.shape[1])
    product = Operand(tile.scratch, start, shape, (shape[1], 1), (x.full[0], w.full[1]), x.dtype)
    body = get_op(node.attrs["body"])
    assert body.lower
    inner = replace(node, op=body.name, attrs=body_attrs(node.attrs))
    jobs = matmul.product_jobs(x, w, product, None, True)
    return [*jobs, *body.lower(inner, replace(tile, inputs=tuple(with_product(others, product, node.attrs))))]


def flop(inputs: Sequence[Any], outputs: Sequence[TensorType], attrs: Attrs) -> int:
    """Of the product. ``ProductFinite`` has none: the update that follows computes the same again."""
    return 2 * inputs[0].size * inputs[1].shape[1]


def sample(shape: tuple[int, int, int], body: str, at: int, of: Sample) -> Sample:
    """``of``, a sample of the body, with a product of [M,K] and [K,N], ``shape``, in place of its input ``at``."""
    m, k, n = shape
    others = (*of.inputs[:at], *of.inputs[at + 1 :])
    return Sample((TensorType((m, k)), TensorType((k, n)), *others), {**of.attrs, "body": body, "at": at}, of.scale)


def planted(value: float) -> Sample:
    """Factors with ``value`` in a row of one."""
    x = np.ones((13, 2))
    x[7, 1] = value
    return Sample((x, np.ones((2, 18))), {"body": "Finite", "at": 0})


UPDATE = OpDef(
    name="ProductUpdate",
    infer=infer,
    eval=evaluate,
    domain=domain,
    lower=lower,
    flop=flop,
    update=True,
    samples=(
        sample((128, 8, 128), "SGD", 1, sgd.sample((128, 128), "f16", 1, 0.01, 256.0)),
        sample((5, 3, 7), "SGD", 1, sgd.sample((5, 7), "f16", 0, 0.5, 1.0)),
        sample((9, 16, 14), "Momentum", 2, momentum.sample((9, 14), "f16", 1, 256.0)),
    ),
)
FINITE = replace(
    UPDATE,
    name="ProductFinite",
    flop=None,
    update=False,
    samples=(sample((13, 5, 18), "Finite", 0, Sample((TensorType((13, 18)),))), planted(np.inf)),
)

OPS = (UPDATE, FINITE)
