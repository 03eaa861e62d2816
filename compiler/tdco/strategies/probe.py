"""``lp``: linear probing, the classifier alone."""

from __future__ import annotations

from collections.abc import Sequence

from . import Choice, Method, require_no_argument, select_own

CLASSIFIER = ("fc.weight", "fc.bias")


def lp(argument: str, names: Sequence[str]) -> Choice:
    require_no_argument(argument)
    return Choice(select_own([n for n in CLASSIFIER if n in names] or CLASSIFIER, names))


METHODS: dict[str, Method] = {"lp": lp}
