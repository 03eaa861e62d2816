"""``tdco hw``: the named hardware configurations, their Verilog and their C header."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import redmule.verilog
from tdco_spec import CONFIGS, get_config
from tdco_spec.emit import c_header

from ._console import console, json_command, key_values, table


@click.group()
def hw() -> None:
    """Hardware configurations: list, show, Verilog, C header."""


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
