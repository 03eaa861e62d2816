"""``infer``: the forward pass alone."""

from __future__ import annotations

from collections.abc import Sequence

from . import require_no_argument


def infer(argument: str, names: Sequence[str]) -> Sequence[str]:
    require_no_argument(argument)
    return ()


METHODS = {"infer": infer}
