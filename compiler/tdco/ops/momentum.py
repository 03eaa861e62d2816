"""Momentum: SGD with a running sum of gradients: v' = momentum . v + g, w' = w - lr . v' (as torch.optim.SGD)."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ..domain import Tile
from ..errors import TdcoError
from ..ir import Attrs, Node, TensorType
from ..program import KernelCall
from . import OpDef, Sample
from ._elementwise import (
    FLOATS,
    Commands,
    elementwise_domain,
    refs,
    require_dtype,
    require_inputs,
    require_same_shape,
)
from .loss_scale import unscale


def single(value: float) -> float:
    """``value`` as the device knows it: rounded to binary32."""
    return float(np.float32(value))


def require_update(master: TensorType, grad: TensorType, ok: TensorType) -> None:
    """What every update has in common: an fp32 master, a gradient of its shape, and a flag that is 0 to skip it."""
    require_dtype(master, "master", "f32")
    require_dtype(grad, "grad", *FLOATS)
    require_same_shape(master, "master", grad, "grad")
    require_dtype(ok, "ok", "i32")
    require_same_shape(ok, "ok", TensorType((1,), "i32"), "a flag")


def infer(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    """attrs: lr, momentum in [0, 1), loss_scale (default 1): what ``grad`` is too large by."""
    require_inputs(types, "master", "velocity", "grad", "ok")
    master, velocity, grad, ok = types
    require_update(master, grad, ok)
    require_dtype(velocity, "velocity", "f32")
    require_same_shape(velocity, "velocity", master, "master")
    if not 0 <= attrs["momentum"] < 1 or not attrs.get("loss_scale", 1.0) > 0:
        raise TdcoError(f"momentum {attrs['momentum']} must lie in [0, 1), and the loss scale above 0")
    return (master, velocity, TensorType(master.shape, "f16"))


def evaluate(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    master, velocity, grad, ok = inputs
    if ok[0]:
        velocity = single(attrs["momentum"]) * velocity + unscale(ok) * grad / attrs.get("loss_scale", 1.0)
        master = master - single(attrs["lr"]) * velocity
    return (master.copy(), velocity.copy(), master.copy())


def lower(node: Node, tile: Tile) -> Commands:
    master, _, grad, _ = tile.inputs
    assert master and grad
    floats = (1 / node.attrs.get("loss_scale", 1.0), node.attrs["momentum"], node.attrs["lr"])
    operands = refs(*tile.inputs, *tile.outputs)
    return [KernelCall(f"tdco_momentum_{grad.dtype}", operands, (prod(master.shape),), floats, writes=3)]


def sample(shape: tuple[int, ...], dtype: str, ok: int, loss_scale: float) -> Sample:
    state = TensorType(shape, "f32")
    attrs = {"lr": 0.01, "momentum": 0.9, "loss_scale": loss_scale}
    return Sample((state, state, TensorType(shape, dtype), np.array([ok], np.int32)), attrs)


OPS = (
    OpDef(
        name="Momentum",
        infer=infer,
        eval=evaluate,
        domain=elementwise_domain,
        lower=lower,
        update=True,
        samples=(
            sample((128, 128), "f16", 1, 256.0),
            sample((130,), "f32", 1, 512.0),
            sample((5, 7), "f16", 0, 1.0),
            sample((130,), "f16", 10, 1.0),
            sample((1,), "f32", 1, 1.0),
        ),
    ),
)
