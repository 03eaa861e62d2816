"""Static memory planning: an offset for every buffer, from lifetimes in commands, so that no two live ones overlap."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from tdco_spec import HwConfig

from .cost import Predictor, core_formula
from .errors import TdcoError
from .ir import Graph
from .layout import Layout
from .program import Buffer, Copy, MemoryPlan, Placement, Schedule
from .schedule import arrange, make_steps, order, touches
from .work import Tiling, aligned


def persistent(graph: Graph, layout: Layout) -> frozenset[str]:
    """The storages that are never reused: what is fed, read back, or survives a step."""
    names = (*graph.inputs, *graph.outputs, *graph.constants, *graph.state)
    return frozenset(layout.views[name].storage for name in names)


def plan(
    graph: Graph, layout: Layout, tilings: Mapping[int, Tiling], cfg: HwConfig, predict: Predictor | None = None
) -> tuple[Schedule, MemoryPlan]:
    """The final schedule, with every wait that data flow and the reuse of memory need, and an offset for every buffer.

    A buffer lives from the first to the last command that touches it, in issue order; persistent ones live
    throughout. Where L1 is too full for a node's first tiles to be fetched under the node before it, they wait.

    Raises:
        TdcoError: L2 is too small; tensor, demand, limit and what would help.
    """
    buffers, steps = make_steps(graph, layout, tilings, predict or core_formula(cfg))
    keep = persistent(graph, layout)
    next_node = {step.node: following.node for step, following in pairwise(steps) if step.node != following.node}
    serial: set[int] = set()
    while True:
        schedule = arrange(buffers, steps, serial)
        l1, l2 = (_place(schedule, level, keep) for level in _levels(cfg))
        crowded = {schedule.commands[p.first].node for p in l1.over}
        more = (crowded | {next_node[n] for n in crowded if n in next_node}) - serial
        if not more:
            break
        serial |= more
    for placed in (l1, l2):
        _require_fit(placed)
    placements = {**l1.placements, **l2.placements}
    places = {name: (p.buffer.level, p.offset) for name, p in placements.items()}
    peaks = {"l1": l1.peak_bytes, "l2": l2.peak_bytes}
    bounds = {"l1": l1.bound_bytes, "l2": l2.bound_bytes}
    return order(schedule, places), MemoryPlan(placements, peaks, bounds)


@dataclass(frozen=True)
class _Level:
    """Bytes [``start``, ``end``) of a memory are the planner's."""

    name: str
    start: int
    end: int


def _levels(cfg: HwConfig) -> tuple[_Level, _Level]:
    return _Level("l1", cfg.l1_reserved_bytes, cfg.l1_bytes), _Level("l2", 0, cfg.l2_bytes - cfg.l2_reserved_bytes)


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


def _place(schedule: Schedule, level: _Level, keep: Collection[str]) -> _Placed:
    """The lower of two plans: buffers placed largest first, and earliest first, each at the lowest free offset."""
    lives = _lifetimes(schedule, keep)
    buffers = [b for b in schedule.buffers.values() if b.level == level.name and b.name in lives]
    orders: tuple[Callable[[Buffer], tuple], ...] = (
        lambda b: (-b.bytes, lives[b.name], b.name),
        lambda b: (lives[b.name][0], -b.bytes, b.name),
    )
    plans = [_Placed(level, _first_fit(sorted(buffers, key=key), lives, level.start)) for key in orders]
    return min(plans, key=lambda placed: placed.peak_bytes)


def _lifetimes(schedule: Schedule, keep: Collection[str]) -> dict[str, tuple[int, int]]:
    """(first, last) command of every buffer that is used or kept.

    What is fetched for a later node counts as live from the computation issued before it: they are to run side by side,
    so it must not take the place of that computation's operands.
    """
    commands = schedule.commands
    lives = {name: (0, max(0, len(commands) - 1)) for name in schedule.buffers if name in keep}
    least_node_behind = list(accumulate((c.node for c in reversed(commands)), min))[::-1]
    computing = 0
    for index, command in enumerate(commands):
        first = computing if command.node > least_node_behind[index] else index
        if not isinstance(command.op, Copy):
            computing = index
        for touch in touches(command.op, schedule.buffers):
            if touch.buffer not in keep:
                lives[touch.buffer] = (lives.get(touch.buffer, (first, index))[0], index)
    return lives


def _first_fit(buffers: Sequence[Buffer], lives: Mapping[str, tuple[int, int]], start: int) -> dict[str, Placement]:
    """Each buffer, in the given order, at the lowest offset free during its life."""
    placed: list[Placement] = []
    for buffer in buffers:
        first, last = lives[buffer.name]
        offset = start
        for other in sorted((p for p in placed if p.first <= last and first <= p.last), key=lambda p: p.offset):
            if offset + buffer.bytes <= other.offset:
                break
            offset = max(offset, other.offset + aligned(other.buffer.bytes))
        placed.append(Placement(buffer, offset, first, last))
    return {p.buffer.name: p for p in placed}


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
