"""MatMul: Z[...,M,N] = X[...,M,K] . W[...,K,N], and how a matrix product becomes engine jobs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from ..domain import Dim, Domain, Loop, Operand, Tile
from ..errors import TdcoError
from ..ir import Attrs, Builder, Node, TensorType
from ..program import GemmJob, KernelCall, Ref
from . import OpDef, Sample

ELEMENT_BYTES = 2


def require_f16(types: Sequence[TensorType | None], names: Sequence[str]) -> None:
    """Raises TdcoError unless every operand that is there is stored as fp16, the engine's only format."""
    for type, name in zip(types, names, strict=False):
        if type is not None and type.dtype != "f16":
            raise TdcoError(f"{name} is {type}, but the engine multiplies f16 only", hint="store it as f16")


def infer(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    x, w = types
    require_f16(types, "XW")
    if len(x.shape) < 2 or len(w.shape) < 2:
        raise TdcoError(f"operands {x} and {w} must both have at least two dimensions", hint="reshape a vector first")
    if x.shape[-1] != w.shape[-2]:
        raise TdcoError(f"columns of X and rows of W must agree, but X is {x} and W is {w}")
    leads = (x.shape[:-2], w.shape[:-2])
    if leads[0] != leads[1] and all(leads):
        raise TdcoError(
            f"leading dimensions must be equal, or absent on one side, but X is {x} and W is {w}",
            hint="expand or reshape one operand",
        )
    return (TensorType((leads[0] or leads[1]) + (x.shape[-2], w.shape[-1])),)


def evaluate(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    return (np.matmul(inputs[0], inputs[1]),)


def swap_last(b: Builder, name: str, source: str) -> str:
    """The matrix (or matrices) ``name`` transposed, as a view."""
    rank = len(b.type(name).shape)
    return b.add1("Transpose", [name], {"perm": (*range(rank - 2), rank - 1, rank - 2)}, f"{name}.t", source)


def flat(b: Builder, name: str, source: str) -> str:
    """``name`` with its leading dimensions merged into the rows, as a view."""
    shape = b.type(name).shape
    if len(shape) == 2:
        return name
    return b.add1("Reshape", [name], {"shape": (prod(shape[:-1]), shape[-1])}, f"{name}.flat", source)


def product_grads(b: Builder, node: Node, dy: str, wanted: Sequence[bool]) -> tuple[str | None, str | None]:
    """dX = dY . W^T and dW = X^T . dY, each only where wanted; summed over leading dimensions the operand lacks."""
    x, w = node.inputs[:2]
    lead = len(b.type(dy).shape) - 2
    dx = dw = None
    if wanted[0]:
        dx = b.add1("MatMul", [dy, swap_last(b, w, node.source)], name=f"{x}.grad", source=node.source)
        if len(b.type(x).shape) == 2 and lead:
            dx = b.add1("ReduceSum", [dx], {"axes": tuple(range(lead)), "keepdims": 0}, f"{x}.grad", node.source)
    if wanted[1]:
        rows, dys = x, dy
        if len(b.type(w).shape) == 2:
            rows, dys = flat(b, x, node.source), flat(b, dy, node.source)
        dw = b.add1("MatMul", [swap_last(b, rows, node.source), dys], name=f"{w}.grad", source=node.source)
    return dx, dw


def grad(b: Builder, node: Node, dys: Sequence[str | None], wanted: Sequence[bool]) -> Sequence[str | None]:
    return product_grads(b, node, dys[0], wanted) if dys[0] else (None, None)


def product_domain(x: TensorType, w: TensorType, z: TensorType) -> Domain:
    """Loops of a product: one per leading dimension, m, n, and k that accumulates onto Z."""
    lead = tuple(f"b{n}" for n in range(len(z.shape) - 2))
    loops = [Loop(name, extent) for name, extent in zip((*lead, "m", "n"), z.shape, strict=True)]

    def dims(type: TensorType, *matrix: str) -> tuple[Dim, ...]:
        return tuple(Dim(name) for name in (*(lead if len(type.shape) > 2 else ()), *matrix))

    operands = (dims(x, "m", "k"), dims(w, "k", "n"), dims(z, "m", "n"))
    return Domain((*loops, Loop("k", x.shape[-1], "reduce")), operands, dense=False)


def domain(node: Node, inputs: Sequence[Any], outputs: Sequence[TensorType]) -> Domain:
    return product_domain(inputs[0], inputs[1], outputs[0])


def at(ref: Ref, elements: int) -> Ref:
    return replace(ref, offset=ref.offset + ELEMENT_BYTES * elements)


def line(rows: int, cols: int, strides: tuple[int, ...]) -> tuple[int, bool] | None:
    """(elements from line to line, stored transposed) of a matrix in memory, or None: no dimension is contiguous."""
    if cols == 1 or strides[1] == 1:
        return strides[0], False
    if rows == 1 or strides[0] == 1:
        return strides[1], True
    return None


def product_jobs(x: Operand, w: Operand, z: Operand, bias: Operand | None, first: bool) -> list[GemmJob]:
    """Jobs that compute the tile Z = X.W + bias (``first``) or Z += X.W: one per entry of the leading dimensions.

    Innermost leading dimensions along which X and Z simply go on, and W stays, become more rows of the same job.

    Raises:
        TdcoError: an operand is contiguous along neither of its matrix dimensions.
    """
    lead = z.shape[:-2]
    (m, k), n = x.shape[-2:], z.shape[-1]
    per_entry = [_entry_strides(operand, len(lead)) for operand in (x, w, z)]
    strides = [operand.strides[-2:] for operand in (x, w, z)]
    while lead:
        xs, ws, zs = (s[-1] for s in per_entry)
        row = [(xs, zs)] if m == 1 else [(strides[0][0], strides[2][0])]
        merged = [(row[0][0], strides[0][1]), strides[1], (row[0][1], strides[2][1])]
        goes_on = m == 1 or (xs == m * strides[0][0] and zs == m * strides[2][0])
        rows = m * lead[-1]
        if lead[-1] > 1 and not (ws == 0 and goes_on and line(rows, k, merged[0]) and line(rows, n, merged[2])):
            break
        if lead[-1] > 1:
            m, strides = rows, merged
        lead, per_entry = lead[:-1], [s[:-1] for s in per_entry]
    forms = []
    for operand, shape, matrix in zip((x, w, z), ((m, k), (k, n), (m, n)), strides, strict=True):
        form = line(*shape, matrix)
        if form is None:
            raise TdcoError(
                f"a matrix of strides {matrix} lies in L1 with neither dimension contiguous", operand.ref.buffer
            )
        forms.append(form)
    (x_line, trans_x), (w_line, trans_w), (z_line, trans_z) = forms
    jobs = []
    for entry in itertools.product(*map(range, lead)):
        refs = [
            at(o.ref, sum(i * s for i, s in zip(entry, steps, strict=True)))
            for o, steps in zip((x, w, z), per_entry, strict=True)
        ]
        y, y_stride, y_column = None, 0, False
        if not first:
            y, y_stride = refs[2], z_line
        elif bias is not None:
            y, y_column = bias.ref, trans_z
            y_stride = bias.strides[0] if trans_z else 0
        jobs.append(
            GemmJob(
                m=m, n=n, k=k, x=refs[0], w=refs[1], z=refs[2], y=y,
                x_stride=ELEMENT_BYTES * x_line, w_stride=ELEMENT_BYTES * w_line, z_stride=ELEMENT_BYTES * z_line,
                y_stride=ELEMENT_BYTES * y_stride, trans_x=trans_x, trans_w=trans_w, trans_z=trans_z, y_column=y_column,
            )
        )  # fmt: skip
    return jobs


def _entry_strides(operand: Operand, lead: int) -> tuple[int, ...]:
    """Strides along the leading dimensions; 0 where the operand has none."""
    own = operand.strides[:-2]
    return own if own else (0,) * lead


def lower(node: Node, tile: Tile) -> Sequence[GemmJob | KernelCall]:
    x, w = tile.inputs
    (z,) = tile.outputs
    assert x and w and z
    return product_jobs(x, w, z, None, tile.first)


def flop(inputs: Sequence[Any], outputs: Sequence[TensorType], attrs: Attrs) -> int:
    return 2 * outputs[0].size * inputs[0].shape[-1]


OPS = (
    OpDef(
        name="MatMul",
        infer=infer,
        eval=evaluate,
        grad=grad,
        domain=domain,
        lower=lower,
        flop=flop,
        samples=(
            Sample((TensorType((13, 7)), TensorType((7, 18)))),
            Sample((TensorType((2, 3, 5, 6)), TensorType((2, 3, 6, 4)))),
            Sample((TensorType((2, 3, 5, 6)), TensorType((6, 4)))),
            Sample((TensorType((5, 6)), TensorType((3, 6, 4)))),
            Sample((TensorType((1, 9, 33)), TensorType((33, 1)))),
            Sample((TensorType((3, 1, 8)), TensorType((8, 10)))),
            Sample((TensorType((1, 1)), TensorType((1, 5)))),
            Sample((TensorType((4, 1)), TensorType((1, 5)))),
        ),
    ),
)
