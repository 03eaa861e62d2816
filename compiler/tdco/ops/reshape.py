"""Reshape: the same elements in row-major order under another shape; a view wherever the strides allow it."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ..errors import TdcoError
from ..ir import Attrs, Builder, Node, TensorType
from . import OpDef, Sample
from ._elementwise import require_inputs


def infer(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    require_inputs(types, "X")
    (x,) = types
    shape = tuple(attrs["shape"])
    if any(n < 0 for n in shape) or prod(shape) != x.size:
        raise TdcoError(f"cannot reshape {x}, {x.size} elements, to [{','.join(map(str, shape))}]")
    return (TensorType(shape, x.dtype),)


def evaluate(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    return (np.reshape(inputs[0], attrs["shape"]),)


def grad(b: Builder, node: Node, dys: Sequence[str | None], wanted: Sequence[bool]) -> Sequence[str | None]:
    if dys[0] is None or not wanted[0]:
        return (None,)
    attrs = {"shape": b.type(node.inputs[0]).shape}
    return (b.add1("Reshape", [dys[0]], attrs, f"{node.inputs[0]}.grad", node.source),)


def restride(old: Sequence[int], strides: Sequence[int], new: Sequence[int]) -> tuple[int, ...] | None:
    """Strides under which shape ``new`` walks the elements of shape ``old`` in order, or None where none do.

    Both shapes fall into groups of equal product; inside a group the old dimensions must be contiguous with each other.
    Dimensions of size 1 may have any stride.
    """
    sources = [(n, s) for n, s in zip(old, strides, strict=True) if n != 1]
    result = [0] * len(new)
    targets = [d for d, n in enumerate(new) if n != 1]
    while sources and targets:
        group, size = [sources.pop()], [targets.pop()]
        while (have := prod(n for n, _ in group)) != (want := prod(new[d] for d in size)):
            if have < want:
                n, s = sources.pop()
                if s != group[-1][0] * group[-1][1]:
                    return None
                group.append((n, s))
            else:
                size.append(targets.pop())
        step = group[0][1]
        for d in size:
            result[d] = step
            step *= new[d]
    step = 1
    for d in reversed(range(len(new))):  # as if the neighbour were contiguous, so that dense stays dense
        if new[d] == 1:
            result[d] = step
        step = result[d] * new[d]
    return tuple(result)


def view(x: TensorType, z: TensorType, attrs: Attrs, strides: tuple[int, ...]) -> tuple[int, tuple[int, ...]] | None:
    result = restride(x.shape, strides, z.shape)
    return None if result is None else (0, result)


def unview(x: TensorType, z: TensorType, attrs: Attrs, strides: tuple[int, ...]) -> tuple[int, ...] | None:
    return restride(z.shape, strides, x.shape)


OPS = (
    OpDef(
        name="Reshape",
        infer=infer,
        eval=evaluate,
        grad=grad,
        view=view,
        unview=unview,
        samples=(
            Sample((TensorType((4, 6)),), {"shape": (2, 2, 3, 2)}),
            Sample((TensorType((1, 4, 6)),), {"shape": (4, 2, 3)}),
            Sample((TensorType((2, 3, 4)),), {"shape": (6, 4)}),
            Sample((TensorType((3, 1, 2)),), {"shape": (1, 6, 1)}),
            Sample((TensorType((1,)),), {"shape": ()}),
            Sample((TensorType((6, 4)),), {"shape": (3, 8)}),
        ),
    ),
)
