"""``tdco bench light``: our engine beside GVSoC's own light RedMulE, in GVSoC."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from tdco_sim import gvsoc
from tdco_sim.compare import write_markdown
from tdco_sim.gvsoc import light as measure
from tdco_spec import get_config

from ._console import console, json_command, table
from ._shapes import parse_shapes

SHAPES = (
    "12x16x16,24x32x64,48x48x64,48x64x48,36x64x64,128x16x128,128x32x64,128x64x27,64x64x64,96x96x96,13x17x19,1x10x128"
)


def _show(result: dict[str, Any]) -> None:
    columns = ("shape", "ours", "light", "ours_mismatches", "light_mismatches")
    title = f"{result['config']} and the light RedMulE in GVSoC {result['gvsoc_version']}, cycles"
    table(title, columns, [[row[c] for c in columns] for row in result["results"]])


@click.command()
@click.option("--hw-config", "-c", "config", default="rm_12x4", show_default=True)
@click.option("--shape", default=SHAPES, show_default=True, help="MxNxK[,..]")
@click.option("--convert", is_flag=True, help="A core converts 1.5 to an integer before the job.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--update", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A page, docs/fidelity.md."
)
@json_command(_show)
def light(config: str, shape: str, convert: bool, seed: int, update: Path | None) -> dict[str, Any]:
    """Z = X.W + Z on our engine and on GVSoC's light RedMulE; ``ok``: ours has golden's bits."""
    installed, cfg = gvsoc.find(), get_config(config)
    with console.status("running GVSoC"):
        products = measure.compare(installed, cfg, parse_shapes(shape), seed, convert)
    if update:
        write_markdown(update, "light RedMulE", measure.markdown(products, cfg))
    results = [asdict(p) | {"shape": "x".join(map(str, p.shape))} for p in products]
    ok = not any(p.ours_mismatches for p in products)
    return {"ok": ok, "config": config, "gvsoc_version": installed.version, "results": results}
