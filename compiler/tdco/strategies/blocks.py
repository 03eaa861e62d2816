"""``ft1``, ``ft2``: the head and the matrices of the last one or two transformer blocks (TrainDeeploy's strategies).

Biases, LayerNorms, the positional embedding and the tokenizer stay frozen.
"""

from __future__ import annotations

from collections.abc import Sequence

from . import Choice, Method, require_no_argument, select_own
from .probe import CLASSIFIER

HEAD = (*CLASSIFIER, "seq_pool.weight", "seq_pool.bias")
MATRICES = ("q", "k", "v", "proj", "fc1", "fc2")


def last_matrices(count: int, argument: str, names: Sequence[str]) -> tuple[str, ...]:
    """The matrices of the last ``count`` blocks.

    Raises:
        TdcoError: there is an argument, or the model has no such blocks.
    """
    require_no_argument(argument)
    blocks = sorted({int(n.split(".")[1]) for n in names if n.startswith("blocks.") and n.split(".")[1].isdigit()})
    wanted = blocks[-count:] if len(blocks) >= count else range(count)
    return select_own([f"blocks.{b}.{m}.weight" for b in wanted for m in MATRICES], names)


def last_blocks(count: int) -> Method:
    def select_blocks(argument: str, names: Sequence[str]) -> Choice:
        return Choice(select_own((*HEAD, *last_matrices(count, argument, names)), names))

    return select_blocks


METHODS: dict[str, Method] = {"ft1": last_blocks(1), "ft2": last_blocks(2)}
