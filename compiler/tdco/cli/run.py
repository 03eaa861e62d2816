"""``tdco run``: a compiled program on a platform, compared with golden bit for bit and with torch in value."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from tdco_sim import gvsoc, host, tensors
from tdco_sim.energy import estimate
from tdco_sim.gvsoc.run import run as run_gvsoc
from tdco_sim.result import RunResult
from tdco_sim.soc import run as soc
from tdco_sim.waves import recorded
from tdco_spec import HwConfig

from ..data.feeds import classes, feeds, load_for
from ..errors import TdcoError
from ..files import FORMAT
from ..ir import DTYPES
from ..reference import UpdateError, compare_updates, graph_updates, reference_outputs, reference_steps
from ..report.load import RUN_HOST, RUN_SOC
from ._console import console, json_command, key_values, progress
from ._engines import engine_library, engine_verilog, tcdm_verilog
from ._profile import show_profile
from ._record import command_line, leave, leave_trace

Document = dict[str, Any]
State = dict[str, np.ndarray]
ENGINE_TIMING = {
    "golden": "ideal: the array's own cycles, no waits for L1; --engine model or rtl has them",
    "model": "cycle model",
    "rtl": "RTL",
}


def load_program(out: Path) -> Document:
    """The document of OUT/program.json.

    Raises:
        TdcoError: OUT holds no compiled program.
    """
    hint = "run `tdco compile MODEL ... -o OUT` first"
    try:
        document = dict(json.loads((out / "program.json").read_text()))
    except (OSError, ValueError, TypeError) as e:
        raise TdcoError("holds no compiled program", str(out), hint) from e
    if document.get("format") != FORMAT:
        raise TdcoError(f"holds a program of format {document.get('format')}, not {FORMAT}", str(out), hint)
    return document


def hw_of(document: Document) -> HwConfig:
    return HwConfig(**document["hw"])


def run_steps(
    out: Path, engine: str, inputs: dict[str, np.ndarray], title: str = "running", waves: Path | None = None
) -> tuple[RunResult, float]:
    """Runs one step per entry of ``inputs`` [steps, ...] on the host, checked against golden job by job.

    ``waves``: a file for the signals of the RTL.

    Returns the result and the seconds it took.
    """
    cfg = hw_of(load_program(out))
    library = engine_library(engine, cfg, waves is not None)
    check = engine_library("golden", cfg) if engine != "golden" else None
    start = time.perf_counter()
    with recorded(waves), progress(title) as on_progress:
        result = host.run(out, library, check=check, inputs=inputs, on_progress=on_progress)
    return result, time.perf_counter() - start


def run_soc_steps(
    out: Path, engine: str, inputs: dict[str, np.ndarray], state: State | None = None, **options: Any
) -> tuple[RunResult, float]:
    """As ``run_steps`` on the cluster simulator; every byte of outputs and state is compared with platform host.

    ``state`` replaces initial state by name.
    """
    cfg = hw_of(load_program(out))
    verilog, tcdm = (engine_verilog(cfg), tcdm_verilog(cfg)) if engine == "rtl" else (None, None)
    with console.status("running the cluster simulator"):
        result = soc.run(out, verilog, tcdm, engine, inputs=inputs, state=state, **options)
    seconds = result.stats["seconds"]
    return compare_with_host(out, result, inputs, state), seconds


def compare_with_host(
    out: Path, result: RunResult, inputs: dict[str, np.ndarray], state: State | None = None
) -> RunResult:
    """``result`` with ``mismatches`` and ``words_compared`` of its outputs and state against platform host, where it
    began at the same ``state``."""
    want = host.run(out, engine_library("golden", hw_of(load_program(out))), inputs=inputs, state=state)
    pairs = [(result.outputs[n].view(np.uint16), a.view(np.uint16)) for n, a in want.outputs.items()]
    pairs += [(result.state[n].view(np.uint16), a.view(np.uint16)) for n, a in want.state.items()]
    stats = {
        **result.stats,
        "mismatches": sum(int((got != wanted).sum()) for got, wanted in pairs),
        "words_compared": sum(wanted.size for _, wanted in pairs),
    }
    return replace(result, stats=stats)


def run_gvsoc_steps(
    out: Path, engine: str, installed: gvsoc.Gvsoc, inputs: dict[str, np.ndarray], **options: Any
) -> tuple[RunResult, float]:
    """As ``run_soc_steps`` on GVSoC, with the same firmware.

    Raises:
        TdcoError: for golden, which has no timing.
    """
    if engine == "golden":
        raise TdcoError("has no timing: platform gvsoc takes model or rtl", "--engine golden", "add --engine model")
    verilog = engine_verilog(hw_of(load_program(out))) if engine == "rtl" else None
    with console.status("running GVSoC"):
        result = run_gvsoc(installed, out, verilog, inputs, **options)
    return compare_with_host(out, result, inputs), result.stats["seconds"]


def step_inputs(document: Document, source: str, steps: int, rotate: float, seed: int) -> dict[str, np.ndarray]:
    """The program's inputs for ``steps`` steps: images and labels of a data set, or seeded noise ("random")."""
    specs = {i["name"]: (tuple(i["shape"]), DTYPES[i["dtype"]]) for i in document["inputs"]}
    rng = np.random.default_rng(seed)
    if source == "random":
        return {
            name: rng.integers(0, classes(document), (steps, *shape)).astype(dtype)
            if dtype.kind == "i"
            else rng.standard_normal((steps, *shape)).astype(dtype)
            for name, (shape, dtype) in specs.items()
        }
    samples = load_for(document, source, rotate)
    batch = document["inputs"][0]["shape"][0]
    picked = np.resize(rng.permutation(len(samples.train_labels)), steps * batch)
    return feeds(document, samples.train_images[picked], samples.train_labels[picked])


def compare_with_reference(
    document: Document, updates: dict[str, np.ndarray], out: Path, inputs: dict[str, np.ndarray]
) -> UpdateError:
    """The distance of the run's updates to the reference's."""
    ordered = {i["name"]: inputs[i["name"]] for i in document["inputs"]}
    return compare_updates(updates, reference_steps(out, document["train"], ordered)[1])


def output_error(document: Document, out: Path, result: RunResult, inputs: dict[str, np.ndarray]) -> float:
    """Relative L2 of the scores against the reference's: of every step or, where weights change, of the first."""
    name = next(o["name"] for o in document["outputs"] if o["name"] != "loss")
    steps = 1 if document["train"]["trainable"] else len(result.outputs[name])
    ordered = {i["name"]: inputs[i["name"]][:steps] for i in document["inputs"]}
    want = reference_outputs(out, document["train"], ordered).ravel()
    off = result.outputs[name][:steps].ravel().astype(np.float64) - want
    return float(np.linalg.norm(off) / (np.linalg.norm(want) or 1))


def _show(result: dict[str, Any]) -> None:
    losses = result["loss"]
    shown = {**result, "loss": f"{losses[0]:.4f} -> {losses[-1]:.4f}" if losses else "-"}
    if energy := result.get("energy_uj"):
        parts = ", ".join(f"{name.replace('_', ' ')} {value:,.1f}" for name, value in energy.items() if name != "total")
        shown["energy_uj"] = f"about {energy['total']:,.0f} ({parts}): an estimate, docs/soc.md"
    plan = result["planned"]
    for level in ("l1", "l2"):
        key = f"{level}_peak_bytes"
        shown[key] = f"{result[key]:,} (planned {plan[key]:,})"
    moved = result["dma_bytes"]
    shown["dma_bytes"] = ", ".join(
        f"{way} {n:,} (planned {plan['dma_bytes'].get(way, 0):,})" for way, n in moved.items()
    )
    apart = ("profile", "output", "planned")
    key_values("run", {k: v for k, v in shown.items() if v is not None and v != [] and k not in apart})
    if output := result.get("output"):
        console.print(f"the firmware printed: {output.rstrip()}", markup=False)
    if profile := result.get("profile"):
        show_profile(profile)
    if result["unchanged"]:
        console.print(f"no step changed {', '.join(result['unchanged'])}: zero gradients, or skipped for overflow")


@click.command()
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--platform", type=click.Choice(["host", "soc", "gvsoc"]), default="host", show_default=True)
@click.option("--engine", type=click.Choice(["golden", "model", "rtl"]), default="golden", show_default=True)
@click.option("--steps", type=click.IntRange(min=1), default=1, show_default=True)
@click.option(
    "--data", "source", default="random", show_default=True, help="random (seeded noise), digits, or as of tdco data."
)
@click.option("--rotate", type=float, default=0.0, show_default=True, help="Degrees the images are turned by.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Order of the samples, or the noise."
)
@click.option("--trace", type=click.Path(dir_okay=False, path_type=Path), help="soc, gvsoc: a file for Perfetto.")
@click.option("--profile", is_flag=True, help="soc, gvsoc: cycles by kernel, graph node and critical path.")
@click.option(
    "--waves", type=click.Path(dir_okay=False, path_type=Path), help="rtl: the engine's signals, FST (or NAME.vcd)."
)
@click.option("--max-cycles", type=click.IntRange(min=1), help="soc, gvsoc: stops a step that takes longer.")
@json_command(_show)
def run(
    out: Path,
    platform: str,
    engine: str,
    steps: int,
    source: str,
    rotate: float,
    seed: int,
    trace: Path | None,
    profile: bool,
    max_cycles: int | None,
    waves: Path | None,
) -> dict[str, Any]:
    """Runs the program in OUT and compares it: with golden bit for bit, its outputs and update with torch fp32."""
    installed = gvsoc.find() if platform == "gvsoc" else None
    document = load_program(out)
    for option, given in (("--trace", trace), ("--profile", profile), ("--max-cycles", max_cycles)):
        if given and platform == "host":
            raise TdcoError("is for platforms with timing", option, "add --platform soc")
    if waves and (engine != "rtl" or platform == "gvsoc"):
        raise TdcoError("is for the RTL on platform host or soc", "--waves", "add --engine rtl")
    inputs = step_inputs(document, source, steps, rotate, seed)
    console.print(f"{platform}, engine {engine}: {steps} step(s) of {document['name']} {document['strategy']}")
    options = {"trace": trace, "with_profile": profile, **({"limit_cycles": max_cycles} if max_cycles else {})}
    if platform == "soc":
        said = _measured(out, engine, inputs, command_line(), waves=waves, **{**options, "with_profile": True})
        return said if profile else {key: value for key, value in said.items() if key != "profile"}
    if installed:
        result, seconds = run_gvsoc_steps(out, engine, installed, inputs, **options)
    else:
        result, seconds = run_steps(out, engine, inputs, waves=waves)
    said = summary(document, out, engine, result, inputs, seconds)
    if platform == "host":
        leave(out / RUN_HOST, {**said, "steps": steps}, command_line())
    return said


def measure(out: Path, engine: str, command: str) -> dict[str, Any]:
    """A step on seeded noise on the cluster simulator, left in OUT as ``command`` would leave it."""
    return _measured(out, engine, step_inputs(load_program(out), "random", 1, 0.0, 0), command, with_profile=True)


def _measured(out: Path, engine: str, inputs: dict[str, np.ndarray], command: str, **options: Any) -> dict[str, Any]:
    """What a run on platform soc reports; it and the trace of the last step stay in OUT."""
    document = load_program(out)
    result, seconds = run_soc_steps(out, engine, inputs, **options)
    said = summary(document, out, engine, result, inputs, seconds)
    step_cycles = result.stats["step_cycles"]
    leave_trace(out, hw_of(document), result.stats["events"], sum(step_cycles[:-1]))
    leave(out / RUN_SOC, {**said, "steps": len(step_cycles)}, command)
    return said


def planned_bytes(document: Document, steps: int) -> dict[str, Any]:
    """The plan's peaks, and what the DMA moves in ``steps`` steps."""
    planned = document["stats"]
    peaks = {key: planned[key] for key in ("l1_peak_bytes", "l2_peak_bytes")}
    return {**peaks, "dma_bytes": {way: n * steps for way, n in planned["dma_bytes"].items()}}


def as_planned(stats: dict[str, Any], plan: dict[str, Any]) -> bool:
    """Whether counted peaks reach no further than the plan's, and the DMA moved just the bytes that it says."""
    within = all(stats[key] <= plan[key] for key in ("l1_peak_bytes", "l2_peak_bytes"))
    return within and all(stats["dma_bytes"][way] == n for way, n in plan["dma_bytes"].items())


def summary(
    document: Document, out: Path, engine: str, result: RunResult, inputs: dict[str, np.ndarray], seconds: float
) -> dict[str, Any]:
    """What a run reports (keys: README); ``ok`` is False when bits differ or none were compared."""
    stats, steps = result.stats, len(next(iter(inputs.values())))
    flop = document["stats"]["flop"] * steps
    updates = graph_updates(tensors.initial_state(out), result.state)
    error = compare_with_reference(document, updates, out, inputs) if updates else None
    compared = stats["words_compared"] > 0
    planned = document["stats"]
    complete = stats["jobs"] == planned["gemm_jobs"] * steps and stats["macs"] == planned["macs"] * steps
    plan = planned_bytes(document, steps)
    report = {
        "ok": stats["mismatches"] == 0 and complete and as_planned(stats, plan) and (compared or engine == "golden"),
        "flop": flop,
        "mismatches": stats["mismatches"] if compared else None,
        "words_compared": stats["words_compared"] if compared else None,
        "rtl_jobs": stats["jobs"] if engine == "rtl" else 0,
        "rtl_macs": stats["macs"] if engine == "rtl" else 0,
        "max_rel_error": error.max_rel_error if error else None,
        "cosine": error.cosine if error else None,
        "output_rel_error": output_error(document, out, result, inputs),
        "unchanged": [name for name, update in updates.items() if not update.any()],
        "loss": [float(x) for x in result.outputs["loss"].reshape(-1)] if "loss" in result.outputs else [],
        "l1_peak_bytes": stats["l1_peak_bytes"],
        "l2_peak_bytes": stats["l2_peak_bytes"],
        "dma_bytes": stats["dma_bytes"],
        "planned": plan,
        "seconds": round(seconds, 2),
    }
    if "step_cycles" in stats:  # a platform with timing
        cycles = sum(stats["step_cycles"])
        rate = document["hw"]["clock_hz"] * steps / cycles
        timing: dict[str, Any] = {"cycles": cycles, "engine_timing": ENGINE_TIMING[engine]}
        timing |= {"flop_per_cycle": flop / cycles, "updates_per_second": rate}
        more = {key: stats.get(key) for key in ("busy", "instructions", "firmware_sha256", "output")}
        more |= {key: stats[key] for key in ("profile", "gvsoc_version") if key in stats}
        counted = "instructions" in stats  # GVSoC counts none
        return {**report, **timing, **more, "energy_uj": estimate(stats) if counted else None}
    if engine != "golden":
        rate = flop / stats["cycles"] if stats["cycles"] else None
        return {**report, "engine_cycles": stats["cycles"], "flop_per_engine_cycle": rate}
    return report
