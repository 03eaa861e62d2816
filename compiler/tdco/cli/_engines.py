"""Builds the engine a platform asks for: golden, or the RTL of a configuration."""

from __future__ import annotations

from pathlib import Path

import redmule.verilog
from tdco_sim import golden, rtl
from tdco_spec import HwConfig

from ._console import console


def engine_library(engine: str, cfg: HwConfig) -> Path:
    """The shared library of ``engine`` ("golden" or "rtl") for ``cfg``, built on first use and cached."""
    if engine == "golden":
        return golden.build(cfg)
    with console.status(f"building the RTL of {cfg.name} (cached after the first time)"):
        return rtl.build(redmule.verilog.emit(cfg), cfg)
