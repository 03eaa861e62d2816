"""``train:PATTERN,..``: the parameters of any model whose names match one of the shell patterns; ``full``: all."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import TdcoError
from . import Choice, Method, require_no_argument, select


def train(argument: str, names: Sequence[str]) -> Choice:
    patterns = [p for p in argument.split(",") if p]
    if not patterns:
        raise TdcoError("names no parameter", hint="for example train:fc*; the model has: " + ", ".join(names))
    return Choice(select(patterns, names))


def full(argument: str, names: Sequence[str]) -> Choice:
    require_no_argument(argument)
    return Choice(tuple(names))


METHODS: dict[str, Method] = {"train": train, "full": full}
