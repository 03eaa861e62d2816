"""MatMul: Z[...,M,N] = X[...,M,K] . W[...,K,N], rectified on request, and how a matrix product becomes engine jobs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ..domain import Dim, Domain, Loop, Operand, Tile
from ..errors import TdcoError
from ..ir import Attrs, Builder, Node, TensorType
from ..program import GemmJob, KernelCall, Ref
from . import OpDef, Sample
from ._elementwise import require_inputs
from .relu import rectified, unrectified

ELEMENT_BYTES = 2


def require_f16(types: Sequence[TensorType | None], names: Sequence[str]) -> None:
    """Raises TdcoError unless every operand that is there is stored as fp16, the engine's only format."""
    for type, name in zip(types, names, strict=False):
        if type is not None and type.dtype != "f16":
            raise TdcoError(f"{name} is {type}, but the engine multiplies f16 only", hint="store it as f16")


def infer(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    require_inputs(types, "X", "W")
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
    return (rectified(np.matmul(inputs[0], inputs[1]), attrs),)


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
    return product_grads(b, node, unrectified(b, node, dys[0]), wanted) if dys[0] else (None, None)


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
    return ref.shifted(ELEMENT_BYTES * elements)


def line(rows: int, cols: int, strides: tuple[int, ...]) -> tuple[int, bool] | None:
    """(elements from line to line, stored transposed) of a matrix in memory, or None: no dimension is contiguous."""
    if cols == 1 or strides[1] == 1:
        return strides[0], False
    if rows == 1 or strides[0] == 1:
        return strides[1], True
    return None


def product_jobs(
    x: Operand, w: Operand, z: Operand, start: Operand | None, first: bool, relu: bool = False
) -> list[GemmJob]:
    """Jobs that compute the tile Z = X.W + start (``first``) or Z += X.W: one per entry of the leading dimensions. The
    last ones of a sum rectify it where ``relu``. ``start`` is a bias, [N], or has the shape of Z and lies like it.

    Innermost leading dimensions along which W stays, and X and Z simply go on, become more rows of the same job.

    Raises:
        TdcoError: an operand is contiguous along neither of its matrix dimensions, or the start along another than Z.
    """
    (m, k), n = x.shape[-2:], z.shape[-1]
    lead = len(z.shape) - 2
    y = start if first else z
    vector = y is not None and len(y.shape) == 1
    y_strides = (0,) * (lead + 2) if y is None else (0,) * (lead + 1) + y.strides if vector else y.strides
    every = (x.strides, w.strides, z.strides, y_strides)
    (xm, xk), (wk, wn), (zm, zn), (ym, yn) = (strides[-2:] for strides in every)
    steps = [strides[:-2] or (0,) * lead for strides in every]  # 0: W (or X, or Y) has no such dimension
    batch = [dim for dim in zip(z.shape[:lead], *steps, strict=True) if dim[0] > 1]
    while batch:
        extent, xb, wb, zb, yb = batch[-1]
        rows = (xb, zb, yb) if m == 1 else (xm, zm, ym)
        goes_on = wb == 0 and (xb, zb, yb) == (m * rows[0], m * rows[1], m * rows[2])
        if not (goes_on and line(m * extent, k, (rows[0], xk)) and line(m * extent, n, (rows[1], zn))):
            break
        m, (xm, zm, ym) = m * extent, rows
        batch.pop()

    x_line, trans_x = _require_line("X", x.ref, m, k, (xm, xk))
    w_line, trans_w = _require_line("W", w.ref, k, n, (wk, wn))
    z_line, trans_z = _require_line("Z", z.ref, m, n, (zm, zn))
    y_line, trans_y = yn if trans_z else 0, trans_z
    if y is not None and not vector:
        y_line, trans_y = _require_line("Y", y.ref, m, n, (ym, yn))
    if trans_y != trans_z:
        raise TdcoError("Y and Z are not stored in the same order", f"L1 buffers of {z.ref.buffer}")
    jobs = []
    for entry in itertools.product(*(range(dim[0]) for dim in batch)):
        x_at, w_at, z_at, y_at = (sum(i * dim[o] for i, dim in zip(entry, batch, strict=True)) for o in (1, 2, 3, 4))
        job = GemmJob(
            m=m,
            n=n,
            k=k,
            x=at(x.ref, x_at),
            w=at(w.ref, w_at),
            z=at(z.ref, z_at),
            y=at(y.ref, y_at) if y else None,
            x_stride=ELEMENT_BYTES * x_line,
            w_stride=ELEMENT_BYTES * w_line,
            z_stride=ELEMENT_BYTES * z_line,
            y_stride=ELEMENT_BYTES * y_line,
            trans_x=trans_x,
            trans_w=trans_w,
            trans_z=trans_z,
            y_column=vector and trans_z,
            relu=relu,
        )
        jobs.append(job)
    return jobs


def _require_line(what: str, ref: Ref, rows: int, cols: int, strides: tuple[int, ...]) -> tuple[int, bool]:
    form = line(rows, cols, strides)
    if form is None:
        raise TdcoError(
            f"a {rows}x{cols} matrix of strides {strides} has no contiguous dimension",
            f"{what} in L1 buffer {ref.buffer}",
            "copy it with Contiguous first",
        )
    return form


def rectifies(node: Node, tile: Tile) -> bool:
    """Whether the jobs of ``tile`` apply ``relu``: only those of the last one along K."""
    return tile.last and bool(node.attrs.get("relu"))


def lower(node: Node, tile: Tile) -> Sequence[GemmJob | KernelCall]:
    x, w = tile.inputs
    (z,) = tile.outputs
    assert x and w and z
    return product_jobs(x, w, z, None, tile.first, rectifies(node, tile))


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
            Sample((TensorType((13, 70)), TensorType((70, 18))), {"relu": 1}),
            Sample((TensorType((3, 1, 8)), TensorType((8, 10)))),
            Sample((TensorType((1, 1)), TensorType((1, 5)))),
            Sample((TensorType((4, 1)), TensorType((1, 5)))),
        ),
    ),
)
