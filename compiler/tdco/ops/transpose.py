"""Transpose: permutes dimensions; always a view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import TdcoError
from ..ir import Attrs, Builder, Node, TensorType
from . import OpDef, Sample
from ._elementwise import require_inputs


def infer(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    require_inputs(types, "X")
    (x,) = types
    perm = tuple(attrs["perm"])
    if sorted(perm) != list(range(len(x.shape))):
        raise TdcoError(f"perm {perm} is not a permutation of the dimensions of {x}")
    return (TensorType(tuple(x.shape[p] for p in perm), x.dtype),)


def evaluate(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    return (np.transpose(inputs[0], attrs["perm"]),)


def inverse(perm: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted(range(len(perm)), key=lambda d: perm[d]))


def grad(b: Builder, node: Node, dys: Sequence[str | None], wanted: Sequence[bool]) -> Sequence[str | None]:
    if dys[0] is None or not wanted[0]:
        return (None,)
    attrs = {"perm": inverse(node.attrs["perm"])}
    return (b.add1("Transpose", [dys[0]], attrs, f"{node.inputs[0]}.grad", node.source),)


def view(x: TensorType, z: TensorType, attrs: Attrs, strides: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    return 0, tuple(strides[p] for p in attrs["perm"])


def unview(x: TensorType, z: TensorType, attrs: Attrs, strides: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(strides[p] for p in inverse(attrs["perm"]))


OPS = (
    OpDef(
        name="Transpose",
        infer=infer,
        eval=evaluate,
        grad=grad,
        view=view,
        unview=unview,
        samples=(
            Sample((TensorType((3, 5)),), {"perm": (1, 0)}),
            Sample((TensorType((2, 3, 4)),), {"perm": (2, 0, 1)}),
            Sample((TensorType((1, 4, 2, 3)),), {"perm": (0, 2, 1, 3)}),
        ),
    ),
)
