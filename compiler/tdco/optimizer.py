"""Optimizers: what state they keep beside a weight's fp32 master, and which nodes apply a gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import TdcoError
from .ir import Builder
from .ops.adamw import RATES

MASTER, VELOCITY, MOMENTS, SUM = ".master", ".velocity", ".moments", ".sum"
ADAMW_RATES, COUNT = "adamw.rates", "accumulate.count"
FORMS = "sgd, momentum=0.9 or adamw (with weight decay: adamw=0.01)"
LEARNING_RATE = {"sgd": 0.01, "momentum": 0.01, "adamw": 0.001}
BETA1, BETA2, EPSILON, DECAY = 0.9, 0.999, 1e-8, 0.01
"""AdamW's, as in torch."""


@dataclass(frozen=True)
class Optimizer:
    """``kind``: a key of ``LEARNING_RATE``. ``factor``: the momentum, or AdamW's weight decay."""

    kind: str
    factor: float = 0.0

    @property
    def learning_rate(self) -> float:
        """The default."""
        return LEARNING_RATE[self.kind]


def parse(text: str) -> Optimizer:
    """The optimizer of ``sgd``, ``momentum=0.9``, ``adamw`` or ``adamw=0.01``.

    Raises:
        TdcoError: it is none of these.
    """
    kind, _, number = text.partition("=")
    defaults = {"sgd": 0.0, "momentum": None, "adamw": DECAY}
    try:
        factor = float(number) if number else defaults[kind]
    except (KeyError, ValueError):
        factor = None
    limit = {"sgd": 0.0, "momentum": 1.0, "adamw": float("inf")}.get(kind, 0.0)
    if factor is None or not 0 <= factor < max(limit, 1e-30):
        raise TdcoError(f"optimizer {text!r} is not supported", hint=f"supported: {FORMS}")
    return Optimizer(kind, factor)


@dataclass(frozen=True)
class Update:
    """How every trained tensor is updated: once in ``accumulate`` steps, with the mean of their gradients."""

    optimizer: Optimizer
    lr: float
    loss_scale: float
    accumulate: int = 1


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
    return count


def apply(b: Builder, update: Update, name: str, grad: str, count: str) -> None:
    """Emits the update of tensor ``name``, skipped for it alone if its gradient is not finite."""
    if count:
        total = _slot(b, name, SUM)
        grad = b.add1("Add", [total, grad], name=f"{name}.grads", source=name)
        b.updates[total] = b.add1("Accumulate", [grad, count], name=f"{total}.new", source=name)
    ok = b.add1("Finite", [grad], name=f"{name}.ok", source=name)
    if count:
        ok = b.add1("Due", [ok, count], name=f"{name}.due", source=name)
    attrs = {"lr": update.lr, "loss_scale": update.loss_scale * update.accumulate}
    EMIT[update.optimizer.kind](b, update.optimizer, name, grad, ok, attrs)


def _slot(b: Builder, name: str, suffix: str, copies: int = 0) -> str:
    """fp32 state of the shape of tensor ``name``, or several of it, all zero."""
    lead = (copies,) if copies else ()
    perm = b.values[name].perm
    if perm and copies:
        perm = (0, *(d + 1 for d in perm))
    return b.add_state(name + suffix, np.zeros((*lead, *b.type(name).shape), np.float32), "f32", name, perm)


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


EMIT: dict[str, Emit] = {"sgd": _sgd, "momentum": _momentum, "adamw": _adamw}
