"""What every command must wait for: exact and minimal, whether data or the reuse of memory asks for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from operator import itemgetter
from typing import NamedTuple

from .program import Buffer, Command, Copy, GemmJob, KernelCall, Move, Ref, Schedule
from .transfer import Region, overlap

IN, OUT, GEMM, CALL, L3 = KINDS = range(5)
"""The queues a command may stand in, as TDCO_IN, TDCO_OUT, TDCO_GEMM, TDCO_CALL and TDCO_L3 of tdco.h."""

Op = GemmJob | KernelCall | Copy | Move


def kind_of(op: Op) -> int:
    """The queue of a command."""
    if isinstance(op, Copy):
        return IN if op.to_l1 else OUT
    if isinstance(op, Move):
        return L3
    return GEMM if isinstance(op, GemmJob) else CALL


class Touch(NamedTuple):
    """Bytes of a buffer that a command reads or writes."""

    buffer: str
    region: Region
    write: bool


def touches(op: Op, buffers: Mapping[str, Buffer]) -> list[Touch]:
    """What a command reads and writes. A kernel without extents may touch all of every buffer it is given."""
    if isinstance(op, Copy):
        l1 = Touch(op.l1.buffer, Region(op.l1.offset, op.rows * op.row_bytes), op.to_l1)
        l2 = Touch(op.l2.buffer, Region(op.l2.offset, op.row_bytes, op.rows, op.stride_bytes), not op.to_l1)
        return [l1, l2]
    if isinstance(op, Move):
        sides = ((op.l2, op.to_l2), (op.l3, not op.to_l2))
        return [Touch(ref.buffer, Region(ref.offset, op.bytes), write) for ref, write in sides]
    if isinstance(op, GemmJob):
        return list(_job_touches(op))
    first_written = len(op.refs) - op.writes
    if op.extents:
        spans = enumerate(zip(op.refs, op.extents, strict=True))
        return [Touch(r.buffer, Region(r.offset, n), i >= first_written) for i, (r, n) in spans if r]
    written = {ref.buffer for ref in op.refs[first_written:] if ref}
    names = dict.fromkeys(ref.buffer for ref in op.refs if ref)
    return [Touch(name, Region(0, buffers[name].bytes), name in written) for name in names]


def _job_touches(job: GemmJob) -> Iterator[Touch]:
    def matrix(ref: Ref, lines: int, line: int, stride: int, write: bool) -> Touch:
        low = ref.offset + min(0, stride * (lines - 1))
        if stride == 0:
            lines = 1
        return Touch(ref.buffer, Region(low, 2 * line, lines, abs(stride)), write)

    yield matrix(job.x, *((job.k, job.m) if job.trans_x else (job.m, job.k)), job.x_stride, False)
    yield matrix(job.w, *((job.n, job.k) if job.trans_w else (job.k, job.n)), job.w_stride, False)
    lines, line = (job.n, job.m) if job.trans_z else (job.m, job.n)
    if job.y:
        yield matrix(job.y, lines, 1 if job.y_column else line, job.y_stride, False)
    yield matrix(job.z, lines, line, job.z_stride, True)


def waits_for_jobs(ops: Sequence[GemmJob | KernelCall]) -> list[bool]:
    """Of commands that follow one another, which are jobs that will have the AFTER flag for the sake of another one.

    Such a job waits for all before it, so that later ones need not; what follows a kernel waits for that.
    """
    if len(ops) == 1:
        return [False]
    reads: dict[str, list[Touch]] = {}
    writes: dict[str, list[Touch]] = {}
    waits = []
    for op in ops:
        mine = list(_job_touches(op)) if isinstance(op, GemmJob) else []
        earlier = ((t, (*writes.get(t.buffer, ()), *(reads.get(t.buffer, ()) if t.write else ()))) for t in mine)
        waits.append(any(overlap(t.region, other.region) for t, others in earlier for other in others))
        if waits[-1] or not mine:
            reads, writes = {}, {}
        for t in mine:
            (writes if t.write else reads).setdefault(t.buffer, []).append(t)
    return waits


def order(schedule: Schedule, places: Mapping[str, tuple[str, int]]) -> Schedule:
    """``schedule`` with ``after`` exact and minimal.

    ``places`` maps a buffer to (space, byte offset): buffers that share bytes of a space depend on each other's users,
    so the same rule orders the data flow and, after memory planning, the reuse of memory.

    Copies of one direction finish one after the other before the next starts, and so do calls and moves; jobs start in
    order and may overlap.
    What these rules and earlier waits imply already is left out of ``after``. The first user of a buffer takes all of
    it: whoever used one of its bytes before must be done.
    """
    begun: set[str] = set()
    pages: dict[tuple[str, int], list[_Open]] = defaultdict(list)
    kinds = [kind_of(command.op) for command in schedule.commands]
    progress = _Progress(kinds)
    commands = []
    for index, command in enumerate(schedule.commands):
        mine: list[_Part] = []
        for name, region, write in touches(command.op, schedule.buffers):
            buffer, (space, offset) = schedule.buffers[name], places[name]
            if name not in begun:
                begun.add(name)
                mine += _on_pages(pages, space, Region(offset, buffer.bytes), True)
            assert region.offset >= 0 and region.end <= buffer.bytes, f"{command} reaches outside {buffer}"
            mine += _on_pages(pages, space, region.shifted(offset), write)
        kind = kinds[index]
        known = progress.known(kind)
        needed = [
            (i, theirs, region)
            for page, low, end, region, write in mine
            for begin, until, theirs, wrote, i, other, ordinal in page
            if known[other] <= ordinal and begin < end and low < until and (write or wrote)
        ]
        ordinal = progress.counts[kind]
        commands.append(Command(command.op, command.node, progress.start(kind, known, needed)))
        done = progress.known_to_all()
        for page, low, end, region, write in mine:
            if write and region.dense:  # it stands for what it covers
                page[:] = [t for t in page if (t[0] < low or end < t[1]) and done[t[5]] <= t[6]]
            page.append((low, end, region, write, index, kind, ordinal))
    return replace(schedule, commands=tuple(commands))


_Open = tuple[int, int, Region, bool, int, int, int]
"""Bytes [begin, end) of a page, the region in which a command touches them and whether it writes them, the command's
index, its queue, and its number there."""
_Part = tuple[list[_Open], int, int, Region, bool]
"""What is open of a page, and the same bytes, region and kind of touch of a command that is not placed yet."""
PAGE_BYTES = 8192
"""Touches are looked up by the pages they lie in."""


def _on_pages(pages: Mapping[tuple[str, int], list[_Open]], space: str, region: Region, write: bool) -> list[_Part]:
    low, end = region.offset, region.end
    first, last = low // PAGE_BYTES, (end - 1) // PAGE_BYTES
    if first == last:
        return [(pages[space, first], low, end, region, write)]
    cuts = [low, *range((first + 1) * PAGE_BYTES, end, PAGE_BYTES), end]
    return [(pages[space, first + n], begin, until, region, write) for n, (begin, until) in enumerate(pairwise(cuts))]


class _Progress:
    """What is known to have finished when a command starts: per command, a count for each kind."""

    def __init__(self, kinds: Collection[int]) -> None:
        self.starts: list[Sequence[int]] = []
        self.ordinals: list[tuple[int, int]] = []
        self.latest: dict[int, Sequence[int]] = {kind: [0] * len(KINDS) for kind in kinds}
        self.counts = [0] * len(KINDS)

    def known(self, kind: int) -> list[int]:
        """What has finished when the next command of ``kind`` may start, whatever it needs."""
        known = list(self.latest[kind])
        if kind != GEMM:
            known[kind] = self.counts[kind]
        return known

    def known_to_all(self) -> list[int]:
        """What has finished when the next command may start, whatever its kind."""
        return [min(counts) for counts in zip(*self.latest.values(), strict=True)]

    def start(self, kind: int, known: list[int], needed: Iterable[tuple[int, Region, Region]]) -> tuple[int, ...]:
        """Starts the next command, of ``kind``; returns those of the ``needed`` that nothing else implies: those whose
        region overlaps its own. ``known`` becomes what has finished then."""
        after = []
        for j, theirs, mine in sorted(needed, key=itemgetter(0), reverse=True):
            other, ordinal = self.ordinals[j]
            if known[other] <= ordinal and overlap(theirs, mine):
                after.append(j)
                known[:] = map(max, known, self.starts[j])
                known[other] = max(known[other], ordinal + 1 if other != kind else self.counts[kind])
        self.starts.append(known)
        self.ordinals.append((kind, self.counts[kind]))
        self.counts[kind] += 1
        self.latest[kind] = known
        return tuple(reversed(after))
