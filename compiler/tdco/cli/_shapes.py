"""Shapes on the command line."""

from __future__ import annotations

from ..errors import TdcoError


def parse_shapes(text: str) -> list[tuple[int, int, int]]:
    """``MxNxK[,MxNxK..]`` as tuples.

    Raises:
        TdcoError: it is not of that form.
    """
    shapes = [tuple(part.split("x")) for part in text.split(",")]
    if not all(len(s) == 3 and all(d.isdigit() for d in s) for s in shapes):
        raise TdcoError(f"{text!r} is no list of shapes", "--shape", "write MxNxK, for example 96x96x96,64x128x128")
    return [(int(m), int(n), int(k)) for m, n, k in shapes]
