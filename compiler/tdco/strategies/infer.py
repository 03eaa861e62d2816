"""``infer``: the forward pass alone."""

from __future__ import annotations

from collections.abc import Sequence

from . import Choice, Method, require_no_argument


def infer(argument: str, names: Sequence[str]) -> Choice:
    require_no_argument(argument)
    return Choice(())


METHODS: dict[str, Method] = {"infer": infer}
