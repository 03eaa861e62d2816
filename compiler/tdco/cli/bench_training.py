"""``tdco bench training``: what a step of each strategy costs, with the engine and on the cores alone."""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from tdco_spec import HwConfig, get_config

from .. import zoo
from ..footprint import DYNAMIC, Life, over_time
from ..pipeline import compile_model
from ._console import console, json_command, table
from ._engines import job_predictor
from .compile import build_firmware
from .run import load_program, run_soc_steps, step_inputs

STRATEGIES = ("infer", "lp", "ft1", "lora1", "ft2", "lora2")
PAGE = "benchmarks.md"
MEMORY_PLOT, CYCLES_PLOT = "pictures/memory.svg", "pictures/cycles.svg"


@dataclass(frozen=True)
class Column:
    """A column of the tables: title in print, key of the result, format."""

    title: str
    key: str
    form: str = ","


CYCLES = (
    Column("strategy", "strategy", ""),
    Column("cycles", "cycles"),
    Column("updates/s", "updates_per_second", ",.0f"),
    Column("FLOP/cycle", "flop_per_cycle", ".1f"),
    Column("engine floor", "engine_floor_cycles"),
    Column("x floor", "times_floor", ".2f"),
    Column("modelled", "modelled_share", ".3f"),
    Column("engine busy", "busy_engine"),
    Column("cores busy", "busy_cores"),
    Column("DMA busy", "busy_dma"),
    Column("cores only", "cores_only_cycles"),
    Column("worth", "worth", ".1f"),
)
MEMORY = (
    Column("strategy", "strategy", ""),
    Column("parameters", "parameters_bytes"),
    Column("masters", "masters_bytes"),
    Column("optimizer", "optimizer_bytes"),
    Column("dynamic peak", "dynamic_peak_bytes"),
    Column("bound", "dynamic_bound_bytes"),
    Column("total", "total_bytes"),
    Column("L1 peak", "l1_peak_bytes"),
    Column("L2 peak", "l2_peak_bytes"),
    Column("L2-L1 traffic", "l2_l1_bytes"),
    Column("L3 traffic", "l3_l2_bytes"),
    Column("C lines", "c_lines"),
    Column("compile s", "seconds", ".1f"),
)

SHOWN = (
    *("strategy", "cycles", "updates_per_second", "flop_per_cycle", "times_floor", "cores_only_cycles", "worth"),
    *("dynamic_peak_bytes", "total_bytes", "l2_peak_bytes", "l2_l1_bytes", "l3_l2_bytes", "c_lines"),
)
"""Keys of the columns that a terminal has room for."""


def _cells(row: dict[str, Any], columns: tuple[Column, ...]) -> list[str]:
    return [format(row[c.key], c.form) if row[c.key] is not None else "-" for c in columns]


def _show(result: dict[str, Any]) -> None:
    title = f"a step of {result['model']} on {result['config']}, engine {result['engine']}"
    for unit, columns in (("cycles", CYCLES), ("bytes", MEMORY)):
        shown = [c for c in columns if c.key in SHOWN]
        table(f"{title}: {unit}", [c.title for c in shown], [_cells(r, tuple(shown)) for r in result["results"]])


@click.command()
@click.option("--hw-config", "-c", "config", default="rm_12x4", show_default=True)
@click.option("--model", default="zoo:cct2", show_default=True)
@click.option("--strategies", default=",".join(STRATEGIES), show_default=True)
@click.option("--batch", type=click.IntRange(min=1), help="Samples per step.")
@click.option("--engine", type=click.Choice(["model", "rtl"]), default="rtl", show_default=True)
@click.option("--cores-only/--no-cores-only", default=True, show_default=True, help="Each strategy without engine too.")
@click.option(
    "--write", "docs", type=click.Path(exists=True, file_okay=False, path_type=Path),
    help=f"Folder for {PAGE}, {CYCLES_PLOT} and {MEMORY_PLOT}.",
)  # fmt: skip
@json_command(_show)
def training(
    config: str, model: str, strategies: str, batch: int | None, engine: str, cores_only: bool, docs: Path | None
) -> dict[str, Any]:
    """Compiles and runs a step of every strategy on the cluster simulator, every bit compared with platform host."""
    cfg, rows, lives = get_config(config), [], {}
    with tempfile.TemporaryDirectory(prefix="tdco-training-") as folder:
        for strategy in strategies.split(","):
            out = Path(folder) / strategy
            row = _measure(model, strategy, cfg, out, batch, engine)
            alone = (
                _measure(model, strategy, cfg, out.with_suffix(".cores"), batch, engine, False) if cores_only else None
            )
            row["cores_only_cycles"] = alone["cycles"] if alone else None
            row["worth"] = round(alone["cycles"] / row["cycles"], 2) if alone else None
            row["ok"] = row["mismatches"] == 0 and not (alone and alone["mismatches"])
            rows.append(row)
            lives[strategy] = [Life(**life) for life in json.loads((out / "memory.json").read_text())]
            console.print(f"{strategy}: {row['cycles']:,} cycles")
    result = {
        "ok": all(row["ok"] for row in rows), "config": config, "model": model, "engine": engine, "results": rows,
    }  # fmt: skip
    if docs:
        _write(docs, result, lives)
    return result


def _measure(
    model: str, strategy: str, cfg: HwConfig, out: Path, batch: int | None, engine: str, with_engine: bool = True
) -> dict[str, Any]:
    """Compiles and runs one step."""
    start = time.perf_counter()
    document = compile_model(
        zoo.load(model, True, 0), strategy, cfg, out, batch, predict=job_predictor(cfg), engine=with_engine
    )
    seconds = time.perf_counter() - start
    build_firmware(out, cfg)
    result, _ = run_soc_steps(out, engine, step_inputs(load_program(out), "random", 1, 0.0, 0))
    stats, planned = result.stats, document["stats"]
    cycles = sum(stats["step_cycles"])
    return {
        "strategy": strategy,
        "cycles": cycles,
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
        "c_lines": planned["c_lines"],
        "seconds": seconds,
    }


def _write(docs: Path, result: dict[str, Any], lives: dict[str, list[Life]]) -> None:
    """The page and its pictures."""
    rows = result["results"]
    command = f"tdco bench training --model {result['model']} --hw-config {result['config']} --write docs"
    (docs / "pictures").mkdir(exist_ok=True)
    _plot_cycles(docs / CYCLES_PLOT, rows)
    _plot_memory(docs / MEMORY_PLOT, {s: lives[s] for s in ("ft2", "lora2") if s in lives} or lives)
    compared, differ = (sum(row[key] for row in rows) for key in ("words_compared", "mismatches"))
    page = f"""# A training step of {result["model"]} on {result["config"]}

Written by `{command}`:
platform soc, engine {result["engine"]}, fp32 masters, plain SGD; from the controller's first instruction with L1 empty
to the last updated byte in L2. Every bit of outputs and state was compared
with platform host: {compared:,} words, {differ} differ.

- FLOP: 2 per MAC, GEMM and convolution only. Updates per second at 360 MHz.
- Engine floor: the engine's cycles if L1 held every operator whole, each product in its better orientation, and nothing
  else took time. Modelled: the compiler's own estimate, as a share of the measured cycles.
- Cores only: the same step compiled with `--no-engine`, the same bits; worth: how much longer it takes.

{_markdown(rows, CYCLES)}

![cycles by strategy]({CYCLES_PLOT})

Bytes. Dynamic: activations, gradients and temporaries in L1 and L2 together, what lies in both counted twice; bound:
every tensor once. Total: what persists and the dynamic peak. L1 and L2 peaks and traffic are counted by the simulator.

{_markdown(rows, MEMORY)}

![memory over time]({MEMORY_PLOT})
"""
    (docs / PAGE).write_text(page)


def _markdown(rows: list[dict[str, Any]], columns: tuple[Column, ...]) -> str:
    lines = [[c.title for c in columns], ["---" + ":" * bool(c.form) for c in columns]]
    return "\n".join(f"| {' | '.join(line)} |" for line in [*lines, *(_cells(row, columns) for row in rows)])


def _plot_cycles(file: Path, rows: list[dict[str, Any]]) -> None:
    """Bars: cycles by strategy, with the engine and on the cores alone."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.subplots()
    kinds = [("engine, cores and DMA", "cycles", "#2b6cb0"), ("cores only", "cores_only_cycles", "#a0aec0")]
    kinds = [kind for kind in kinds if rows[0][kind[1]] is not None]
    for n, (label, key, colour) in enumerate(kinds):
        at = [i + 0.4 * n for i in range(len(rows))]
        bars = axes.bar(at, [r[key] / 1e6 for r in rows], 0.38, label=label, color=colour)
        axes.bar_label(bars, [f"{r[key] / 1e6:.2f}" for r in rows], fontsize=7)
    floor = [r["engine_floor_cycles"] / 1e6 for r in rows]
    axes.hlines(floor, [i - 0.19 for i in range(len(rows))], [i + 0.19 for i in range(len(rows))],
                colors="black", linewidth=1, label="engine floor")  # fmt: skip
    axes.set_xticks([i + 0.2 * (len(kinds) - 1) for i in range(len(rows))], [r["strategy"] for r in rows])
    axes.set_ylabel("Mcycle per step")
    axes.legend(frameon=False, fontsize=8)
    _save(figure, file)


def _plot_memory(file: Path, lives: dict[str, list[Life]]) -> None:
    """Steps: bytes of what comes and goes, over the commands of a step as a share of all."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.8), layout="constrained")
    axes = figure.subplots()
    for (strategy, found), colour in zip(lives.items(), ("#2b6cb0", "#dd6b20", "#38a169", "#805ad5"), strict=False):
        steps = over_time(life for life in found if life.category in DYNAMIC)
        end = max(life.last for life in found) + 1
        axes.step([100 * at / end for at, _ in steps], [n / 1024 for _, n in steps], where="post",
                  label=strategy, color=colour, linewidth=1)  # fmt: skip
    axes.set_xlabel("% of the step's commands")
    axes.set_ylabel("dynamic KB in L1 and L2")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8)
    _save(figure, file)


def _save(figure: Any, file: Path) -> None:
    """Without date or random ids, so that equal figures are equal files."""
    import matplotlib as mpl

    for side in ("top", "right"):
        figure.axes[0].spines[side].set_visible(False)
    with mpl.rc_context({"svg.hashsalt": "tdco", "svg.fonttype": "none"}):
        figure.savefig(file, metadata={"Date": None})
