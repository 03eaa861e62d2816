"""Finite: 1 if every element of a gradient is finite, else 0. What the update of a weight is skipped by.

With the loss scale as a second input it says 1 + the scale's exponent, see loss_scale.py.

With the attribute ``engine`` the gradient is a product's: while no job of the step stored an infinity or NaN, which the
engine's sticky flag tells, nobody looks at it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ..domain import Dim, Domain, Loop, Tile
from ..ir import Attrs, Node, TensorType
from ..program import KernelCall
from . import OpDef, Sample
from ._elementwise import FLOATS, Commands, refs, require_dtype, require_inputs
from .loss_scale import flag_of, require_scale

SCAN, PRODUCT = "tdco_finite_f16", "tdco_finite_product_f16"
"""Of any gradient, and of one that the engine computed."""
ALONE_ELEMENTS = 256
"""Up to which one core looks at all of them sooner than a call of its own sets the answer that all cores may clear."""


def infer(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    require_inputs(types[:1], "grad")
    require_dtype(types[0], "grad", *FLOATS)
    for scale in types[1:]:
        require_scale(scale)
    return (TensorType((1,), "i32"),)


def evaluate(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    good = flag_of(inputs[1]) if len(inputs) > 1 else 1
    return (np.array([good * np.isfinite(inputs[0]).all()], np.int32),)


def domain(node: Node, inputs: Sequence[Any], outputs: Sequence[TensorType]) -> Domain:
    loops = tuple(Loop(f"d{d}", n, "reduce") for d, n in enumerate(inputs[0].shape))
    return Domain(loops, (tuple(Dim(loop.name) for loop in loops), *[(Dim(),)] * len(inputs)))


def lower(node: Node, tile: Tile) -> Commands:
    (x, *scale), (ok,) = tile.inputs, tile.outputs
    assert x and ok
    symbol = PRODUCT if node.attrs.get("engine") else SCAN if x.dtype == "f16" else "tdco_finite_f32"
    alone = tile.first and tile.last and not scale and prod(x.shape) <= ALONE_ELEMENTS
    scan = KernelCall(symbol, (x.ref, ok.ref), (prod(x.shape), int(alone)))
    begin = KernelCall("tdco_scaled_begin_f32" if scale else "tdco_finite_begin", refs(*scale, ok))
    return [begin, scan] if tile.first and not alone else [scan]


def planted(dtype: type[np.floating], value: float, at: int) -> np.ndarray:
    """[5,7] of the largest finite value, but ``value`` at one place."""
    x = np.full(35, np.finfo(dtype).max, dtype)
    x[at] = value
    return x.reshape(5, 7)


OPS = (
    OpDef(
        name="Finite",
        infer=infer,
        eval=evaluate,
        domain=domain,
        lower=lower,
        samples=(
            Sample((TensorType((128, 128)),)),
            Sample((TensorType((128,), "f32"),)),
            Sample((TensorType((1,)),)),
            Sample((planted(np.float16, np.inf, 20),), {"engine": 1}),
            Sample((TensorType((20, 13)),)),
            *(Sample((TensorType((128,)), np.array([scale], np.float32))) for scale in (1.0, 512.0, 2.0**24)),
            Sample((planted(np.float16, np.nan, 20), np.array([512.0], np.float32))),
            *(
                Sample((planted(dtype, value, at),))
                for dtype in (np.float16, np.float32)
                for value, at in ((0.0, 0), (np.inf, 0), (-np.inf, 34), (np.nan, 17))
            ),
        ),
    ),
)
