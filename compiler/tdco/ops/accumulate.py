"""Gradient accumulation: an update every few steps, with the sum of their gradients.

``Count`` counts steps modulo ``every``; where it comes to 0 the sum is ``Due``, and ``Accumulate`` starts it anew.
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
from ._elementwise import Commands, elementwise_domain, refs, require_dtype, require_inputs, require_same_shape

FLAG = TensorType((1,), "i32")


def infer_count(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    """attrs: every >= 1."""
    require_inputs(types, "count")
    require_same_shape(types[0], "count", FLAG, "a counter")
    require_dtype(types[0], "count", "i32")
    if attrs["every"] < 1:
        raise TdcoError(f"cannot accumulate {attrs['every']} gradients", hint="at least 1")
    return (FLAG,)


def evaluate_count(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    return (((inputs[0] + 1) % attrs["every"]).astype(np.int32),)


def domain_flags(node: Node, inputs: Sequence[Any], outputs: Sequence[TensorType]) -> Domain:
    return Domain((Loop("d0", 1, "whole"),), ((Dim(),),) * (len(inputs) + 1))


def lower_count(node: Node, tile: Tile) -> Commands:
    return [KernelCall("tdco_count_i32", refs(*tile.inputs, *tile.outputs), (node.attrs["every"],))]


def infer_due(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    """``ok`` where ``count`` is 0, else 0."""
    require_inputs(types, "ok", "count")
    for type, name in zip(types, ("ok", "count"), strict=True):
        require_dtype(type, name, "i32")
        require_same_shape(type, name, FLAG, "a flag")
    return (FLAG,)


def evaluate_due(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    ok, count = inputs
    return ((ok * (count == 0)).astype(np.int32),)


def lower_due(node: Node, tile: Tile) -> Commands:
    return [KernelCall("tdco_due_i32", refs(*tile.inputs, *tile.outputs))]


def infer(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    require_inputs(types, "sum", "count")
    require_dtype(types[0], "sum", "f32")
    require_dtype(types[1], "count", "i32")
    require_same_shape(types[1], "count", FLAG, "a counter")
    return (types[0],)


def evaluate(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    """``sum``, or zeros where it is due: also a sum that overflowed, so that the next one is not lost too."""
    total, count = inputs
    return (total.copy() if count[0] else np.zeros_like(total),)


def domain(node: Node, inputs: Sequence[Any], outputs: Sequence[TensorType]) -> Domain:
    return elementwise_domain(node, [inputs[0], FLAG], outputs)


def lower(node: Node, tile: Tile) -> Commands:
    total = tile.inputs[0]
    assert total
    return [KernelCall("tdco_accumulate_f32", refs(*tile.inputs, *tile.outputs), (prod(total.shape),))]


def flag(value: int) -> np.ndarray:
    return np.array([value], np.int32)


OPS = (
    OpDef(
        name="Accumulate",
        infer=infer,
        eval=evaluate,
        domain=domain,
        lower=lower,
        update=True,
        samples=(
            *(Sample((TensorType(s, "f32"), flag(c))) for s in ((5, 7), (128,)) for c in (0, 3)),
            Sample((np.array([np.inf, np.nan, 1.0], np.float32), flag(0))),
        ),
    ),
    OpDef(
        name="Count",
        infer=infer_count,
        eval=evaluate_count,
        domain=domain_flags,
        lower=lower_count,
        update=True,
        samples=tuple(Sample((flag(at),), {"every": every}) for at, every in ((0, 1), (0, 4), (2, 4), (3, 4))),
    ),
    OpDef(
        name="Due",
        infer=infer_due,
        eval=evaluate_due,
        domain=domain_flags,
        lower=lower_due,
        samples=tuple(Sample((flag(ok), flag(count))) for ok in (0, 1, 10) for count in (0, 1, 3)),
    ),
)
