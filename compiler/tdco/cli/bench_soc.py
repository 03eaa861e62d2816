"""``tdco bench kernels`` and ``simspeed``: the kernels' cycles on the cluster simulator, and its own speed."""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import click
import numpy as np
from scipy.optimize import nnls
from tdco_sim.bench import bench_speed
from tdco_sim.soc import run as soc
from tdco_sim.soc.elf import read_elf
from tdco_sim.soc.firmware import program_elf
from tdco_sim.soc.kernels import KernelRunner
from tdco_sim.soc.program import read_tables
from tdco_spec import HwConfig, get_config

from .. import zoo
from ..cost import elements
from ..domain import Operand, Tile, touched
from ..ir import DTYPES, Node, TensorType
from ..kernel_cycles import work
from ..ops import OpDef, Sample, all_ops
from ..pipeline import compile_model
from ..program import KernelCall, Ref
from ._console import console, json_command, key_values, table
from ._engines import contended_library, engine_verilog, fma_array_library, job_predictor, tcdm_verilog
from .run import hw_of, load_program, step_inputs

_ALIGN_BYTES = 4
LARGE_ELEMENTS = 1024
"""Of a sample whose kernel's cycles grow with its elements, not with what a call costs."""

CALLS_PER_KERNEL, MOST_HALVINGS = 8, 3
"""Calls that a kernel's cycles by sizes are fitted to, and how often samples are halved for them, at most."""


class _L1:
    """The operands of one sample, one behind the other as in a tile's L1."""

    def __init__(self) -> None:
        self.memory = bytearray()
        self.buffers: dict[str, tuple[int, int]] = {}

    def place(self, name: str, data: bytes) -> Ref:
        self.memory += bytes(-len(self.memory) % _ALIGN_BYTES)
        self.buffers[name] = len(self.memory), len(data)
        self.memory += data
        return Ref(name)


def _values(sample: Sample, rng: np.random.Generator) -> list[np.ndarray | None]:
    """Inputs of a sample in the type they are stored in."""
    values: list[np.ndarray | None] = []
    for given in sample.inputs:
        if isinstance(given, TensorType):
            values.append(rng.normal(0, sample.scale, given.shape).astype(DTYPES[given.dtype]))
        else:
            values.append(given.astype(np.float16) if given is not None and given.dtype == np.float64 else given)
    return values


def sample_calls(op: OpDef, sample: Sample, halvings: int = 0) -> tuple[_L1, list[KernelCall]]:
    """The kernel calls of ``op`` on the whole of ``sample`` as one tile, and the L1 they work on.

    ``halvings``: the tile is that many times halved along its first parallel loop that is longer than 1.
    """
    assert op.domain and op.lower
    names = {dtype: name for name, dtype in DTYPES.items()}
    arrays = _values(sample, np.random.default_rng(0))
    in_types = [None if a is None else TensorType(a.shape, names[a.dtype]) for a in arrays]
    out_types = op.infer(in_types, sample.attrs)
    inputs, outputs = (tuple(f"{c}{n}" for n in range(len(types))) for c, types in (("i", in_types), ("o", out_types)))
    node = Node(op.name, inputs, outputs, sample.attrs)
    domain = op.domain(node, in_types, out_types)
    loops = {loop.name: (0, loop.extent) for loop in domain.loops}
    for _ in range(halvings):
        name = next((loop.name for loop in domain.loops if loop.kind == "parallel" and loops[loop.name][1] > 1), None)
        if name:
            loops[name] = (0, loops[name][1] // 2)
    arrays += [np.zeros(t.shape, DTYPES[t.dtype]) for t in out_types]
    l1, operands = _L1(), list[Operand | None]()
    for n, (dims, array) in enumerate(zip(domain.operands, arrays, strict=True)):
        if dims is None or array is None:
            operands.append(None)
            continue
        start, shape = touched(dims, loops, array.shape)
        part = np.ascontiguousarray(array[tuple(slice(s, s + e) for s, e in zip(start, shape, strict=True))])
        strides = tuple(s // array.itemsize for s in part.strides)
        ref = l1.place(f"operand{n}", part.tobytes())
        operands.append(Operand(ref, start, shape, strides, array.shape, names[array.dtype]))
    sizes = {name: size for name, (_, size) in loops.items()}
    scratch_bytes = domain.scratch(sizes) if domain.scratch else 0
    scratch = l1.place("scratch", bytes(scratch_bytes)) if scratch_bytes else None
    tile = Tile(loops, tuple(operands[: len(in_types)]), tuple(operands[len(in_types) :]), scratch)
    return l1, [command for command in op.lower(node, tile) if isinstance(command, KernelCall)]


class _Calls:
    """Runs kernel calls of samples, each ``times`` in a row, of which the last one counts: the first one finds the
    instruction caches cold."""

    def __init__(self, cfg: HwConfig, times: int = 1) -> None:
        self._runner = KernelRunner(cfg, times)
        self.room_bytes = self._runner.room_bytes

    def close(self) -> None:
        self._runner.close()

    def run(self, l1: _L1, calls: Sequence[KernelCall]) -> Iterator[tuple[str, int, int]]:
        """Symbol, elements of its largest operand as the cost model counts them, and cycles of each call."""
        memory = np.frombuffer(bytearray(l1.memory), np.uint8)
        for call in calls:
            offsets = [l1.buffers[r.buffer][0] + r.offset if r else None for r in call.refs]
            buffers = [l1.buffers[r.buffer] for r in call.refs if r]
            cycles = self._runner.run(call.symbol, memory, offsets, buffers, call.ints, call.floats)
            yield call.symbol, max(1, elements(call.symbol, [size for _, size in buffers])), cycles


def bench_samples(cfg: HwConfig) -> Iterator[dict[str, Any]]:
    """Every kernel call of every operator's samples: kernel, elements of its largest operand, cycles on all cores.

    Of a sample that does not fit L1 as one tile, the operator under ``skipped`` instead.
    """
    runner = _Calls(cfg)
    try:
        for op in all_ops().values():
            for sample in op.samples if op.domain else ():
                l1, calls = sample_calls(op, sample)
                if len(l1.memory) > runner.room_bytes:
                    yield {"skipped": op.name}
                else:
                    for kernel, count, cycles in runner.run(l1, calls):
                        yield {"kernel": kernel, "elements": count, "cycles": cycles}
    finally:
        runner.close()


def bench_costs(cfg: HwConfig) -> dict[str, float]:
    """Cycles of one core per element by kernel, for ``tdco.cost.CORE_CYCLES``: what the second half of a tile adds.

    The tile is the largest one of an operator's samples that fits L1, of at least ``LARGE_ELEMENTS``.
    """
    largest: dict[str, tuple[int, float]] = {}
    runner = _Calls(cfg)
    try:
        for op in all_ops().values():
            for sample in op.samples if op.domain else ():
                halvings = 0
                while len((whole := sample_calls(op, sample, halvings))[0].memory) > runner.room_bytes:
                    halvings += 1
                if len(whole[0].memory) < 2 * LARGE_ELEMENTS:
                    continue
                half = sample_calls(op, sample, halvings + 1)
                for (kernel, count, cycles), (_, less, fewer) in zip(
                    runner.run(*whole), runner.run(*half), strict=True
                ):
                    if count >= LARGE_ELEMENTS and count > max(less, largest.get(kernel, (0,))[0]):
                        largest[kernel] = count, round((cycles - fewer) * cfg.cores / (count - less), 1)
    finally:
        runner.close()
    return {kernel: cost for kernel, (_, cost) in sorted(largest.items())}


def _calls_of_sizes(room_bytes: int) -> dict[str, list[tuple[_L1, KernelCall]]]:
    """By kernel, calls of different sizes from the operators' samples and parts of them, small to large."""
    found: dict[str, dict[tuple[int, ...], tuple[_L1, KernelCall]]] = defaultdict(dict)
    for op in all_ops().values():
        for sample, halvings in product(op.samples if op.domain else (), range(MOST_HALVINGS + 1)):
            l1, calls = sample_calls(op, sample, halvings)
            for call in calls if len(l1.memory) <= room_bytes else ():
                found[call.symbol].setdefault(call.ints, (l1, call))
    spread = {}
    for kernel, calls_of in found.items():
        ordered = sorted(calls_of.values(), key=lambda pair: len(pair[0].memory))
        count = min(CALLS_PER_KERNEL, len(ordered))
        spread[kernel] = [ordered[(n + 1) * len(ordered) // count - 1] for n in range(count)]
    return spread


Measured = dict[str, list[tuple[Sequence[int], bool, int]]]
"""By kernel: a call's integers, whether the instruction caches were cold, and its cycles."""


def _sample_calls(cfg: HwConfig) -> Measured:
    found: Measured = defaultdict(list)
    for times in (1, 2):
        runner = _Calls(cfg, times)
        for kernel, calls in _calls_of_sizes(runner.room_bytes).items():
            for l1, call in calls:
                found[kernel] += [(call.ints, times == 1, cycles) for _, _, cycles in runner.run(l1, [call])]
        runner.close()
    return found


def _step_calls(out: Path) -> Measured:
    """Of a step of the program in ``out``."""
    document = load_program(out)
    tables = read_tables(read_elf(program_elf(out, hw_of(document))), out / "program.c")
    inputs = step_inputs(document, "random", 1, 0.0, 0)
    events = soc.run(out, None, engine="model", inputs=inputs, with_profile=True).stats["events"]
    spans: dict[int, tuple[int, int]] = {}
    for event in events:
        if event.track < hw_of(document).cores:
            start, end = spans.get(event.index, (event.start, event.end))
            spans[event.index] = min(start, event.start), max(end, event.end)
    found: Measured = defaultdict(list)
    for index, (start, end) in sorted(spans.items()):
        call, cold = tables.calls[index], tables.calls[index].symbol not in found
        found[call.symbol].append((call.ints, cold, end - start))
    return found


def bench_call_cycles(cfg: HwConfig, outs: Sequence[Path]) -> dict[str, tuple[float, ...]]:
    """``tdco.kernel_cycles.CALL_CYCLES``: what fits calls of different sizes best, without a negative number: those of
    the programs in ``outs``, and of kernels that none of them calls those of the operators' samples."""
    in_steps: Measured = defaultdict(list)
    for out in outs:
        for kernel, calls in _step_calls(out).items():
            in_steps[kernel] += calls
    costs: dict[str, tuple[float, ...]] = {}
    for kernel, calls in sorted({**_sample_calls(cfg), **in_steps}.items()):
        alike: dict[tuple[Sequence[int], bool], list[int]] = defaultdict(list)
        for ints, cold, count in calls:
            alike[tuple(ints), cold].append(count)
        cycles = np.array([np.mean(counts) for counts in alike.values()])
        sizes = np.array([[1, cold, *work(kernel, ints, cfg.cores)] for ints, cold in alike], float)
        fitted, _ = nnls(sizes / cycles[:, None], np.ones(len(cycles)))
        costs[kernel] = tuple(round(float(c), 1) for c in fitted)
    return costs


def bench_step(out: Path) -> dict[str, dict[str, Any]]:
    """The kernels of one step of the program in ``out``: calls, elements of their largest operands, cycles."""
    document = load_program(out)
    inputs = step_inputs(document, "random", 1, 0.0, 0)
    return dict(soc.run(out, None, inputs=inputs, with_profile=True).stats["profile"]["kernels"])


def _show_kernels(result: dict[str, Any]) -> None:
    if skipped := result["skipped"]:
        console.print("samples that do not fit L1 as one tile: " + ", ".join(f"{n} {op}" for op, n in skipped.items()))
    if costs := result["costs"]:
        table(
            "CORE_CYCLES of compiler/tdco/cost.py",
            ["kernel", "cycles"],
            [[f'"{k}":', f"{c},"] for k, c in costs.items()],
        )
        table(
            "CALL_CYCLES of compiler/tdco/kernel_cycles.py",
            ["kernel", "cycles"],
            [[f'"{k}":', f"{c},"] for k, c in result["call_cycles"].items()],
        )
    for title, key in (("largest sample of each kernel, cold instruction cache", "results"), ("one step", "step")):
        if rows := result[key]:
            columns = list(rows[0])
            table(f"{title}: cycles on {result['cores']} cores", columns, [[r[c] for c in columns] for r in rows])


@click.command()
@click.option("--hw-config", "-c", "config", default="rm_12x4", show_default=True)
@click.option(
    "--step", "outs", multiple=True, type=click.Path(file_okay=False, path_type=Path), help="Also steps of programs."
)
@click.option("--costs", "with_costs", is_flag=True, help="Also the compiler's tables of kernels' cycles.")
@json_command(_show_kernels)
def kernels(config: str, outs: Sequence[Path], with_costs: bool) -> dict[str, Any]:
    """Cycles per element of every kernel on the cluster: over the operators' samples, and in a compiled step."""
    cfg = get_config(config)
    runs: dict[str, list[tuple[int, int]]] = defaultdict(list)
    skipped: Counter[str] = Counter()
    with console.status("running kernels on the cluster simulator"):
        for row in bench_samples(cfg):
            if "skipped" in row:
                skipped[row["skipped"]] += 1
            else:
                runs[row["kernel"]].append((row["elements"], row["cycles"]))
    results = []
    for kernel, calls in sorted(runs.items()):
        count, cycles = max(calls)
        results.append({"kernel": kernel, "samples": len(calls), "elements": count, "cycles": cycles})
        results[-1]["cycles_per_element"] = round(cycles / count, 3)
    step = []
    for out in outs:
        for kernel, values in sorted(bench_step(out).items(), key=lambda item: -item[1]["cycles"]):
            per_element = round(values["cycles"] / values["elements"], 3)
            step.append({"kernel": kernel, **values, "cycles_per_element": per_element})
    costs = bench_costs(cfg) if with_costs else {}
    return {
        "ok": bool(results),
        "config": config,
        "cores": cfg.cores,
        "results": results,
        "skipped": skipped,
        "step": step,
        "costs": costs,
        "call_cycles": bench_call_cycles(cfg, outs) if with_costs else {},
    }


def soc_speed(out: Path, engine: str) -> dict[str, Any]:
    """Simulated cycles and instructions per CPU second of one step of the program in ``out`` with ``engine``."""
    document = load_program(out)
    cfg = hw_of(document)
    verilog, tcdm = (engine_verilog(cfg), tcdm_verilog(cfg)) if engine == "rtl" else (None, None)
    stats = soc.run(out, verilog, tcdm, engine, inputs=step_inputs(document, "random", 1, 0.0, 0)).stats
    seconds = stats["cpu_seconds"]
    return {
        "engine": engine,
        "cycles": stats["cycles"],
        "instructions": stats["instructions"],
        "cpu_seconds": round(seconds, 2),
        "kcycle_per_second": round(stats["cycles"] / seconds / 1e3),
        "mips": round(stats["instructions"] / seconds / 1e6, 2),
    }


def _show_speed(result: dict[str, Any]) -> None:
    columns = list(result["soc"][0])
    table(f"cluster simulator, {result['program']}", columns, [[r[c] for c in columns] for r in result["soc"]])
    rtl = {name: value for name, value in result["rtl"].items() if name != "floors"}
    for name, floor in result["rtl"]["floors"].items():
        rtl[name] = f"{rtl[name]:.4g} (asked {floor['asked']}: {'met' if floor['met'] else 'missed'})"
    key_values("the RTL engine on L1 as RTL under full load, and its multiply-adders alone", rtl)


@click.command()
@click.option("--hw-config", "-c", "config", default="rm_12x4", show_default=True)
@click.option("--strategy", "-s", default="ft2", show_default=True, help="Of CCT-2.")
@click.option("--engine", "engines", multiple=True, default=("golden", "model", "rtl"), show_default=True)
@click.option("--seconds", type=click.FloatRange(min=0.1), default=5.0, show_default=True, help="Of the RTL alone.")
@json_command(_show_speed)
def simspeed(config: str, strategy: str, engines: tuple[str, ...], seconds: float) -> dict[str, Any]:
    """Simulated kcycle per CPU second: a whole step of CCT-2 on the cluster simulator, and the RTL alone."""
    cfg = get_config(config)
    rtl = bench_speed(contended_library(cfg), fma_array_library(cfg), cfg, seconds)
    with tempfile.TemporaryDirectory(prefix="tdco-") as folder:
        out = Path(folder) / "out"
        with console.status("compiling"):
            compile_model(zoo.load("zoo:cct2", True, 0), strategy, cfg, out, predict=job_predictor(cfg))
        with console.status("running"):
            rows = [soc_speed(out, engine) for engine in engines]
    program = f"CCT-2 {strategy}"
    return {"ok": rtl["mismatches"] == 0, "config": config, "rtl": rtl, "program": program, "soc": rows}
