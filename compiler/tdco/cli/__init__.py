"""The command line, and the only place where the compiler, the engine's RTL and the simulators meet."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Sequence
from typing import Any

import click

COMMANDS = {
    "doctor": "What is installed, what is missing, how to get it.",
    "hw": "Hardware configurations: list, show, Verilog, C header.",
    "compile": "Compiles a model and a strategy into a training step.",
    "data": "Reads a data set and says what is in it.",
    "check": "Evaluates an ONNX graph and compares its outputs or updates with given ones.",
    "pretrain": "Trains a model of the zoo from scratch in PyTorch.",
    "run": "Runs a compiled program, compared bit for bit and with torch.",
    "train": "Fine-tunes with a compiled program in device arithmetic; goes on after a kill.",
    "report": "Writes a page about a step, or a comparison of several.",
    "rates": "Tries learning rates for the experiment in torch alone.",
    "experiment": "Trains on the device and in torch fp32, pairwise: every strategy, or every way to round.",
    "compare": "Runs one step on soc and on GVSoC: cycles by kernel and engine job.",
    "bench": "Measures the engine's RTL.",
    "demo": "CCT-2 learns tilted digits, every GEMM of a step on the RTL.",
}


class LazyGroup(click.Group):
    """Imports a command's module only when it is called: torch and Amaranth take seconds, and one may be missing."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"{__name__}.{name}")
        command: click.Command = getattr(module, f"{name}_" if name == "compile" else name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def main(self, args: Sequence[str] | None = None, *rest: Any, **options: Any) -> Any:
        """With --json, wrong usage is an object on stdout too."""
        if "--json" not in (sys.argv[1:] if args is None else args):
            return super().main(args, *rest, **options)
        try:
            return super().main(args, *rest, **{**options, "standalone_mode": False})
        except click.ClickException as e:
            click.echo(json.dumps({"error": {"what": e.format_message(), "where": "", "hint": "see --help"}}))
            sys.exit(e.exit_code)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tdco")
def main() -> None:
    """Fine-tuning steps compiled for a RISC-V SoC with a GEMM engine, and measured on the engine's RTL."""
