"""``tdco hw``: the named hardware configurations, their Verilog and their C header."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import redmule.area
import redmule.verilog
from tdco_spec import CONFIGS, get_config
from tdco_spec.emit import c_header

from ..errors import TdcoError
from ._console import console, json_command, key_values, table


@click.group()
def hw() -> None:
    """Hardware configurations: list, show, Verilog, C header, area."""


def _show_list(result: dict[str, Any]) -> None:
    columns = ("name", "rows", "cols", "pipe", "fmas", "tile", "port_bits", "acc")
    table("hardware configurations", columns, [[c[k] for k in columns] for c in result["configs"]])


@hw.command("list")
@json_command(_show_list)
def list_() -> dict[str, Any]:
    """The named configurations."""
    return {
        "configs": [
            {
                "name": c.name,
                "rows": c.rows,
                "cols": c.cols,
                "pipe": c.pipe,
                "fmas": c.fmas,
                "tile": f"{c.rows}x{c.tile_cols}",
                "port_bits": 32 * c.port_words,
                "acc": c.acc,
            }
            for c in CONFIGS.values()
        ]
    }


@hw.command()
@click.argument("config")
@json_command(lambda result: key_values(result["name"], result))
def show(config: str) -> dict[str, Any]:
    """Every parameter of CONFIG."""
    cfg = get_config(config)
    derived = {"fmas": cfg.fmas, "tile_cols": cfg.tile_cols, "port_words": cfg.port_words}
    return {**asdict(cfg), **derived, "hash": f"0x{cfg.hash:08x}"}


def _output(text: str, out: Path | None) -> dict[str, Any]:
    if out is None:
        return {"text": text}
    out.write_text(text)
    return {"file": str(out), "bytes": len(text)}


def _show_file(result: dict[str, Any]) -> None:
    if "text" in result:
        click.echo(result["text"])
    else:
        console.print(f"wrote {result['file']} ({result['bytes']:,} bytes)")


_OUT = click.option("-o", "--out", type=click.Path(dir_okay=False, path_type=Path), help="File; default stdout.")


@hw.command()
@click.argument("config")
@_OUT
@json_command(_show_file)
def verilog(config: str, out: Path | None) -> dict[str, Any]:
    """The engine of CONFIG as Verilog."""
    return _output(redmule.verilog.emit(get_config(config)), out)


@hw.command()
@click.argument("config")
@_OUT
@json_command(_show_file)
def header(config: str, out: Path | None) -> dict[str, Any]:
    """The C header of CONFIG: parameters, memory map, registers."""
    return _output(c_header(get_config(config)), out)


def _show_area(result: dict[str, Any]) -> None:
    columns = ("block", "instances", "cells", "flip_flops", "levels")
    rows = []
    for b in result["blocks"]:
        path = " > ".join(f"{name} {gates}" for name, gates in b["through"])
        rows.append([*(b[c] for c in columns), f"{b['start']} to {b['end']}: {path}"])
    total = result["total"]
    rows.append(["engine", 1, total["cells"], total["flip_flops"], "", "without L1 (tcdm)"])
    table(f"{result['config']} in generic gates", (*columns, "longest path"), rows)
    fma = result["fma"]
    click.echo(
        f"The FMA's longest path is {fma['levels']} gates; without its {fma['pipe']} pipeline registers it is "
        f"{fma['unpipelined_levels']} (ratio {fma['ratio']:.3f}). The longest other path is {result['longest_other']}."
    )


@hw.command()
@click.argument("config")
@json_command(_show_area)
def area(config: str) -> dict[str, Any]:
    """Cells, flip-flops and longest paths of CONFIG's engine and of L1 without banks after synthesis with Yosys."""
    cfg = get_config(config)
    try:
        with console.status("synthesising: a minute or two, and one more when Yosys runs for the first time"):
            return redmule.area.measure(cfg)
    except redmule.area.SynthesisError as error:
        raise TdcoError(str(error), config) from error
