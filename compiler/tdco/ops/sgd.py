"""SGD: a weight's fp32 master and its fp16 shadow, which the engine reads, take a step against the gradient.

``OuterSGD``: the same where the gradient is a column times a row, as of one sample; in fp32, and never stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, prod
from typing import Any

import numpy as np

from ..domain import Tile
from ..errors import TdcoError
from ..ir import Attrs, Node, TensorType
from ..program import KernelCall
from . import OpDef, Sample
from ._elementwise import FLOATS, Commands, elementwise_domain, refs, require_dtype, require_inputs, require_same_shape
from .loss_scale import unscale


def rate(attrs: Attrs) -> float:
    """What the scaled gradient is multiplied by: learning rate / loss scale, rounded to binary32.

    Raises:
        TdcoError: the loss scale is not positive, or the quotient is not a number.
    """
    lr, loss_scale = attrs["lr"], attrs.get("loss_scale", 1.0)
    if not loss_scale > 0 or not isfinite(lr / loss_scale):
        raise TdcoError(f"lr={lr} with loss_scale={loss_scale} is not a learning rate", hint="loss_scale must be > 0")
    return float(np.float32(lr / loss_scale))


def infer(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    """attrs: lr, loss_scale (default 1): what ``grad`` is too large by. ``ok`` 0 skips the step, see
    loss_scale.py."""
    require_inputs(types, "master", "grad", "ok")
    master, grad, ok = types
    require_dtype(master, "master", "f32")
    require_dtype(grad, "grad", *FLOATS)
    require_same_shape(master, "master", grad, "grad")
    require_dtype(ok, "ok", "i32")
    require_same_shape(ok, "ok", TensorType((1,), "i32"), "a flag")
    rate(attrs)
    return (master, TensorType(master.shape, "f16"))


def evaluate(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    """The shadow equals the master: eval does not round to storage."""
    master, grad, ok = inputs
    new = master - rate(attrs) * unscale(ok) * grad if ok[0] else master.copy()
    return (new, new)


def lower(node: Node, tile: Tile) -> Commands:
    master, grad, _ = tile.inputs
    assert master and grad
    operands = refs(*tile.inputs, *tile.outputs)
    return [KernelCall(f"tdco_sgd_{grad.dtype}", operands, (prod(master.shape),), (rate(node.attrs),), writes=2)]


def infer_outer(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    """The gradient of master [M,N] is a [M,1] times b [1,N]; a 0 in either of the two flags skips the step."""
    require_inputs(types, "master", "a", "b", "ok_a", "ok_b")
    master, a, b, *flags = types
    require_dtype(master, "master", "f32")
    require_dtype(a, "a", "f16")
    require_dtype(b, "b", "f16")
    if (a.shape[-1:], b.shape[:1]) != ((1,), (1,)) or master.shape != a.shape[:1] + b.shape[1:]:
        raise TdcoError(f"a must be [M,1] and b [1,N] for a master [M,N], but they are {a}, {b} and {master}")
    for flag in flags:
        require_dtype(flag, "ok", "i32")
        require_same_shape(flag, "ok", TensorType((1,), "i32"), "a flag")
    rate(attrs)
    return (master, TensorType(master.shape, "f16"))


def evaluate_outer(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    master, a, b, ok_a, ok_b = inputs
    new = master - rate(attrs) * (a * b) if ok_a[0] and ok_b[0] else master.copy()
    return (new, new)


def lower_outer(node: Node, tile: Tile) -> Commands:
    master = tile.inputs[0]
    assert master
    operands = refs(*tile.inputs, *tile.outputs)
    return [KernelCall("tdco_outer_sgd_f16", operands, master.shape, (rate(node.attrs),), writes=2)]


def flop_outer(inputs: Sequence[Any], outputs: Sequence[TensorType], attrs: Attrs) -> int:
    """Of the product that is the gradient."""
    return 2 * outputs[0].size


def sample_outer(m: int, n: int, ok_a: int = 1, ok_b: int = 1, first: float = 1.0) -> Sample:
    """A step of a master [m,n]; b begins with ``first``."""
    b = np.linspace(-1, 1, n).reshape(1, n)
    b[0, 0] = first
    flags = (np.array([ok], np.int32) for ok in (ok_a, ok_b))
    return Sample((TensorType((m, n), "f32"), TensorType((m, 1)), b, *flags), {"lr": 0.01, "loss_scale": 256.0})


def sample(shape: tuple[int, ...], dtype: str, ok: int, lr: float, loss_scale: float) -> Sample:
    flag = np.array([ok], np.int32)
    return Sample((TensorType(shape, "f32"), TensorType(shape, dtype), flag), {"lr": lr, "loss_scale": loss_scale})


OPS = (
    OpDef(
        name="SGD",
        infer=infer,
        eval=evaluate,
        domain=elementwise_domain,
        lower=lower,
        update=True,
        samples=(
            sample((128, 128), "f16", 1, 0.01, 256.0),
            sample((128,), "f32", 1, 0.01, 1024.0),
            sample((5, 7), "f16", 0, 0.5, 1.0),
            sample((130,), "f16", 9, 0.5, 1.0),
            sample((1,), "f32", 1, 0.5, 1.0),
            Sample((TensorType((3,), "f32"), np.array([np.inf, np.nan, 1]), np.zeros(1, np.int32)), {"lr": 1.0}),
        ),
    ),
    OpDef(
        name="OuterSGD",
        infer=infer_outer,
        eval=evaluate_outer,
        domain=elementwise_domain,
        lower=lower_outer,
        flop=flop_outer,
        update=True,
        samples=(
            sample_outer(128, 128),
            sample_outer(13, 40),
            sample_outer(5, 7, ok_b=0, first=np.nan),
            sample_outer(3, 32, ok_a=0),
            sample_outer(1, 1),
        ),
    ),
)
