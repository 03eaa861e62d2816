"""The soc platform: a compiled program's firmware on the cluster simulator."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tdco_spec import MEMORY_MAP, HwConfig

from ..errors import SimError
from ..result import RunResult
from ..tensors import Images, as_stored, count_steps, description, memory_images, read_state, split_outputs
from ..waves import recorded
from .elf import read_elf
from .firmware import program_elf
from .profile import profile
from .program import Tables, read_tables
from .simulator import Simulator, Stop, describe, function_at
from .trace import write_perfetto

LIMIT_CYCLES = 2_000_000_000


def run(
    out_dir: Path,
    verilog: str | None = None,
    tcdm: str | None = None,
    engine: str = "golden",
    *,
    inputs: Mapping[str, np.ndarray] | None = None,
    state: Mapping[str, np.ndarray] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    limit_cycles: int = LIMIT_CYCLES,
    trace: Path | None = None,
    with_profile: bool = False,
    waves: Path | None = None,
) -> RunResult:
    """Runs the program in ``out_dir`` once per entry of ``inputs`` [steps, ...], once if it has none.

    ``verilog`` (top module redmule) is the engine; without it, ``engine``: "model", the cycle model, or "golden":
    bit-exact results, the array's own cycles, no memory traffic. ``tcdm`` (top module tcdm) is L1; without it, the same
    in C++. ``state`` replaces initial state by name. ``on_progress`` is called with (steps done, steps).
    ``limit_cycles`` ends a step that runs away. ``trace`` is a file to write for Perfetto. With ``with_profile``, stats
    get ``profile``, where the last step's cycles went (see profile.py), and its ``events``. ``waves`` is a
    file for the signals of the engine as RTL (see waves.py).

    Raises:
        SimError: if an input does not fit the program, the firmware does not build, or a step stops with a fault; what
            and where is in it.
    """
    document = description(out_dir)
    cfg = HwConfig(**document["hw"])
    elf = read_elf(program_elf(out_dir, cfg))
    tables = read_tables(elf, out_dir / "program.c")
    inputs = inputs or {}
    steps = count_steps(document, inputs)
    images = memory_images(out_dir, document, state)
    feed = {spec["name"]: as_stored(spec, inputs[spec["name"]], (steps,)) for spec in document["inputs"]}
    outputs: list[np.ndarray] = []
    step_cycles: list[int] = []
    with recorded(waves), Simulator(cfg, elf, verilog, tcdm, engine, waves is not None) as sim:
        began, cpu_began = time.perf_counter(), time.process_time()
        _load(sim, tables, images, bool(trace))
        for step in range(steps):
            if with_profile and step == steps - 1:
                sim.trace()
            before, seen = sim.stats["cycles"], len(sim.events)
            given = {spec["addr"]: feed[spec["name"]][step].tobytes() for spec in document["inputs"]}
            _run_step(sim, tables, given, limit_cycles, f"{out_dir}, step {step}")
            step_cycles.append(sim.stats["cycles"] - before)
            outputs.append(_read_outputs(sim, document))
            if on_progress:
                on_progress(step + 1, steps)
        left = {level: sim.read(MEMORY_MAP[level].base, len(image)) for level, image in images.items()}
        final = read_state(out_dir, left)
        stats = _stats(sim, steps, step_cycles, time.perf_counter() - began)
        stats["cpu_seconds"] = time.process_time() - cpu_began
        if trace:
            write_perfetto(trace, sim.events, tables, cfg)
        if with_profile:
            stats["events"] = sim.events[seen:]
            stats["profile"] = profile(stats["events"], tables, cfg, before, stats["cycles"])
    return RunResult(split_outputs(document["outputs"], np.stack(outputs)), final, stats)


def _load(sim: Simulator, tables: Tables, images: Images, with_trace: bool) -> None:
    """Weights and constants into L2 and L3; what the program may do, for the simulator to watch."""
    if with_trace:
        sim.trace()
    for level, image in images.items():
        sim.write(MEMORY_MAP[level].base, image)
    sim.watch_calls(
        [(c.kernel, [(b.addr, b.bytes, b.first == c.command) for b in tables.buffers_of(c)]) for c in tables.calls]
    )
    sim.watch_buffers([(b.addr, b.bytes, b.first, b.last) for b in tables.buffers], "tdco_command_index")


def _run_step(sim: Simulator, tables: Tables, inputs: Mapping[int, bytes], limit_cycles: int, where: str) -> None:
    """One step on ``inputs``, bytes by address.

    Raises:
        SimError: it does not end with 0.
    """
    for buffer in tables.buffers:
        if buffer.first > 0:  # of the step before, or padding in the image
            sim.forget(buffer.addr, buffer.bytes)
    for addr, data in inputs.items():
        sim.write(addr, data)
    sim.start()
    stop = sim.run(limit_cycles)
    if stop.exit_code != 0:
        raise SimError(_reason(sim, stop, tables), where)


def _read_outputs(sim: Simulator, document: Mapping[str, Any]) -> np.ndarray:
    """The bytes of all outputs, one after the other."""
    parts = [sim.read(spec["addr"], spec["bytes"]) for spec in document["outputs"]]
    return np.frombuffer(b"".join(parts), np.uint8)


def _reason(sim: Simulator, stop: Stop, tables: Tables) -> str:
    """What stopped the run, where, in which command and tensor, and what the firmware printed."""
    if stop.exit_code is None:
        issued = sim.read_word("tdco_command_index")
        parts = [describe(stop, sim.elf, sim.cfg.cores)]
        command = _call_of(sim, stop, tables, issued)
        if command is not None:
            parts.append(f"in command {command}, {tables.describe(command)}")
        parts.append(f"the controller had issued command {issued}, {tables.describe(issued)}")
        if name := tables.buffer_at(stop.addr, issued if command is None else command):
            parts.append(f"the address is in {name}")
    else:
        parts = [f"exit code {stop.exit_code}"]
    if sim.output:
        parts.append(f"it printed: {sim.output.strip()}")
    return "; ".join(parts)


def _call_of(sim: Simulator, stop: Stop, tables: Tables, issued: int) -> int | None:
    """The command that called the kernel that a core was stopped in: the controller may be ahead of it."""
    function = None if stop.hart in (None, sim.cfg.cores) else function_at(sim.elf, stop.pc)
    calls = [c.command for c in tables.calls if function and c.kernel == function.addr and c.command <= issued]
    return max(calls, default=None)


def _stats(sim: Simulator, steps: int, step_cycles: list[int], seconds: float) -> dict[str, Any]:
    raw = sim.stats
    return {
        "steps": steps,
        "seconds": seconds,
        "output": sim.output,
        "firmware_sha256": hashlib.sha256(sim.elf.path.read_bytes()).hexdigest(),
        "jobs": raw["jobs"],
        "macs": raw["macs"],
        "cycles": raw["cycles"],
        "step_cycles": step_cycles,
        "busy": {
            "engine": raw["engine_busy"],
            "dma": raw["dma_busy"],
            "cores": sum(raw["cycles"] - hart["asleep"] for hart in sim.hart_cycles[:-1]) // (len(sim.hart_cycles) - 1),
        },
        "status_flags": raw["status_flags"],
        "dma_bytes": {"l2_l1": raw["l2_l1_bytes"], "l1_l2": raw["l1_l2_bytes"], "l3_l2": raw["l3_bytes"]},
        "l1_peak_bytes": raw["l1_peak_bytes"],
        "l2_peak_bytes": raw["l2_peak_bytes"],
        "l1_requests": {k: raw[f"l1_{k}"] for k in ("granted", "refused")} | {"engine_refused": raw["engine_refused"]},
        "harts": sim.hart_cycles,
        "instructions": sum(hart["instructions"] for hart in sim.hart_cycles),
    }
