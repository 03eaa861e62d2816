"""What the tiler works from: the loops of an operator, and which part of each operand a tile of them touches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .program import Ref


@dataclass(frozen=True)
class Loop:
    """``kind``: "parallel" (tiles are independent), "reduce" (tiles accumulate in order), "whole" (never split)."""

    name: str
    extent: int
    kind: str = "parallel"


@dataclass(frozen=True)
class Dim:
    """One dimension of an operand: a tile [a, b) of ``loop`` touches [coeff*a + lo, coeff*(b-1) + hi], clipped.

    ``loop`` None: the whole dimension, whatever the tile.
    """

    loop: str | None = None
    coeff: int = 1
    lo: int = 0
    hi: int = 0


@dataclass(frozen=True)
class Domain:
    """Loops (outermost first), one tuple of ``Dim`` per operand (inputs, then outputs; None: absent or untouched).

    ``scratch`` gives the L1 bytes a tile of the given loop sizes needs beside its operands. ``dense``: the operands
    must be row-major in L1; otherwise ``lower`` reads ``Operand.strides`` (a GEMM takes either orientation), but of the
    operands at positions ``rows`` the last dimension stays innermost, and those at ``packed`` are row-major.
    ``scratch_tiles``: of how many tiles of all such nodes there may be scratch memory at a time, where the engine could
    fill that of many before the cores use it; 0: of any number. ``early``: its tiles go before more urgent ones, as an
    update waits for all of them.
    """

    loops: tuple[Loop, ...]
    operands: tuple[tuple[Dim, ...] | None, ...]
    scratch: Callable[[Mapping[str, int]], int] | None = None
    dense: bool = True
    rows: tuple[int, ...] = ()
    packed: tuple[int, ...] = ()
    scratch_tiles: int = 0
    early: bool = False

    def innermost(self, position: int) -> int:
        """How many of the last dimensions of an operand may be the innermost one in L1; 0: it is row-major."""
        return 0 if self.dense or position in self.packed else 1 if position in self.rows else 2


@dataclass(frozen=True)
class Operand:
    """The part of a tensor that a tile touches, in L1.

    ``start``: index of its first element in the whole tensor, whose shape is ``full``; ``strides`` in elements.
    """

    ref: Ref
    start: tuple[int, ...]
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    full: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Tile:
    """One tile of a node: ``loops`` maps a loop's name to (start, size).

    ``first`` and ``last`` tell where the tile stands along the reduce loops: the first one initialises the outputs,
    the others accumulate onto them.
    """

    loops: Mapping[str, tuple[int, int]]
    inputs: tuple[Operand | None, ...]
    outputs: tuple[Operand | None, ...]
    scratch: Ref | None = None
    first: bool = True
    last: bool = True


def touched(
    dims: tuple[Dim, ...], loops: Mapping[str, tuple[int, int]], full: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(start, shape) of the part of an operand of shape ``full`` that a tile (name -> (start, size)) touches."""
    bounds = []
    for dim, extent in zip(dims, full, strict=True):
        if dim.loop is None:
            bounds.append((0, extent))
            continue
        start, size = loops[dim.loop]
        first = max(0, dim.coeff * start + dim.lo)
        last = min(extent - 1, dim.coeff * (start + size - 1) + dim.hi)
        bounds.append((first, max(0, last - first + 1)))
    return tuple(first for first, _ in bounds), tuple(size for _, size in bounds)
