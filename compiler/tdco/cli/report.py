"""``tdco report``: a step, or several side by side, as one page."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from ..report.load import RUN_SOC, TRACE, Step, load_step
from ..report.page import write_report
from ._console import console, json_command, key_values, text
from .run import load_program, measure


def _show(result: dict[str, Any]) -> None:
    key_values("report", {"file": result["report"], "size": f"{text(result['bytes'])} bytes"})
    for out in result["measured"]:
        console.print(f"{out} had no step on platform soc: measured one with the engine's cycle model", markup=False)


def _loaded(out: Path, measured: list[str]) -> Step:
    """The step in ``out``; measured first where no run on platform soc left it."""
    load_program(out)
    if not ((out / RUN_SOC).exists() and (out / TRACE).exists()):
        measure(out, "model", f"tdco run {shlex.quote(str(out))} --platform soc --engine model")
        measured.append(str(out))
    return load_step(out)


@click.command()
@click.argument("outs", metavar="OUT...", nargs=-1, required=True, type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--output",
    "-o",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Default: report.html in the first OUT.",
)
@json_command(_show)
def report(outs: tuple[Path, ...], file: Path | None) -> dict[str, Any]:
    """Writes a page about the step in OUT; about several, a comparison. It needs no network and no other file."""
    measured: list[str] = []
    steps = [_loaded(out, measured) for out in outs]
    file = file or outs[0] / "report.html"
    sections = write_report(steps, file)
    return {"report": str(file), "bytes": file.stat().st_size, "sections": sections, "measured": measured}
