"""``tdco train``: many steps of a compiled program in the device's arithmetic, recorded so that a kill costs little."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from tdco_sim import host, tensors

from ..data import Dataset
from ..data.feeds import feeds, load_for
from ..errors import TdcoError
from ..optimizer import SCALE, SCALE_COUNTS, parse_scale
from ..training import journal as records
from ..training.evaluation import compile_evaluation, trained
from ..training.journal import SUMMARY, TRAINED, Journal
from ..training.loop import Device, Samples, Schedule, State
from ..training.loop import train as train_steps
from ..training.order import held_out, subset
from ._console import console, json_command, key_values, progress
from ._engines import engine_library
from ._record import command_line, leave
from .run import Document, hw_of, load_program, run_soc_steps

EVALUATION = "evaluate"
"""The folder in OUT of the program's forward pass."""
Tick = Callable[[int, int], None]
Evaluate = Callable[[State], float]


@dataclass(frozen=True)
class Options:
    """``samples``, ``test``: of the training and the held-out set, None for all. ``before``: evaluate before the first
    step, too. ``loss_scale``: where it begins, instead of as compiled."""

    source: str
    steps: int | None = None
    epochs: float | None = None
    samples: int | None = None
    test: int | None = 500
    interval: int = 100
    seed: int = 0
    rotate: float = 0.0
    patience: int = 0
    checks: int = 0
    before: bool = True
    loss_scale: float | None = None


def train_program(
    out: Path,
    options: Options,
    restart: bool = False,
    folder: Path | None = None,
    samples: Dataset | None = None,
    evaluation: Path | None = None,
    command: str = "",
) -> dict[str, Any]:
    """Trains the program in OUT, or goes on where an earlier run of the same settings was; what train.json says.

    The records are in ``folder``, by default OUT itself. ``samples``: the data of ``options``, already loaded;
    ``evaluation``: the folder of the program's forward pass, by default in OUT. ``command``: as it was given.

    Raises:
        TdcoError: OUT does not train, its data do not fit, or it holds a run with other settings.
    """
    document = load_program(out)
    if not document["train"].get("trainable"):
        raise TdcoError("trains nothing", str(out), "compile it with a strategy")
    folder = folder or out
    folder.mkdir(parents=True, exist_ok=True)
    samples = samples or load_for(document, options.source, options.rotate)
    chosen = subset(len(samples.train_labels), options.samples, options.seed)
    held = held_out(len(samples.test_labels), len(samples.test_labels) if options.test is None else options.test)
    schedule = _schedule(document, options, len(chosen))
    settings = _settings(out, samples.name, options, schedule, len(held))
    if restart:
        (folder / records.FILE).unlink(missing_ok=True)
    journal = records.load(folder, settings) or Journal(settings, _start(out, options))
    if journal.step:
        console.print(f"going on at step {journal.step:,}", markup=False)
    evaluate = None
    if len(held):
        test = Samples(samples.test_images[held], samples.test_labels[held])
        evaluate = evaluator(out, document, test, evaluation)
    with progress(f"{document['name']} {document['strategy']}, {samples.name}") as on_progress:
        device = _device(out, document, journal, schedule.steps, on_progress, evaluate)
        train_set = Samples(samples.train_images[chosen], samples.train_labels[chosen])
        ended = train_steps(device, train_set, schedule, journal, folder, _say)
    result = _finish(folder, document, journal, ended)
    leave(folder / SUMMARY, result, command)
    return result


def _start(out: Path, options: Options) -> State:
    """The state before the first step."""
    state = tensors.initial_state(out)
    if options.loss_scale is not None:
        if SCALE not in state:
            raise TdcoError("has a constant loss scale", str(out), "compile it with --loss-scale")
        state[SCALE] = np.full(1, parse_scale(f"{options.loss_scale:g}")[0], np.float32)
    return state


def _schedule(document: Document, options: Options, samples: int) -> Schedule:
    batch = int(document["inputs"][0]["shape"][0])
    steps = options.steps or int((options.epochs or 1) * samples / batch)
    if steps < 1:
        raise TdcoError(f"{samples} samples make no batch of {batch}", f"data {options.source}")
    return Schedule(steps, batch, options.interval, options.seed, options.patience, options.checks, options.before)


def _settings(out: Path, name: str, options: Options, schedule: Schedule, held: int) -> dict[str, Any]:
    """All but the number of steps decides about the bits."""
    files = (out / "program.c", *sorted(out.glob("*.bin")))
    program = hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()[:16]
    return {
        "program": program, "data": name, "rotate": options.rotate, "samples": options.samples, "test": held,
        "seed": options.seed, "loss_scale": options.loss_scale,
        "batch": schedule.batch, "interval": schedule.interval, "patience": schedule.patience,
    }  # fmt: skip


def _device(
    out: Path, document: Document, journal: Journal, steps: int, on_progress: Tick, evaluate: Evaluate | None
) -> Device:
    library = engine_library("golden", hw_of(document))
    host.build(out, hw_of(document))  # so that building does not count as training

    def run(inputs: dict[str, np.ndarray], state: State) -> tuple[dict[str, np.ndarray], State]:
        first, count = journal.step, len(next(iter(inputs.values())))
        result = host.run(
            out, library, inputs=inputs, state=state, record=(SCALE, SCALE_COUNTS),
            on_progress=lambda done, total: on_progress(first + count * done // total, steps),
        )  # fmt: skip
        return result.outputs, result.state

    return Device(run, partial(feeds, document), evaluate, lambda inputs, state: check_on_soc(out, inputs, state))


def evaluator(out: Path, document: Document, test: Samples, evaluation: Path | None = None) -> Evaluate:
    """The accuracy on ``test`` of a state of the program in OUT: its forward pass on the golden engine."""
    if document["train"]["loss"] != "cross_entropy":
        raise TdcoError(f"has no accuracy: its loss is {document['train']['loss']}", str(out), "add --test 0")
    program = evaluation or out / EVALUATION
    if not (program / "program.json").exists():
        with console.status("compiling the forward pass"):
            compile_evaluation(out, document, program)
    forward = load_program(program)
    library = engine_library("golden", hw_of(forward))
    (scores,), inputs = forward["outputs"], feeds(forward, test.images)
    names = [s["name"] for s in forward["state"]]

    def accuracy(state: State) -> float:
        result = host.run(program, library, inputs=inputs, state={n: state[n] for n in names})
        logits = result.outputs[scores["name"]].reshape(-1, scores["shape"][-1])[: len(test.labels)]
        return float((logits.argmax(1) == test.labels).mean())

    return accuracy


def check_on_soc(out: Path, inputs: dict[str, np.ndarray], state: State) -> dict[str, int]:
    """One step on the cluster simulator, its cycle model as engine, against the host: words compared and different."""
    stats = run_soc_steps(out, "model", inputs, state)[0].stats
    return {**{key: stats[key] for key in ("words_compared", "mismatches")}, "cycles": int(stats["step_cycles"][0])}


def _say(journal: Journal) -> None:
    loss = journal.series["loss"][-journal.settings["interval"] :].mean()
    accuracy = f", accuracy {journal.evaluations[-1]['accuracy']:.1%}" if journal.evaluations else ""
    console.print(f"step {journal.step:,}: loss {loss:.4f}{accuracy}", markup=False)


def _finish(folder: Path, document: Document, journal: Journal, ended: str) -> dict[str, Any]:
    """Writes the trained tensors; what train.json says."""
    kept, state = journal.kept
    records.write(folder / TRAINED, records.npz(trained(document, state)))
    loss, skipped = journal.series["loss"], journal.series["skipped"]
    window = min(100, len(loss))
    return {
        "ok": all(c["mismatches"] == 0 for c in journal.checks),
        "strategy": document["strategy"],
        "model": document["train"]["model"],
        **journal.settings,
        "lr": document["train"]["lr"],
        "optimizer": document["train"]["optimizer"],
        "steps": journal.step,
        "ended": ended,
        "loss_first": float(loss[:window].mean()),
        "loss_last": float(loss[-window:].mean()),
        "accuracy_before": next((e["accuracy"] for e in journal.evaluations if e["step"] == 0), None),
        "accuracy": kept["accuracy"] if kept else None,
        "kept_step": kept["step"] if kept else journal.step,
        "skipped": None if np.isnan(skipped).any() else int(skipped.sum()),
        "seconds": round(journal.seconds, 1),
        "steps_per_second": round(journal.step / journal.step_seconds, 1) if journal.step_seconds else None,
        "cpu_ms_per_step": round(1000 * journal.cpu_seconds / journal.step, 1) if journal.step else None,
        "evaluations": journal.evaluations,
        "checks": journal.checks,
    }


def _show(result: dict[str, Any]) -> None:
    shown = {k: v for k, v in result.items() if k not in ("evaluations", "checks", "program") and v is not None}
    for name in ("accuracy_before", "accuracy"):
        if name in shown:
            shown[name] = f"{shown[name]:.2%}"
    if checks := result["checks"]:
        words, wrong = (sum(c[key] for c in checks) for key in ("words_compared", "mismatches"))
        shown["steps checked on the soc"] = f"{len(checks)}: {wrong:,} of {words:,} words differ"
    key_values("trained", shown)


@click.command()
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--data", "source", required=True, help="As of tdco data.")
@click.option("--epochs", type=click.FloatRange(min=0, min_open=True), help="Default 1.")
@click.option("--steps", type=click.IntRange(min=1), help="Instead of epochs.")
@click.option("--samples", type=click.IntRange(min=1), help="Only so many of the training samples, drawn by the seed.")
@click.option(
    "--test", type=click.IntRange(min=0), default=500, show_default=True, help="Held-out samples of an evaluation."
)
@click.option(
    "--interval", type=click.IntRange(min=1), default=100, show_default=True,
    help="Steps between two records, each with an evaluation.",
)  # fmt: skip
@click.option(
    "--patience", type=click.IntRange(min=0), default=0, help="Ends after so many evaluations without a better."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the order of the samples.")
@click.option("--rotate", type=float, default=0.0, show_default=True, help="Degrees the images are turned by.")
@click.option(
    "--check-soc", "checks", type=click.IntRange(min=0), default=0, show_default=True,
    help="Steps that the cluster simulator runs, too, compared bit for bit.",
)  # fmt: skip
@click.option("--loss-scale", type=float, help="Where it begins, for a program compiled with --loss-scale.")
@click.option("--restart", is_flag=True, help="Forgets an earlier run in OUT.")
@json_command(_show)
def train(out: Path, restart: bool, **options: Any) -> dict[str, Any]:
    """Fine-tunes the program in OUT with device arithmetic, and goes on where an earlier run was killed.

    OUT/train.csv has every step, OUT/train.json what came out of it, OUT/trained.npz the trained tensors.
    """
    return train_program(out, Options(**options), restart, command=command_line())
