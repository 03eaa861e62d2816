"""Fine-tuning strategies: which tensors of a model are trained, and how. One file per method, found by scanning.

A file defines ``METHODS``: strategy name -> function of (what follows the colon, the model's parameter names).
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from ..autodiff import LEARNING_RATE, LOSS_SCALE, parameters
from ..errors import TdcoError
from ..ir import Graph
from ..optimizer import parse, parse_scale
from ..passes import fold_batch_norm
from .adapters import Adapter, attach, find_adapters


@dataclass(frozen=True)
class Training:
    """What a strategy asks of a model, and how a step goes about it.

    No ``trainable``: inference alone. Adapters' tensors are among ``trainable``. ``optimizer`` as ``optimizer.parse``
    takes it; ``accumulate``: an update every so many steps; ``scale_every`` as ``optimizer.Update`` has it.
    """

    strategy: str
    trainable: tuple[str, ...]
    lr: float = LEARNING_RATE
    loss_scale: float = LOSS_SCALE
    loss: str = "cross_entropy"
    adapters: tuple[Adapter, ...] = ()
    optimizer: str = "sgd"
    accumulate: int = 1
    scale_every: int | None = None


@dataclass(frozen=True)
class Lora:
    """Adapters of ``rank`` for the matrices ``targets``, scaled by alpha / rank."""

    rank: int
    alpha: float
    targets: tuple[str, ...]


@dataclass(frozen=True)
class Choice:
    """What a method picks among a model's parameters: those that are trained themselves, those that get an adapter."""

    trainable: tuple[str, ...]
    lora: Lora | None = None


Method = Callable[[str, Sequence[str]], Choice]
"""(argument, parameter names) -> what is trained; raises TdcoError where the method does not fit the model."""


@cache
def all_methods() -> dict[str, Method]:
    """Every strategy by name, in file order."""
    table: dict[str, Method] = {}
    for module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
        table.update(getattr(importlib.import_module(f"{__name__}.{module}"), "METHODS", {}))
    return table


def resolve(
    strategy: str,
    graph: Graph,
    lr: float | None = None,
    loss: str = "cross_entropy",
    optimizer: str = "sgd",
    accumulate: int = 1,
    loss_scale: str | None = None,
) -> Training:
    """The training of ``graph``, a forward graph, that ``strategy`` (``ft1``, ``train:fc*``, ...) means.

    ``lr``: by default the optimizer's. ``loss_scale``: as ``optimizer.parse_scale`` takes it, or a constant one.

    Raises:
        TdcoError: an unknown strategy, or one that does not fit the model.
    """
    name, _, argument = strategy.partition(":")
    if name not in all_methods():
        hint = "supported: " + ", ".join(all_methods()) + " (train takes patterns: train:fc*,norm.*)"
        raise TdcoError(f"strategy {strategy!r} is not supported", hint=hint)
    try:
        choice = all_methods()[name](argument, tuple(parameters(graph)))
        lora = choice.lora
        adapters = find_adapters(graph, lora.targets, lora.rank, lora.alpha) if lora else ()
    except TdcoError as e:
        raise TdcoError(e.what, e.where or f"strategy {strategy} on model {graph.name}", e.hint) from None
    trainable = (*choice.trainable, *(name for adapter in adapters for name in adapter.names))
    rate = lr or parse(optimizer).learning_rate
    scale, every = parse_scale(loss_scale) if loss_scale else (LOSS_SCALE, None)
    return Training(strategy, trainable, rate, scale, loss, adapters, optimizer, accumulate, every)


def prepare(graph: Graph, training: Training) -> Graph:
    """The forward ``graph`` with what ``training`` changes about the model: adapters beside their targets, frozen batch
    normalisations folded into frozen convolutions."""
    graph = fold_batch_norm(graph, training.trainable)
    return attach(graph, training.adapters) if training.adapters else graph


def from_document(train: Mapping[str, Any]) -> Training:
    """The training that the key "train" of program.json describes."""
    known = {f.name: train[f.name] for f in fields(Training) if f.name in train}
    adapters = tuple(map(_adapter, known["adapters"]))
    return Training(**{**known, "trainable": tuple(train["trainable"]), "adapters": adapters})


def _adapter(document: Mapping[str, Any]) -> Adapter:
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in document.items()}
    return Adapter(**values)


def select(patterns: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """The ``names`` that match any of the shell patterns, in the model's order.

    Raises:
        TdcoError: a pattern matches none; the hint lists the names.
    """
    for pattern in patterns:
        if not any(fnmatchcase(n, pattern) for n in names):
            raise TdcoError(f"no parameter matches {pattern!r}", hint="the model has: " + ", ".join(names))
    return tuple(n for n in names if any(fnmatchcase(n, p) for p in patterns))


def select_own(patterns: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """As ``select``, of a strategy that names parameters itself.

    Raises:
        TdcoError: the model has other ones; the hint says which strategies fit any model.
    """
    try:
        return select(patterns, names)
    except TdcoError as e:
        raise TdcoError(e.what, e.where, f"for any model: train:PATTERN,.. or full; {e.hint}") from None


def require_no_argument(argument: str) -> None:
    if argument:
        raise TdcoError(f"takes no argument, but got {argument!r}")
