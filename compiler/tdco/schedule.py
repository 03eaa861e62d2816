"""Graph, layout and tilings -> commands in issue order, with their exact dependencies.

Every tensor's home is L2. A node's tiles pass through L1 buffers, two per tensor where its tile changes, and a tile's
copies are issued among the commands of the tile ahead of it, so that the DMA runs while engine and cores compute.
``make_steps`` lowers the nodes, ``arrange`` puts their commands in order, and, once ``memory.plan`` has placed the
buffers, ``order`` finds what must wait for what.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from .cost import Predictor
from .domain import Operand, Tile
from .ir import Graph
from .layout import Layout, is_view
from .ops import get_op
from .orient import orient
from .program import Buffer, Command, Copy, GemmJob, KernelCall, Ref, Schedule
from .transfer import Region, copies, overlap
from .work import Access, Tiling, Work, describe, ranges, scratch_bytes, tile_bytes

KINDS: dict[type, int] = {Copy: 0, GemmJob: 1, KernelCall: 2}
"""Command class -> its queue, as TDCO_COPY, TDCO_GEMM and TDCO_CALL of tdco.h."""

Op = GemmJob | KernelCall | Copy


@dataclass(frozen=True)
class Touch:
    """Bytes of a buffer that a command reads or writes."""

    buffer: str
    region: Region
    write: bool


@dataclass(frozen=True)
class Step:
    """One tile of a node: what is copied in, computed and copied out."""

    node: int
    ins: tuple[Copy, ...]
    computes: tuple[GemmJob | KernelCall, ...]
    outs: tuple[Copy, ...]


def make_steps(
    graph: Graph, layout: Layout, tilings: Mapping[int, Tiling], predict: Predictor
) -> tuple[dict[str, Buffer], tuple[Step, ...]]:
    """All buffers, and the tiles of all nodes in order. ``tilings`` as ``tile.choose_tiling`` gives them.

    Products are oriented as ``predict`` finds cheaper.
    """
    buffers = {name: Buffer(name, graph.type(name).bytes, "l2", name) for name in layout.storages()}
    steps: list[Step] = []
    for index, tiling in tilings.items():
        assert not is_view(graph.nodes[index])
        work = describe(graph, layout, graph.nodes[index])
        buffers.update(_node_buffers(work, tiling, index))
        steps += _node_steps(work, tiling, index, predict)
    return buffers, tuple(steps)


def _buffer_name(access: Access, index: int, position: int, slot: int) -> str:
    return f"{access.name}@{index}.{position}{'ab'[slot]}"


def _node_buffers(work: Work, tiling: Tiling, index: int) -> dict[str, Buffer]:
    """The L1 buffers of a node: tiles of its operands, and scratch."""
    found = []
    for position, access in enumerate(work.accesses):
        if access:
            size_bytes = tile_bytes(access, tiling.sizes)
            for slot in range(tiling.slots[position]):
                found.append(Buffer(_buffer_name(access, index, position, slot), size_bytes, "l1", access.name))
    if size_bytes := scratch_bytes(work.domain, tiling.sizes):
        found.append(Buffer(f"scratch@{index}", size_bytes, "l1", work.node.outputs[0]))
    return {b.name: b for b in found}


def _node_steps(work: Work, tiling: Tiling, index: int, predict: Predictor) -> list[Step]:
    op = get_op(work.node.op)
    assert op.lower
    scratch = Ref(f"scratch@{index}") if scratch_bytes(work.domain, tiling.sizes) else None
    accesses = work.accesses
    boxes = [[a and a.box(loops) for a in accesses] for loops, _, _ in ranges(work.domain, tiling)]
    used = [-1] * len(accesses)
    steps = []
    for n, (loops, first, last) in enumerate(ranges(work.domain, tiling)):
        ins: list[Copy] = []
        outs: list[Copy] = []
        operands: list[Operand | None] = []
        for position, access in enumerate(accesses):
            if access is None:
                operands.append(None)
                continue
            box = boxes[n][position]
            assert box
            changed = n == 0 or boxes[n - 1][position] != box
            used[position] += changed
            slot = used[position] % tiling.slots[position]
            operand = access.operand(Ref(_buffer_name(access, index, position, slot)), *box)
            operands.append(operand)
            if position < len(work.inputs) and changed:
                ins += _tile_copies(access, operand, to_l1=True)
            if position >= len(work.inputs) and (n == len(boxes) - 1 or boxes[n + 1][position] != box):
                outs += _tile_copies(access, operand, to_l1=False)
        inputs, outputs = tuple(operands[: len(work.inputs)]), tuple(operands[len(work.inputs) :])
        lowered = op.lower(work.node, Tile(loops, inputs, outputs, scratch, first, last))
        computes = tuple(orient(c, predict) if isinstance(c, GemmJob) else c for c in lowered)
        steps.append(Step(index, tuple(ins), computes, tuple(outs)))
    return steps


def _tile_copies(access: Access, operand: Operand, *, to_l1: bool) -> Iterator[Copy]:
    """The DMA transfers between a tile in L1 and its place in L2."""
    item, view = access.item_bytes, access.view
    base = view.offset + sum(i * s for i, s in zip(operand.start, view.strides, strict=True))
    for l1_offset, part in copies(operand.shape, view.strides, access.order, item):
        l1 = Ref(operand.ref.buffer, operand.ref.offset + l1_offset)
        l2 = Ref(view.storage, base * item + part.offset)
        yield Copy(l1, l2, part.row_bytes, part.rows, part.stride, to_l1)


def arrange(buffers: Mapping[str, Buffer], steps: Sequence[Step], serial: Collection[int] = ()) -> Schedule:
    """The commands in issue order, still without ``after``: a tile's copies follow the first command of the tile ahead.

    So the copies run while that tile is computed, and a controller that issues in order never holds back a command
    for a copy that must wait for an older tile's buffer. A copy that would overwrite what the rest of the tile ahead
    uses, or that reads what it writes, stays behind it. Nodes in ``serial`` start only when the node before them has
    ended, for want of L1.
    """
    commands: list[Command] = []
    early: set[int] = set()
    for here, step in enumerate(steps):
        commands += [Command(op, step.node) for i, op in enumerate(step.ins) if i not in early]
        commands += [Command(op, step.node) for op in step.computes[:1]]
        rest = (*step.computes[1:], *step.outs)
        early = set()
        if here + 1 < len(steps) and (steps[here + 1].node == step.node or steps[here + 1].node not in serial):
            mine = [t for op in rest for t in touches(op, buffers)]
            for i, op in enumerate(steps[here + 1].ins):
                if not any(conflict(a, b) for a in touches(op, buffers) for b in mine):
                    early.add(i)
                    commands.append(Command(op, steps[here + 1].node))
        commands += [Command(op, step.node) for op in rest]
    return Schedule(buffers, tuple(commands))


def touches(op: Op, buffers: Mapping[str, Buffer]) -> list[Touch]:
    """What a command reads and writes. A kernel may touch all of every buffer it is given."""
    if isinstance(op, Copy):
        l1 = Touch(op.l1.buffer, Region(op.l1.offset, op.rows * op.row_bytes), op.to_l1)
        l2 = Touch(op.l2.buffer, Region(op.l2.offset, op.row_bytes, op.rows, op.stride_bytes), not op.to_l1)
        return [l1, l2]
    if isinstance(op, GemmJob):
        return list(_job_touches(op))
    refs = [(ref, i >= len(op.refs) - op.writes) for i, ref in enumerate(op.refs)]
    written = {ref.buffer for ref, write in refs if ref and write}
    names = dict.fromkeys(ref.buffer for ref, _ in refs if ref)
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


def order(schedule: Schedule, places: Mapping[str, tuple[str, int]]) -> Schedule:
    """``schedule`` with ``after`` exact and minimal.

    ``places`` maps a buffer to (space, byte offset): buffers that share bytes of a space depend on each other's users,
    so the same rule orders the data flow and, after memory planning, the reuse of memory.

    Copies finish one after the other before the next starts, and so do calls; jobs start in order and may overlap.
    What these rules and earlier waits imply already is left out of ``after``.
    """
    open_touches: dict[str, list[tuple[int, Touch]]] = {}
    progress = _Progress()
    commands = []
    for index, command in enumerate(schedule.commands):
        mine = []
        for touch in touches(command.op, schedule.buffers):
            assert touch.region.offset >= 0 and touch.region.end <= schedule.buffers[touch.buffer].bytes, (
                f"{command} reaches outside {schedule.buffers[touch.buffer]}"
            )
            space, offset = places[touch.buffer]
            mine.append(Touch(space, touch.region.shifted(offset), touch.write))
        needed = {i for t in mine for i, other in open_touches.get(t.buffer, ()) if conflict(t, other)}
        commands.append(replace(command, after=progress.start(index, command, needed)))
        for touch in mine:
            _open(open_touches.setdefault(touch.buffer, []), index, touch)
    return replace(schedule, commands=tuple(commands))


def _open(open_touches: list[tuple[int, Touch]], index: int, touch: Touch) -> None:
    """Adds a touch; one that a later write covers is dropped, since the write stands for it."""
    if touch.write and touch.region.dense:
        low, end = touch.region.offset, touch.region.end
        open_touches[:] = [(i, t) for i, t in open_touches if t.region.offset < low or end < t.region.end]
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
        kind = KINDS[type(command.op)]
        known = list(self.latest.get(kind, (0,) * len(KINDS)))
        if kind != KINDS[GemmJob]:
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
