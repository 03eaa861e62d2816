"""Where a step's cycles went: by kernel, by graph node, and along its critical path."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from tdco_spec import HwConfig

from .program import CALL, GEMM, IN, L3, OUT, Tables
from .simulator import TraceEvent
from .trace import Tracks

RESOURCES = {IN: "dma", OUT: "dma", GEMM: "engine", CALL: "cores", L3: "l3"}
Span = tuple[int, int]
Step = tuple[int, int]  # a command: its kind, and the how-manieth of it


def profile(events: Sequence[TraceEvent], tables: Tables, cfg: HwConfig, begin: int, end: int) -> dict[str, Any]:
    """Cycles of the step that ran from cycle ``begin`` to ``end``; ``events`` are the step's.

    ``kernels``: calls; elements of their largest operands; cycles from the first core's entry to the last one's exit;
    and of these, on average over the cores, ``fetch`` waiting for instructions, ``l1_wait`` for a bank, ``idle`` for
    the slowest core; ``flop`` and ``l1_bytes`` of all cores together (TraceEvent).

    ``nodes``: cycles of the engine, cores, DMA and L3 DMA, which overlap; ``engine_stall`` without
    a grant; ``critical``, on the critical path, and ``waiting``, before commands on that path. ``critical_path``: the
    step's cycles by what it waited for; ``control`` is the controller between one command's end and the next one's
    start.
    """
    tracks = Tracks(cfg)
    transfers = {tracks.to_l1: IN, tracks.from_l1: OUT, tracks.l3: L3}
    spans: dict[Step, Span] = {}
    calls: dict[int, list[TraceEvent]] = defaultdict(list)
    nodes: dict[str, dict[str, int]] = defaultdict(
        lambda: dict.fromkeys(("engine", "cores", "dma", "l3", "engine_stall", "fetch", "waiting", "critical"), 0)
    )
    for event in events:
        if event.track < cfg.cores:
            calls[event.index].append(event)
        elif event.track == tracks.engine:
            spans[GEMM, event.index] = event.start, event.end
            nodes[tables.node(GEMM, event.index)]["engine_stall"] += event.refused
        elif event.track in transfers:
            spans[transfers[event.track], event.index] = event.start, event.end
    for index, parts in calls.items():
        spans[CALL, index] = min(p.start for p in parts), max(p.end for p in parts)
        nodes[tables.node(CALL, index)]["fetch"] += sum(p.fetch for p in parts) // len(parts)
    for (kind, index), (start, stop) in spans.items():
        nodes[tables.node(kind, index)][RESOURCES[kind]] += stop - start
    path = dict.fromkeys(("engine", "cores", "dma", "l3", "control"), 0)
    for command, waited, worked in critical_path(tables, spans, begin, end):
        path["control"] += waited
        if command:
            path[RESOURCES[command[0]]] += worked
            node = nodes[tables.node(command[0], command[1])]
            node["critical"] += worked
            node["waiting"] += waited
    return {
        "cycles": end - begin,
        "kernels": _kernels(calls, spans, tables),
        "nodes": dict(nodes),
        "critical_path": path,
    }


def critical_path(tables: Tables, spans: dict[Step, Span], begin: int, end: int) -> list[tuple[Step | None, int, int]]:
    """The commands that ended last before the step's end, before that command's start, and so on to the step's begin.

    For each its cycles, and those between its end and what came after it; first and last in time is None: no command.
    The sum of all cycles is end - begin.
    """
    waits = {(c.kind, c.index): c.wait for c in tables.commands}
    path: list[tuple[Step | None, int, int]] = []
    current, now = max(spans, key=lambda step: spans[step][1], default=None), end
    while current is not None:
        start, stop = spans[current]
        stop = min(stop, now)
        path.append((current, now - stop, stop - start))
        now = start
        kind, index = current
        before = [(other, count - 1) for other, count in enumerate(waits[current]) if count]
        earlier = [s for s in (*before, (kind, index - 1)) if s in spans]
        current = max(earlier, key=lambda step: spans[step][1], default=None)
    return [*path, (None, now - begin, 0)]


def _kernels(calls: dict[int, list[TraceEvent]], spans: dict[Step, Span], tables: Tables) -> dict[str, dict[str, int]]:
    kernels: dict[str, dict[str, int]] = defaultdict(
        lambda: dict.fromkeys(("calls", "elements", "cycles", "fetch", "l1_wait", "idle", "flop", "l1_bytes"), 0)
    )
    for index, parts in calls.items():
        start, stop = spans[CALL, index]
        kernel = kernels[tables.calls[index].symbol]
        kernel["calls"] += 1
        kernel["elements"] += tables.elements(tables.calls[index])
        kernel["cycles"] += stop - start
        kernel["fetch"] += sum(p.fetch for p in parts) // len(parts)
        kernel["l1_wait"] += sum(p.refused for p in parts) // len(parts)
        kernel["idle"] += sum(stop - p.end for p in parts) // len(parts)
        kernel["flop"] += sum(p.flop for p in parts)
        kernel["l1_bytes"] += sum(p.l1_bytes for p in parts)
    return dict(kernels)
