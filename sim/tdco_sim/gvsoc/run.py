"""The gvsoc platform: a compiled program's firmware, the ELF of platform soc, on GVSoC."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tdco_spec import MEMORY_MAP, HwConfig

from ..errors import SimError
from ..result import RunResult
from ..soc.elf import read_elf
from ..soc.firmware import program_elf
from ..soc.profile import profile
from ..soc.program import read_tables
from ..soc.trace import write_perfetto
from ..tensors import as_stored, count_steps, description, memory_images, read_state, split_outputs
from .install import Gvsoc
from .simulator import LIMIT_CYCLES, Run, Simulator

L2_BASE = MEMORY_MAP["l2"].base


def run(
    gvsoc: Gvsoc,
    out_dir: Path,
    verilog: str | None = None,
    inputs: Mapping[str, np.ndarray] | None = None,
    state: Mapping[str, np.ndarray] | None = None,
    limit_cycles: int = LIMIT_CYCLES,
    with_profile: bool = False,
    trace: Path | None = None,
) -> RunResult:
    """Runs the program in ``out_dir`` once per entry of ``inputs`` [steps, ...], once if it has none.

    ``verilog`` (top module redmule) is the engine; without it, its cycle model. Each step is a process of its own; the
    bytes of L2 go from one to the next. ``stats`` are those of platform soc, without what only it can count: retired
    instructions, refused requests. With ``with_profile``, they have ``profile`` and ``events`` of the last step.
    ``trace`` is a file to write for Perfetto, of the last step.

    Raises:
        SimError: if an input does not fit the program, the firmware does not build, or a step does not end with 0.
    """
    document = description(out_dir)
    cfg = HwConfig(**document["hw"])
    elf = read_elf(program_elf(out_dir, cfg))
    tables = read_tables(elf, out_dir / "program.c")
    inputs = inputs or {}
    steps = count_steps(document, inputs)
    images = {level: bytearray(image) for level, image in memory_images(out_dir, document, state).items()}
    images["l2"] = images["l2"].ljust(cfg.l2_bytes, b"\0")
    feed = {spec["name"]: as_stored(spec, inputs[spec["name"]], (steps,)) for spec in document["inputs"]}
    simulator = Simulator(gvsoc, cfg, verilog)
    began = time.perf_counter()
    outputs: list[np.ndarray] = []
    runs: list[Run] = []
    for step in range(steps):
        for spec in document["inputs"]:
            data = feed[spec["name"]][step].tobytes()
            images["l2"][spec["addr"] - L2_BASE : spec["addr"] - L2_BASE + len(data)] = data
        before = {level: bytes(image) for level, image in images.items()}
        done = simulator.run(elf.path, before, limit_cycles, [call.kernel for call in tables.calls])
        if done.exit_code != 0:
            raise SimError(_reason(done), f"{out_dir}, step {step}")
        runs.append(done)
        images = {level: bytearray(done.memories[level]) for level in images}
        parts = [done.read(spec["addr"], spec["bytes"]) for spec in document["outputs"]]
        outputs.append(np.frombuffer(b"".join(parts), np.uint8))
    stats = {
        "steps": steps,
        "seconds": time.perf_counter() - began,
        "output": "".join(run.output for run in runs),
        **_stats(runs, cfg),
        "firmware_sha256": hashlib.sha256(elf.path.read_bytes()).hexdigest(),
        "gvsoc_version": gvsoc.version,
    }
    if trace:
        write_perfetto(trace, runs[-1].events, tables, cfg)
    if with_profile:
        stats["events"] = runs[-1].events
        stats["profile"] = profile(runs[-1].events, tables, cfg, 0, runs[-1].cycles)
    return RunResult(split_outputs(document["outputs"], np.stack(outputs)), read_state(out_dir, done.memories), stats)


def _reason(run: Run) -> str:
    """What ended a step, and what the firmware printed."""
    how = "the limit of cycles" if run.exit_code is None else f"exit code {run.exit_code}"
    said = f"; it printed: {run.output.strip()}" if run.output.strip() else ""
    return f"{how} after {run.cycles} cycles{said}"


def _stats(runs: Sequence[Run], cfg: HwConfig) -> dict[str, Any]:
    """What the steps did, with the keys of platform soc."""
    total: Counter[str] = Counter()
    flags = 0
    for run in runs:
        total.update(run.counts)
        flags |= run.counts["status_flags"]
    cycles = sum(run.cycles for run in runs)
    return {
        "jobs": total["jobs"],
        "macs": total["macs"],
        "cycles": cycles,
        "step_cycles": [run.cycles for run in runs],
        "busy": {
            "engine": total["engine_busy"],
            "dma": total["dma_busy"],
            "cores": cycles - total["asleep"] // cfg.cores,
        },
        "status_flags": flags,
        "dma_bytes": {name: total[name] for name in ("l2_l1", "l1_l2", "l3_l2")},
        "l1_peak_bytes": max(run.counts["l1_peak"] for run in runs),
        "l2_peak_bytes": max(run.counts["l2_peak"] for run in runs),
    }
