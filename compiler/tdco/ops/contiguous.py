"""Contiguous: copies a view into storage of its own; inserted where an operator cannot take the view's strides."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..domain import Dim, Domain, Loop, Tile
from ..errors import TdcoError
from ..ir import DTYPES, Attrs, Builder, Node, TensorType
from ..program import GemmJob, KernelCall, Ref
from . import OpDef, Sample
from ._elementwise import require_inputs


def require_copyable(type: TensorType) -> None:
    """Raises TdcoError unless the copy kernels know the element's size."""
    if DTYPES[type.dtype].itemsize not in (2, 4):
        raise TdcoError(f"cannot copy {type}: the copy kernels move 2- and 4-byte elements")


def infer(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    require_inputs(types, "X")
    (x,) = types
    require_copyable(x)
    return (x,)


def evaluate(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    return (np.ascontiguousarray(inputs[0]).reshape(np.shape(inputs[0])),)


def grad(b: Builder, node: Node, dys: Sequence[str | None], wanted: Sequence[bool]) -> Sequence[str | None]:
    return dys


def copy_calls(
    x: Ref, x_strides: Sequence[int], z: Ref, z_strides: Sequence[int], shape: Sequence[int], item_bytes: int,
    z_offset: int = 0,
) -> list[KernelCall]:  # fmt: skip
    """Kernel calls that copy ``shape`` elements between two layouts (strides and ``z_offset`` in elements).

    Neighbouring dimensions that are one in both layouts are merged; the kernel takes four, more become several calls.
    """
    dims: list[tuple[int, int, int]] = []
    for n, xs, zs in zip(shape, x_strides, z_strides, strict=True):
        if n == 1:
            continue
        if dims and dims[-1][1] == n * xs and dims[-1][2] == n * zs:
            dims[-1] = (dims[-1][0] * n, xs, zs)
        else:
            dims.append((n, xs, zs))
    dims = [(1, 0, 0)] * (4 - len(dims)) + dims
    outer, inner = dims[:-4], dims[-4:]
    ints = tuple(value for column in zip(*inner, strict=True) for value in column)
    calls = []
    for index in itertools.product(*(range(n) for n, _, _ in outer)):
        x_at = sum(i * xs for i, (_, xs, _) in zip(index, outer, strict=True))
        z_at = z_offset + sum(i * zs for i, (_, _, zs) in zip(index, outer, strict=True))
        refs = (x.shifted(item_bytes * x_at), z.shifted(item_bytes * z_at))
        calls.append(KernelCall(f"tdco_contiguous_b{8 * item_bytes}", refs, ints))
    return calls


def domain(node: Node, inputs: Sequence[Any], outputs: Sequence[TensorType]) -> Domain:
    loops = tuple(Loop(f"d{d}", n) for d, n in enumerate(outputs[0].shape))
    dims = tuple(Dim(loop.name) for loop in loops)
    return Domain(loops, (dims, dims), dense=False)


def lower(node: Node, tile: Tile) -> Sequence[GemmJob | KernelCall]:
    (x,), (z,) = tile.inputs, tile.outputs
    assert x and z
    return copy_calls(x.ref, x.strides, z.ref, z.strides, z.shape, DTYPES[z.dtype].itemsize)


OPS = (
    OpDef(
        name="Contiguous",
        infer=infer,
        eval=evaluate,
        grad=grad,
        domain=domain,
        lower=lower,
        samples=(
            Sample((TensorType((5, 7)),)),
            Sample((TensorType((2, 3, 1, 4)),)),
            Sample((TensorType((3, 4, 5), "f32"),)),
            Sample((TensorType((2, 3, 2, 3, 2)),)),
            Sample((TensorType((2, 3, 2, 3, 2), "f32"),)),
            Sample((np.arange(12, dtype=np.int32).reshape(4, 3),)),
        ),
    ),
)
