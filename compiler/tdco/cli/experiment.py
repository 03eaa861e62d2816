"""``tdco experiment``: trainings on the device and in torch fp32, pairwise, as a page with tables and plots."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import click
import numpy as np
from tdco_sim import host
from tdco_sim.energy import estimate
from tdco_spec import get_config

from .. import data, zoo
from ..data import Dataset
from ..data.feeds import feeds
from ..errors import TdcoError
from ..pipeline import compile_model
from ..reference import accuracy
from ..strategies import from_document
from ..training.evaluation import compile_evaluation
from ..training.experiment import EXPERIMENTS, Case, Experiment, compared, parts, settle, torch_run, update_error
from ..training.journal import TRAINED, write
from ..training.order import held_out, subset
from ..zoo import Model
from ._console import console, json_command, table
from ._engines import engine_library, job_predictor
from ._experiment_page import write_page
from ._pool import done, processes
from ._rounding_page import write_rounding
from .run import load_program, run_soc_steps
from .train import Options, train_program

Run = dict[str, Any]
PAGES: dict[str, Callable[[Path, Run, dict[str, list[Run]]], None]] = {
    "cct2-mnist": write_page,
    "rounding": write_rounding,
    "rounding-mlp": write_rounding,
}


@dataclass(frozen=True)
class Plan:
    """What all runs of an experiment share; ``out`` holds what they leave, by case."""

    name: str
    out: Path
    samples: int
    test: int

    @property
    def experiment(self) -> Experiment:
        return EXPERIMENTS[self.name]

    def program(self, case: Case) -> Path:
        return self.out / case.name / "program"

    def evaluation(self, case: Case) -> Path:
        return self.out / "evaluate" / case.strategy


def _show(result: dict[str, Any]) -> None:
    rows = [
        (
            row["name"], f"{row['device']:.2%}", f"{row['torch']:.2%}", f"{row['difference'] * 100:+.2f}",
            "yes" if row["agrees"] else "no", f"{row['update_error']:.2%}", row["trainable"],
            round(row["updates_per_second"]), row["energy_uj"],
        )
        for row in result["results"]
    ]  # fmt: skip
    title = f"{result['title']}: {result['samples']:,} samples, {result['seeds']} seeds, {result['test']:,} held out"
    columns = ("case", "device", "torch fp32", "points apart", "agrees", "update off", "trainable", "updates/s", "uJ")
    table(title, columns, rows)
    console.print(f"before: {result['start']:.2%}")


@click.command()
@click.argument("name", type=click.Choice(list(EXPERIMENTS)))
@click.option("--out", "-o", type=click.Path(file_okay=False, path_type=Path), help="Default: out/NAME.")
@click.option(
    "--samples", type=click.IntRange(min=1), default=1000, show_default=True, help="Training samples, each once."
)
@click.option("--test", type=click.IntRange(min=1), default=1000, show_default=True, help="Held-out samples.")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--cases", help="Some of the experiment's, with commas.")
@click.option("--jobs", type=click.IntRange(min=1), default=os.cpu_count(), show_default=True, help="Runs at a time.")
@click.option(
    "--costs", "again", is_flag=True, help="Compiles and measures the steps as the compiler is now; runs stay."
)
@click.option(
    "--write", "docs", type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of experiments.md: writes the experiment's part of it, and its pictures.",
)  # fmt: skip
@json_command(_show)
def experiment(
    name: str, out: Path | None, samples: int, test: int, seeds: int, cases: str | None, jobs: int, again: bool,
    docs: Path | None,
) -> dict[str, Any]:  # fmt: skip
    """Trains on the device and in torch fp32, pairwise, from the same start: "cct2-mnist" with every strategy,
    "rounding" with every way to round weights and several learning rates, "rounding-mlp" so with a small model.

    Goes on where it was interrupted.
    """
    plan = Plan(name, out or Path("out") / name, samples, test)
    chosen = _chosen(plan.experiment, cases)
    model, found = _start(name)
    settle(plan.out, _settings(plan, model))
    runs: dict[str, list[Run]] = {case.name: [{}] * seeds for case in chosen}
    with processes(jobs) as pool:
        list(done(pool, _compile, [(plan, case) for case in chosen], "compiling"))
        evaluated, costed = ({key(c): c for c in reversed(chosen)}.values() for key in (_of_strategy, _of_update))
        list(done(pool, _compile_evaluation, [(plan, case) for case in evaluated], "compiling forward passes"))
        priced = done(pool, _cost, [(plan, case, again) for case in costed], "a step on the cluster simulator")
        costs = {_of_update(case): cost for (_, case, _), cost in priced}
        pairs = [(plan, case, seed) for seed in range(seeds) for case in chosen]
        for (_, case, seed), run in done(pool, _pair, pairs, "training"):
            runs[case.name][seed] = run
            console.print(f"{case.name}, seed {seed}: device {run['device']:.2%}, torch {run['torch']:.2%}")
    held = parts(found, np.zeros(0, int), held_out(len(found.test_labels), test))[1]
    assert model.module
    result = {
        "ok": True, "name": name, "title": plan.experiment.title, "model": plan.experiment.model, "data": found.name,
        "config": plan.experiment.config, "samples": samples, "test": len(held.labels), "seeds": seeds,
        "start": accuracy(model.module, held.images.astype(np.float32), held.labels),
        "results": [_row(plan, case, runs[case.name], costs[_of_update(case)]) for case in chosen],
    }  # fmt: skip
    write(plan.out / "experiment.json", (json.dumps(result, indent=1) + "\n").encode())
    if docs:
        PAGES[name](docs, result, runs)
    return result


def _chosen(experiment: Experiment, names: str | None) -> tuple[Case, ...]:
    by_name = {case.name: case for case in experiment.cases}
    wanted = names.split(",") if names else list(by_name)
    if unknown := [name for name in wanted if name not in by_name]:
        raise TdcoError(f"there is no case {unknown[0]!r}", "--cases", "there are: " + ", ".join(by_name))
    return tuple(by_name[name] for name in wanted)


@cache
def _start(name: str) -> tuple[Model, Dataset]:
    """The model and the data of an experiment, once in every process."""
    experiment = EXPERIMENTS[name]
    return zoo.load(experiment.model), data.load(experiment.data)


def _settings(plan: Plan, model: Model) -> dict[str, Any]:
    """What the runs in OUT share."""
    assert model.module
    weights = hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.module.parameters())).hexdigest()
    return {
        "samples": plan.samples, "test": plan.test, "start": weights[:16],
        "cases": [asdict(case) for case in plan.experiment.cases],
    }  # fmt: skip


def _of_strategy(case: Case) -> str:
    return case.strategy


def _of_update(case: Case) -> tuple[str, str]:
    """Equal for cases of the same cost: the learning rate has none."""
    return case.strategy, case.optimizer


def _compile(plan: Plan, case: Case) -> None:
    """The program of a case, where it is not there yet."""
    if not (plan.program(case) / "program.json").exists():
        _compile_into(plan.program(case), plan, case)


def _compile_into(out: Path, plan: Plan, case: Case) -> None:
    model, cfg = _start(plan.name)[0], get_config(plan.experiment.config)
    compile_model(model, case.strategy, cfg, out, lr=case.lr, predict=job_predictor(cfg), optimizer=case.optimizer)


def _compile_evaluation(plan: Plan, case: Case) -> None:
    """The forward pass of a case's strategy; rate and rounding do not matter to it."""
    if not (plan.evaluation(case) / "program.json").exists():
        compile_evaluation(plan.program(case), load_program(plan.program(case)), plan.evaluation(case))


def _cost(plan: Plan, case: Case, again: bool) -> dict[str, Any]:
    """What a step takes on the soc, engine model; every bit compared with the host. ``again``: of the program that the
    compiler makes now, which has to train as the one of the runs.

    Raises:
        TdcoError: it does not.
    """
    file, program, found = plan.out / case.name / "cost.json", plan.program(case), _start(plan.name)[1]
    if file.exists() and not again:
        return dict(json.loads(file.read_text()))
    inputs = feeds(load_program(program), found.train_images[:1], found.train_labels[:1])
    if again:
        golden = engine_library("golden", get_config(plan.experiment.config))
        wanted, program = host.run(program, golden, inputs=inputs).state, program.with_name("again")
        _compile_into(program, plan, case)
        got = host.run(program, golden, inputs=inputs).state
        if any(not np.array_equal(array, got[name]) for name, array in wanted.items()):
            raise TdcoError("trains with other bits than its runs", str(program), "run all in another --out")
    document = load_program(program)
    stats = run_soc_steps(program, "model", inputs)[0].stats
    cost = {
        "cycles": int(stats["step_cycles"][0]),
        "energy_uj": estimate(stats)["total"],
        "mismatches": stats["mismatches"],
        "words_compared": stats["words_compared"],
        "dynamic_peak_bytes": document["memory"]["dynamic_peak_bytes"],
        "l2_peak_bytes": document["stats"]["l2_peak_bytes"],
    }
    write(file, json.dumps(cost).encode())
    return cost


def _pair(plan: Plan, case: Case, seed: int) -> Run:
    """The same training on the device and in torch."""
    experiment, folder = plan.experiment, plan.out / case.name / f"seed{seed}"
    model, found = _start(plan.name)
    options = Options(
        experiment.data, samples=plan.samples, test=plan.test, interval=plan.samples, seed=seed, before=False
    )
    train, held = parts(
        found, subset(len(found.train_labels), plan.samples, seed), held_out(len(found.test_labels), plan.test)
    )
    device = train_program(
        plan.program(case), options, folder=folder, samples=found, evaluation=plan.evaluation(case)
    )  # fmt: skip
    document = load_program(plan.program(case))
    training, batch = from_document(document["train"]), document["inputs"][0]["shape"][0]
    assert model.module
    # Torch keeps fp32 whatever the device does: cases of one strategy and rate share it.
    file = plan.out / f"torch-{case.strategy}-{case.lr:g}-seed{seed}.npz"
    torch = torch_run(model.module, training, batch, train, held, seed, file)
    with np.load(folder / TRAINED) as tensors:
        error = update_error(model.module, training, tensors, torch["tensors"])
    return {
        "device": device["accuracy"], "torch": torch["accuracy"], "update_error": error,
        "device_loss": _losses(folder), "torch_loss": torch["loss"],
    }  # fmt: skip


def _losses(folder: Path) -> list[float]:
    return [float(line.split(",")[2]) for line in (folder / "train.csv").read_text().splitlines()[1:]]


def _row(plan: Plan, case: Case, runs: Sequence[Run], cost: dict[str, Any]) -> dict[str, Any]:
    document = load_program(plan.program(case))
    device, torch = ([run[key] for run in runs] for key in ("device", "torch"))
    return {
        **asdict(case),
        **compared(device, torch),
        "device_runs": device,
        "torch_runs": torch,
        "update_error": float(np.mean([run["update_error"] for run in runs])),
        "trainable": sum(document["train"]["trainable"].values()),
        "updates_per_second": document["hw"]["clock_hz"] / cost["cycles"],
        **cost,
    }
