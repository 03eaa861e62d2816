"""``tdco compile``: a model and a strategy become a program for the SoC, and its firmware."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import click
from tdco_sim.soc.firmware import program_elf
from tdco_spec import HwConfig, get_config

from .. import zoo
from ..autodiff import LOSSES
from ..optimizer import FORMS
from ..pipeline import CHOICES, compile_model
from ..report.load import COMPILED
from ._console import console, json_command, key_values, table
from ._engines import job_predictor
from ._record import command_line, leave

CHOICES_WIDTH = 170
"""Columns of the table of choices where there is no terminal."""


def _show(result: dict[str, Any]) -> None:
    shown = {k: v for k, v in result.items() if k not in ("out", "copies_inserted", "firmware")}
    if elf := result["firmware"]:
        shown["firmware"] = f"{elf['bytes']:,} bytes, {elf['seconds']} s"
    key_values(f"compiled into {result['out']}", shown)


def show_choices(choices: dict[str, Any], recomputed: list[dict[str, Any]], more_cycles: int) -> None:
    """Prints on stderr what the planner chose: a line per node, and what decided about the step as a whole."""
    rows = []
    for n in choices["nodes"]:
        how = [f"{n['rows']} on rows"] if n["rows"] else []
        how += [*n["fused"], *(["again"] if n["again"] else [])]
        tile = " ".join(f"{loop}={size}" for loop, size in n["tile"].items())
        moved = (n["fetched"], n["sent"]) + ((n["moved"],) if choices["l3"] else ())
        rows.append((f"{n['node']} {n['op']} {n['name']}", n["engine_cycles"], n["cores_cycles"], n["tiles"], tile,
                     ", ".join(how), *moved, n["home"]))  # fmt: skip
    bytes_columns = ("in", "out", "L3") if choices["l3"] else ("in", "out")
    columns = ("node", "engine", "cores", "tiles", "tile", "how", *bytes_columns, "home")
    table("choices: modelled cycles, tiles, and bytes moved to and from L1", columns, rows, CHOICES_WIDTH)
    for r in recomputed:
        console.print(f"computed again: {', '.join(r['nodes'])}, {r['cycles']:,} cycles for {r['bytes']:,} bytes")
    if recomputed:
        console.print(f"the step takes {more_cycles:,} modelled cycles more for it")
    for tensor, size in choices["l3"].items():
        console.print(f"in L3: {tensor}, {size:,} bytes")
    tried = "; ".join(f"{order}: {cycles:,}" for order, cycles in choices["tried"].items())
    console.print(f"modelled cycles by how many nodes units may run ahead, and what is preferred: {tried}")
    shares = ", ".join(f"{name} {100 * n / choices['cycles']:.0f} %" for name, n in choices["busy"].items())
    console.print(f"busy of {choices['cycles']:,} modelled cycles: {shares}; bound by: {choices['bound']}")


def build_firmware(out: Path, cfg: HwConfig) -> dict[str, Any]:
    """Builds OUT/firmware.elf; what it is, and the seconds the C compiler took (few where its work is cached)."""
    start = time.perf_counter()
    with console.status("building the firmware"):
        elf = program_elf(out, cfg)
    data = elf.read_bytes()
    seconds = round(time.perf_counter() - start, 2)
    return {"elf": str(elf), "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "seconds": seconds}


@click.command("compile")
@click.argument("model")
@click.option(
    "--strategy",
    "-s",
    help="infer, lp, ft1, ft2, lora1, lora2, full, train:PATTERN,.. or lora:r=R,alpha=A,targets=PATTERN. "
    "A training graph has its own.",
)
@click.option("--hw-config", "-c", "config", required=True, help="A configuration of `tdco hw list`.")
@click.option("--out", "-o", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder to write.")
@click.option("--batch", type=click.IntRange(min=1), help="Samples per step; default as in the model's example input.")
@click.option("--lr", type=click.FloatRange(min=0, min_open=True), help="Learning rate; default 0.01, adamw 0.001.")
@click.option("--optimizer", default="sgd", show_default=True, help=f"{FORMS}.")
@click.option(
    "--accumulate",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Steps whose gradients make an update.",
)
@click.option(
    "--loss-scale",
    help="N, dynamic or dynamic=N: as state, with skipped steps counted. Default: a constant 512, nothing counted.",
)
@click.option("--loss", type=click.Choice(LOSSES), help="Default: the model's; cross_entropy for your own.")
@click.option("--l2-bytes", type=click.IntRange(min=1), help="Another size of L2 than the configuration's.")
@click.option("--engine/--no-engine", default=True, show_default=True, help="Without: every GEMM on the cores.")
@click.option("--fresh", is_flag=True, help="Zoo models: fresh weights instead of the shipped checkpoint.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of fresh weights.")
@click.option("--firmware/--no-firmware", default=True, show_default=True, help="Build OUT/firmware.elf for the cores.")
@click.option("--verbose", "-v", is_flag=True, help="Explain the planner's choices on stderr, node by node.")
@json_command(_show)
def compile_(
    model: str,
    strategy: str | None,
    config: str,
    out: Path,
    batch: int | None,
    lr: float | None,
    optimizer: str,
    accumulate: int,
    loss_scale: str | None,
    loss: str | None,
    l2_bytes: int | None,
    engine: bool,
    fresh: bool,
    seed: int,
    firmware: bool,
    verbose: bool,
) -> dict[str, Any]:
    """Compiles MODEL (zoo:cct2, file.py:function, model.onnx, training.onnx) into a training step."""
    start = time.perf_counter()
    with console.status(f"compiling {model}"):
        cfg = get_config(config)
        options: dict[str, Any] = {
            "loss": loss, "optimizer": optimizer, "accumulate": accumulate, "loss_scale": loss_scale,
            "engine": engine, "l2_bytes": l2_bytes,
        }  # fmt: skip
        document = compile_model(
            zoo.load(model, not fresh, seed), strategy, cfg, out, batch, lr, job_predictor(cfg), **options
        )
    seconds = round(time.perf_counter() - start, 2)
    stats, train = document["stats"], document["train"]
    if verbose:
        choices = json.loads((out / CHOICES).read_text())
        show_choices(choices, train["recomputed"], train["recomputed_cycles"])
    said = {
        "out": str(out),
        "model": document["name"],
        "strategy": train["strategy"],
        "config": config,
        "seconds": seconds,  # of tdco alone
        "parameters": train["parameters"],
        "trainable": sum(train["trainable"].values()),
        **{k: v for k, v in stats.items() if k != "dma_bytes"},
        **{key: train[key] for key in ("copies_inserted", "recomputed", "recomputed_cycles")},
        "firmware": build_firmware(out, HwConfig(**document["hw"])) if firmware else None,
    }
    leave(out / COMPILED, said, command_line())
    return said
