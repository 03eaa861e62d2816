"""Expand: repeats dimensions of size 1 up to a given shape."""

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
    shape = tuple(attrs["shape"])
    require_copyable(x)
    if len(x.shape) != len(shape) or any(n not in (1, size) for n, size in zip(x.shape, shape, strict=False)):
        raise TdcoError(
            f"cannot expand {x} to [{','.join(map(str, shape))}]",
            hint="the ranks must agree and every dimension must be 1 or as it shall be; reshape first",
        )
    return (TensorType(shape, x.dtype),)


def evaluate(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    return (np.broadcast_to(inputs[0], attrs["shape"]).copy(),)


def grad(b: Builder, node: Node, dys: Sequence[str | None], wanted: Sequence[bool]) -> Sequence[str | None]:
    x = node.inputs[0]
    if dys[0] is None or not wanted[0]:
        return (None,)
    axes = tuple(d for d, (n, size) in enumerate(zip(b.type(x).shape, node.attrs["shape"], strict=True)) if n != size)
    if not axes:
        return (dys[0],)
    return (b.add1("ReduceSum", [dys[0]], {"axes": axes, "keepdims": 1}, f"{x}.grad", node.source),)


def domain(node: Node, inputs: Sequence[Any], outputs: Sequence[TensorType]) -> Domain:
    shape = outputs[0].shape
    loops = tuple(Loop(f"d{d}", n) for d, n in enumerate(shape))
    x = tuple(Dim(f"d{d}" if n == shape[d] else None) for d, n in enumerate(inputs[0].shape))
    return Domain(loops, (x, tuple(Dim(loop.name) for loop in loops)))


def lower(node: Node, tile: Tile) -> Sequence[GemmJob | KernelCall]:
    (x,), (z,) = tile.inputs, tile.outputs
    assert x and z
    strides = tuple(s if n > 1 else 0 for s, n in zip(x.strides, x.shape, strict=True))
    return copy_calls(x.ref, strides, z.ref, z.strides, z.shape, DTYPES[z.dtype].itemsize)


OPS = (
    OpDef(
        name="Expand",
        infer=infer,
        eval=evaluate,
        grad=grad,
        domain=domain,
        lower=lower,
        samples=(
            Sample((TensorType((1, 5)),), {"shape": (3, 5)}),
            Sample((TensorType((4, 1)),), {"shape": (4, 6)}),
            Sample((TensorType((1, 3, 1, 2)),), {"shape": (2, 3, 4, 2)}),
            Sample((TensorType((1, 1), "f32"),), {"shape": (3, 3)}),
            Sample((TensorType((2, 3)),), {"shape": (2, 3)}),
        ),
    ),
)
