"""What a report is made of, read from OUT: the program, its measured step, its training."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tdco_spec import HwConfig

from ..errors import TdcoError
from ..footprint import Life
from ..ops import get_op

Record = dict[str, Any]
COMPILED, RUN_SOC, RUN_HOST, TRACE = "compile.json", "run_soc.json", "run_host.json", "trace.json"
"""Files of OUT that `tdco compile` and `tdco run` leave: what the command said, how it was called, the last step."""
MICROSECOND = 1_000_000
TRAIN_CURVE, TRAIN_RECORD = "train.csv", "train.json"
PHASES = ("forward", "backward", "update")
BEFORE_UPDATES = ("Finite", "ProductFinite", "Due", "All")
"""Operators of the last phase that change no state themselves: they ask whether an update may be."""
RESOURCES = ("engine", "cores", "dma", "l3")


@dataclass(frozen=True)
class Slice:
    """Something on a track of the trace, from cycle ``start`` of the step to ``end``, with the trace's arguments."""

    track: str
    start: int
    end: int
    name: str
    arguments: Record

    @property
    def node(self) -> str:
        """The graph node it works for ("7 Relu relu"); empty if it works for none."""
        return str(self.arguments.get("node", ""))


@dataclass(frozen=True)
class Node:
    """A node of the graph: operator, the user's layer that it comes from, phase of the step, FLOP."""

    op: str
    layer: str
    phase: str
    flop: int


@dataclass(frozen=True)
class Step:
    """A step: ``document`` is program.json, ``run`` the measured step, ``lives`` every buffer's place and time.

    ``curve``: rows of the training log, numbers by column; ``trained``: what `tdco train` said. Both are empty where
    nothing was trained.
    """

    out: Path
    document: Record
    run: Record
    lives: tuple[Life, ...]
    slices: tuple[Slice, ...]
    compiled: Record
    curve: tuple[dict[str, float], ...]
    trained: Record

    @cached_property
    def hw(self) -> HwConfig:
        return HwConfig(**self.document["hw"])

    @property
    def evaluations(self) -> tuple[Record, ...]:
        """What was evaluated while training."""
        return tuple(self.trained.get("evaluations", ()))

    @property
    def title(self) -> str:
        return f"{self.document['name']} · {self.document['strategy']} · {self.document['config']}"

    @property
    def profile(self) -> Record:
        return dict(self.run["profile"])

    @property
    def cycles(self) -> int:
        """Of the step that was traced, the run's last."""
        return int(self.profile["cycles"])

    @cached_property
    def nodes(self) -> dict[int, Node]:
        """By index."""
        return {n["index"]: Node(n["op"], _layer(n), _phase(n), n["flop"]) for n in self.document["nodes"]}

    def node(self, text: str) -> Node:
        """The node of a trace's or profile's ``text``, "7 Relu relu"; its own where the step has several updates."""
        index, _, rest = text.partition(" ")
        return self.nodes.get(int(index) if index.isdigit() else -1, Node(rest, rest or "other", "forward", 0))


def load_step(out: Path) -> Step:
    """The step in OUT.

    Raises:
        TdcoError: a file that `tdco compile` or `tdco run OUT --platform soc` leaves is missing or damaged.
    """
    document = _read(out / "program.json", f"tdco compile MODEL ... -o {out}")
    run = _read(out / RUN_SOC, f"tdco run {out} --platform soc --engine model")
    trace = _read(out / TRACE, f"tdco run {out} --platform soc --engine model")
    curve, record = _training(out)
    return Step(
        out=out,
        document=document,
        run=run,
        lives=tuple(Life(**life) for life in _read(out / "memory.json", f"tdco compile MODEL ... -o {out}")),
        slices=_slices(trace["traceEvents"], document["hw"]["clock_hz"] / MICROSECOND),
        compiled=_read(out / COMPILED, "") if (out / COMPILED).exists() else {},
        curve=curve,
        trained=record,
    )


def _read(file: Path, hint: str) -> Any:
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError) as e:
        raise TdcoError("is missing or damaged", str(file), f"run `{hint}`" if hint else "compile again") from e


def _slices(events: list[Record], cycles_per_us: float) -> tuple[Slice, ...]:
    tracks = {e["tid"]: e["args"]["name"] for e in events if e["ph"] == "M"}
    found = []
    for event in events:
        if event["ph"] == "X":
            arguments = event["args"]
            start = round(event["ts"] * cycles_per_us)
            end = start + arguments["cycles"]
            found.append(Slice(tracks[event["tid"]], start, end, event["name"], arguments))
    return tuple(found)


def _layer(node: Record) -> str:
    """The module a node belongs to: "blocks.0.q" of "blocks.0.q.linear" and of its weight's update."""
    source = str(node["source"] or node["name"]).strip("/").replace("/", ".")
    return source.rpartition(".")[0] or source


def _phase(node: Record) -> str:
    if node["op"] in BEFORE_UPDATES or get_op(node["op"]).update:
        return "update"
    return "backward" if node["op"].endswith("Grad") or ".grad" in node["name"] else "forward"


def _training(out: Path) -> tuple[tuple[dict[str, float], ...], Record]:
    """The log of `tdco train`, else the losses of the longest `tdco run`."""
    if (out / TRAIN_CURVE).exists():
        with (out / TRAIN_CURVE).open(newline="") as file:
            curve = tuple({k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file))
        return curve, _read(out / TRAIN_RECORD, "") if (out / TRAIN_RECORD).exists() else {}
    runs = [_read(out / name, "") for name in (RUN_SOC, RUN_HOST) if (out / name).exists()]
    losses: list[float] = max((run["loss"] for run in runs), key=len, default=[])
    if len(losses) < 2:
        return (), {}
    return tuple({"step": float(i + 1), "loss": loss} for i, loss in enumerate(losses)), {}
