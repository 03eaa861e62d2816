"""The command line, and the only place where the compiler, the engine's RTL and the simulators meet."""

from __future__ import annotations

import click

from .bench import bench
from .compile import compile_
from .demo import demo
from .doctor import doctor
from .hw import hw
from .run import run


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tdco")
def main() -> None:
    """Fine-tuning steps compiled for a RISC-V SoC with a GEMM engine, and measured on the engine's RTL."""


for command in (doctor, hw, compile_, run, bench, demo):
    main.add_command(command)
