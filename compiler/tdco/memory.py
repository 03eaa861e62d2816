"""Static memory planning: an offset for every buffer, from lifetimes in commands, so that no two live ones overlap."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tdco_spec import HwConfig

from .controller import step_cycles
from .cost import Costs
from .errors import TdcoError
from .ir import Graph
from .l3 import Tensor, choose, movable, replay, waited_shares, with_moves
from .layout import Layout
from .order import order
from .program import Buffer, MemoryPlan, Placement, Schedule, refs
from .schedule import Planned
from .search import schedule_units
from .units import make_units
from .work import Tiling, aligned

ROUNDS = 6
"""Choices of what leaves L2, at most, each for less room than the one before."""
SEARCHES = 5
"""Choices that are replayed, at most, each with other prices."""
SEARCHED_COMMANDS = 30_000
"""In all of them together; one is made in any case."""
PREFETCH_SHARES = (1.0, 0.95, 0.9, 0.8, 0.0)
"""Of L2 that loads ahead of their use may fill: the first with which everything finds a place."""


def persistent(graph: Graph, layout: Layout) -> frozenset[str]:
    """The storages that are never reused: what is fed, read back, or survives a step."""
    names = (*graph.inputs, *graph.outputs, *graph.constants, *graph.state)
    return frozenset(layout.views[name].storage for name in names)


def plan(graph: Graph, layout: Layout, tilings: Mapping[int, Tiling], costs: Costs) -> tuple[Schedule, MemoryPlan]:
    """The final schedule and an offset for every buffer: as ``in_l1`` and ``place`` say."""
    return place(graph, layout, in_l1(graph, layout, tilings, costs), costs)


def in_l1(graph: Graph, layout: Layout, tilings: Mapping[int, Tiling], costs: Costs) -> Planned:
    """The commands and their places in L1, for which the other memories do not matter.

    Raises:
        TdcoError: a node's blocks do not fit L1.
    """
    blocks, units = make_units(graph, layout, tilings, costs)
    keep = persistent(graph, layout)
    homes = {name: Buffer(name, graph.type(name).bytes, "l2", name) for name in layout.storages()}

    def judged(planned: Planned) -> tuple[int, int]:
        """Cycles if L2 had room for all, and the most bytes in L1 and L2 of what comes and goes."""
        schedule = Schedule({**homes, **planned.buffers}, planned.commands)
        places = {name: (name, 0) for name in homes} | {name: ("l1", at) for name, at in planned.offsets.items()}
        dynamic = [b for b in schedule.buffers.values() if b.tensor not in keep]
        peak_bytes = int(_live_bytes(schedule, dynamic, _lifetimes(schedule, keep)).max(initial=0))
        return step_cycles(order(schedule, places), costs), peak_bytes

    stay = {layout.views[name].storage for name in (*graph.outputs, *graph.state)}
    return schedule_units(blocks, units, costs, stay, judged)


def place(graph: Graph, layout: Layout, planned: Planned, costs: Costs) -> tuple[Schedule, MemoryPlan]:
    """The final schedule, with every wait that data flow and the reuse of memory need, and an offset for every buffer.

    The scheduler has placed what is in L1. A tensor gets room in L2 from the first to the last command that moves it
    there or back, persistent ones throughout; one that never leaves L1 gets none. Where that is more than L2 has, some
    go to L3 and come when they are used.

    Raises:
        TdcoError: L2 or L3 is too small; tensor, demand, limit and what would help.
    """
    keep = persistent(graph, layout)
    homes = {name: Buffer(name, graph.type(name).bytes, "l2", name) for name in layout.storages()}
    schedule = Schedule({**homes, **planned.buffers}, planned.commands, planned.cycles, 0, planned.busy, planned.tried)
    l1, l2, l3 = _levels(costs.cfg)
    lives = _lifetimes(schedule, keep)
    in_l2 = _place(schedule, l2, lives)
    if in_l2.over:
        fixed = {layout.views[name].storage for name in (*graph.inputs, *graph.outputs)}
        schedule = _with_l3(schedule, planned.offsets, (l2, l3), keep, fixed, costs)
        lives = _lifetimes(schedule, keep)
        in_l2 = _place(schedule, l2, lives)
    held = {name: Placement(b, planned.offsets[name], *lives[name]) for name, b in planned.buffers.items()}
    found = (_Placed(l1, held), in_l2, _place(schedule, l3, lives))
    for placed in found:
        _require_fit(placed)
    placements = {name: place for placed in found for name, place in placed.placements.items()}
    memory = MemoryPlan(
        placements,
        {placed.level.name: placed.peak_bytes for placed in found},
        {placed.level.name: placed.bound_bytes for placed in found},
    )
    schedule = order(schedule, {name: (p.buffer.level, p.offset) for name, p in placements.items()})
    return replace(schedule, cycles=step_cycles(schedule, costs)), memory


def _with_l3(
    schedule: Schedule,
    offsets: Mapping[str, int],
    levels: tuple[_Level, _Level],
    keep: Collection[str],
    fixed: Collection[str],
    costs: Costs,
) -> Schedule:
    """``schedule`` with what L2 has no room for in L3.

    A choice is made and replayed; tensors whose moves the step waited for get dearer, and the next choice is made: the
    fastest is taken.
    """
    l2, l3 = levels
    in_l1 = {name: ("l1", offset) for name, offset in offsets.items()}
    apart = {name: (name, 0) for name in schedule.buffers}
    alone = replay(order(schedule, {**apart, **in_l1}), costs)
    lives = _lifetimes(schedule, keep)
    live = _live_bytes(schedule, [b for b in schedule.buffers.values() if b.level == l2.name], lives)
    tensors = movable(schedule, keep, fixed)
    dearer = dict.fromkeys(tensors, 1.0)
    best, best_cycles = schedule, 0
    for _ in range(max(1, min(SEARCHES, SEARCHED_COMMANDS // (len(schedule.commands) + 1)))):
        moved, in_l2 = _moved(schedule, tensors, live, dearer, l2, keep, alone.starts, costs)
        in_l3 = _place(moved, l3, _lifetimes(moved, keep))
        if in_l2.over or in_l3.over:
            return best if best_cycles else moved
        places = {name: (p.buffer.level, p.offset) for name, p in {**in_l2.placements, **in_l3.placements}.items()}
        moved = order(moved, {**in_l1, **places})
        times = replay(moved, costs)
        if not best_cycles or times.cycles < best_cycles:
            best, best_cycles = moved, times.cycles
        for name, share in waited_shares(moved, times).items():
            dearer[name] += share
    return best


def _moved(
    schedule: Schedule,
    tensors: Mapping[str, Tensor],
    live: np.ndarray,
    dearer: Mapping[str, float],
    l2: _Level,
    keep: Collection[str],
    starts: Sequence[int],
    costs: Costs,
) -> tuple[Schedule, _Placed]:
    """``schedule`` with a choice of tensors in L3, and its L2.

    Not everything finds room though less is live than L2 has; then more leaves it.
    """
    limit = l2.end
    for _ in range(ROUNDS):
        away, rest = choose(tensors, live, limit, costs, dearer)
        for share in PREFETCH_SHARES:
            moved = with_moves(schedule, tensors, away, rest, int(share * l2.end), starts, costs)
            placed = _place(moved, l2, _lifetimes(moved, keep))
            if not placed.over:
                return moved, placed
        limit -= aligned(placed.peak_bytes - l2.end)
    return moved, placed


@dataclass(frozen=True)
class _Level:
    """Bytes [``start``, ``end``) of a memory are the planner's."""

    name: str
    start: int
    end: int


def _levels(cfg: HwConfig) -> tuple[_Level, _Level, _Level]:
    l2_bytes = cfg.l2_bytes - cfg.l2_reserved_bytes
    return _Level("l1", cfg.l1_reserved_bytes, cfg.l1_bytes), _Level("l2", 0, l2_bytes), _Level("l3", 0, cfg.l3_bytes)


@dataclass(frozen=True)
class _Placed:
    """The plan of one level; it may reach beyond the level's end."""

    level: _Level
    placements: Mapping[str, Placement]

    @property
    def peak_bytes(self) -> int:
        return max((_end(p) for p in self.placements.values()), default=self.level.start)

    @property
    def bound_bytes(self) -> int:
        return self.level.start + _liveness_bound(self.placements.values())

    @property
    def over(self) -> tuple[Placement, ...]:
        return tuple(p for p in self.placements.values() if _end(p) > self.level.end)


def _end(p: Placement) -> int:
    return p.offset + p.buffer.bytes


def _place(schedule: Schedule, level: _Level, lives: Mapping[str, tuple[int, int]]) -> _Placed:
    """The lower of two plans: buffers placed largest first, and earliest first, each at the lowest free offset."""
    buffers = [b for b in schedule.buffers.values() if b.level == level.name and b.name in lives]
    orders: tuple[Callable[[Buffer], tuple], ...] = (
        lambda b: (-b.bytes, lives[b.name], b.name),
        lambda b: (lives[b.name][0], -b.bytes, b.name),
    )
    plans = [_Placed(level, _first_fit(sorted(buffers, key=key), lives, level.start)) for key in orders]
    return min(plans, key=lambda placed: placed.peak_bytes)


def _lifetimes(schedule: Schedule, keep: Collection[str]) -> dict[str, tuple[int, int]]:
    """(first, last) command of every buffer that is used or kept."""
    commands = schedule.commands
    lives = {name: (0, max(0, len(commands) - 1)) for name in schedule.buffers if name in keep}
    for index, command in enumerate(commands):
        for ref in refs(command.op):
            if ref.buffer not in keep:
                lives[ref.buffer] = (lives.get(ref.buffer, (index, index))[0], index)
    return lives


def _live_bytes(
    schedule: Schedule, buffers: Iterable[Buffer], lives: Mapping[str, tuple[int, int]]
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Of ``buffers``, at every command."""
    live = np.zeros(len(schedule.commands), np.int64)
    for buffer in buffers:
        if buffer.name in lives:
            first, last = lives[buffer.name]
            live[first : last + 1] += aligned(buffer.bytes)
    return live


def _first_fit(buffers: Sequence[Buffer], lives: Mapping[str, tuple[int, int]], start: int) -> dict[str, Placement]:
    """Each buffer, in the given order, at the lowest offset free during its life."""
    placed: dict[str, Placement] = {}
    taken: list[tuple[int, int, int, int]] = []  # offset, end, first, last: by offset
    for buffer in buffers:
        first, last = lives[buffer.name]
        offset = start
        for other, end, begin, until in taken:
            if begin <= last and first <= until:
                if offset + buffer.bytes <= other:
                    break
                offset = max(offset, end)
        placed[buffer.name] = Placement(buffer, offset, first, last)
        insort(taken, (offset, offset + aligned(buffer.bytes), first, last))
    return placed


def _liveness_bound(placed: Collection[Placement]) -> int:
    """The most bytes live at one command: no plan for this schedule can be smaller."""
    changes: dict[int, int] = {}
    for p in placed:
        changes[p.first] = changes.get(p.first, 0) + aligned(p.buffer.bytes)
        changes[p.last + 1] = changes.get(p.last + 1, 0) - aligned(p.buffer.bytes)
    live = peak = 0
    for at in sorted(changes):
        live += changes[at]
        peak = max(peak, live)
    return peak


def _require_fit(placed: _Placed) -> None:
    if not placed.over:
        return
    level, places = placed.level, placed.placements.values()
    worst = max(placed.over, key=lambda p: (_end(p), p.buffer.name))
    beside = [p.buffer for p in places if p.first <= worst.last and worst.first <= p.last and p != worst]
    blamed, *others = sorted([worst.buffer, *beside], key=lambda b: (-b.bytes, b.name))[:4]
    raise TdcoError(
        f"does not fit {level.name.upper()} beside {', '.join(f'{b.tensor} ({b.bytes} bytes)' for b in others)}: "
        f"the plan needs {aligned(placed.peak_bytes)} bytes, {level.end} are available "
        f"(at least {placed.bound_bytes} are live at once)",
        f"tensor {blamed.tensor} ({blamed.bytes} bytes)",
        f"a configuration with more {level.name}_bytes, fewer trained tensors, or a smaller batch",
    )
