"""AdamW (Loshchilov and Hutter, arXiv:1711.05101) as torch.optim.AdamW has it, and the step counter of its rates.

With g the gradient: m' = b1 m + (1-b1) g, v' = b2 v + (1-b2) g^2 and
w' = (1 - lr decay) w - lr / (1-b1^t) . m' / (sqrt(v' / (1-b2^t)) + epsilon).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from ..domain import Dim, Domain, Loop, Tile
from ..errors import TdcoError
from ..ir import Attrs, Node, TensorType
from ..program import KernelCall
from . import OpDef, Sample
from ._elementwise import Commands, elementwise_domain, refs, require_dtype, require_inputs, require_same_shape
from .loss_scale import unscale
from .momentum import require_update, single

RATES = 5
"""1 - b1^t, 1 - b2^t, lr / (1 - b1^t), 1 / (1 - b2^t), 1 - lr . decay."""


def require_rates(type: TensorType) -> None:
    require_dtype(type, "rates", "f32")
    require_same_shape(type, "rates", TensorType((RATES,), "f32"), "five numbers")


def infer_rates(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    """attrs: lr, beta1, beta2, weight_decay. Input ``rates``, all zero before the first step, and where given
    ``count`` i32[1]: the step counts only where it is 0."""
    require_inputs(types[:1], "rates")
    require_rates(types[0])
    if len(types) > 1 and types[1] is not None:
        require_same_shape(types[1], "count", TensorType((1,), "i32"), "a counter")
    if not (0 <= attrs["beta1"] < 1 and 0 <= attrs["beta2"] < 1):
        raise TdcoError(f"beta1 {attrs['beta1']} and beta2 {attrs['beta2']} must lie in [0, 1)")
    return (types[0],)


def evaluate_rates(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    rates, count = (*inputs, None)[:2]
    if count is not None and count[0]:
        return (rates.copy(),)
    beta1, beta2, lr = single(attrs["beta1"]), single(attrs["beta2"]), single(attrs["lr"])
    first, second = (1 - beta1) + beta1 * rates[0], (1 - beta2) + beta2 * rates[1]
    decay = 1 - lr * single(attrs["weight_decay"])
    return (np.array([first, second, lr / first, 1 / second, decay], rates.dtype),)


def domain_rates(node: Node, inputs: Sequence[Any], outputs: Sequence[TensorType]) -> Domain:
    whole = (Dim(),)
    return Domain((Loop("d0", RATES, "whole"),), (*(whole if t is not None else None for t in inputs), whole))


def lower_rates(node: Node, tile: Tile) -> Commands:
    rates, count = (*tile.inputs, None)[:2]
    floats = tuple(float(node.attrs[name]) for name in ("lr", "beta1", "beta2", "weight_decay"))
    return [KernelCall("tdco_adamw_rates_f32", refs(rates, count, *tile.outputs), (), floats)]


def infer(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    """attrs: beta1, beta2, epsilon, loss_scale (default 1). ``moments`` holds m and v, one behind the other."""
    require_inputs(types, "master", "moments", "grad", "ok", "rates")
    master, moments, grad, ok, rates = types
    require_update(master, grad, ok)
    require_rates(rates)
    require_dtype(moments, "moments", "f32")
    require_same_shape(moments, "moments", TensorType((2, *master.shape), "f32"), "two of the master")
    return (master, moments, TensorType(master.shape, "f16"))


def evaluate(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    master, moments, grad, ok, rates = inputs
    if ok[0]:
        beta1, beta2 = single(attrs["beta1"]), single(attrs["beta2"])
        g = unscale(ok) * grad / attrs.get("loss_scale", 1.0)
        m, v = beta1 * moments[0] + (1 - beta1) * g, beta2 * moments[1] + (1 - beta2) * g * g
        master = rates[4] * master - rates[2] * m / (np.sqrt(v * rates[3]) + single(attrs["epsilon"]))
        moments = np.stack([m, v])
    return (master.copy(), moments.copy(), master.copy())


def domain(node: Node, inputs: Sequence[Any], outputs: Sequence[TensorType]) -> Domain:
    """Element by element: a tile has its own m and v, and all rates."""
    shape = outputs[0].shape
    plain = elementwise_domain(node, [inputs[0], inputs[2]], [outputs[0]])
    element = tuple(Dim(f"d{d}") for d in range(len(shape)))
    moments, whole = (Dim(), *element), (Dim(),)
    return replace(plain, operands=(element, moments, element, whole, whole, element, moments, element))


def lower(node: Node, tile: Tile) -> Commands:
    master, _, grad, *_ = tile.inputs
    assert master and grad
    attrs = node.attrs
    floats = (1 / attrs.get("loss_scale", 1.0), attrs["beta1"], attrs["beta2"], attrs["epsilon"])
    operands = refs(*tile.inputs, *tile.outputs)
    return [KernelCall(f"tdco_adamw_{grad.dtype}", operands, (prod(master.shape),), floats, writes=3)]


BETAS = {"beta1": 0.9, "beta2": 0.999}


def rates_after(steps: int) -> np.ndarray:
    first, second, lr = 1 - BETAS["beta1"] ** steps, 1 - BETAS["beta2"] ** steps, 0.001
    return np.array([first, second, lr / first, 1 / second, 1 - lr * 0.01] if steps else [0] * RATES, np.float32)


def sample(shape: tuple[int, ...], dtype: str, ok: int, steps: int) -> Sample:
    rng = np.random.default_rng(steps)
    moments = np.stack([rng.normal(size=shape), rng.uniform(size=shape)]).astype(np.float32)
    moments[1].flat[0] = 0
    inputs = (
        TensorType(shape, "f32"), moments, TensorType(shape, dtype), np.array([ok], np.int32), rates_after(steps)
    )  # fmt: skip
    return Sample(inputs, {**BETAS, "epsilon": 1e-8, "loss_scale": 256.0})


OPS = (
    OpDef(
        name="AdamW",
        infer=infer,
        eval=evaluate,
        domain=domain,
        lower=lower,
        update=True,
        samples=(
            sample((64, 128), "f16", 1, 1),
            sample((130,), "f32", 1, 1000),
            sample((5, 7), "f16", 0, 3),
            sample((130,), "f16", 10, 3),
            sample((1,), "f32", 1, 3),
        ),
    ),
    OpDef(
        name="AdamWRates",
        infer=infer_rates,
        eval=evaluate_rates,
        domain=domain_rates,
        lower=lower_rates,
        update=True,
        samples=tuple(
            Sample((rates_after(steps), *count), {**BETAS, "lr": 0.001, "weight_decay": 0.01})
            for steps in (0, 1, 1000)
            for count in ((), (np.array([0], np.int32),), (np.array([1], np.int32),))
        ),
    ),
)
