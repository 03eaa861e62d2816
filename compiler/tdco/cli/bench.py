"""``tdco bench``: the figures the docs quote, measured on the RTL or its cycle model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import redmule.verilog
from tdco_sim import bench as measure
from tdco_sim import rtl, vectors
from tdco_sim.workloads import WORKLOADS
from tdco_spec import get_config

from ..errors import TdcoError
from ._console import console, json_command, key_values, table
from ._engines import contended_library, engine_library
from ._shapes import parse_shapes
from .bench_light import light
from .bench_micro import micro
from .bench_soc import kernels, simspeed
from .bench_training import training

_CONFIG = click.option("--hw-config", "-c", "config", default="rm_12x4", show_default=True)


@click.group()
def bench() -> None:
    """Measures the engine's RTL, the cores' kernels and the simulators."""


bench.add_command(kernels)
bench.add_command(light)
bench.add_command(micro)
bench.add_command(simspeed)
bench.add_command(training)


def _show_gemm(result: dict[str, Any]) -> None:
    columns = ("shape", "cycles", "busy", "macs", "utilization", "mismatches", "guard_errors")
    names = [r.get("workload") or "x".join(map(str, r["shape"])) for r in result["results"]]
    rows = [[name, *(r[c] for c in columns[1:])] for name, r in zip(names, result["results"], strict=True)]
    table(f"GEMM on {result['config']}, engine {result['engine']}", columns, rows)
    if loud := [(name, r["traffic"]) for name, r in zip(names, result["results"], strict=True) if "traffic" in r]:
        rows = [[name, t["quiet_cycles"], t["ratio"], t["least_share"]] for name, t in loud]
        rate = loud[0][1]["rate"]
        table(f"cores make {rate} requests a cycle", ("shape", "quiet cycles", "ratio", "least core's share"), rows)


@bench.command()
@_CONFIG
@click.option("--engine", type=click.Choice(["rtl", "model"]), default="rtl", show_default=True)
@click.option("--workload", type=click.Choice(sorted(WORKLOADS)), help="A training step's products, one queue.")
@click.option("--shape", default="96x96x96,64x64x64,128x128x128,12x16x16", show_default=True, help="MxNxK[,..]")
@click.option("--trans-x", is_flag=True, help="X is stored K x M.")
@click.option("--trans-w", is_flag=True, help="W is stored N x K.")
@click.option("--trans-z", is_flag=True, help="Y and Z are stored N x M.")
@click.option("--no-y", is_flag=True, help="From zero instead of onto Y.")
@click.option("--bias", is_flag=True, help="Y is one stored line for all.")
@click.option("--relu", is_flag=True)
@click.option("--stall", type=click.FloatRange(0, 1, max_open=True), default=0.0, help="Share of cycles without grant.")
@click.option("--repeat", type=click.IntRange(min=1), default=1, help="Jobs queued one behind the other.")
@click.option(
    "--traffic", type=click.FloatRange(0, 1), help="L1 as RTL, where each core makes so many requests a cycle."
)
@click.option("--seed", type=int, default=0)
@json_command(_show_gemm)
def gemm(config: str, engine: str, workload: str | None, shape: str, no_y: bool, **options: Any) -> dict[str, Any]:
    """Cycles of GEMM jobs from TRIGGER to event, every result compared with golden."""
    cfg = get_config(config)
    if engine != "rtl" and options["traffic"] is not None:
        raise TdcoError("cores compete for L1 as RTL only", "--traffic", "leave --engine out")
    library = engine_library(engine, cfg) if options["traffic"] is None else contended_library(cfg)
    if workload:
        given = {name: options[name] for name in ("stall", "traffic", "seed")}
        results = measure.bench_workload(library, cfg, workload, **given)
    else:
        results = measure.bench_gemm(library, cfg, parse_shapes(shape), y=not no_y, **options)
    clean = all(r["mismatches"] == 0 and r["guard_errors"] == 0 for r in results)
    return {"ok": clean, "config": config, "engine": engine, "results": results}


def _show_fma(result: dict[str, Any]) -> None:
    key_values(f"FMA of {result['config']} on the RTL", {k: v for k, v in result.items() if k != "examples"})
    for example in result["examples"]:
        console.print("  a={a} b={b} c={c}: {z}, not {expected}".format(**example))


@bench.command()
@_CONFIG
@click.option(
    "--vectors",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="npz with a, b, c, z in uint16, or testfloat_gen's text.",
)
@click.option("--count", type=click.IntRange(min=0), default=1_000_000, show_default=True, help="Random vectors.")
@click.option("--seed", type=int, default=0, show_default=True)
@json_command(_show_fma)
def fma(config: str, file: Path | None, count: int, seed: int) -> dict[str, Any]:
    """The multiply-adder, RTL and golden, on directed corners and random vectors, or on those of a file."""
    cfg = get_config(config)
    with console.status("building the multiply-adder"):
        library = rtl.build_fma(redmule.verilog.emit_fma(cfg), cfg)
    result = vectors.bench_fma(library, cfg, vectors=file, count=count, seed=seed)
    clean = result["mismatches_rtl"] == 0 and result["mismatches_golden"] == 0 and result["vectors"] > 0
    return {"ok": clean, "config": config, **result}
