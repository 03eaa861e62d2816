"""A loss scale that is state, so that it can change from step to step: its flags, and how it follows overflows.

Where the scale is 2^e, ``Finite`` says 1 + e instead of 1 for a gradient that may be applied, and an update multiplies
the gradient by 2^-e: the scale is a power of two, so no bit depends on which one it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..domain import Dim, Domain, Loop, Tile
from ..errors import TdcoError
from ..ir import Attrs, Node, TensorType
from ..program import KernelCall
from . import OpDef, Sample
from ._elementwise import Commands, refs, require_dtype, require_inputs, require_same_shape

LEAST, LARGEST = 1.0, 2.0**24
FLAG, SCALE, COUNTS = TensorType((1,), "i32"), TensorType((1,), "f32"), TensorType((2,), "i32")
MAX_FLAGS = 7
"""A kernel call has eight pointers."""


def flag_of(scale: np.ndarray) -> int:
    """What ``Finite`` says of a finite gradient at this scale: 1 + its exponent."""
    return 1 + int(np.log2(scale[0]))


def unscale(ok: np.ndarray) -> float:
    """What an update multiplies its gradient by, of a flag that is not 0."""
    return float(2.0 ** (1 - int(ok[0])))


def require_scale(type: TensorType) -> None:
    require_dtype(type, "scale", "f32")
    require_same_shape(type, "scale", SCALE, "a number")


def infer_all(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    """Of one to ``MAX_FLAGS`` flags: 1 where none is 0."""
    if not 1 <= len(types) <= MAX_FLAGS:
        raise TdcoError(f"takes 1 to {MAX_FLAGS} flags, not {len(types)}")
    for n, type in enumerate(types):
        require_dtype(type, f"flag {n}", "i32")
        require_same_shape(type, f"flag {n}", FLAG, "a flag")
    return (FLAG,)


def evaluate_all(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    return (np.array([all(ok[0] for ok in inputs)], np.int32),)


def domain(node: Node, inputs: Sequence[Any], outputs: Sequence[TensorType]) -> Domain:
    whole = tuple((Dim(),) if t is not None else None for t in (*inputs, *outputs))
    return Domain((Loop("d0", 1, "whole"),), whole)


def lower_all(node: Node, tile: Tile) -> Commands:
    return [KernelCall("tdco_all_i32", refs(*tile.inputs, *tile.outputs), (len(tile.inputs),))]


def infer(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    """attrs: every, good steps that double the scale, 0 for never (then nothing halves it either). Inputs: the scale, a
    power of two; counts of good and of skipped steps; whether all gradients were finite; and where given the counter of
    accumulated steps, which must be 0 for this one to count."""
    require_inputs(types[:3], "scale", "counts", "all")
    require_scale(types[0])
    require_dtype(types[1], "counts", "i32")
    require_same_shape(types[1], "counts", COUNTS, "two counters")
    for type, name in zip(types[2:], ("all", "count"), strict=False):
        if type is not None:
            require_dtype(type, name, "i32")
            require_same_shape(type, name, FLAG, "a flag")
    if attrs["every"] < 0:
        raise TdcoError(f"cannot double the scale after {attrs['every']} steps", hint="at least 1, or 0 for never")
    return (SCALE, COUNTS)


def evaluate(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    scale, counts, ok, count = (*inputs, None)[:4]
    value, good, skipped, every = float(scale[0]), int(counts[0]), int(counts[1]), attrs["every"]
    if count is None or not count[0]:
        good, skipped = (good + 1, skipped) if ok[0] else (0, skipped + 1)
        if every and not ok[0]:
            value = max(value / 2, min(value, LEAST))
        if every and good == every:
            good, value = 0, min(value * 2, max(value, LARGEST))
    return (np.array([value], scale.dtype), np.array([good, skipped], np.int32))


def lower(node: Node, tile: Tile) -> Commands:
    inputs = (*tile.inputs, None)[:4]
    operands = refs(*inputs, *tile.outputs)
    return [KernelCall("tdco_loss_scale_f32", operands, (node.attrs["every"],), (LEAST, LARGEST), writes=2)]


def flag(value: int) -> np.ndarray:
    return np.array([value], np.int32)


def sample(scale: float, good: int, ok: int, every: int, *count: np.ndarray) -> Sample:
    return Sample((np.array([scale], np.float32), np.array([good, 3], np.int32), flag(ok), *count), {"every": every})


OPS = (
    OpDef(
        name="All",
        infer=infer_all,
        eval=evaluate_all,
        domain=domain,
        lower=lower_all,
        samples=(
            Sample((flag(10), flag(1), flag(3))),
            Sample((flag(1),)),
            Sample((*(flag(2) for _ in range(6)), flag(0))),
        ),
    ),
    OpDef(
        name="LossScale",
        infer=infer,
        eval=evaluate,
        domain=domain,
        lower=lower,
        update=True,
        samples=(
            *(sample(512.0, good, ok, every) for good in (0, 4) for ok in (0, 1) for every in (0, 5)),
            *(sample(scale, 4, ok, 5) for scale, ok in ((1.0, 0), (2.0**24, 1), (2.0**23, 1))),
            *(sample(64.0, 4, 1, 5, flag(count)) for count in (0, 2)),
        ),
    ),
)
