"""``tdco rates``: which learning rate a strategy takes in torch alone, before an experiment uses it."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import click
import numpy as np
from tdco_sim.compare import write_markdown

from .. import data, zoo
from ..data import Dataset
from ..ir import Graph
from ..strategies import resolve
from ..training.experiment import EXPERIMENTS, RATES, settle
from ..training.journal import write
from ..training.rates import EVALUATED, GRID, SEEDS, course, other_samples, score
from ..zoo import Model, forward_graph
from ._console import json_command, table
from ._experiment_page import PAGE, line
from ._pool import done, processes

NAME, EXPERIMENT = "rates", EXPERIMENTS["cct2-mnist"]


def _show(result: dict[str, Any]) -> None:
    rows = [(row["strategy"], *row["cells"], f"{row['best']:g}") for row in result["results"]]
    title = f"accuracy in torch fp32, {result['samples']:,} samples, {result['seeds']} seeds"
    table(title, ("strategy", *(f"{lr:g}" for lr in GRID), "best"), rows)


@click.command()
@click.option("--out", "-o", type=click.Path(file_okay=False, path_type=Path), default=Path("out/rates"))
@click.option("--samples", type=click.IntRange(min=1), default=2000, show_default=True)
@click.option("--test", type=click.IntRange(min=1), default=500, show_default=True, help="Held-out samples.")
@click.option("--seeds", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--jobs", type=click.IntRange(min=1), default=os.cpu_count(), show_default=True, help="Runs at a time.")
@click.option(
    "--write", "docs", type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of experiments.md: writes its part of it.",
)  # fmt: skip
@json_command(_show)
def rates(out: Path, samples: int, test: int, seeds: int, jobs: int, docs: Path | None) -> dict[str, Any]:
    """Tries learning rates for "tdco experiment cct2-mnist" in torch fp32 alone, on images and seeds that are not the
    experiment's. Goes on where it was interrupted."""
    settle(out, {"samples": samples, "test": test})
    found: dict[tuple[str, float], list[list[float]]] = {(s, lr): [] for s in RATES for lr in GRID}
    tasks = [(out, strategy, lr, samples, test, seed) for strategy, lr in found for seed in range(seeds)]
    with processes(jobs) as pool:
        for (_, strategy, lr, *_), accuracies in done(pool, _course, tasks, "training"):
            found[strategy, lr].append(accuracies)
    result = {
        "ok": True, "samples": samples, "test": test, "seeds": seeds,
        "results": [_row(strategy, {lr: found[strategy, lr] for lr in GRID}) for strategy in RATES],
    }  # fmt: skip
    if docs:
        write_markdown(docs / PAGE, NAME, _lines(result))
    return result


@cache
def _start() -> tuple[Model, Graph, Dataset]:
    model = zoo.load(EXPERIMENT.model)
    return model, forward_graph(model, 1), data.load(EXPERIMENT.data)


def _course(out: Path, strategy: str, lr: float, samples: int, test: int, seed: int) -> list[float]:
    file = out / f"{strategy}-{lr:g}-seed{seed}.json"
    if not file.exists():
        model, graph, found = _start()
        assert model.module
        train, held = other_samples(found, samples, test, seed)
        write(file, json.dumps(course(model.module, resolve(strategy, graph, lr), train, held)).encode())
    return list(json.loads(file.read_text()))


def _row(strategy: str, courses: dict[float, list[list[float]]]) -> dict[str, Any]:
    cells = [f"{100 * np.mean(found):.1f} ± {100 * np.std(found):.1f}" for found in courses.values()]
    return {"strategy": strategy, "cells": cells, "best": max(courses, key=lambda lr: score(courses[lr]))}


def _lines(result: dict[str, Any]) -> list[str]:
    text = f"""
## Learning rates

Written by `tdco rates --samples {result["samples"]} --test {result["test"]} --seeds {result["seeds"]} --write docs`.

What the experiment above uses, found before it in torch fp32 alone: {result["samples"]:,} images, each once, one per
step, none of them in the experiment's draws of seeds 0 to {SEEDS - 1}, judged on {result["test"]} held-out images that
are not the experiment's, after {", ".join(f"{share:.0%}" for share in EVALUATED)} of the steps with {result["seeds"]}
seeds. Each cell: mean and standard deviation of these accuracies, in percent. Bold is what is used: the highest mean
less standard deviation, so that of two rates that come as far the steadier one is taken.
"""
    lines = [*text.splitlines(), "", line("strategy", *(f"{lr:g}" for lr in GRID)), line("---", *["---:"] * len(GRID))]
    for row in result["results"]:
        cells = [f"**{c}**" if lr == row["best"] else c for lr, c in zip(GRID, row["cells"], strict=True)]
        lines.append(line(row["strategy"], *cells))
    return lines
