"""Slice: a range of some dimensions, step 1; always a view. Its gradient places dY into zeros."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..domain import Dim, Domain, Loop, Tile
from ..errors import TdcoError
from ..ir import DTYPES, Attrs, Builder, Node, TensorType
from ..program import GemmJob, KernelCall
from . import OpDef, Sample
from ._elementwise import require_inputs
from .contiguous import copy_calls, require_copyable


def infer(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    require_inputs(types, "X")
    (x,) = types
    shape = list(x.shape)
    if len(set(attrs["axes"])) != len(attrs["axes"]):
        raise TdcoError(f"axes {tuple(attrs['axes'])} name a dimension twice")
    for start, end, axis in zip(attrs["starts"], attrs["ends"], attrs["axes"], strict=True):
        if not 0 <= axis < len(shape):
            raise TdcoError(f"{x} has no dimension {axis}")
        if not 0 <= start < end <= shape[axis]:
            raise TdcoError(f"range {start}:{end} is empty or outside dimension {axis} of {x}")
        shape[axis] = end - start
    return (TensorType(tuple(shape), x.dtype),)


def evaluate(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    (x,) = inputs
    index = [slice(None)] * x.ndim
    for start, end, axis in zip(attrs["starts"], attrs["ends"], attrs["axes"], strict=True):
        index[axis] = slice(start, end)
    return (x[tuple(index)],)


def grad(b: Builder, node: Node, dys: Sequence[str | None], wanted: Sequence[bool]) -> Sequence[str | None]:
    if dys[0] is None or not wanted[0]:
        return (None,)
    x = node.inputs[0]
    attrs = {"shape": b.type(x).shape, "starts": node.attrs["starts"], "axes": node.attrs["axes"]}
    return (b.add1("SliceGrad", [dys[0]], attrs, f"{x}.grad", node.source),)


def view(x: TensorType, z: TensorType, attrs: Attrs, strides: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    return sum(start * strides[axis] for start, axis in zip(attrs["starts"], attrs["axes"], strict=True)), strides


def unview(x: TensorType, z: TensorType, attrs: Attrs, strides: tuple[int, ...]) -> tuple[int, ...] | None:
    """The output cannot own what the slice leaves out."""
    return strides if x.shape == z.shape else None


def infer_grad(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    require_inputs(types, "dY")
    (dy,) = types
    shape = tuple(attrs["shape"])
    require_copyable(dy)
    starts = dict(zip(attrs["axes"], attrs["starts"], strict=True))
    if len(dy.shape) != len(shape) or any(starts.get(d, 0) + n > shape[d] for d, n in enumerate(dy.shape)):
        raise TdcoError(f"dY {dy} at starts {tuple(attrs['starts'])} does not fit into {list(shape)}")
    return (TensorType(shape, dy.dtype),)


def evaluate_grad(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    (dy,) = inputs
    dx = np.zeros(attrs["shape"], dy.dtype)
    ends = [start + dy.shape[axis] for start, axis in zip(attrs["starts"], attrs["axes"], strict=True)]
    evaluate([dx], {**attrs, "ends": ends})[0][...] = dy
    return (dx,)


def domain_grad(node: Node, inputs: Sequence[Any], outputs: Sequence[TensorType]) -> Domain:
    sliced = set(node.attrs["axes"])
    shape = outputs[0].shape
    loops = tuple(Loop(f"d{d}", n, "whole" if d in sliced else "parallel") for d, n in enumerate(shape))
    dims = tuple(Dim(None if d in sliced else f"d{d}") for d in range(len(shape)))
    return Domain(loops, (dims, dims))


def lower_grad(node: Node, tile: Tile) -> Sequence[GemmJob | KernelCall]:
    (dy,), (dx,) = tile.inputs, tile.outputs
    assert dy and dx
    offset = sum(s * dx.strides[axis] for s, axis in zip(node.attrs["starts"], node.attrs["axes"], strict=True))
    halfwords = TensorType(dx.shape, dx.dtype).bytes // 2
    zero = KernelCall("tdco_zero_b16", (dx.ref,), (halfwords,))
    return [zero, *copy_calls(dy.ref, dy.strides, dx.ref, dx.strides, dy.shape, DTYPES[dy.dtype].itemsize, offset)]


OPS = (
    OpDef(
        name="Slice",
        infer=infer,
        eval=evaluate,
        grad=grad,
        view=view,
        unview=unview,
        samples=(
            Sample((TensorType((6, 5)),), {"starts": (2,), "ends": (5,), "axes": (0,)}),
            Sample((TensorType((3, 4, 6)),), {"starts": (2, 1), "ends": (6, 2), "axes": (2, 0)}),
            Sample((TensorType((2, 3)),), {"starts": (0,), "ends": (3,), "axes": (1,)}),
        ),
    ),
    OpDef(
        name="SliceGrad",
        infer=infer_grad,
        eval=evaluate_grad,
        domain=domain_grad,
        lower=lower_grad,
        samples=(
            Sample((TensorType((3, 5)),), {"shape": (6, 5), "starts": (2,), "axes": (0,)}),
            Sample((TensorType((1, 4, 4)),), {"shape": (3, 4, 6), "starts": (2, 1), "axes": (2, 0)}),
            Sample((TensorType((2, 3), "f32"),), {"shape": (2, 7), "starts": (4,), "axes": (1,)}),
        ),
    ),
)
