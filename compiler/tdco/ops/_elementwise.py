"""What operators have in common that work element by element, or row by row along the last dimension."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from math import prod
from typing import Any

import numpy as np

from ..domain import Dim, Domain, Loop, Operand, Tile
from ..errors import TdcoError
from ..ir import Attrs, Builder, Node, TensorType
from ..program import GemmJob, KernelCall, Ref

FLOATS = ("f16", "f32")
Commands = Sequence[GemmJob | KernelCall]


def require_inputs(types: Sequence[Any], *names: str) -> None:
    """Raises TdcoError unless there is exactly one input per name."""
    if len(types) != len(names) or None in types:
        given = sum(t is not None for t in types)
        raise TdcoError(f"needs {len(names)} input(s), {', '.join(names)}, but got {given}")


def require_dtype(type: TensorType, name: str, *dtypes: str) -> None:
    if type.dtype not in dtypes:
        raise TdcoError(f"{name} is {type}, but only {' or '.join(dtypes)} is supported", hint="store it so")


def require_same_shape(a: TensorType, a_name: str, b: TensorType, b_name: str) -> None:
    if a.shape != b.shape:
        raise TdcoError(f"{a_name} is {a} and {b_name} is {b}, but both must have the same shape")


def require_last_axis(type: TensorType, attrs: Attrs) -> None:
    """Raises TdcoError unless ``axis`` (default -1) is the last dimension of ``type``, and not an empty one."""
    rank, axis = len(type.shape), attrs.get("axis", -1)
    if not rank or axis not in (-1, rank - 1):
        raise TdcoError(f"axis {axis} of {type} is not its last dimension", hint="transpose it to the end")
    if type.shape[-1] == 0:
        raise TdcoError(f"the last dimension of {type} is empty")


def same_type_infer(*names: str) -> Callable[[Sequence[Any], Attrs], tuple[TensorType, ...]]:
    """``infer`` of operators whose inputs, called ``names``, and output are all f16 and of one shape."""

    def infer(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
        require_inputs(types, *names)
        for type, name in zip(types, names, strict=True):
            require_dtype(type, name, "f16")
            require_same_shape(types[0], names[0], type, name)
        return (types[0],)

    return infer


def broadcast_shape(a: TensorType, b: TensorType) -> tuple[int, ...]:
    """The shape of ``a op b`` by numpy's rules; raises TdcoError where they do not fit."""
    try:
        return np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        hint = "dimensions, aligned at the last one, must be equal or 1"
        raise TdcoError(f"shapes of {a} and {b} do not broadcast", hint=hint) from None


def broadcast_dims(shape: tuple[int, ...], over: tuple[int, ...]) -> tuple[Dim, ...]:
    """How an operand of ``shape``, broadcast over the loops d0, d1, .. of ``over``, follows them."""
    skipped = len(over) - len(shape)
    return tuple(Dim(f"d{d + skipped}" if n == over[d + skipped] else None) for d, n in enumerate(shape))


def elementwise_domain(node: Node, inputs: Sequence[Any], outputs: Sequence[TensorType]) -> Domain:
    """A parallel loop per dimension of the first output, which every operand is broadcast over."""
    over = outputs[0].shape
    loops = tuple(Loop(f"d{d}", n) for d, n in enumerate(over))
    return Domain(loops, tuple(broadcast_dims(t.shape, over) for t in (*inputs, *outputs)))


def row_domain(*parts: str) -> Callable[[Node, Sequence[Any], Sequence[TensorType]], Domain]:
    """``domain`` of row operators: a parallel loop per dimension of the first input but the last, which is whole.

    ``parts`` says of every operand, inputs before outputs, what it is: "rows", one "value" per row, or one "vector" as
    long as a row. (Shapes do not tell: there may be as many rows as columns.)
    """

    def domain(node: Node, inputs: Sequence[Any], outputs: Sequence[TensorType]) -> Domain:
        *lead, last = (Loop(f"d{d}", n) for d, n in enumerate(inputs[0].shape))
        loops = (*lead, Loop(last.name, last.extent, "whole"))
        every = tuple(Dim(loop.name) for loop in loops)
        dims = {"rows": every, "value": every[:-1], "vector": every[-1:]}
        return Domain(loops, tuple(dims[part] for part in parts))

    return domain


def refs(*operands: Operand | None) -> tuple[Ref | None, ...]:
    return tuple(o.ref if o else None for o in operands)


def elementwise_lower(symbol: str) -> Callable[[Node, Tile], Commands]:
    """One call of ``symbol``: all operands in order, and the number of elements. All operands have one shape."""

    def lower(node: Node, tile: Tile) -> Commands:
        count = prod(_output(tile).shape)
        return [KernelCall(symbol, refs(*tile.inputs, *tile.outputs), (count,), writes=len(tile.outputs))]

    return lower


def row_sizes(x: Operand) -> tuple[int, int]:
    """(rows, elements of a row) of a dense tile."""
    return prod(x.shape[:-1]), x.shape[-1]


def _output(tile: Tile) -> Operand:
    (output,) = tile.outputs[:1]
    assert output
    return output


def broadcast_groups(a: Sequence[int], b: Sequence[int], out: Sequence[int]) -> list[tuple[int, int, int]]:
    """(extent, stride of a, stride of b) of the fewest loops, outermost first, that walk ``a op b``, all row-major.

    Shapes are aligned at the last dimension; neighbouring dimensions that broadcast alike are one loop.
    """

    def aligned(shape: Sequence[int]) -> list[int]:
        return [1] * (len(out) - len(shape)) + list(shape)

    dims = [(n, x != 1, y != 1) for n, x, y in zip(out, aligned(a), aligned(b), strict=True) if n != 1]
    runs = [(prod(n for n, _, _ in run), *used) for used, run in groupby(dims, key=lambda dim: dim[1:])]
    groups: list[tuple[int, int, int]] = []
    a_step = b_step = 1
    for n, in_a, in_b in reversed(runs):
        groups.insert(0, (n, a_step * in_a, b_step * in_b))
        a_step, b_step = a_step * (n if in_a else 1), b_step * (n if in_b else 1)
    return groups


MAX_GROUPS = 3
"""Nested loops of the kernels that broadcast."""


def broadcast_infer(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    """Type of ``a op b``: numpy's broadcast shape, stored like ``a``."""
    require_inputs(types, "a", "b")
    for type, name in zip(types, "ab", strict=True):
        require_dtype(type, name, *FLOATS)
    a, b = types
    shape = broadcast_shape(a, b)
    if len(broadcast_groups(a.shape, b.shape, shape)) > MAX_GROUPS:
        raise TdcoError(
            f"{a} and {b} broadcast in more than {MAX_GROUPS} alternating runs of dimensions",
            hint="expand one of them along some dimension first",
        )
    return (TensorType(shape, a.dtype),)


def broadcast_lower(op: str) -> Callable[[Node, Tile], Commands]:
    """One call of ``tdco_<op>_<format of a>_<format of b>`` on a, b and the output, with extents and strides."""

    def lower(node: Node, tile: Tile) -> Commands:
        a, b = tile.inputs
        z = _output(tile)
        assert a and b
        groups = broadcast_groups(a.shape, b.shape, z.shape)
        groups = [(1, 0, 0)] * (MAX_GROUPS - len(groups)) + groups
        extents, a_strides, b_strides = zip(*groups, strict=True)
        return [KernelCall(f"tdco_{op}_{a.dtype}_{b.dtype}", refs(a, b, z), (*extents, *a_strides, *b_strides))]

    return lower


def unbroadcast(b: Builder, node: Node, dy: str, name: str) -> str:
    """``dy`` summed over the dimensions along which input ``name`` of ``node`` was broadcast.

    The sum is stored as f32 where it is the gradient of a parameter: fp16 would lose its small contributions.
    """
    shape, full = b.type(name).shape, b.type(dy).shape
    if shape == full:
        return dy
    skipped = len(full) - len(shape)
    axes = tuple(d for d, n in enumerate(full) if n != 1 and (d < skipped or shape[d - skipped] == 1))
    hint = f"{name}.grad"
    if axes:
        parameter = name in b.state or name in b.constants
        attrs: dict[str, Any] = {"axes": axes, "keepdims": 1, "dtype": "f32" if parameter else b.type(name).dtype}
        dy = b.add1("ReduceSum", [dy], attrs, hint, node.source)
    if b.type(dy).shape != shape:
        dy = b.add1("Reshape", [dy], {"shape": shape}, hint, node.source)
    return dy
