"""What a training run has done so far: one file that is whole or not there, and the logs that people and tools read.

The file is the truth: a killed run goes on from it, and the logs are written anew from it.
"""

from __future__ import annotations

import csv
import io
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import TdcoError

FILE, LOG, SUMMARY, TRAINED = "train.npz", "train.csv", "train.json", "trained.npz"
SERIES = ("loss", "loss_scale", "skipped")
"""Of every step. ``loss_scale``: what it was run with. ``skipped``: whether it left some tensor as it was because its
gradient was not finite. NaN where the program does not count."""


@dataclass
class Journal:
    """``settings``: what another run must share to go on from here. ``state``: the program's after the last step;
    ``best``: after the best evaluation at an interval's end so far, where the run stops early. ``evaluations``: {step,
    samples, accuracy}. ``checks``: {step, words_compared, mismatches} of the steps that were run on the soc, too.
    ``seconds``: of all, ``step_seconds`` of the steps alone, ``cpu_seconds`` what these took of the machine's cores."""

    settings: dict[str, Any]
    state: dict[str, np.ndarray]
    series: dict[str, np.ndarray] = field(default_factory=lambda: {name: np.zeros(0) for name in SERIES})
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    checks: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, np.ndarray] = field(default_factory=dict)
    seconds: float = 0.0
    step_seconds: float = 0.0
    cpu_seconds: float = 0.0

    @property
    def step(self) -> int:
        return len(self.series["loss"])

    def append(self, **series: np.ndarray) -> None:
        for name in SERIES:
            self.series[name] = np.concatenate([self.series[name], series[name]])

    @property
    def best_evaluation(self) -> dict[str, Any] | None:
        """The first of the highest accuracy."""
        return max(self.evaluations, key=lambda e: float(e["accuracy"]), default=None)

    @property
    def kept(self) -> tuple[dict[str, Any] | None, dict[str, np.ndarray]]:
        """An evaluation and its state: the best one's where the run stops early, else the last one's."""
        if not self.settings["patience"] or not self.evaluations:
            return self.evaluations[-1] if self.evaluations else None, self.state
        best = self.best_evaluation
        assert best
        return best, self.state if best["step"] == self.step else self.best


def load(folder: Path, settings: Mapping[str, Any]) -> Journal | None:
    """The run that ``folder`` holds; None where there is none.

    Raises:
        TdcoError: it is another run than ``settings`` describe, or the file is damaged.
    """
    file = folder / FILE
    if not file.exists():
        return None
    try:
        with np.load(file) as arrays:
            held = {name: arrays[name] for name in arrays.files}
        text = json.loads(str(held.pop("json")))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as e:
        raise TdcoError(f"is no journal of a training run ({e})", str(file), "begin anew with --restart") from None
    for key, value in settings.items():
        if (before := text["settings"].get(key)) != value:
            raise TdcoError(f"holds a run with {key} {before}, not {value}", str(folder), "begin anew with --restart")
    groups: dict[str, dict[str, np.ndarray]] = {"state": {}, "best": {}, "series": {}}
    for name, array in held.items():
        group, _, rest = name.partition("/")
        groups[group][rest] = array
    return Journal(state=groups["state"], best=groups["best"], series=groups["series"], **text)


def save(folder: Path, journal: Journal) -> None:
    """Writes the file and the logs, each whole or not at all."""
    text: dict[str, Any] = {"settings": journal.settings, "evaluations": journal.evaluations, "checks": journal.checks}
    groups = {"state": journal.state, "best": journal.best, "series": journal.series}
    text |= {name: getattr(journal, name) for name in ("seconds", "step_seconds", "cpu_seconds")}
    arrays: dict[str, Any] = {f"{g}/{name}": array for g, group in groups.items() for name, array in group.items()}
    write(folder / FILE, npz({**arrays, "json": np.array(json.dumps(text))}))
    write(folder / LOG, _log(journal).encode())


def npz(arrays: Mapping[str, Any]) -> bytes:
    """The same bytes for the same arrays."""
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def write(path: Path, data: bytes) -> None:
    """Replaces ``path`` by ``data``: a kill leaves the one or the other."""
    new = path.with_name(path.name + ".new")
    with new.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _log(journal: Journal) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["step", "samples", *SERIES])
    batch = journal.settings["batch"]
    for step, values in enumerate(zip(*(journal.series[name] for name in SERIES), strict=True), 1):
        rows.writerow([step, step * batch, *("" if np.isnan(v) else f"{v:.9g}" for v in values)])
    return text.getvalue()
