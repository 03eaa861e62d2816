"""SGD on fp16 weights without a master: HalfSGD rounds to nearest, KahanSGD carries what rounding lost to the next
step, StochasticSGD rounds up or down by chance, with bits that depend on seed, step and element alone.

``Factor`` prepares a factor of a gradient for GemmUpdate, by which the engine adds a product to the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ..domain import Domain, Operand, Tile
from ..errors import TdcoError
from ..ir import Attrs, Node, TensorType
from ..program import KernelCall
from . import OpDef, Sample
from ._elementwise import FLOATS, Commands, elementwise_domain, refs, require_dtype, require_inputs, require_same_shape
from .loss_scale import unscale
from .sgd import rate

FLAG = TensorType((1,), "i32")


def _require(types: Sequence[Any], attrs: Attrs, *names: str) -> TensorType:
    """Checks w, the inputs ``names`` behind it (a carry of its type, grad, flags); returns the type of w."""
    require_inputs(types, "w", *names)
    w, *others = types
    require_dtype(w, "w", "f16")
    for type, name in zip(others, names, strict=True):
        if name in ("ok", "step"):
            require_dtype(type, name, "i32")
            require_same_shape(type, name, FLAG, "a flag")
        else:
            require_dtype(type, name, *(FLOATS if name == "grad" else ("f16",)))
            require_same_shape(w, "w", type, name)
    rate(attrs)
    return w


def infer_half(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    """attrs: lr, loss_scale (default 1). ``ok`` 0 skips the step, see loss_scale.py."""
    return (_require(types, attrs, "grad", "ok"),)


def infer_kahan(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    """As ``infer_half``; the carry is what the next step adds to its own."""
    w = _require(types, attrs, "carry", "grad", "ok")
    return (w, w)


def infer_stochastic(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    """As ``infer_half``; attrs: seed, of this tensor. ``step`` counts steps."""
    w = _require(types, attrs, "grad", "ok", "step")
    if len(w.shape) > 4:
        raise TdcoError(f"w is {w}, but at most four dimensions are supported")
    return (w,)


def stepped(w: np.ndarray, grad: np.ndarray, ok: np.ndarray, attrs: Attrs) -> np.ndarray:
    return w - rate(attrs) * unscale(ok) * grad if ok[0] else w.copy()


def evaluate_half(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    w, grad, ok, *_ = inputs
    return (stepped(w, grad, ok, attrs),)


def evaluate_kahan(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    """Where nothing is rounded, nothing is left to carry."""
    w, carry, grad, ok = inputs
    return (stepped(w + carry, grad, ok, attrs), np.zeros_like(w)) if ok[0] else (w.copy(), carry.copy())


def _call(kind: str, node: Node, tile: Tile, grad: Operand | None, ints: tuple[int, ...] = ()) -> Commands:
    assert grad
    operands = refs(*tile.inputs, *tile.outputs)
    symbol = f"tdco_{kind}_sgd_{grad.dtype}"
    return [
        KernelCall(symbol, operands, (prod(grad.shape), *ints), (rate(node.attrs),), writes=len(tile.outputs)),
    ]


def lower_half(node: Node, tile: Tile) -> Commands:
    return _call("half", node, tile, tile.inputs[1])


def lower_kahan(node: Node, tile: Tile) -> Commands:
    return _call("kahan", node, tile, tile.inputs[2])


def places(w: Operand) -> tuple[int, ...]:
    """Index in the whole tensor of the first element of a tile, extents of its three inner dimensions, and the whole
    tensor's steps along the three outer ones; dimensions that the tile has whole are one with the one before."""
    groups: list[tuple[int, int]] = []
    step, base, open_run = 1, 0, True
    for start, extent, full in reversed([*zip(w.start, w.shape, w.full, strict=True)]):
        if groups and open_run:
            groups[0] = (groups[0][0] * extent, groups[0][1])
        else:
            groups.insert(0, (extent, step))
        open_run = extent == full
        base, step = base + start * step, step * full
    groups = [(1, 0)] * (4 - len(groups)) + groups
    return (base, *(n for n, _ in groups[1:]), *(s for _, s in groups[:3]))


def lower_stochastic(node: Node, tile: Tile) -> Commands:
    w, grad = tile.inputs[:2]
    assert w
    return _call("stochastic", node, tile, grad, (node.attrs["seed"], *places(w)))


def infer_factor(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    """attrs: rate. Both flags 1: rate . x, else zeros."""
    require_inputs(types, "x", "ok_a", "ok_b")
    x, *flags = types
    require_dtype(x, "x", "f16")
    for flag in flags:
        require_dtype(flag, "ok", "i32")
        require_same_shape(flag, "ok", FLAG, "a flag")
    return (x,)


def evaluate_factor(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, ok_a, ok_b = inputs
    return (attrs["rate"] * x if ok_a[0] and ok_b[0] else np.zeros_like(x),)


def lower_factor(node: Node, tile: Tile) -> Commands:
    z = tile.outputs[0]
    assert z
    operands = refs(*tile.inputs, *tile.outputs)
    return [KernelCall("tdco_factor_f16", operands, (prod(z.shape),), (node.attrs["rate"],))]


def domain(node: Node, inputs: Sequence[Any], outputs: Sequence[TensorType]) -> Domain:
    return elementwise_domain(node, inputs, outputs)


def flag(value: int) -> np.ndarray:
    return np.array([value], np.int32)


ATTRS = {"lr": 0.5, "loss_scale": 512.0}
CASES = (((128, 128), "f16", 1), ((130,), "f32", 1), ((5, 7), "f16", 0), ((3, 3, 4, 6), "f16", 10))

OPS = (
    OpDef(
        name="HalfSGD",
        infer=infer_half,
        eval=evaluate_half,
        domain=domain,
        lower=lower_half,
        update=True,
        samples=tuple(Sample((TensorType(s), TensorType(s, d), flag(ok)), ATTRS) for s, d, ok in CASES),
    ),
    OpDef(
        name="KahanSGD",
        infer=infer_kahan,
        eval=evaluate_kahan,
        domain=domain,
        lower=lower_kahan,
        update=True,
        samples=tuple(
            Sample((TensorType(s), TensorType(s), TensorType(s, d), flag(ok)), ATTRS, 0.1) for s, d, ok in CASES
        ),
    ),
    OpDef(
        name="StochasticSGD",
        infer=infer_stochastic,
        eval=evaluate_half,
        domain=domain,
        lower=lower_stochastic,
        update=True,
        samples=tuple(
            Sample((TensorType(s), TensorType(s, d), flag(ok), flag(3)), {**ATTRS, "seed": 7}) for s, d, ok in CASES
        ),
    ),
    OpDef(
        name="Factor",
        infer=infer_factor,
        eval=evaluate_factor,
        domain=domain,
        lower=lower_factor,
        samples=tuple(
            Sample((TensorType((9, 14)), flag(a), flag(b)), {"rate": r}) for a, b, r in ((1, 1, 0.25), (1, 1, -0.01))
        ),
    ),
)
