"""Concat: tensors one behind the other along a dimension."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from ..domain import Dim, Domain, Loop, Tile
from ..errors import TdcoError
from ..ir import DTYPES, Attrs, Builder, Node, TensorType
from ..program import GemmJob, KernelCall
from . import OpDef, Sample
from .contiguous import copy_calls, require_copyable


def infer(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    """attrs: axis, not negative."""
    axis = attrs["axis"]
    if not types or None in types:
        raise TdcoError("needs at least one input, and none may be absent")
    first = types[0]
    require_copyable(first)
    if not 0 <= axis < len(first.shape):
        raise TdcoError(f"{first} has no dimension {axis}")

    def beside(type: TensorType) -> tuple[int, ...]:
        return (*type.shape[:axis], *type.shape[axis + 1 :])

    for type in types[1:]:
        if len(type.shape) != len(first.shape) or beside(type) != beside(first) or type.dtype != first.dtype:
            raise TdcoError(f"{type} does not fit behind {first} along dimension {axis}")
    extent = sum(type.shape[axis] for type in types)
    return (TensorType((*first.shape[:axis], extent, *first.shape[axis + 1 :]), first.dtype),)


def evaluate(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    return (np.concatenate(inputs, axis=attrs["axis"]),)


def grad(b: Builder, node: Node, dys: Sequence[str | None], wanted: Sequence[bool]) -> Sequence[str | None]:
    (dy,), axis = dys, node.attrs["axis"]
    ends = accumulate(b.type(x).shape[axis] for x in node.inputs)
    grads: list[str | None] = []
    for x, end, want in zip(node.inputs, ends, wanted, strict=True):
        attrs = {"starts": (end - b.type(x).shape[axis],), "ends": (end,), "axes": (axis,)}
        grads.append(b.add1("Slice", [dy], attrs, f"{x}.grad", node.source) if dy and want else None)
    return grads


def domain(node: Node, inputs: Sequence[Any], outputs: Sequence[TensorType]) -> Domain:
    """The dimension that grows is never split: a tile has a part of every input."""
    axis = node.attrs["axis"]
    loops = tuple(Loop(f"d{d}", n, "whole" if d == axis else "parallel") for d, n in enumerate(outputs[0].shape))
    dims = tuple(Dim(None if d == axis else loop.name) for d, loop in enumerate(loops))
    return Domain(loops, (dims,) * (len(inputs) + 1), dense=False)


def lower(node: Node, tile: Tile) -> Sequence[GemmJob | KernelCall]:
    (z,), axis = tile.outputs, node.attrs["axis"]
    assert z
    calls: list[KernelCall] = []
    at = 0
    for x in tile.inputs:
        assert x
        calls += copy_calls(x.ref, x.strides, z.ref, z.strides, x.shape, DTYPES[z.dtype].itemsize, at * z.strides[axis])
        at += x.shape[axis]
    return calls


def sample(axis: int, *shapes: tuple[int, ...], dtype: str = "f16") -> Sample:
    return Sample(tuple(TensorType(shape, dtype) for shape in shapes), {"axis": axis})


OPS = (
    OpDef(
        name="Concat",
        infer=infer,
        eval=evaluate,
        grad=grad,
        domain=domain,
        lower=lower,
        samples=(
            sample(1, (64, 4), (64, 4), (64, 4)),
            sample(0, (2, 5), (1, 5)),
            sample(1, (2, 3, 4), (2, 1, 4), (2, 5, 4)),
            sample(2, (3, 2, 1), (3, 2, 2), dtype="f32"),
            sample(0, (7,)),
        ),
    ),
)
