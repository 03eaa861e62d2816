"""One compiled step on both simulators of the cluster: cycles by kernel, engine job and copy, and where they part."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tdco_spec import HwConfig

from .errors import SimError
from .soc.program import CALL, GEMM, IN, OUT, Command, Tables
from .soc.simulator import TraceEvent
from .soc.trace import Tracks

TOTAL_TOLERANCE = 0.05
KERNEL_TOLERANCE = 0.10
KERNEL_SHARE = 0.01
"""Of the step: a kernel with a larger share has to agree within ``KERNEL_TOLERANCE``."""
OFFENDERS = 10


@dataclass(frozen=True)
class Row:
    """``count`` commands, or something else of which there is one, and its cycles on both simulators."""

    name: str
    count: int
    soc: int
    gvsoc: int

    @property
    def ratio(self) -> float:
        """1 where neither took a cycle: a program without engine jobs keeps no engine busy."""
        return (self.soc or 1) / (self.gvsoc or 1)

    def agrees(self, tolerance: float) -> bool:
        return abs(self.soc - self.gvsoc) <= tolerance * self.gvsoc


@dataclass(frozen=True)
class Comparison:
    """``step``: all of it. ``resources``: busy cycles. ``kernels``, ``jobs`` (by shape) and ``copies`` (by direction):
    sums over commands, the largest first. ``commands``: every one of them, the largest difference first."""

    step: Row
    resources: list[Row]
    kernels: list[Row]
    jobs: list[Row]
    copies: list[Row]
    commands: list[Row]

    @property
    def disagreements(self) -> list[Row]:
        """The rows that are further apart than they should be: the step and large kernels."""
        large = [row for row in self.kernels if max(row.soc, row.gvsoc) > KERNEL_SHARE * self.step.gvsoc]
        limits = [(self.step, TOTAL_TOLERANCE), *((row, KERNEL_TOLERANCE) for row in large)]
        return [row for row, tolerance in limits if not row.agrees(tolerance)]


def command_cycles(events: Sequence[TraceEvent], tables: Tables, cfg: HwConfig) -> dict[tuple[int, int], int]:
    """Cycles of every command, by its kind and how-manieth of it: a kernel call from its first core's entry to its last
    core's return; a job or copy from when it was handed over, or the one before it ended, to its end."""
    tracks = Tracks(cfg)
    kinds = {tracks.engine: GEMM, tracks.to_l1: IN, tracks.from_l1: OUT} | dict.fromkeys(range(cfg.cores), CALL)
    starts: dict[tuple[int, int], int] = {}
    ends: dict[tuple[int, int], int] = {}
    for event in events:
        if event.track in kinds:
            key = kinds[event.track], event.index
            starts[key] = min(event.start, starts.get(key, event.start))
            ends[key] = max(event.end, ends.get(key, event.end))
    return {key: ends[key] - start for key, start in starts.items()}


def compare(soc: Mapping[str, Any], gvsoc: Mapping[str, Any], tables: Tables, cfg: HwConfig) -> Comparison:
    """What two runs of one step had to say: their ``stats``, with ``events``.

    Raises:
        SimError: if they did not run the same firmware, or not the same commands.
    """
    runs = {"soc": soc, "gvsoc": gvsoc}
    commands = {(command.kind, command.index) for command in tables.commands}
    cycles = []
    for name, stats in runs.items():
        if stats["firmware_sha256"] != soc["firmware_sha256"]:
            raise SimError(f"ran {stats['firmware_sha256']}, soc {soc['firmware_sha256']}", f"platform {name}")
        cycles.append(command_cycles(stats["events"], tables, cfg))
        if set(cycles[-1]) != commands:
            raise SimError(f"{len(commands ^ set(cycles[-1]))} commands were not seen", f"platform {name}")

    def rows(kinds: Sequence[int], name: Callable[[Command], str]) -> list[Row]:
        groups: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for command in tables.commands:
            if command.kind in kinds:
                groups[name(command)].append((command.kind, command.index))
        made = [Row(n, len(g), *(sum(run[c] for c in g) for run in cycles)) for n, g in groups.items()]
        return sorted(made, key=lambda row: -row.gvsoc)

    numbers = {(command.kind, command.index): i for i, command in enumerate(tables.commands)}
    each = rows((IN, OUT, GEMM, CALL), lambda c: tables.describe(numbers[c.kind, c.index]))
    shapes = ["x".join(map(str, job)) for job in tables.jobs]
    busy = [Row(part, 1, *(stats["busy"][part] for stats in runs.values())) for part in ("engine", "cores", "dma")]
    return Comparison(
        Row("step", 1, *(stats["cycles"] for stats in runs.values())),
        busy,
        rows((CALL,), lambda c: tables.calls[c.index].symbol.removeprefix("tdco_")),
        rows((GEMM,), lambda c: shapes[c.index]),
        rows((IN, OUT), lambda c: "to L1" if c.kind == IN else "from L1"),
        sorted(each, key=lambda row: -abs(row.soc - row.gvsoc)),
    )


def markdown(comparison: Comparison, title: str) -> list[str]:
    """The comparison as lines of Markdown under a ``title``; of the engine's shapes and the commands, the largest."""
    lines = [title, ""]
    parts: list[tuple[str, Iterable[Row]]] = [
        ("step", [comparison.step]),
        ("busy", comparison.resources),
        ("kernel", comparison.kernels),
        ("engine job", comparison.jobs[:OFFENDERS]),
        ("copies", comparison.copies),
        ("furthest apart", comparison.commands[:OFFENDERS]),
    ]
    for name, rows in parts:
        lines += [f"| {name} | count | soc | GVSoC | soc / GVSoC |", "|---|---|---|---|---|"]
        for r in rows:
            lines.append(f"| {r.name} | {r.count} | {r.soc:,} | {r.gvsoc:,} | {r.ratio:.3f} |")
        lines.append("")
    return lines


def write_markdown(page: Path, name: str, lines: Sequence[str]) -> None:
    """Puts ``lines`` into the page, between the comments "compare NAME" and "end".

    Raises:
        SimError: if the page has no such place.
    """
    text = page.read_text()
    begin, end = f"<!-- compare {name} -->\n", "<!-- end -->"
    head, found, rest = text.partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise SimError(f"has no lines {begin.strip()} and {end}", str(page))
    page.write_text(head + begin + "\n".join(lines) + "\n" + end + tail)
