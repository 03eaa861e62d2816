"""What happened when: a trace for Perfetto, and the cycles by kernel and by graph node."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tdco_spec import HwConfig

from .program import COPY, GEMM, Tables
from .simulator import TraceEvent

MICROSECOND = 1_000_000


def write_perfetto(path: Path, events: Sequence[TraceEvent], tables: Tables, cfg: HwConfig) -> None:
    """Chrome's trace JSON, which Perfetto opens: cores, engine and DMA channels as tracks; times in microseconds."""
    harts = cfg.cores + 1
    names = {h: f"core {h}" for h in range(cfg.cores)} | {cfg.cores: "controller"}
    names |= {2 * harts: "engine", 2 * harts + 1: "DMA to L1", 2 * harts + 2: "DMA from L1"}
    out: list[dict[str, Any]] = [
        {"ph": "M", "name": "thread_name", "pid": 0, "tid": track, "args": {"name": name}}
        for track, name in names.items()
    ]
    directions = [[i for i, t in enumerate(tables.transfers) if t[1] == to_l1] for to_l1 in (True, False)]
    for event in events:
        name, node, track = "sleep", "", event.track
        if track < harts:
            name, node = tables.calls[event.index].symbol, tables.nodes[2][event.index]
        elif track < 2 * harts:
            track -= harts
        elif track == 2 * harts:
            m, n, k = tables.jobs[event.index]
            name, node = f"{m}x{n}x{k}", tables.nodes[GEMM][event.index]
        else:
            index = directions[track - 2 * harts - 1][event.index]
            name, node = f"{tables.transfers[index][0]} bytes", tables.nodes[COPY][index]
        scale = MICROSECOND / cfg.clock_hz
        out.append(
            {
                "ph": "X",
                "name": name,
                "pid": 0,
                "tid": track,
                "ts": event.start * scale,
                "dur": (event.end - event.start) * scale,
                "args": {"node": node, "cycles": event.end - event.start},
            }
        )
    path.write_text(json.dumps({"traceEvents": out, "displayTimeUnit": "ns"}))


def profile(events: Sequence[TraceEvent], tables: Tables, cfg: HwConfig) -> dict[str, dict[str, dict[str, int]]]:
    """Cycles by kernel and by node: ``cores`` from the first core's entry to the last one's exit of each call,
    ``engine`` and ``dma`` of their jobs and transfers. Resources overlap, so the columns do not add up to the step."""
    harts = cfg.cores + 1
    spans: dict[int, list[TraceEvent]] = defaultdict(list)
    by_kernel: dict[str, dict[str, int]] = defaultdict(lambda: {"calls": 0, "cycles": 0})
    by_node: dict[str, dict[str, int]] = defaultdict(lambda: {"cores": 0, "engine": 0, "dma": 0})
    directions = [[i for i, t in enumerate(tables.transfers) if t[1] == to_l1] for to_l1 in (True, False)]
    for event in events:
        if event.track < cfg.cores:
            spans[event.index].append(event)
        elif event.track == 2 * harts:
            by_node[tables.nodes[GEMM][event.index]]["engine"] += event.end - event.start
        elif event.track > 2 * harts:
            index = directions[event.track - 2 * harts - 1][event.index]
            by_node[tables.nodes[COPY][index]]["dma"] += event.end - event.start
    for index, parts in spans.items():
        cycles = max(p.end for p in parts) - min(p.start for p in parts)
        kernel = by_kernel[tables.calls[index].symbol]
        kernel["calls"] += 1
        kernel["cycles"] += cycles
        by_node[tables.nodes[2][index]]["cores"] += cycles
    return {"kernels": dict(by_kernel), "nodes": dict(by_node)}
