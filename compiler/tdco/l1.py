"""L1 while a schedule is made: which block lies where, and from when on a place may be filled again."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter

from .program import Command, Copy, Ref
from .transfer import Region
from .units import Block
from .work import aligned

Window = tuple[int, int, int]
"""(offset, first and last segment it covers) of a place for a block."""

CRUMB_BYTES = 256
"""Free neighbours this small join, though one of them could be filled earlier."""


@dataclass(slots=True)
class Held:
    """A block in L1 under ``name``, from byte ``offset`` on. ``users``: units still to use it, in order; the first is
    not done. Times are modelled cycles: ``fetch_cycles`` of moving it here or back, ``ready`` when its content is
    there, ``busy_until`` when its last user so far is done. ``dirty``: L2 does not have its content.
    ``writing``: some of its content is still to be computed, so that it has to stay."""

    block: Block
    name: str
    offset: int
    users: Sequence[int]
    fetch_cycles: int
    ready: int
    busy_until: int
    dirty: bool = False
    writing: bool = False


@dataclass(slots=True)
class Segment:
    """Bytes [start, end): held, or free and to be filled from cycle ``free_at`` on."""

    start: int
    end: int
    held: Held | None
    free_at: int


class L1:
    """Bytes [start, end) of L1 as a row of segments without gaps."""

    def __init__(self, start: int, end: int) -> None:
        self.segments = [Segment(aligned(start), end, None, 0)]
        self._windows: dict[tuple[int, bool], list[Window]] = {}

    def windows(self, size_bytes: int, from_start: bool) -> Sequence[Window]:
        """Every place worth considering, at the start or the end of a segment, by its offset: the lowest first or the
        highest."""
        key = size_bytes, from_start
        if key not in self._windows:
            self._windows[key] = sorted(self._places(size_bytes), key=itemgetter(0), reverse=not from_start)
        return self._windows[key]

    def _places(self, size_bytes: int) -> list[Window]:
        starts, ends = [s.start for s in self.segments], [s.end for s in self.segments]
        low, high = starts[0], ends[-1] - size_bytes
        found = [(at, n, bisect_left(ends, at + size_bytes)) for n, at in enumerate(starts) if at <= high]
        for last, end in enumerate(ends):
            offset = (end - size_bytes) // 16 * 16
            if offset >= low:
                first = bisect_right(starts, offset) - 1
                if starts[first] != offset:
                    found.append((offset, first, last))
        return found

    def take(self, held: Held) -> None:
        """Puts ``held`` at its offset, where everything is free."""
        start, end = held.offset, min(held.offset + aligned(held.block.bytes), self.segments[-1].end)
        kept: list[Segment] = []
        for s in self.segments:
            if s.end <= start or end <= s.start:
                kept.append(s)
                continue
            assert s.held is None
            if s.start < start:
                kept.append(Segment(s.start, start, None, s.free_at))
            if s.start <= start:
                kept.append(Segment(start, end, held, 0))
            if end < s.end:
                kept.append(Segment(end, s.end, None, s.free_at))
        self.segments = kept
        self._windows.clear()

    def release(self, held: Held, free_at: int) -> None:
        """The place of ``held`` may be filled from ``free_at`` on."""
        joined: list[Segment] = []
        for s in self.segments:
            if s.held is held:
                s.held, s.free_at = None, free_at
            last = joined[-1] if joined else None
            if last and s.held is None and last.held is None:
                small = min(s.end - s.start, last.end - last.start) <= CRUMB_BYTES
                if small or s.free_at == last.free_at:
                    last.end, last.free_at = s.end, max(s.free_at, last.free_at)
                    continue
            joined.append(s)
        self.segments = joined
        self._windows.clear()


def copies_of(held: Held, parts: Sequence[tuple[int, Region]], node: int, *, to_l1: bool) -> Iterator[Command]:
    """The transfers between L2 and a block in L1 that move its ``parts``."""
    for at, r in parts:
        l1, l2 = Ref(held.name, at), Ref(held.block.storage, r.offset)
        yield Command(Copy(l1, l2, r.row_bytes, r.rows, r.stride, to_l1), node)
