"""ReduceSum: sums over some dimensions, in fp32 and in a fixed order; and what ReduceMean shares with it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from math import prod
from typing import Any

import numpy as np

from ..domain import Dim, Domain, Loop, Operand, Tile
from ..errors import TdcoError
from ..ir import Attrs, Builder, Node, TensorType
from ..program import GemmJob, KernelCall
from . import OpDef, Sample
from ._elementwise import require_inputs

FLOATS = ("f16", "f32")


def kept_shape(shape: Sequence[int], axes: Sequence[int], keepdims: int) -> tuple[int, ...]:
    """``shape`` with ``axes`` reduced to 1, or removed."""
    return tuple(1 if d in axes else n for d, n in enumerate(shape) if keepdims or d not in axes)


def infer(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    """attrs: axes (ascending, not negative), keepdims (default 1), dtype of the result (default: as x)."""
    require_inputs(types, "X")
    (x,) = types
    axes = tuple(attrs["axes"])
    dtype = attrs.get("dtype", x.dtype)
    if x.dtype not in FLOATS or dtype not in FLOATS:
        raise TdcoError(f"sums of {x} into {dtype} are not supported", hint="both must be f16 or f32")
    if not axes or list(axes) != sorted(set(axes)) or not 0 <= axes[0] <= axes[-1] < len(x.shape):
        raise TdcoError(f"axes {axes} must be ascending dimensions of {x}", hint="give every reduced axis once")
    if len(groups(x.shape, axes)) > 5:
        raise TdcoError(f"axes {axes} of {x} fall into more than two separate runs", hint="reduce in two steps")
    return (TensorType(kept_shape(x.shape, axes, attrs.get("keepdims", 1)), dtype),)


def evaluate(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    keepdims = bool(attrs.get("keepdims", 1))
    return (np.asarray(np.sum(inputs[0], axis=tuple(attrs["axes"]), keepdims=keepdims)),)


def spread(b: Builder, node: Node, dy: str) -> str:
    """``dy`` repeated along the reduced dimensions."""
    x = node.inputs[0]
    shape = b.type(x).shape
    kept = kept_shape(shape, node.attrs["axes"], 1)
    if b.type(dy).shape != kept:
        dy = b.add1("Reshape", [dy], {"shape": kept}, f"{x}.grad.kept", node.source)
    return b.add1("Expand", [dy], {"shape": shape}, f"{x}.grad", node.source)


def grad(b: Builder, node: Node, dys: Sequence[str | None], wanted: Sequence[bool]) -> Sequence[str | None]:
    return (spread(b, node, dys[0]) if dys[0] and wanted[0] else None,)


def domain(node: Node, inputs: Sequence[Any], outputs: Sequence[TensorType]) -> Domain:
    """The first reduced dimension may be split only where partial sums survive in fp32; the others never, for then
    the order of the additions would depend on the tiles. Then columns stay together, since cores share them."""
    axes, shape = node.attrs["axes"], inputs[0].shape
    first = "reduce" if outputs[0].dtype == "f32" else "whole"
    kinds = [("whole" if d != axes[0] else first) if d in axes else "parallel" for d in range(len(shape))]
    if first == "reduce" and len(shape) - len(axes) == 1:
        kinds = ["whole" if kind == "parallel" else kind for kind in kinds]
    loops = tuple(Loop(f"d{d}", n, kind) for d, (n, kind) in enumerate(zip(shape, kinds, strict=True)))
    x = tuple(Dim(loop.name) for loop in loops)
    if node.attrs.get("keepdims", 1):
        z = tuple(Dim(None if d in axes else f"d{d}") for d in range(len(shape)))
    else:
        z = tuple(Dim(f"d{d}") for d in range(len(shape)) if d not in axes)
    return Domain(loops, (x, z))


def groups(shape: Sequence[int], axes: Sequence[int]) -> list[int]:
    """Extents of alternately kept and reduced runs of dimensions, beginning with a kept one; ones do not count."""
    dims = [(d in axes, n) for d, n in enumerate(shape) if n != 1]
    runs = [(reduced, prod(n for _, n in run)) for reduced, run in groupby(dims, key=lambda dim: dim[0])]
    return [1] * bool(runs and runs[0][0]) + [n for _, n in runs]


def reduce_call(axes: Sequence[int], x: Operand, z: Operand, first: bool, scale: float) -> KernelCall:
    extents = groups(x.shape, axes)
    extents += [1] * (5 - len(extents))
    return KernelCall(f"tdco_reduce_{x.dtype}_{z.dtype}", (x.ref, z.ref), (*extents, int(first)), (scale,))


def lower(node: Node, tile: Tile) -> Sequence[GemmJob | KernelCall]:
    (x,), (z,) = tile.inputs, tile.outputs
    assert x and z
    return [reduce_call(node.attrs["axes"], x, z, tile.first, 1.0)]


SAMPLES = (
    Sample((TensorType((1, 16, 16, 64)),), {"axes": (0, 1, 2), "keepdims": 0, "dtype": "f32"}),
    Sample((TensorType((6, 5)),), {"axes": (0,), "keepdims": 0, "dtype": "f32"}),
    Sample((TensorType((6, 5)),), {"axes": (1,), "keepdims": 1}),
    Sample((TensorType((2, 3, 4, 5)),), {"axes": (0, 2), "keepdims": 0, "dtype": "f32"}),
    Sample((TensorType((2, 3, 4, 5)),), {"axes": (1, 3), "keepdims": 1}),
    Sample((TensorType((3, 1, 4), "f32"),), {"axes": (0, 1, 2), "keepdims": 0}),
    Sample((TensorType((8, 12)),), {"axes": (0,), "keepdims": 0, "dtype": "f32"}),
    Sample((TensorType((7, 3), "f32"),), {"axes": (0,), "keepdims": 0, "dtype": "f16"}),
)

OPS = (OpDef(name="ReduceSum", infer=infer, eval=evaluate, grad=grad, domain=domain, lower=lower, samples=SAMPLES),)
