"""A step into memory: planned as it is or, where L2 is a budget, with values computed twice rather than kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from tdco_spec import HwConfig

from .choose import choose_ways
from .cost import Costs
from .errors import TdcoError
from .ir import Graph
from .layout import Layout, assign_layout
from .memory import in_l1, place
from .order import CALL, GEMM, IN, L3, OUT, kind_of
from .passes import Recomputed, rematerialise
from .program import GemmJob, KernelCall, MemoryPlan, Schedule
from .schedule import Planned
from .tile import choose_tiling
from .work import Tiling

UNLIMITED_BYTES = 1 << 30
"""Of L2, to see what a step needs of it."""
ROUNDS = 4
"""Plans within a budget, at most: a plan says what to compute again, the next one what that was worth."""
CODE_BYTES = 52 << 10
"""Of the firmware: runtime, drivers and all kernels, with room to grow; the linker refuses more."""
ENTRY_BYTES = {IN: 36, OUT: 36, GEMM: 56, CALL: 116, L3: 32}
"""Of the tables of tdco.h, by queue."""
RESERVE_STEP_BYTES = 4 << 10
"""Every reserve is a hardware configuration of its own, for which simulators are built: few of them will do."""


@dataclass(frozen=True)
class PlannedStep:
    """``graph`` as laid out, ``commands`` with their places in L1, and how they run; ``cycles_more``: modelled, than if
    nothing were ``recomputed``."""

    graph: Graph
    layout: Layout
    tilings: Mapping[int, Tiling]
    commands: Planned
    schedule: Schedule
    memory: MemoryPlan
    recomputed: tuple[Recomputed, ...] = ()
    cycles_more: int = 0


def plan_step(step: Graph, costs: Costs) -> PlannedStep:
    """Lays out, tiles, schedules and places ``step``.

    Raises:
        TdcoError: it cannot be tiled or placed.
    """
    graph, layout = assign_layout(step)
    graph = choose_ways(graph, layout, costs)
    tilings = choose_tiling(graph, layout, costs)
    commands = in_l1(graph, layout, tilings, costs)
    return PlannedStep(graph, layout, tilings, commands, *place(graph, layout, commands, costs))


def plan_whole(step: Graph, costs: Costs) -> tuple[PlannedStep, HwConfig]:
    """``step`` as it is, in the memories of ``costs.cfg``; where this program's tables are more than the firmware's
    share of L2, it gets what they take, and the configuration says so.

    Raises:
        TdcoError: it cannot be tiled or placed.
    """
    return _with_tables(plan_step(step, costs), costs)


def _with_tables(planned: PlannedStep, costs: Costs) -> tuple[PlannedStep, HwConfig]:
    """``planned`` with room in L2 for its tables. Where the commands' data lie in L1 does not depend on it."""
    cfg = costs.cfg
    while _reserve_bytes(planned) > cfg.l2_reserved_bytes:
        cfg = _reserving(cfg, planned)
        planned = _placed(planned, replace(costs, cfg=cfg))
    return planned, cfg


def _placed(planned: PlannedStep, costs: Costs) -> PlannedStep:
    """``planned`` in the L2 and L3 of ``costs.cfg``."""
    schedule, memory = place(planned.graph, planned.layout, planned.commands, costs)
    return replace(planned, schedule=schedule, memory=memory)


def plan_within(step: Graph, costs: Costs) -> tuple[PlannedStep, HwConfig]:
    """``step`` within the L2 of ``costs.cfg``, of which the firmware gets what this program's takes; the configuration
    says so.

    What does not fit is computed again where that helps; L3 takes what is too much then.

    Raises:
        TdcoError: it cannot be tiled or placed.
    """
    roomy = replace(costs, cfg=replace(costs.cfg, l2_bytes=UNLIMITED_BYTES))
    planned = first = plan_step(step, roomy)
    recomputed: tuple[Recomputed, ...] = ()
    for _ in range(ROUNDS):
        cfg = _reserving(costs.cfg, planned)
        excess_bytes = planned.memory.peak_bytes["l2"] - (cfg.l2_bytes - cfg.l2_reserved_bytes)
        if excess_bytes <= 0:
            break
        there_and_back = 2 * cfg.l3_cycles_per_byte  # what is dearer had better go to L3
        step, more = rematerialise(step, _homes(planned), _cycles(planned, costs), excess_bytes, there_and_back)
        if not more:
            break
        recomputed += more
        planned = plan_step(step, roomy)
    cfg = _reserving(costs.cfg, planned)
    if planned.memory.peak_bytes["l2"] > cfg.l2_bytes - cfg.l2_reserved_bytes:
        costs = replace(costs, cfg=cfg)
        planned, cfg = _with_tables(_placed(planned, costs), costs)
    more_cycles = planned.schedule.cycles - first.schedule.cycles if recomputed else 0
    return replace(planned, recomputed=recomputed, cycles_more=more_cycles), cfg


def _reserving(cfg: HwConfig, planned: PlannedStep) -> HwConfig:
    """``cfg`` with what the firmware of ``planned`` takes of L2.

    Raises:
        TdcoError: it is more than there is.
    """
    reserve_bytes = _reserve_bytes(planned)
    if reserve_bytes >= cfg.l2_bytes:
        what = f"the firmware alone takes {reserve_bytes:,} bytes of {cfg.l2_bytes:,} of L2"
        raise TdcoError(what, hint=f"a larger --l2-bytes: the tensors need {planned.memory.peak_bytes['l2']:,} more")
    return replace(cfg, l2_reserved_bytes=reserve_bytes)


def _reserve_bytes(planned: PlannedStep) -> int:
    """Of L2 for the firmware: code and tables."""
    entries = Counter(kind_of(command.op) for command in planned.schedule.commands)
    tables = sum(n * ENTRY_BYTES[kind] for kind, n in entries.items())
    return -(-(CODE_BYTES + tables) // RESERVE_STEP_BYTES) * RESERVE_STEP_BYTES


def _homes(planned: PlannedStep) -> frozenset[str]:
    return frozenset(p.buffer.tensor for p in planned.memory.placements.values() if p.buffer.level == "l2")


def _cycles(planned: PlannedStep, costs: Costs) -> dict[str, int]:
    """Of engine and cores for every node, by its first output."""
    cycles: dict[str, int] = {}
    for command in planned.schedule.commands:
        if isinstance(command.op, GemmJob | KernelCall):
            name = planned.graph.nodes[command.node].outputs[0]
            cycles[name] = cycles.get(name, 0) + costs.op(command.op)
    return cycles
