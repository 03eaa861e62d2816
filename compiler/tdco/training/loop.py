"""Many steps of a compiled program: in intervals, each recorded before the next begins."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..optimizer import SCALE, SCALE_COUNTS
from .journal import Journal, save
from .order import sample_order

State = dict[str, np.ndarray]
Run = Callable[[dict[str, np.ndarray], State], tuple[dict[str, np.ndarray], State]]
"""(inputs by name [steps, ...], state before) -> (outputs by name [steps, ...], state after)."""


@dataclass(frozen=True)
class Samples:
    """Of one set: images [N,...], labels [N]."""

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Schedule:
    """``interval``: steps between two records, each with an evaluation. ``patience``: evaluations without a better one
    that end the run, 0 for none. ``checks``: steps, the first of an interval each, that are also run on the soc.
    ``before``: evaluate before the first step, too."""

    steps: int
    batch: int
    interval: int
    seed: int
    patience: int = 0
    checks: int = 0
    before: bool = True


@dataclass(frozen=True)
class Device:
    """What runs the program. ``feed`` makes its inputs of the samples of whole batches; ``evaluate`` gives the
    accuracy of a state; ``check`` runs a step elsewhere, too, and says how many words it compared and found different.
    """

    run: Run
    feed: Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]
    evaluate: Callable[[State], float] | None
    check: Callable[[dict[str, np.ndarray], State], dict[str, int]]


def train(
    device: Device,
    samples: Samples,
    schedule: Schedule,
    journal: Journal,
    folder: Path,
    on_interval: Callable[[Journal], None] = lambda _: None,
) -> str:
    """Goes on from ``journal`` until ``schedule`` is fulfilled; returns why it ended: "steps" or "no better".

    After every interval the journal is in ``folder``. The result depends on the settings alone, interrupted or not.
    """
    checked = _checked_intervals(schedule)
    if journal.step < schedule.steps:  # a longer run does not evaluate where a shorter one ended
        journal.evaluations = [e for e in journal.evaluations if e["step"] % schedule.interval == 0]
    if device.evaluate and schedule.before and journal.step == 0:
        _evaluate(device, schedule, journal)
    while journal.step < schedule.steps and not _stalled(journal, schedule.patience):
        began, first = time.perf_counter(), journal.step
        # An interval's end is a multiple of it, so that a longer run evaluates at the same steps.
        count = min(schedule.interval - first % schedule.interval, schedule.steps - first)
        chosen = sample_order(len(samples.labels), schedule.seed, first * schedule.batch, count * schedule.batch)
        inputs = device.feed(samples.images[chosen], samples.labels[chosen])
        if first // schedule.interval in checked and first % schedule.interval == 0:
            report = device.check({name: array[:1] for name, array in inputs.items()}, journal.state)
            journal.checks.append({"step": first + 1, **report})
        before, start, used = journal.state, time.perf_counter(), _children_seconds()
        outputs, journal.state = device.run(inputs, before)
        journal.step_seconds += time.perf_counter() - start
        journal.cpu_seconds += _children_seconds() - used
        journal.append(**series(before, outputs, count))
        if device.evaluate:
            _evaluate(device, schedule, journal)
        journal.seconds += time.perf_counter() - began
        save(folder, journal)
        on_interval(journal)
    return "steps" if journal.step >= schedule.steps else "no better"


def _children_seconds() -> float:
    """CPU time of the programs that this process ran."""
    times = os.times()
    return times.children_user + times.children_system


def series(before: State, outputs: Mapping[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """Loss, loss scale and whether the step was skipped, of ``count`` steps that began at the state ``before``; NaN for
    what the program does not tell."""
    unknown = np.full(count, np.nan)
    loss = outputs["loss"].reshape(count).astype(np.float64) if "loss" in outputs else unknown
    if SCALE not in outputs:
        return {"loss": loss, "loss_scale": unknown, "skipped": unknown}
    used = np.concatenate([before[SCALE], outputs[SCALE].reshape(count)[:-1]])
    skips = np.concatenate([before[SCALE_COUNTS][1:], outputs[SCALE_COUNTS][:, 1]])
    return {"loss": loss, "loss_scale": used.astype(np.float64), "skipped": np.diff(skips).astype(np.float64)}


def _evaluate(device: Device, schedule: Schedule, journal: Journal) -> None:
    assert device.evaluate
    accuracy = device.evaluate(journal.state)
    before: Any = journal.best_evaluation
    step = journal.step
    if schedule.patience and step % schedule.interval == 0 and (before is None or accuracy > before["accuracy"]):
        journal.best = journal.state
    journal.evaluations.append({"step": step, "samples": step * schedule.batch, "accuracy": accuracy})


def _stalled(journal: Journal, patience: int) -> bool:
    best = journal.best_evaluation
    return bool(patience and best and len(journal.evaluations) - journal.evaluations.index(best) > patience)


def _checked_intervals(schedule: Schedule) -> set[int]:
    intervals = -(-schedule.steps // schedule.interval)
    drawn = np.random.default_rng(schedule.seed).permutation(intervals)[: schedule.checks]
    return {int(n) for n in drawn}
