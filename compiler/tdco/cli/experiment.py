"""``tdco experiment``: every strategy and several seeds on the device and in torch fp32, as a page with plots."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
from tdco_sim.energy import estimate
from tdco_spec import get_config

from .. import data, zoo
from ..data import Dataset
from ..pipeline import compile_model
from ..reference import accuracy
from ..training.experiment import EXPERIMENTS, Experiment, compared, parts, torch_run
from ..training.journal import SUMMARY, write
from ..training.order import held_out, subset
from ..zoo import Model
from ._console import console, json_command, table
from ._engines import job_predictor
from ._experiment_page import write_page
from .run import Document, load_program, run_soc_steps
from .train import Options, feeds, train_program


def _show(result: dict[str, Any]) -> None:
    rows = [
        (
            row["strategy"], f"{row['device']:.2%}", f"{row['torch']:.2%}", f"{row['difference'] * 100:+.2f}",
            "yes" if row["agrees"] else "no", row["trainable"], round(row["updates_per_second"]), row["energy_uj"],
        )
        for row in result["results"]
    ]  # fmt: skip
    title = f"{result['title']}: {result['samples']:,} samples, {result['seeds']} seeds, {result['test']:,} held out"
    columns = ("strategy", "device", "torch fp32", "points apart", "agrees", "trainable", "updates/s", "uJ")
    table(title, columns, rows)
    console.print(f"before: {result['start']:.2%}")


@click.command()
@click.argument("name", type=click.Choice(list(EXPERIMENTS)))
@click.option(
    "--out", "-o", default="out/experiment", show_default=True, type=click.Path(file_okay=False, path_type=Path)
)
@click.option(
    "--samples", type=click.IntRange(min=1), default=1000, show_default=True, help="Training samples, each once."
)
@click.option("--test", type=click.IntRange(min=1), default=1000, show_default=True, help="Held-out samples.")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--strategies", help="Some of the experiment's, with commas.")
@click.option(
    "--write", "docs", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder for the page."
)
@json_command(_show)
def experiment(
    name: str, out: Path, samples: int, test: int, seeds: int, strategies: str | None, docs: Path | None
) -> dict[str, Any]:
    """Trains with every strategy and seed on the device and in torch fp32, pairwise, from the same start.

    Goes on where it was interrupted; another number of samples or seeds needs another --out.
    """
    chosen = EXPERIMENTS[name]
    wanted = strategies.split(",") if strategies else list(chosen.rates)
    with console.status(f"reading {chosen.data}"):
        found = data.load(chosen.data)
    model = zoo.load(chosen.model)
    for strategy in wanted:
        _compile(chosen, model, strategy, out)
    costs = {strategy: _cost(out / strategy, found) for strategy in wanted}
    runs: dict[str, list[dict[str, Any]]] = {strategy: [] for strategy in wanted}
    for seed in range(seeds):
        for strategy in wanted:
            console.print(f"{strategy}, seed {seed}")
            runs[strategy].append(_pair(chosen, model, out / strategy, found, samples, test, seed))
    assert model.module
    held = parts(found, np.zeros(0, int), held_out(len(found.test_labels), test))[1]
    rows = [_row(chosen, out / strategy, runs[strategy], costs[strategy]) for strategy in wanted]
    result = {
        "ok": True, "name": name, "title": chosen.title, "model": chosen.model, "data": found.name,
        "config": chosen.config, "samples": samples, "test": test, "seeds": seeds,
        "start": accuracy(model.module, held.images.astype(np.float32), held.labels), "results": rows,
    }  # fmt: skip
    write(out / "experiment.json", (json.dumps(result, indent=1) + "\n").encode())
    if docs:
        write_page(docs, result, {s: [(r["device_loss"], r["torch_loss"]) for r in runs[s]] for s in wanted})
    return result


def _compile(chosen: Experiment, model: Model, strategy: str, out: Path) -> None:
    """Into OUT/STRATEGY/program, unless it is there with the same learning rate."""
    program, rate = out / strategy / "program", chosen.rates[strategy]
    if (program / "program.json").exists() and load_program(program)["train"]["lr"] == rate:
        return
    cfg = get_config(chosen.config)
    with console.status(f"compiling {strategy}"):
        compile_model(model, strategy, cfg, program, lr=rate, predict=job_predictor(cfg))


def _cost(folder: Path, found: Dataset) -> dict[str, Any]:
    """What a step costs on the soc, engine model; every bit compared with the host."""
    file = folder / "cost.json"
    if file.exists():
        return dict(json.loads(file.read_text()))
    document = load_program(folder / "program")
    inputs = feeds(document, found.train_images[None, :1], found.train_labels[None, :1])
    result, _ = run_soc_steps(folder / "program", "model", inputs)
    stats = result.stats
    cost = {
        "cycles": int(stats["step_cycles"][0]),
        "energy_uj": estimate(stats)["total"],
        "mismatches": stats["mismatches"],
        "words_compared": stats["words_compared"],
    }
    write(file, json.dumps(cost).encode())
    return cost


def _pair(
    chosen: Experiment, model: Model, folder: Path, found: Dataset, samples: int, test: int, seed: int
) -> dict[str, Any]:  # fmt: skip
    """The same training on the device and in torch."""
    program, runs = folder / "program", folder / f"seed{seed}"
    options = Options(chosen.data, samples=samples, test=test, interval=samples, seed=seed, before=False)
    train, held = parts(
        found, subset(len(found.train_labels), samples, seed), held_out(len(found.test_labels), test)
    )  # fmt: skip
    device = train_program(program, options, folder=runs, samples=found)
    assert model.module
    torch = torch_run(model.module, load_program(program), train, held, seed, runs / "torch.json")
    return {
        "device": device["accuracy"], "torch": torch["accuracy"],
        "device_loss": _losses(runs), "torch_loss": torch["loss"],
    }  # fmt: skip


def _losses(folder: Path) -> list[float]:
    assert (folder / SUMMARY).exists()
    return [float(line.split(",")[2]) for line in (folder / "train.csv").read_text().splitlines()[1:]]


def _row(chosen: Experiment, folder: Path, runs: list[dict[str, Any]], cost: dict[str, Any]) -> dict[str, Any]:
    document: Document = load_program(folder / "program")
    device, torch = ([run[key] for run in runs] for key in ("device", "torch"))
    return {
        "strategy": document["strategy"],
        "lr": chosen.rates[document["strategy"]],
        **compared(device, torch),
        "device_runs": device,
        "torch_runs": torch,
        "trainable": sum(document["train"]["trainable"].values()),
        "dynamic_peak_bytes": document["memory"]["dynamic_peak_bytes"],
        "l2_peak_bytes": document["stats"]["l2_peak_bytes"],
        "cycles": cost["cycles"],
        "updates_per_second": document["hw"]["clock_hz"] / cost["cycles"],
        "energy_uj": cost["energy_uj"],
        "words_compared": cost["words_compared"],
        "mismatches": cost["mismatches"],
    }
