"""``tdco bench training``: what a step of each strategy costs, with the engine and on the cores alone."""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
from tdco_sim.errors import SimError
from tdco_spec import HwConfig, get_config

from .. import zoo
from ..errors import TdcoError
from ..footprint import Life
from ..pipeline import compile_model
from ._console import console, json_command, table
from ._engines import job_predictor
from ._record import command_line
from ._training_page import CYCLES, MEMORY, OTHERS, PAGE, cells, write_others, write_page
from .compile import build_firmware
from .run import as_planned, hw_of, load_program, planned_bytes, run_soc_steps, step_inputs

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
    Case("zoo:resnet8", "full"),
    Case("zoo:mobilenet_v1_025", "full"),
    Case("zoo:cct6", "lora:r=4,targets=blocks.*"),
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
    """Compiles and runs a step of every strategy on the cluster simulator, every bit compared with platform host."""
    cfg, rows, lives = get_config(config), [], {}
    with tempfile.TemporaryDirectory(prefix="tdco-training-") as folder:
        for strategy in () if others else strategies.split(","):
            out, case = Path(folder) / strategy, Case(model, strategy, batch)
            row = _measure(case, cfg, out, engine)
            alone = row
            if cores_only:
                alone = _measure(replace(case, engine=False), cfg, out.with_suffix(".cores"), "model")
            row["cores_only_cycles"] = alone["cycles"] if cores_only else None
            row["worth"] = round(alone["cycles"] / row["cycles"], 2) if cores_only else None
            row["ok"] = row["ok"] and alone["ok"]
            rows.append(row)
            lives[strategy] = [Life(**life) for life in json.loads((out / "memory.json").read_text())]
            console.print(f"{strategy}: {row['cycles']:,} cycles")
        more = [_other(case, cfg, Path(folder) / f"other{n}") for n, case in enumerate(OTHER_CASES if others else ())]
    result = {
        "ok": all(row["ok"] for row in (*rows, *more)),
        "config": config,
        "model": model,
        "engine": engine,
        "results": rows,
        "others": more,
    }
    if docs and others:
        write_others(docs, result, command_line())
    elif docs:
        write_page(docs, result, lives, command_line())
    return result


def _other(case: Case, cfg: HwConfig, out: Path) -> dict[str, Any]:
    """A row of the second table, or why there is none."""
    try:
        row = _measure(case, cfg, out, "model")
    except (TdcoError, SimError) as e:
        return {"case": str(case), "ok": False, "error": str(e).splitlines()[0]}
    console.print(f"{case}: {row['cycles']:,} cycles")
    return row


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
    seconds = time.process_time() - start
    build_firmware(out, hw_of(document))
    result, _ = run_soc_steps(out, engine, step_inputs(load_program(out), "random", 1, 0.0, 0))
    stats, planned, recomputed = result.stats, document["stats"], document["train"]["recomputed"]
    cycles = sum(stats["step_cycles"])
    return {
        "case": str(case),
        "ok": stats["mismatches"] == 0 and as_planned(stats, planned_bytes(document, 1)),
        "error": "",
        "strategy": case.strategy,
        "cycles": cycles,
        "cycles_per_sample": cycles // (case.batch or 1),
        "updates_per_second": cfg.clock_hz / cycles,
        "flop_per_cycle": planned["flop"] / cycles,
        "engine_floor_cycles": planned["engine_floor_cycles"],
        "times_floor": cycles / planned["engine_floor_cycles"],
        "modelled_share": planned["modelled_cycles"] / cycles,
        **{f"busy_{name}": stats["busy"][name] for name in ("engine", "cores", "dma")},
        "mismatches": stats["mismatches"],
        "words_compared": stats["words_compared"],
        **document["memory"],
        "l1_peak_bytes": stats["l1_peak_bytes"],
        "l2_peak_bytes": stats["l2_peak_bytes"],
        "l2_l1_bytes": stats["dma_bytes"]["l2_l1"] + stats["dma_bytes"]["l1_l2"],
        "l3_l2_bytes": stats["dma_bytes"]["l3_l2"],
        "recomputed_bytes": sum(r["bytes"] for r in recomputed),
        "recomputed_cycles": document["train"]["recomputed_cycles"],
        "c_lines": planned["c_lines"],
        "seconds": seconds,
    }
