"""Optimizers: what state they keep beside a weight's fp32 master, and which nodes apply a gradient."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from math import frexp
from typing import Any
from zlib import crc32

import numpy as np

from .errors import TdcoError
from .ir import Builder
from .ops.adamw import RATES
from .ops.loss_scale import LARGEST, LEAST, MAX_FLAGS

MASTER, VELOCITY, MOMENTS, SUM, CARRY = SLOTS = ".master", ".velocity", ".moments", ".sum", ".carry"
ADAMW_RATES, COUNT, STEPS = "adamw.rates", "accumulate.count", "stochastic.steps"
SCALE, SCALE_COUNTS = "loss_scale", "loss_scale.counts"
"""State of a loss scale that may change: the scale, and its counts of good and of skipped steps."""
FORMS = "sgd, momentum=0.9 or adamw (with weight decay: adamw=0.01); sgd,update=fp16|kahan|stochastic: no fp32 master"
UPDATES = ("fp32", "fp16", "kahan", "stochastic")
"""What rounding does to a weight: nothing (an fp32 master), all it can, or less by a carry or by chance."""
LEARNING_RATE = {"sgd": 0.01, "momentum": 0.01, "adamw": 0.001}
DYNAMIC_SCALE, GOOD_STEPS = 65536.0, 200
"""Of a dynamic loss scale: where it begins, and after how many good steps it doubles."""
BETA1, BETA2, EPSILON, DECAY = 0.9, 0.999, 1e-8, 0.01
"""AdamW's, as in torch."""


@dataclass(frozen=True)
class Optimizer:
    """``kind``: a key of ``LEARNING_RATE``. ``factor``: the momentum, or AdamW's weight decay. ``update``: of
    ``UPDATES``."""

    kind: str
    factor: float = 0.0
    update: str = "fp32"

    @property
    def learning_rate(self) -> float:
        """The default."""
        return LEARNING_RATE[self.kind]


def parse(text: str) -> Optimizer:
    """The optimizer of ``sgd``, ``momentum=0.9``, ``adamw`` or ``adamw=0.01``; of ``sgd,update=fp16`` and the like.

    Raises:
        TdcoError: it is none of these.
    """
    form, _, option = text.partition(",")
    kind, _, number = form.partition("=")
    update = option.removeprefix("update=") if option.startswith("update=") else "" if "," in text else "fp32"
    defaults = {"sgd": 0.0, "momentum": None, "adamw": DECAY}
    try:
        factor = float(number) if number else defaults[kind]
    except (KeyError, ValueError):
        factor = None
    limit = {"sgd": 0.0, "momentum": 1.0, "adamw": float("inf")}.get(kind, 0.0)
    known = update == "fp32" or (update in UPDATES and kind == "sgd")
    if factor is None or not 0 <= factor < max(limit, 1e-30) or not known:
        raise TdcoError(f"optimizer {text!r} is not supported", hint=f"supported: {FORMS}")
    return Optimizer(kind, factor, update)


def parse_scale(text: str) -> tuple[float, int]:
    """(first loss scale, good steps that double it, 0 for never) of ``512``, ``dynamic`` or ``dynamic=512``.

    Raises:
        TdcoError: it is none of these.
    """
    kind, _, number = text.partition("=")
    dynamic = kind == "dynamic"
    try:
        scale = float(number) if number else DYNAMIC_SCALE if dynamic else float(text)
    except ValueError:
        scale = 0.0
    if not LEAST <= scale <= LARGEST or frexp(scale)[0] != 0.5:
        hint = f"a power of two from {LEAST:g} to {LARGEST:.0f}, dynamic, or dynamic=FIRST"
        raise TdcoError(f"loss scale {text!r} is not supported", hint=hint)
    return scale, GOOD_STEPS if dynamic else 0


@dataclass(frozen=True)
class Update:
    """How every trained tensor is updated: once in ``accumulate`` steps, with the mean of their gradients.

    ``scale_every`` None: the loss scale is a constant of the program; else it is the state ``SCALE``, doubled after so
    many good steps and halved by a skipped one, or for 0 left alone.
    """

    optimizer: Optimizer
    lr: float
    loss_scale: float
    accumulate: int = 1
    scale_every: int | None = None


def begin(b: Builder, update: Update) -> str:
    """Emits what comes once per step, before any update: counters. Returns the step counter, "" if there is none."""
    count = ""
    if update.accumulate > 1:
        state = b.add_state(COUNT, np.zeros(1, np.int32), "i32")
        count = b.add1("Count", [state], {"every": update.accumulate}, f"{COUNT}.new")
        b.updates[state] = count
    if update.optimizer.kind == "adamw":
        state = b.add_state(ADAMW_RATES, np.zeros(RATES, np.float32), "f32")
        attrs = {"lr": update.lr, "beta1": BETA1, "beta2": BETA2, "weight_decay": update.optimizer.factor}
        inputs = [state, count] if count else [state]
        b.updates[state] = b.add1("AdamWRates", inputs, attrs, f"{ADAMW_RATES}.new")
    if update.optimizer.update == "stochastic":
        state = b.add_state(STEPS, np.zeros(1, np.int32), "i32")
        b.updates[state] = b.add1("Count", [state], {"every": 2**31 - 1}, f"{STEPS}.new")
    return count


def apply(b: Builder, update: Update, name: str, grad: str, count: str) -> str:
    """Emits the update of tensor ``name``, skipped for it alone if its gradient is not finite; returns that flag."""
    if count:
        total = _slot(b, name, SUM)
        grad = b.add1("Add", [total, grad], name=f"{name}.grads", source=name)
        b.updates[total] = b.add1("Accumulate", [grad, count], name=f"{total}.new", source=name)
    constant = update.scale_every is None
    ok = due = b.add1("Finite", [grad] if constant else [grad, SCALE], name=f"{name}.ok", source=name)
    if count:
        due = b.add1("Due", [ok, count], name=f"{name}.due", source=name)
    attrs = {"lr": update.lr, "loss_scale": (update.loss_scale if constant else 1.0) * update.accumulate}
    emit = EMIT[update.optimizer.kind if update.optimizer.update == "fp32" else update.optimizer.update]
    emit(b, update.optimizer, name, grad, due, attrs)
    return ok


def finish(b: Builder, update: Update, flags: Sequence[str], count: str) -> None:
    """Emits what comes once per step, behind every update, whose ``flags`` say what was finite: the next loss scale."""
    if update.scale_every is None:
        return
    level = 0
    while len(flags) > 1 or not level:
        groups = [flags[at : at + MAX_FLAGS] for at in range(0, len(flags), MAX_FLAGS)]
        flags = [b.add1("All", list(group), name=f"{SCALE}.ok{level}.{n}") for n, group in enumerate(groups)]
        level += 1
    counts = b.add_state(SCALE_COUNTS, np.zeros(2, np.int32), "i32")
    inputs = [SCALE, counts, flags[0], *([count] if count else [])]
    new = b.add("LossScale", inputs, {"every": update.scale_every}, [f"{SCALE}.new", f"{SCALE_COUNTS}.new"], SCALE)
    b.updates.update(zip((SCALE, counts), new, strict=True))


def holders(state: Collection[str]) -> dict[str, str]:
    """Every trained tensor among the names of ``state``, and what holds its value: its master if it has one."""
    counters = (ADAMW_RATES, COUNT, STEPS, SCALE, SCALE_COUNTS)
    tensors = [name for name in state if name not in counters and not name.endswith(SLOTS)]
    return {name: name + MASTER if name + MASTER in state else name for name in tensors}


def _slot(b: Builder, name: str, suffix: str, copies: int = 0, dtype: str = "f32") -> str:
    """State of the shape of tensor ``name``, or several of it, all zero."""
    lead = (copies,) if copies else ()
    perm = b.values[name].perm
    if perm and copies:
        perm = (0, *(d + 1 for d in perm))
    return b.add_state(name + suffix, np.zeros((*lead, *b.type(name).shape), np.float32), dtype, name, perm)


Emit = Callable[[Builder, Optimizer, str, str, str, dict[str, Any]], None]


def _sgd(b: Builder, optimizer: Optimizer, name: str, grad: str, ok: str, attrs: dict[str, Any]) -> None:
    master = name + MASTER
    new_master, new = b.add("SGD", [master, grad, ok], attrs, [f"{master}.new", f"{name}.new"], name)
    b.updates[master], b.updates[name] = new_master, new


def _momentum(b: Builder, optimizer: Optimizer, name: str, grad: str, ok: str, attrs: dict[str, Any]) -> None:
    velocity = _slot(b, name, VELOCITY)
    states = (name + MASTER, velocity, name)
    attrs = {**attrs, "momentum": optimizer.factor}
    new = b.add("Momentum", [states[0], velocity, grad, ok], attrs, [f"{s}.new" for s in states], name)
    b.updates.update(zip(states, new, strict=True))


def _adamw(b: Builder, optimizer: Optimizer, name: str, grad: str, ok: str, attrs: dict[str, Any]) -> None:
    moments = _slot(b, name, MOMENTS, 2)
    states = (name + MASTER, moments, name)
    attrs = {"loss_scale": attrs["loss_scale"], "beta1": BETA1, "beta2": BETA2, "epsilon": EPSILON}
    inputs = [states[0], moments, grad, ok, b.updates[ADAMW_RATES]]
    b.updates.update(zip(states, b.add("AdamW", inputs, attrs, [f"{s}.new" for s in states], name), strict=True))


def _half(b: Builder, optimizer: Optimizer, name: str, grad: str, ok: str, attrs: dict[str, Any]) -> None:
    b.updates[name] = b.add1("HalfSGD", [name, grad, ok], attrs, f"{name}.new", name)


def _kahan(b: Builder, optimizer: Optimizer, name: str, grad: str, ok: str, attrs: dict[str, Any]) -> None:
    carry = _slot(b, name, CARRY, dtype="f16")
    new = b.add("KahanSGD", [name, carry, grad, ok], attrs, [f"{name}.new", f"{carry}.new"], name)
    b.updates.update(zip((name, carry), new, strict=True))


def _stochastic(b: Builder, optimizer: Optimizer, name: str, grad: str, ok: str, attrs: dict[str, Any]) -> None:
    attrs = {**attrs, "seed": crc32(name.encode()) >> 1}
    b.updates[name] = b.add1("StochasticSGD", [name, grad, ok, b.updates[STEPS]], attrs, f"{name}.new", name)


EMIT: dict[str, Emit] = {
    "sgd": _sgd,
    "momentum": _momentum,
    "adamw": _adamw,
    "fp16": _half,
    "kahan": _kahan,
    "stochastic": _stochastic,
}
