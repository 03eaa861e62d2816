"""``tdco bench micro``: the microbenchmarks on the cluster simulator and, where it is installed, on GVSoC."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from tdco_sim import gvsoc
from tdco_sim.gvsoc import micro as measure
from tdco_spec import get_config

from ._console import console, json_command, table
from ._engines import engine_verilog


def _show(result: dict[str, Any]) -> None:
    compared = result["gvsoc_version"] is not None
    columns = ("name", "soc", "gvsoc", "ratio") if compared else ("name", "soc")
    title = f"microbenchmarks of {result['config']}, cycles"
    table(title + (f"; GVSoC {result['gvsoc_version']}" if compared else ""), columns, [
        [row[c] for c in columns] for row in result["results"]
    ])  # fmt: skip
    if not compared:
        console.print("GVSoC is not installed (TDCO_GVSOC is not set): nothing to compare with")


@click.command()
@click.option("--hw-config", "-c", "config", default="rm_12x4", show_default=True)
@click.option("--engine", type=click.Choice(["model", "rtl"]), default="model", show_default=True)
@click.option(
    "--update", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A page, docs/fidelity.md."
)
@json_command(_show)
def micro(config: str, engine: str, update: Path | None) -> dict[str, Any]:
    """One program's microbenchmarks on soc and GVSoC; ``ok`` says that the two printed the same."""
    cfg = get_config(config)
    installed = gvsoc.find() if gvsoc.is_wanted() or update else None
    verilog = engine_verilog(cfg) if engine == "rtl" else None
    with console.status("running the microbenchmarks"):
        soc, soc_output = measure.on_soc(cfg, verilog)
        if installed is None:
            rows = [{"name": name, "soc": cycles} for name, cycles in soc.items()]
            return {"ok": True, "config": config, "engine": engine, "gvsoc_version": None, "results": rows}
        other, output = measure.on_gvsoc(installed, cfg, verilog)
    compared = measure.compare(soc, other)
    if update:
        measure.write_table(update, compared)
    rows = [
        {
            "name": r.name,
            "soc": r.soc,
            "gvsoc": r.gvsoc,
            "ratio": round(r.ratio, 3),
            "agrees": r.agrees,
        }
        for r in compared
    ]
    same = output == soc_output
    return {"ok": same, "config": config, "engine": engine, "gvsoc_version": installed.version, "results": rows}
