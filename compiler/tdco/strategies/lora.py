"""``lora1``, ``lora2``: rank-4 adapters on the matrices of CCT-2's last one or two blocks, and the head trained itself;
``lora:r=R,alpha=A,targets=PATTERN``: adapters alone, for any model. ``targets`` may be several patterns joined by +.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import TdcoError
from . import Choice, Lora, Method, select, select_own
from .blocks import HEAD, last_matrices

RANK = 4
DEFAULTS = {"r": "4", "alpha": "", "targets": ""}
FORM = "for example lora:r=4,alpha=8,targets=blocks.*.fc?.weight"


def last_blocks(count: int) -> Method:
    def select_blocks(argument: str, names: Sequence[str]) -> Choice:
        targets = last_matrices(count, argument, names)
        return Choice(select_own(HEAD, names), Lora(RANK, float(RANK), targets))

    return select_blocks


def lora(argument: str, names: Sequence[str]) -> Choice:
    """alpha defaults to the rank: adapters are then not scaled."""
    settings = dict(DEFAULTS)
    for part in filter(None, argument.split(",")):
        key, _, value = part.partition("=")
        if key not in settings or not value:
            raise TdcoError(f"does not know {part!r}", hint=FORM)
        settings[key] = value
    if not settings["targets"]:
        raise TdcoError("names no targets", hint=f"{FORM}; the model has: " + ", ".join(names))
    try:
        rank, alpha = int(settings["r"]), float(settings["alpha"] or settings["r"])
    except ValueError:
        raise TdcoError(f"r={settings['r']}, alpha={settings['alpha']} are no numbers", hint=FORM) from None
    if rank < 1 or not 0 < alpha < float("inf"):
        raise TdcoError(f"r={rank} and alpha={alpha:g} must be positive", hint=FORM)
    return Choice((), Lora(rank, alpha, select(settings["targets"].split("+"), names)))


METHODS: dict[str, Method] = {"lora1": last_blocks(1), "lora2": last_blocks(2), "lora": lora}
