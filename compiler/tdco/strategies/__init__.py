"""Fine-tuning strategies: which tensors of a model are trained, and how. One file per method, found by scanning.

A file defines ``METHODS``: strategy name -> function of (what follows the colon, the model's parameter names).
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache

from ..autodiff import LEARNING_RATE, LOSS_SCALE, parameters
from ..errors import TdcoError
from ..ir import Graph


@dataclass(frozen=True)
class Training:
    """What a strategy asks of a model. No ``trainable``: inference alone."""

    strategy: str
    trainable: tuple[str, ...]
    lr: float = LEARNING_RATE
    loss_scale: float = LOSS_SCALE
    loss: str = "cross_entropy"


Method = Callable[[str, Sequence[str]], Sequence[str]]
"""(argument, parameter names) -> the names trained; raises TdcoError where the method does not fit the model."""


@cache
def all_methods() -> dict[str, Method]:
    """Every strategy by name, in file order."""
    table: dict[str, Method] = {}
    for module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
        table.update(getattr(importlib.import_module(f"{__name__}.{module}"), "METHODS", {}))
    return table


def resolve(strategy: str, graph: Graph) -> Training:
    """The training of ``graph``, a forward graph, that ``strategy`` (``ft1``, ``train:fc*``, ...) means.

    Raises:
        TdcoError: an unknown strategy, or one that does not fit the model.
    """
    name, _, argument = strategy.partition(":")
    if name not in all_methods():
        hint = "supported: " + ", ".join(all_methods()) + " (train takes patterns: train:fc*,norm.*)"
        raise TdcoError(f"strategy {strategy!r} is not supported", hint=hint)
    try:
        return Training(strategy, tuple(all_methods()[name](argument, tuple(parameters(graph)))))
    except TdcoError as e:
        raise TdcoError(e.what, e.where or f"strategy {strategy} on model {graph.name}", e.hint) from None


def select(patterns: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """The ``names`` that match any of the shell patterns, in the model's order.

    Raises:
        TdcoError: a pattern matches none; the hint lists the names.
    """
    for pattern in patterns:
        if not any(fnmatchcase(n, pattern) for n in names):
            raise TdcoError(f"no parameter matches {pattern!r}", hint="the model has: " + ", ".join(names))
    return tuple(n for n in names if any(fnmatchcase(n, p) for p in patterns))


def require_no_argument(argument: str) -> None:
    if argument:
        raise TdcoError(f"takes no argument, but got {argument!r}")
