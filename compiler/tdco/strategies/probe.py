"""``lp``: linear probing, the classifier alone."""

from __future__ import annotations

from collections.abc import Sequence

from . import require_no_argument, select

CLASSIFIER = ("fc.weight", "fc.bias")


def lp(argument: str, names: Sequence[str]) -> Sequence[str]:
    require_no_argument(argument)
    return select([n for n in CLASSIFIER if n in names] or CLASSIFIER, names)


METHODS = {"lp": lp}
