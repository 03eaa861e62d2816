"""What L2 has no room for: tensors whose home is L3, the windows in which L2 holds them, and the moves in between.

A window is a run of commands that use a piece of a tensor, between a load (unless its content is still to be computed)
and a store (if it was written and is needed later). Between windows the piece takes no room in L2. Which tensors leave
it, and when, is chosen by the cycles of the DMA to L3 per byte and command of relief; loads begin as early as there is
room, so that they run beside the commands before.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from heapq import heapify, heappop, heappush
from itertools import accumulate, chain, pairwise
from math import inf

import numpy as np

from .cost import HOP_CYCLES, Costs
from .order import KINDS, kind_of, touches
from .program import Buffer, Command, Copy, Move, Ref, Schedule
from .transfer import Region
from .work import ALIGN_BYTES, aligned

PIECE_BYTES = 16 << 10
"""Of a piece, at least: what is large and updated tile by tile passes through L2 in pieces."""
MOVE_BYTES = 1 << 10
"""Of one row of a piece, at least: every row is a move of its own, with a command and a start-up."""

Gap = tuple[int, int]
"""(piece, i): behind the command that uses the piece as its i-th."""
OUTSIDE: Gap = (-1, -1)
"""Before the first and after the last command that uses a piece, of all pieces of a tensor together."""

WINDOW = "~"
"""Between the name of a tensor and the number of its window."""

Away = Mapping[str, frozenset[Gap]]
"""The gaps, by tensor, in which it is not in L2."""


@dataclass(frozen=True)
class Piece:
    """Bytes [begin, end) of every row of a tensor; the commands that use it, in order, and those that write it."""

    begin: int
    end: int
    uses: tuple[int, ...]
    writes: frozenset[int]

    @cached_property
    def _writes_before(self) -> list[int]:
        return list(accumulate((use in self.writes for use in self.uses), initial=0))

    def is_written(self, first: int, end: int) -> bool:
        """By its uses ``first`` up to ``end``."""
        return self._writes_before[end] > self._writes_before[first]


@dataclass(frozen=True)
class Window:
    """Commands ``first`` to ``last`` find the piece in L2."""

    piece: Piece
    first: int
    last: int
    load: bool
    store: bool


@dataclass(frozen=True)
class Tensor:
    """A tensor as ``rows`` rows of ``row_bytes``, cut into pieces across them all. ``kept``: it outlives the step."""

    buffer: Buffer
    pieces: tuple[Piece, ...]
    kept: bool
    rows: int
    row_bytes: int

    def bytes(self, piece: Piece) -> int:
        return self.rows * (piece.end - piece.begin)

    def gaps(self) -> Iterator[Gap]:
        """Those in which a piece may leave L2 while it is used: what is computed, only once it is complete."""
        for n, piece in enumerate(self.pieces):
            complete = max(piece.writes, default=-1)
            for i, (a, b) in enumerate(pairwise(piece.uses)):
                if b - a > 1 and (self.kept or a >= complete):
                    yield n, i

    def spans(self, gap: Gap, commands: int) -> Iterator[tuple[int, int, int]]:
        """(begin, end, bytes): what leaves L2 in a gap, before which commands, of as many as a step has."""
        if gap != OUTSIDE:
            piece, i = self.pieces[gap[0]], gap[1]
            yield piece.uses[i] + 1, piece.uses[i + 1], aligned(self.bytes(piece))
            return
        for piece in self.pieces:
            first, last = (piece.uses[0], piece.uses[-1]) if piece.uses else (commands, commands)
            yield 0, first, aligned(self.bytes(piece))
            yield min(last + 1, commands), commands, aligned(self.bytes(piece))

    def windows(self, away: Collection[Gap]) -> list[Window]:
        """Where it is in L2, if it leaves in the gaps ``away``."""
        found = []
        for n, piece in enumerate(self.pieces):
            cuts = sorted(i + 1 for at, i in away if at == n)
            runs = [piece.uses[a:b] for a, b in pairwise([0, *cuts, len(piece.uses)]) if a < b]
            for k, run in enumerate(runs):
                needed = self.kept or k < len(runs) - 1
                written = not piece.writes.isdisjoint(run)
                found.append(Window(piece, run[0], run[-1], self.kept or k > 0, needed and written))
        return found

    def move_cycles(self, piece: Piece, costs: Costs) -> int:
        return self.rows * costs.move(piece.end - piece.begin)

    def cycles(self, away: Collection[Gap], costs: Costs) -> int:
        """Of the moves, if it leaves in the gaps ``away``."""
        if not away:
            return 0
        return sum((w.load + w.store) * self.move_cycles(w.piece, costs) for w in self.windows(away))

    def more_cycles(self, away: Collection[Gap], gap: Gap, costs: Costs) -> int:
        """That moves take if it leaves in ``gap`` too, within its uses: the window there becomes two."""
        piece, i = self.pieces[gap[0]], gap[1]
        cuts = [-1, *sorted(c for at, c in away if at == gap[0]), len(piece.uses) - 1]
        n = bisect(cuts, i)
        left, right = piece.is_written(cuts[n - 1] + 1, i + 1), piece.is_written(i + 1, cuts[n] + 1)
        needed = self.kept or n < len(cuts) - 1
        stores = left + (right and needed) - ((left or right) and needed)
        return (1 + stores) * self.move_cycles(piece, costs)


def at_home(name: str) -> str:
    """The tensor that a buffer with this name holds, or has a window on."""
    return name.partition(WINDOW)[0]


def movable(schedule: Schedule, keep: Collection[str], fixed: Collection[str]) -> dict[str, Tensor]:
    """What may leave L2: not the ``fixed`` tensors, and nothing that is never written whole."""
    uses: dict[str, list[tuple[int, Region, bool]]] = {n: [] for n, b in schedule.buffers.items() if b.level == "l2"}
    for index, command in enumerate(schedule.commands):
        if isinstance(command.op, Copy):
            for touch in touches(command.op, schedule.buffers):
                if touch.buffer in uses:
                    uses[touch.buffer].append((index, touch.region, touch.write))
    return {
        name: _tensor(schedule.buffers[name], at, name in keep)
        for name, at in uses.items()
        if name not in fixed and (name in keep or _is_complete(schedule.buffers[name].bytes, at))
    }


def _is_complete(size_bytes: int, uses: Sequence[tuple[int, Region, bool]]) -> bool:
    """Whether every byte is written."""
    written = np.zeros(size_bytes, bool)
    for _, region, write in uses:
        for row in range(region.rows) if write else ():
            begin = region.offset + row * region.stride
            written[begin : begin + region.row_bytes] = True
    return bool(uses) and bool(written.all())


def _tensor(buffer: Buffer, uses: Sequence[tuple[int, Region, bool]], kept: bool) -> Tensor:
    """Cut where no command moves bytes from both sides."""
    shapes = {(r.rows, r.stride) for _, r, _ in uses if not r.dense}
    rows, row_bytes = 1, buffer.bytes
    if len(shapes) == 1 and all(not r.dense for _, r, _ in uses):
        ((n, stride),) = shapes
        if n * stride == buffer.bytes and all(r.offset + r.row_bytes <= stride for _, r, _ in uses):
            rows, row_bytes = n, stride
    ranges = [(r.offset, r.offset + r.row_bytes if rows > 1 else r.end, index, write) for index, r, write in uses]
    cuts, reach = [0], 0
    for begin, end, *_ in sorted(ranges):
        far = min(begin - cuts[-1], row_bytes - begin) >= max(PIECE_BYTES // rows, MOVE_BYTES)
        if begin >= reach and far and begin % ALIGN_BYTES == 0:
            cuts.append(begin)
        reach = max(reach, end)
    if len(cuts) == 1:  # whole, it is one row
        rows, row_bytes = 1, buffer.bytes
    pieces = []
    for low, high in pairwise([*cuts, row_bytes]):
        mine = [(index, write) for begin, _, index, write in ranges if low <= begin < high]
        at = tuple(dict.fromkeys(index for index, _ in mine))
        pieces.append(Piece(low, high, at, frozenset(index for index, write in mine if write)))
    return Tensor(buffer, tuple(pieces), kept, rows, row_bytes)


def choose(
    tensors: Mapping[str, Tensor], live: np.ndarray, limit: int, costs: Costs, dearer: Mapping[str, float]
) -> tuple[Away, np.ndarray]:
    """The gaps in which tensors leave L2, and the bytes that are live then.

    ``live``: bytes of L2 at each command if all stay. More than ``limit`` remain only where nothing helps.
    ``dearer``: what to multiply the price of a tensor by.
    """
    live, over = live.copy(), np.maximum(live - limit, 0)
    outside = {name: tensor.cycles({OUTSIDE}, costs) for name, tensor in tensors.items() if tensor.kept}
    relieved: dict[tuple[str, Gap], int] = {}  # bytes too many at all commands together

    def price(name: str, gone: Collection[Gap], gaps: Sequence[Gap]) -> float:
        """Cycles per byte and command of relief; infinite if the last gap brings none."""
        tensor = tensors[name]
        for gap in gaps:
            if (name, gap) not in relieved:
                spans = tensor.spans(gap, len(over))
                relieved[name, gap] = sum(int(np.minimum(over[a:b], n).sum()) for a, b, n in spans)
        if not relieved[name, gaps[-1]]:
            return inf
        cycles = sum(outside[name] if gap == OUTSIDE else tensor.more_cycles(gone, gap, costs) for gap in gaps)
        return dearer.get(name, 1.0) * cycles / sum(relieved[name, gap] for gap in gaps)

    away: dict[str, frozenset[Gap]] = {}
    waiting = [(0.0, name, gaps, 0) for name, tensor in tensors.items() for gaps in _steps(tensor, frozenset())]
    heapify(waiting)
    while waiting and over.any():
        _, name, gaps, known = heappop(waiting)  # at a price that was right once, and can only have risen
        gone = away.get(name, frozenset())
        if known != len(gone):
            continue
        step = price(name, gone, gaps), name, gaps, known
        if waiting and waiting[0] < step:
            if step[0] < inf:
                heappush(waiting, step)
        elif step[0] < inf:
            away[name] = gone | frozenset(gaps)
            for more in _steps(tensors[name], away[name]):  # at other prices than before
                heappush(waiting, (0.0, name, more, len(away[name])))
            _change(live, tensors[name], gaps, -1)
            over = np.maximum(live - limit, 0)
            relieved.clear()
    _take_back(tensors, away, live, limit, costs)
    return away, live


def _steps(tensor: Tensor, gone: Collection[Gap]) -> Iterator[tuple[Gap, ...]]:
    """Gaps in which it may leave L2 next, beside those it has ``gone`` in: for what outlives the step after or together
    with the one outside its uses."""
    first = (OUTSIDE,) if tensor.kept and not gone else ()
    if first:
        yield first
    for gap in tensor.gaps():
        if gap not in gone:
            yield (*first, gap)


def _change(live: np.ndarray, tensor: Tensor, gaps: Iterable[Gap], sign: int) -> None:
    for begin, end, size in chain.from_iterable(tensor.spans(gap, len(live)) for gap in gaps):
        live[begin:end] += sign * size


def _take_back(
    tensors: Mapping[str, Tensor], away: dict[str, frozenset[Gap]], live: np.ndarray, limit: int, costs: Costs
) -> None:
    """Drops choices that later ones made needless, the dearest first."""
    by_price = sorted(away, key=lambda name: (-tensors[name].cycles(away[name], costs), name))
    for name in by_price:
        tensor = tensors[name]
        for gap in sorted(away[name], reverse=True):  # the one outside last
            if gap == OUTSIDE and len(away[name]) > 1:
                continue
            _change(live, tensor, (gap,), 1)
            if any((live[a:b] > limit).any() for a, b, _ in tensor.spans(gap, len(live))):
                _change(live, tensor, (gap,), -1)
            else:
                away[name] -= {gap}
        if not away[name]:
            del away[name]


@dataclass(frozen=True)
class Replay:
    """When each command starts and ends, and the command it waited for last: -1 for none."""

    starts: Sequence[int]
    ends: Sequence[int]
    waited_for: Sequence[int]

    @property
    def cycles(self) -> int:
        return max(self.ends, default=0)


def replay(schedule: Schedule, costs: Costs) -> Replay:
    """``schedule`` if every queue is a resource that works in order."""
    free, last = [0] * len(KINDS), [-1] * len(KINDS)
    starts: list[int] = []
    ends: list[int] = []
    waited_for: list[int] = []
    kinds = [kind_of(command.op) for command in schedule.commands]
    for index, (kind, command) in enumerate(zip(kinds, schedule.commands, strict=True)):
        waits = [(ends[j] + (HOP_CYCLES if kinds[j] != kind else 0), j) for j in command.after]
        start, cause = max([(free[kind], last[kind]), *waits])
        starts.append(start)
        ends.append(start + costs.command(command.op, kind in [kinds[j] for j in command.after]))
        waited_for.append(cause)
        free[kind], last[kind] = ends[-1], index
    return Replay(starts, ends, waited_for)


def waited_shares(schedule: Schedule, times: Replay) -> dict[str, float]:
    """By tensor, the share of its moves' cycles that lie on the longest way to the end of the step."""
    cycles: dict[str, int] = {}
    waited: dict[str, int] = {}
    way = set()
    at = max(range(len(times.ends)), key=lambda index: times.ends[index], default=-1)
    while at >= 0:
        way.add(at)
        at = times.waited_for[at]
    for index, command in enumerate(schedule.commands):
        if isinstance(command.op, Move):
            home, n = at_home(command.op.l2.buffer), times.ends[index] - times.starts[index]
            cycles[home] = cycles.get(home, 0) + n
            waited[home] = waited.get(home, 0) + n * (index in way)
    return {home: n / cycles[home] for home, n in waited.items()}


def with_moves(
    schedule: Schedule,
    tensors: Mapping[str, Tensor],
    away: Away,
    live: np.ndarray,
    room: int,
    starts: Sequence[int],
    costs: Costs,
) -> Schedule:
    """``schedule`` with the tensors that leave L2 at home in L3, their windows in L2, and the moves between.

    A load stands before its window as early as its time on the DMA asks for and ``live`` bytes leave ``room``.
    """
    windows = [(tensors[name], window) for name, gaps in away.items() for window in tensors[name].windows(gaps)]
    begin = _beginnings(windows, live, room, starts, costs)
    before: dict[int, list[Command]] = {}
    behind: dict[int, list[Command]] = {}
    holder: dict[tuple[str, int], tuple[str, Tensor, Piece]] = {}
    buffers = dict(schedule.buffers)
    for name in away:
        buffers[name] = replace(buffers[name], level="l3")
    for n, (tensor, window) in enumerate(windows):
        home, piece = tensor.buffer.name, window.piece
        held = f"{home}{WINDOW}{n}"
        buffers[held] = Buffer(held, tensor.bytes(piece), "l2", held)
        holder.update(((home, i), (held, tensor, piece)) for i in piece.uses if window.first <= i <= window.last)
        for to_l2, wanted, at, use in (
            (True, window.load, before.setdefault(begin[n], []), window.first),
            (False, window.store, behind.setdefault(window.last, []), window.last),
        ):
            width = piece.end - piece.begin
            for row in range(tensor.rows) if wanted else ():
                l2, l3 = Ref(held, row * width), Ref(home, row * tensor.row_bytes + piece.begin)
                at.append(Command(Move(l2, l3, width, to_l2), schedule.commands[use].node))
    commands: list[Command] = []
    for index, command in enumerate(schedule.commands):
        op = command.op
        if isinstance(op, Copy) and (op.l2.buffer, index) in holder:
            held, tensor, piece = holder[op.l2.buffer, index]
            stride = op.stride_bytes if tensor.rows == 1 else piece.end - piece.begin
            command = replace(command, op=replace(op, l2=Ref(held, op.l2.offset - piece.begin), stride_bytes=stride))
        commands += [*before.get(index, ()), command, *behind.get(index, ())]
    return replace(schedule, buffers=buffers, commands=tuple(commands))


def _beginnings(
    windows: Sequence[tuple[Tensor, Window]], live: np.ndarray, room: int, starts: Sequence[int], costs: Costs
) -> list[int]:
    """The command before which each window is loaded."""
    live = live.copy()
    latest = np.maximum.accumulate(np.array(starts))
    moves = [(w.first, 1, n) for n, (_, w) in enumerate(windows) if w.load]
    moves += [(w.last, 0, n) for n, (_, w) in enumerate(windows) if w.store]
    by = [0] * len(windows)  # when the DMA has to begin, if it is to be in time for all that follow
    now = int(latest[-1])
    for at, load, n in sorted(moves, reverse=True):
        tensor, window = windows[n]
        now = (min(now, starts[at]) if load else now) - tensor.move_cycles(window.piece, costs)
        by[n] = now if load else by[n]
    begin = [w.first for _, w in windows]
    for at, load, n in sorted(moves):
        if not load:
            continue
        tensor, window = windows[n]
        size = aligned(tensor.bytes(window.piece))
        low = min(at, int(np.searchsorted(latest, by[n])))
        full = np.flatnonzero(live[low:at] + size > room)
        begin[n] = low = low + int(full[-1]) + 1 if len(full) else low
        live[low:at] += size
    return begin
