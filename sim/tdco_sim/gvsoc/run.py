"""The gvsoc platform: a compiled program's firmware, the ELF of platform soc, on GVSoC."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tdco_spec import MEMORY_MAP, HwConfig

from ..errors import SimError
from ..result import RunResult
from ..soc.firmware import program_elf
from ..tensors import as_stored, count_steps, description, memory_image, read_state, split_outputs
from .install import Gvsoc
from .simulator import LIMIT_CYCLES, Simulator

L2_BASE = MEMORY_MAP["l2"].base


def run(
    gvsoc: Gvsoc,
    out_dir: Path,
    verilog: str | None = None,
    inputs: Mapping[str, np.ndarray] | None = None,
    state: Mapping[str, np.ndarray] | None = None,
    limit_cycles: int = LIMIT_CYCLES,
) -> RunResult:
    """Runs the program in ``out_dir`` once per entry of ``inputs`` [steps, ...], once if it has none.

    ``verilog`` (top module redmule) is the engine; without it, its cycle model. Each step is a process of its own; the
    bytes of L2 go from one to the next.

    Raises:
        SimError: if an input does not fit the program, the firmware does not build, or a step does not end with 0.
    """
    document = description(out_dir)
    cfg = HwConfig(**document["hw"])
    elf = program_elf(out_dir, cfg)
    inputs = inputs or {}
    steps = count_steps(document, inputs)
    l2 = bytearray(memory_image(out_dir, document, state).ljust(cfg.l2_bytes, b"\0"))
    feed = {spec["name"]: as_stored(spec, inputs[spec["name"]], (steps,)) for spec in document["inputs"]}
    simulator = Simulator(gvsoc, cfg, verilog)
    began = time.perf_counter()
    outputs: list[np.ndarray] = []
    step_cycles: list[int] = []
    for step in range(steps):
        for spec in document["inputs"]:
            data = feed[spec["name"]][step].tobytes()
            l2[spec["addr"] - L2_BASE : spec["addr"] - L2_BASE + len(data)] = data
        done = simulator.run(elf, {"l2": bytes(l2)}, limit_cycles)
        if done.exit_code != 0:
            how = "the limit of cycles" if done.exit_code is None else f"exit code {done.exit_code}"
            said = f"; it printed: {done.output.strip()}" if done.output.strip() else ""
            raise SimError(f"{how} after {done.cycles} cycles{said}", f"{out_dir}, step {step}")
        step_cycles.append(done.cycles)
        l2[:] = done.memories["l2"]
        parts = [done.read(spec["addr"], spec["bytes"]) for spec in document["outputs"]]
        outputs.append(np.frombuffer(b"".join(parts), np.uint8))
    stats = {
        "steps": steps,
        "seconds": time.perf_counter() - began,
        "cycles": sum(step_cycles),
        "step_cycles": step_cycles,
        "firmware_sha256": hashlib.sha256(elf.read_bytes()).hexdigest(),
        "gvsoc_version": gvsoc.version,
    }
    return RunResult(split_outputs(document["outputs"], np.stack(outputs)), read_state(out_dir, bytes(l2)), stats)
