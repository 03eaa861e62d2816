"""``tdco bench training``: what a step of each strategy costs, with the engine and on the cores alone."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from statistics import median
from typing import Any

import click
import onnx
from onnx import numpy_helper
from tdco_sim import tensors
from tdco_sim.errors import SimError
from tdco_spec import HwConfig, get_config

from .. import zoo
from ..errors import TdcoError
from ..footprint import Life
from ..pipeline import compile_model
from ..reference import graph_updates
from ._console import console, json_command, table
from ._engines import job_predictor
from ._record import command_line
from ._training_page import CYCLES, MEMORY, OTHERS, PAGE, cells, write_others, write_page
from .compile import build_firmware
from .run import Document, compare_with_reference, hw_of, load_program, run_soc_steps, run_steps, step_inputs, summary

STRATEGIES = ("infer", "lp", "ft1", "lora1", "ft2", "lora2")
SHOWN = (
    *(
        "strategy",
        "case",
        "cycles",
        "updates_per_second",
        "flop_per_cycle",
        "times_floor",
        "cores_only_cycles",
        "worth",
    ),
    *("dynamic_peak_bytes", "total_bytes", "l2_peak_bytes", "l2_l1_bytes", "l3_l2_bytes", "c_lines"),
)
"""Keys of the columns that a terminal has room for."""
MEASURED = ("ok", "cycles", "updates_per_second", "flop_per_cycle", "max_rel_error", "mismatches", "words_compared")
"""What a row takes from a run as it is."""


@dataclass(frozen=True)
class Case:
    """What to compile, as ``tdco compile`` takes it."""

    model: str
    strategy: str
    batch: int | None = None
    optimizer: str = "sgd"
    l2_bytes: int | None = None
    engine: bool = True

    def __str__(self) -> str:
        said = [self.model, "-s", f"'{self.strategy}'" if set(":=,") & set(self.strategy) else self.strategy]
        said += ["--batch", str(self.batch)] if self.batch else []
        said += ["--optimizer", self.optimizer] if self.optimizer != "sgd" else []
        said += ["--l2-bytes", str(self.l2_bytes)] if self.l2_bytes else []
        return " ".join(said + ([] if self.engine else ["--no-engine"]))


OTHER_CASES = (
    Case("zoo:cct2", "lora2", l2_bytes=1 << 20),
    Case("zoo:cct2", "ft2", l2_bytes=27 << 16),
    Case("zoo:cct2", "ft2", optimizer="adamw"),
    Case("zoo:cct2", "full"),
    Case("zoo:deep_ae", "full"),
    Case("zoo:deep_ae", "full", batch=8),
    Case("zoo:deep_ae", "full", optimizer="sgd,update=fp16"),
    Case("zoo:resnet8", "full"),
    Case("zoo:mobilenet_v1_025", "full"),
    Case("zoo:cct6", "lora:r=4,targets=blocks.5.q.weight+blocks.5.v.weight"),
)
"""Steps of the second table."""


def _show(result: dict[str, Any]) -> None:
    title = f"a step of {result['model']} on {result['config']}, engine {result['engine']}"
    for unit, columns in (("cycles", CYCLES), ("bytes", MEMORY)) if result["results"] else ():
        shown = tuple(c for c in columns if c.key in SHOWN)
        table(f"{title}: {unit}", [c.title for c in shown], [cells(r, shown) for r in result["results"]])
    if others := [row for row in result["others"] if not row["error"]]:
        shown = tuple(c for c in OTHERS if c.key in SHOWN)
        table("other steps, engine model", [c.title for c in shown], [cells(r, shown) for r in others])
    for row in result["others"]:
        if row["error"]:
            console.print(f"{row['case']} does not run: {row['error']}", markup=False)


@click.command()
@click.option("--hw-config", "-c", "config", default="rm_12x4", show_default=True)
@click.option("--model", default="zoo:cct2", show_default=True)
@click.option("--strategies", default=",".join(STRATEGIES), show_default=True)
@click.option("--batch", type=click.IntRange(min=1), help="Samples per step.")
@click.option("--engine", type=click.Choice(["model", "rtl"]), default="rtl", show_default=True)
@click.option("--cores-only/--no-cores-only", default=True, show_default=True, help="Each strategy without engine too.")
@click.option("--others", is_flag=True, help="Instead the page's second table: other models, optimizers, sizes of L2.")
@click.option(
    "--write", "docs", type=click.Path(exists=True, file_okay=False, path_type=Path),
    help=f"Folder for {PAGE} and its pictures.",
)  # fmt: skip
@json_command(_show)
def training(
    config: str,
    model: str,
    strategies: str,
    batch: int | None,
    engine: str,
    cores_only: bool,
    others: bool,
    docs: Path | None,
) -> dict[str, Any]:
    """Compiles and runs a step of every strategy on the cluster simulator, every bit compared with platform host.

    What ``--write`` names is written after every step, with the steps done so far.
    """
    cfg, rows, more, lives = get_config(config), list[dict[str, Any]](), list[dict[str, Any]](), {}
    result = {"ok": True, "config": config, "model": model, "engine": engine, "results": rows, "others": more}
    with tempfile.TemporaryDirectory(prefix="tdco-training-") as name:
        folder = Path(name)
        if others:
            for n, case in enumerate(OTHER_CASES):
                more.append(_other(case, cfg, folder / str(n)))
                if docs:
                    write_others(docs, result, command_line())
        else:
            file = _onnx_file(model, folder / "model.onnx")
            for strategy in strategies.split(","):
                case = Case(model, strategy, batch)
                row = _strategy(case, cfg, folder / strategy, engine, cores_only)
                rows.append({**row, "compile_seconds": _compile_seconds(file, case, config, folder / "new")})
                lives[strategy] = [Life(**life) for life in json.loads((folder / strategy / "memory.json").read_text())]
                if docs:
                    write_page(docs, result, lives, command_line())
    return {**result, "ok": all(row["ok"] for row in (*rows, *more))}


def _onnx_file(model: str, file: Path) -> Path:
    """``model`` as a file a user might have, in which parameters keep their names."""
    given = zoo.load(model)
    if given.onnx is not None:
        onnx.save(given.onnx, file)
        return file
    from ..torch_export import export  # torch takes seconds to import

    assert given.module is not None and given.example is not None
    exported = export(given.module, given.example)
    graph, weights = exported.model.graph, {**exported.parameters, **exported.buffers}
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    inputs = [i for i in graph.input if i.name not in weights]
    del graph.input[:]
    graph.input.extend(inputs)
    onnx.save(exported.model, file)
    return file


def _compile_seconds(file: Path, case: Case, config: str, out: Path) -> float:
    """CPU seconds of a process that compiles the step from an ONNX file, without firmware."""
    options = ["-s", case.strategy, "-c", config, "-o", str(out), "--loss", zoo.load(case.model).loss, "--no-firmware"]
    options += ["--batch", str(case.batch)] if case.batch else []
    tdco = [sys.executable, "-c", "from tdco.cli import main; main()"]
    before = getrusage(RUSAGE_CHILDREN)
    subprocess.run([*tdco, "compile", str(file), *options], check=True, capture_output=True)
    after = getrusage(RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def _strategy(case: Case, cfg: HwConfig, out: Path, engine: str, cores_only: bool) -> dict[str, Any]:
    """A row of the first table: with the engine and, where asked for, on the cores alone."""
    row = _measure(case, cfg, out, engine)
    if not cores_only:
        return {**row, "cores_only_cycles": None, "worth": None}
    alone = _measure(replace(case, engine=False), cfg, out.with_suffix(".cores"), "model")
    worth = alone["cycles"] / row["cycles"]
    return {**row, "cores_only_cycles": alone["cycles"], "worth": worth, "ok": row["ok"] and alone["ok"]}


def _other(case: Case, cfg: HwConfig, out: Path) -> dict[str, Any]:
    """A row of the second table, or why there is none."""
    try:
        row = _measure(case, cfg, out, "model")
    except (TdcoError, SimError) as e:
        return {"case": str(case), "ok": False, "error": str(e).splitlines()[0]}
    return row


def _more_errors(document: Document, out: Path) -> list[float]:
    """Of the step's update on two other inputs, on platform host: on one, a ReLU's sign may be the other one."""
    before, errors = tensors.initial_state(out), []
    for seed in (1, 2):
        inputs = step_inputs(document, "random", 1, 0.0, seed)
        updates = graph_updates(before, run_steps(out, "golden", inputs)[0].state)
        errors.append(compare_with_reference(document, updates, out, inputs).max_rel_error)
    return errors


def _measure(case: Case, cfg: HwConfig, out: Path, engine: str) -> dict[str, Any]:
    """Compiles and runs one step."""
    start = time.process_time()
    document = compile_model(
        zoo.load(case.model, True, 0),
        case.strategy,
        cfg,
        out,
        case.batch,
        predict=job_predictor(cfg),
        optimizer=case.optimizer,
        engine=case.engine,
        l2_bytes=case.l2_bytes,
    )
    console.print(f"{case}: compiled in {time.process_time() - start:.0f} CPU seconds", markup=False)
    build_firmware(out, hw_of(document))
    inputs = step_inputs(load_program(out), "random", 1, 0.0, 0)
    result, seconds = run_soc_steps(out, engine, inputs)
    said = summary(document, out, engine, result, inputs, seconds)
    if case.engine and said["max_rel_error"] is not None:
        said["max_rel_error"] = median((said["max_rel_error"], *_more_errors(document, out)))
    console.print(f"{case}: {said['cycles']:,} cycles, simulated in {seconds:.0f} seconds", markup=False)
    planned, cycles, recomputed = document["stats"], said["cycles"], document["train"]["recomputed"]
    return {
        "case": str(case),
        "error": "",
        "strategy": case.strategy,
        **{key: said[key] for key in MEASURED},
        "cycles_per_sample": cycles // (case.batch or 1),
        "engine_floor_cycles": planned["engine_floor_cycles"],
        "times_floor": cycles / planned["engine_floor_cycles"],
        "modelled_share": planned["modelled_cycles"] / cycles,
        **{f"busy_{name}": said["busy"][name] for name in ("engine", "cores", "dma")},
        **document["memory"],
        "l1_peak_bytes": said["l1_peak_bytes"],
        "l2_peak_bytes": said["l2_peak_bytes"],
        "l2_l1_bytes": said["dma_bytes"]["l2_l1"] + said["dma_bytes"]["l1_l2"],
        "l3_l2_bytes": said["dma_bytes"]["l3_l2"],
        "recomputed_bytes": sum(r["bytes"] for r in recomputed),
        "recomputed_cycles": document["train"]["recomputed_cycles"],
        "c_lines": planned["c_lines"],
        "c_bytes": planned["c_bytes"],
    }
