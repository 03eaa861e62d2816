"""What every command must wait for: exact and minimal, whether data or the reuse of memory asks for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

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


@dataclass(frozen=True)
class Touch:
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


def conflict(a: Touch, b: Touch) -> bool:
    """Whether two commands with these touches must keep their order."""
    return (a.write or b.write) and a.buffer == b.buffer and overlap(a.region, b.region)


def waits_for_jobs(ops: Sequence[GemmJob | KernelCall]) -> list[bool]:
    """Of commands that follow one another, which are jobs that will have the AFTER flag for the sake of another one.

    Such a job waits for all before it, so that later ones need not; what follows a kernel waits for that.
    """
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
    open_touches: dict[tuple[str, int], list[tuple[int, Touch]]] = {}
    progress = _Progress()
    commands = []
    for index, command in enumerate(schedule.commands):
        mine = []
        for touch in touches(command.op, schedule.buffers):
            if touch.buffer not in begun:
                begun.add(touch.buffer)
                space, offset = places[touch.buffer]
                mine.append(Touch(space, Region(offset, schedule.buffers[touch.buffer].bytes), True))
            assert touch.region.offset >= 0 and touch.region.end <= schedule.buffers[touch.buffer].bytes, (
                f"{command} reaches outside {schedule.buffers[touch.buffer]}"
            )
            space, offset = places[touch.buffer]
            mine.append(Touch(space, touch.region.shifted(offset), touch.write))
        needed: set[int] = set()
        for t in mine:
            for page in _pages(t):
                for i, other in open_touches.get(page, ()):
                    if i not in needed and conflict(t, other):
                        needed.add(i)
        commands.append(replace(command, after=progress.start(index, command, needed)))
        for touch in mine:
            for page in _pages(touch):
                _open(open_touches.setdefault(page, []), index, touch, page[1])
    return replace(schedule, commands=tuple(commands))


PAGE_BYTES = 8192
"""Touches are looked up by the pages they lie in."""


def _pages(touch: Touch) -> list[tuple[str, int]]:
    low, end = touch.region.offset // PAGE_BYTES, (touch.region.end - 1) // PAGE_BYTES
    return [(touch.buffer, page) for page in range(low, end + 1)]


def _open(open_touches: list[tuple[int, Touch]], index: int, touch: Touch, page: int) -> None:
    """Adds a touch to those of a page; one that a later write covers there is dropped: the write stands for it."""
    if touch.write and touch.region.dense:
        start = page * PAGE_BYTES
        low, end = touch.region.offset, touch.region.end
        open_touches[:] = [
            (i, t)
            for i, t in open_touches
            if max(t.region.offset, start) < low or end < min(t.region.end, start + PAGE_BYTES)
        ]
    open_touches.append((index, touch))


class _Progress:
    """What is known to have finished when a command starts: per command, a count for each kind."""

    def __init__(self) -> None:
        self.starts: list[tuple[int, ...]] = []
        self.ordinals: list[tuple[int, int]] = []
        self.latest: dict[int, tuple[int, ...]] = {}
        self.counts = [0] * len(KINDS)

    def start(self, index: int, command: Command, needed: Iterable[int]) -> tuple[int, ...]:
        """Starts the next command, which needs ``needed`` finished; returns those that nothing else implies."""
        kind = kind_of(command.op)
        known = list(self.latest.get(kind, (0,) * len(KINDS)))
        if kind != GEMM:
            known[kind] = self.counts[kind]
        after = []
        for j in sorted(needed, reverse=True):
            other, ordinal = self.ordinals[j]
            if known[other] <= ordinal:
                after.append(j)
                known = [max(a, b) for a, b in zip(known, self.starts[j], strict=True)]
                known[other] = max(known[other], ordinal + 1 if other != kind else self.counts[kind])
        self.starts.append(tuple(known))
        self.ordinals.append((kind, self.counts[kind]))
        self.counts[kind] += 1
        self.latest[kind] = tuple(known)
        return tuple(sorted(after))
