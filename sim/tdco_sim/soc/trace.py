"""What happened when, as a trace for Perfetto."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tdco_spec import HwConfig
from tdco_spec.cluster import EVENTS

from .program import CALL, GEMM, IN, L3, OUT, Tables
from .simulator import TraceEvent

MICROSECOND = 1_000_000


class Tracks:
    """Numbers of the tracks, as in watch.hpp."""

    def __init__(self, cfg: HwConfig) -> None:
        self.harts = cfg.cores + 1
        self.engine = 2 * self.harts
        self.to_l1, self.from_l1 = self.engine + 1, self.engine + 2
        self.l3, self.barrier = self.engine + 3, self.engine + 4

    def names(self) -> dict[int, str]:
        cores = {h: f"core {h}" for h in range(self.harts - 1)} | {self.harts - 1: "controller"}
        channels = {self.to_l1: "DMA to L1", self.from_l1: "DMA from L1", self.l3: "L3 DMA"}
        return cores | {self.engine: "engine", **channels, self.barrier: "barriers"}


def write_perfetto(path: Path, events: Sequence[TraceEvent], tables: Tables, cfg: HwConfig) -> None:
    """Chrome's trace JSON, which Perfetto opens: cores, engine, DMA channels, barriers as tracks; microseconds."""
    tracks, scale = Tracks(cfg), MICROSECOND / cfg.clock_hz
    out: list[dict[str, Any]] = [
        {"ph": "M", "name": "thread_name", "pid": 0, "tid": track, "args": {"name": name}}
        for track, name in tracks.names().items()
    ]
    numbers = {(c.kind, c.index): number for number, c in enumerate(tables.commands)}
    for event in events:
        cycles = event.end - event.start
        name, arguments = _describe(event, tables, tracks, numbers)
        track = event.track - tracks.harts if tracks.harts <= event.track < tracks.engine else event.track
        slice_ = {"ph": "X", "name": name, "pid": 0, "tid": track, "ts": event.start * scale, "dur": cycles * scale}
        out.append({**slice_, "args": {"cycles": cycles, **arguments}})
    path.write_text(json.dumps({"traceEvents": out, "displayTimeUnit": "ns"}))


def _describe(
    event: TraceEvent, tables: Tables, tracks: Tracks, numbers: Mapping[tuple[int, int], int]
) -> tuple[str, dict[str, Any]]:
    """Name and arguments of a slice; ``numbers``: of each command, by kind and index."""

    def issued(kind: int) -> dict[str, Any]:
        return {"node": tables.node(kind, event.index), "command": numbers[kind, event.index]}

    if event.track < tracks.harts:
        lost = {"fetch_cycles": event.fetch, "l1_wait_cycles": event.refused}
        done = {"flop": event.flop, "l1_bytes": event.l1_bytes}
        return tables.calls[event.index].symbol, {**issued(CALL), **lost, **done}
    if event.track < tracks.engine:
        woke = [name for name, bit in EVENTS.items() if event.index >> bit & 1]
        return "barrier" if woke == ["BARRIER"] else "sleep", {"woken_by": " ".join(woke)}
    if event.track == tracks.engine:
        m, n, k = tables.jobs[event.index]
        share = event.refused / max(1, event.end - event.start)
        arguments = {"M": m, "N": n, "K": k, "stall_share": round(share, 4)}
        return f"{m}x{n}x{k}", {**issued(GEMM), **arguments}
    if event.track == tracks.barrier:
        return f"barrier {event.index}", {}
    kind = {tracks.to_l1: IN, tracks.from_l1: OUT, tracks.l3: L3}[event.track]
    return f"{tables.copies[kind][event.index]} bytes", issued(kind)
