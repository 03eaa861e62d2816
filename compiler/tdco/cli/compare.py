"""``tdco compare``: one step of a compiled program on soc and on GVSoC, side by side."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from tdco_sim import compare as measure
from tdco_sim import gvsoc
from tdco_sim.compare import Row
from tdco_sim.soc.elf import read_elf
from tdco_sim.soc.firmware import program_elf
from tdco_sim.soc.program import read_tables

from ._console import console, json_command, table
from .run import hw_of, load_program, run_gvsoc_steps, run_soc_steps, step_inputs


def _rows(rows: list[Row]) -> list[dict[str, Any]]:
    return [asdict(row) | {"ratio": round(row.ratio, 4)} for row in rows]


def _show(result: dict[str, Any]) -> None:
    columns = ("name", "count", "soc", "gvsoc", "ratio")
    title = f"{result['name']}: cycles on soc and on GVSoC {result['gvsoc_version']}, engine {result['engine']}"
    shown = (("step", [result["step"]]), ("busy", result["resources"]), ("kernels", result["kernels"]),
             ("engine jobs by shape", result["jobs"]), ("copies", result["copies"]),
             ("commands furthest apart", result["commands"][: measure.OFFENDERS]))  # fmt: skip
    for what, rows in shown:
        table(f"{title}; {what}" if what == "step" else what, columns, [[row[c] for c in columns] for row in rows])
    console.print(f"firmware sha256 {result['firmware_sha256']}; {result['mismatches']} mismatching words")
    for row in result["disagreements"]:
        console.print(f"{row['name']}: soc / GVSoC is {row['ratio']}: too far apart")


@click.command()
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--engine", type=click.Choice(["model", "rtl"]), default="model", show_default=True)
@click.option("--data", "source", default="digits", show_default=True, help="digits, or random (seeded noise)")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--update", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A page, docs/fidelity.md."
)
@json_command(_show)
def compare(out: Path, engine: str, source: str, seed: int, update: Path | None) -> dict[str, Any]:
    """Runs one step of OUT on soc and on GVSoC: cycles by kernel and engine job.

    ``ok``: all have the host's bits; the step's cycles agree within 5 %; those of every kernel above 1 % of the step
    within 10 %.
    """
    installed = gvsoc.find()
    document = load_program(out)
    cfg, inputs = hw_of(document), step_inputs(document, source, 1, 0.0, seed)
    ours = run_soc_steps(out, engine, inputs, with_profile=True)[0].stats
    theirs = run_gvsoc_steps(out, engine, installed, inputs, with_profile=True)[0].stats
    made = measure.compare(ours, theirs, read_tables(read_elf(program_elf(out, cfg)), out / "program.c"), cfg)
    name = f"{document['name']} {document['strategy']}"
    runs = {"soc": ours, "gvsoc": theirs}
    mismatches = {platform: stats["mismatches"] for platform, stats in runs.items()}
    if update:
        facts = f"{name}, {cfg.name} (hash {cfg.hash:08x}), engine {engine}, GVSoC {installed.version}; "
        facts += f"firmware sha256 `{ours['firmware_sha256'][:16]}`; {sum(mismatches.values())} mismatches in "
        facts += f"{ours['words_compared']:,} words compared with the host's on each."
        measure.write_markdown(update, name, measure.markdown(made, facts))
    rows = {part: _rows(getattr(made, part)) for part in ("resources", "kernels", "jobs", "copies", "commands")}
    return {
        "ok": not any(mismatches.values()) and ours["words_compared"] > 0 and not made.disagreements,
        "name": name,
        "config": cfg.name,
        "engine": engine,
        "gvsoc_version": installed.version,
        "firmware_sha256": ours["firmware_sha256"],
        "mismatches": mismatches,
        "words_compared": ours["words_compared"],
        "step": _rows([made.step])[0],
        **rows,
        "critical_path": {platform: stats["profile"]["critical_path"] for platform, stats in runs.items()},
        "disagreements": _rows(made.disagreements),
    }
