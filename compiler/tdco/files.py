"""Writes a compiled program: C tables, memory image, and program.json, which tells a simulator what is where."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from tdco_spec import MEMORY_MAP, HwConfig
from tdco_spec.emit import c_header

from .codegen_c import generate_c
from .errors import TdcoError
from .footprint import footprint, lives
from .ir import DTYPES, Graph
from .layout import Layout, is_view
from .ops import get_op
from .program import Copy, GemmJob, KernelCall, MemoryPlan, Move, Schedule

FORMAT = 2
IMAGE_LEVELS = ("l2", "l3")
"""The memories that hold something before the first step."""


def write_program(
    out_dir: Path,
    graph: Graph,
    layout: Layout,
    schedule: Schedule,
    plan: MemoryPlan,
    cfg: HwConfig,
    meta: Mapping[str, Any],
    dumps: Mapping[str, str] | None = None,
    attachments: Mapping[str, bytes] | None = None,
) -> dict[str, Any]:
    """Writes OUT whole or not at all, replacing an earlier program there; returns the document of program.json.

    ``meta`` becomes the key "train" ("strategy" in it is repeated at the top); ``dumps`` are further texts for
    OUT/dump and ``attachments`` further files for OUT, by file name.

    Raises:
        TdcoError: OUT holds something else than a program, or a weight is too large for its stored type.
    """
    out_dir = Path(out_dir).absolute()
    if out_dir.exists() and not (out_dir / "program.json").exists() and (out_dir.is_file() or any(out_dir.iterdir())):
        raise TdcoError("exists and holds no compiled program", str(out_dir), "name a new or empty folder")
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{out_dir.name}.", dir=out_dir.parent))
    try:
        document = _write_files(folder, graph, layout, schedule, plan, cfg, meta, dumps or {})
        for name, data in (attachments or {}).items():
            (folder / name).write_bytes(data)
        folder.chmod(0o755)
        if out_dir.exists():
            shutil.rmtree(out_dir)
        folder.replace(out_dir)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return document


def _write_files(
    folder: Path,
    graph: Graph,
    layout: Layout,
    schedule: Schedule,
    plan: MemoryPlan,
    cfg: HwConfig,
    meta: Mapping[str, Any],
    dumps: Mapping[str, str],
) -> dict[str, Any]:
    c_text = generate_c(graph, schedule, plan, cfg)
    images = {level: data for level in IMAGE_LEVELS if (data := image(graph, layout, plan, level))}
    memory = lives(graph, layout, plan)
    document = {
        "format": FORMAT,
        "name": graph.name,
        "strategy": meta.get("strategy", ""),
        "config": cfg.name,
        "config_hash": cfg.hash,
        "hw": asdict(cfg),
        "inputs": [_tensor(graph, layout, plan, name) for name in graph.inputs],
        "outputs": [_tensor(graph, layout, plan, name) for name in graph.outputs],
        "state": [_tensor(graph, layout, plan, name) for name in graph.state],
        "images": {level: f"{level}.bin" for level in images},
        "nodes": _nodes(graph),
        "stats": _stats(graph, schedule, plan, c_text, {n for r in meta.get("recomputed", ()) for n in r["nodes"]}),
        "memory": {**footprint(graph, memory), "levels": _levels(plan)},
        "train": dict(meta),
    }
    texts = {
        "program.c": c_text,
        "tdco_hw.h": c_header(cfg),
        "program.json": json.dumps(document, indent=1) + "\n",
        "memory.json": json.dumps([asdict(life) for life in memory]) + "\n",
        "dump/schedule.txt": schedule_text(graph, schedule),
        "dump/memory.txt": memory_text(plan, cfg),
        **{f"dump/{name}": text for name, text in dumps.items()},
    }
    (folder / "dump").mkdir()
    for name, text in texts.items():
        (folder / name).write_text(text)
    for level, data in images.items():
        (folder / f"{level}.bin").write_bytes(data)
    return document


def _levels(plan: MemoryPlan) -> dict[str, dict[str, int]]:
    """Of every memory: the peak, reserved bytes included, and what no other placement of this schedule could beat."""
    return {
        level: {"peak_bytes": peak, "bound_bytes": plan.bound_bytes[level]} for level, peak in plan.peak_bytes.items()
    }


def _place(graph: Graph, layout: Layout, plan: MemoryPlan, name: str) -> tuple[str, int]:
    """The level that holds a tensor between steps, and the offset there."""
    view = layout.views[name]
    place = plan.placements[view.storage]
    return place.buffer.level, place.offset + view.offset * DTYPES[graph.type(name).dtype].itemsize


def _tensor(graph: Graph, layout: Layout, plan: MemoryPlan, name: str) -> dict[str, Any]:
    """An entry of program.json in the user's order of dimensions; ``strides`` in elements (channels may come last)."""
    value = graph.values[name]
    order = value.perm or range(len(value.type.shape))
    level, offset = _place(graph, layout, plan, name)
    return {
        "name": name,
        "source": value.source,
        "dtype": value.type.dtype,
        "shape": [value.type.shape[d] for d in order],
        "strides": [layout.views[name].strides[d] for d in order],
        "addr": MEMORY_MAP[level].base + offset,
        "bytes": value.type.bytes,
    }


def _nodes(graph: Graph) -> list[dict[str, Any]]:
    return [
        {"index": i, "op": n.op, "name": n.outputs[0], "source": graph.source(n), "flop": _flop(graph, i)}
        for i, n in enumerate(graph.nodes)
        if not is_view(n)
    ]


def _flop(graph: Graph, index: int) -> int:
    node = graph.nodes[index]
    op = get_op(node.op)
    inputs = [graph.type(n) if n else None for n in node.inputs]
    return op.flop(inputs, [graph.type(n) for n in node.outputs], node.attrs) if op.flop else 0


def _stats(
    graph: Graph, schedule: Schedule, plan: MemoryPlan, c_text: str, recomputed: Collection[str]
) -> dict[str, Any]:
    """Figures of the program. What is computed a second time is no useful FLOP."""
    ops = [command.op for command in schedule.commands]
    jobs = [op for op in ops if isinstance(op, GemmJob)]
    transfers = [op for op in ops if isinstance(op, Copy)]
    moves = [op for op in ops if isinstance(op, Move)]
    return {
        "flop": sum(_flop(graph, i) for i, n in enumerate(graph.nodes) if n.outputs[0] not in recomputed),
        "kernels": sum(isinstance(op, KernelCall) for op in ops),
        "gemm_jobs": len(jobs),
        "macs": sum(job.m * job.n * job.k for job in jobs),
        "copies": len(transfers),
        "l3_transfers": len(moves),
        "l1_peak_bytes": plan.peak_bytes["l1"],
        "l2_peak_bytes": plan.peak_bytes["l2"],
        "l3_bytes": plan.peak_bytes["l3"],  # occupied: the highest one, plus one
        "modelled_cycles": schedule.cycles,
        "engine_floor_cycles": schedule.floor_cycles,
        "c_lines": c_text.count("\n"),
        "c_bytes": len(c_text.encode()),
        "dma_bytes": {
            "l2_l1": sum(t.rows * t.row_bytes for t in transfers if t.to_l1),
            "l1_l2": sum(t.rows * t.row_bytes for t in transfers if not t.to_l1),
            "l3_l2": sum(move.bytes for move in moves),  # both ways
        },
    }


def image(graph: Graph, layout: Layout, plan: MemoryPlan, level: str) -> bytes:
    """The first bytes of ``level`` before the first step: constants and state, little endian, zeros between them.

    Raises:
        TdcoError: a finite value becomes infinite in the type it is stored in.
    """
    parts: list[tuple[int, bytes]] = []
    for name, array in {**graph.constants, **graph.state}.items():
        home, offset = _place(graph, layout, plan, name)
        if home != level:
            continue
        dtype = DTYPES[graph.type(name).dtype]
        with np.errstate(over="ignore"):
            stored = np.asarray(array, dtype=dtype.newbyteorder("<"), order="C")
        if dtype.kind == "f" and not np.array_equal(np.isfinite(stored), np.isfinite(array)):
            largest = np.finfo(dtype).max
            raise TdcoError(
                f"has values beyond {largest}, the largest {graph.type(name).dtype} number",
                f"tensor {graph.values[name].source or name}",
                "scale the weights, or store the tensor as f32",
            )
        parts.append((offset, stored.tobytes()))
    memory = bytearray(max((offset + len(data) for offset, data in parts), default=0))
    for offset, data in parts:
        memory[offset : offset + len(data)] = data
    return bytes(memory)


def schedule_text(graph: Graph, schedule: Schedule) -> str:
    """The commands for human readers, one per line under a line per node."""
    lines: list[str] = []
    node = -1
    for index, command in enumerate(schedule.commands):
        if command.node != node:
            node = command.node
            lines.append(f"{node}: {graph.nodes[node]}  # {graph.source(graph.nodes[node])}")
        after = f"  after {' '.join(map(str, command.after))}" if command.after else ""
        lines.append(f"  {index:5} {_command_text(command.op)}{after}")
    return "\n".join(lines) + "\n"


def _command_text(op: Copy | GemmJob | KernelCall | Move) -> str:
    if isinstance(op, Move):
        source, target = (op.l3, op.l2) if op.to_l2 else (op.l2, op.l3)
        return f"move  {_refs([target])} <- {_refs([source])}  {op.bytes}"
    if isinstance(op, Copy):
        source, target = (op.l2, op.l1) if op.to_l1 else (op.l1, op.l2)
        rows = f"{op.rows} x {op.row_bytes}" + (f" / {op.stride_bytes}" if op.rows > 1 else "")
        return f"copy  {_refs([target])} <- {_refs([source])}  {rows}"
    if isinstance(op, GemmJob):
        flags = [f for f in ("trans_x", "trans_w", "trans_z", "y_column", "relu") if getattr(op, f)]
        operands = _refs([op.x, op.w, op.y])
        return f"gemm  {_refs([op.z])} <- {operands}  {op.m} x {op.n} x {op.k} {' '.join(flags)}".rstrip()
    numbers = ", ".join(map(str, (*op.ints, *op.floats)))
    return f"call  {op.symbol}({_refs(op.refs)}; {numbers})"


def _refs(refs: Iterable[Any]) -> str:
    return ", ".join("-" if r is None else r.buffer + (f"+{r.offset}" if r.offset else "") for r in refs)


def memory_text(plan: MemoryPlan, cfg: HwConfig) -> str:
    """The memory plan for human readers, by level and address."""
    lines: list[str] = []
    for level, limit in (("l1", cfg.l1_bytes), ("l2", cfg.l2_bytes), ("l3", cfg.l3_bytes)):
        peak, bound = plan.peak_bytes[level], plan.bound_bytes[level]
        if level == "l3" and not peak:
            continue
        lines.append(f"{level}: peak {peak} of {limit} bytes, liveness bound {bound}")
        lines.append("    offset    bytes  commands      buffer")
        places = [p for p in plan.placements.values() if p.buffer.level == level]
        for p in sorted(places, key=lambda p: (p.offset, p.first)):
            lines.append(f"  0x{p.offset:06X} {p.buffer.bytes:8}  {p.first:5} .. {p.last:5}  {p.buffer.name}")
    return "\n".join(lines) + "\n"
