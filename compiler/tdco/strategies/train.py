"""``train:PATTERN,..``: the parameters of any model whose names match one of the shell patterns."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import TdcoError
from . import select


def train(argument: str, names: Sequence[str]) -> Sequence[str]:
    patterns = [p for p in argument.split(",") if p]
    if not patterns:
        raise TdcoError("names no parameter", hint="for example train:fc*; the model has: " + ", ".join(names))
    return select(patterns, names)


METHODS = {"train": train}
