"""A device for tests of the compiler: toy operators on integers, and a machine that runs schedules out of order.

All arithmetic is modulo 2^16 (2^32 for f32 storage), so that any split of a sum gives the same bits and a compiled
program must equal ``OpDef.eval`` exactly.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from tdco.codegen_c import job_flags, waits
from tdco.cost import default_costs
from tdco.domain import Dim, Domain, Loop, Tile
from tdco.ir import Attrs, Graph, Node, TensorType, evaluate
from tdco.layout import Layout, assign_layout
from tdco.memory import plan
from tdco.ops import OpDef, all_ops
from tdco.order import GEMM, KINDS, kind_of
from tdco.program import Copy, GemmJob, KernelCall, MemoryPlan, Move, Ref, Schedule
from tdco.tile import choose_tiling
from tdco_spec import JOB_FLAGS, HwConfig

INTEGERS = {"f16": np.dtype(np.uint16), "f32": np.dtype(np.uint32)}


def _elementwise_domain(node: Node, inputs: Sequence[Any], outputs: Sequence[TensorType]) -> Domain:
    loops = tuple(Loop(f"d{d}", n) for d, n in enumerate(outputs[0].shape))
    dims = tuple(Dim(loop.name) for loop in loops)
    return Domain(loops, (dims,) * (len(inputs) + len(outputs)))


def _mix(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    return ((sum(3 * (i + 1) * x for i, x in enumerate(inputs)) + 7).astype(np.uint16),)


def _lower_mix(node: Node, tile: Tile) -> Sequence[KernelCall]:
    (z,) = tile.outputs
    assert z
    refs = (*(x.ref for x in tile.inputs if x), z.ref)
    return [KernelCall("mix", refs, (prod(z.shape),))]


def _column_sum_domain(node: Node, inputs: Sequence[Any], outputs: Sequence[TensorType]) -> Domain:
    rows, columns = inputs[0].shape
    loops = (Loop("r", rows, "reduce"), Loop("c", columns))
    return Domain(loops, ((Dim("r"), Dim("c")), (Dim("c"),)), scratch=lambda sizes: 2 * sizes["c"])


def _lower_column_sum(node: Node, tile: Tile) -> Sequence[KernelCall]:
    (x,), (z,) = tile.inputs, tile.outputs
    assert x and z and tile.scratch
    fill = KernelCall("copy_row", (x.ref, tile.scratch), (x.shape[1],))
    return [fill, KernelCall("column_sum", (x.ref, tile.scratch, z.ref), (*x.shape, int(tile.first)))]


def _step(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    weight, master, gradient = inputs
    new = (master + 5 * gradient.astype(np.uint32)).astype(np.uint32)
    return (new.astype(np.uint16) + weight).astype(np.uint16), new


def _lower_step(node: Node, tile: Tile) -> Sequence[KernelCall]:
    operands = [o for o in (*tile.inputs, *tile.outputs) if o]
    return [KernelCall("step", tuple(o.ref for o in operands), (prod(operands[0].shape),), writes=2)]


TOY_OPS = (
    OpDef(
        name="ToyMix",
        infer=lambda types, attrs: (types[0],),
        eval=_mix,
        domain=_elementwise_domain,
        lower=_lower_mix,
    ),
    OpDef(
        name="ToyColumnSum",
        infer=lambda types, attrs: (TensorType(types[0].shape[1:]),),
        eval=lambda inputs, attrs: (inputs[0].sum(axis=0, dtype=np.uint16),),
        domain=_column_sum_domain,
        lower=_lower_column_sum,
    ),
    OpDef(
        name="ToyStep",
        infer=lambda types, attrs: (types[0], types[1]),
        eval=_step,
        domain=_elementwise_domain,
        lower=_lower_step,
        update=True,
    ),
)


@contextmanager
def toy_ops() -> Iterator[None]:
    """The operator table with the toy operators in it."""
    table = all_ops()
    table.update({op.name: op for op in TOY_OPS})
    try:
        yield
    finally:
        for op in TOY_OPS:
            del table[op.name]


def small(cfg: HwConfig, l1_bytes: int, l2_bytes: int = 1 << 19) -> HwConfig:
    """``cfg`` with ``l1_bytes`` of L1 and ``l2_bytes`` of L2 for tensors."""
    row_bytes = 4 * cfg.l1_banks  # L1 has whole rows of banks; what is too much of the last one is reserved
    whole = (l1_bytes // row_bytes + 2) * row_bytes
    return replace(cfg, l1_bytes=whole, l1_reserved_bytes=whole - l1_bytes, l2_bytes=l2_bytes, l2_reserved_bytes=0)


@dataclass(frozen=True)
class Compiled:
    graph: Graph
    layout: Layout
    schedule: Schedule
    plan: MemoryPlan
    cfg: HwConfig


def compile_graph(graph: Graph, cfg: HwConfig) -> Compiled:
    laid_out, layout = assign_layout(graph)
    costs = default_costs(cfg)
    schedule, memory = plan(laid_out, layout, choose_tiling(laid_out, layout, costs), costs)
    return Compiled(laid_out, layout, schedule, memory, cfg)


def integer_values(graph: Graph, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Random contents for inputs, constants and state."""
    names = (*graph.inputs, *graph.constants, *graph.state)
    return {n: rng.integers(0, 1 << 16, graph.type(n).shape).astype(INTEGERS[graph.type(n).dtype]) for n in names}


def expected(graph: Graph, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What outputs and state must be after a step."""
    env = evaluate(replace(graph, constants={}, state={}), values)
    return {n: env[n] for n in graph.outputs} | {s: env[v] for s, v in graph.updates.items()}


class Device:
    """L1, L2 and L3 as byte arrays, filled with garbage except for what the program is given."""

    def __init__(self, compiled: Compiled, values: Mapping[str, np.ndarray]) -> None:
        self.compiled = compiled
        garbage = np.random.default_rng(1)
        sizes = {"l1": compiled.cfg.l1_bytes, "l2": compiled.cfg.l2_bytes, "l3": compiled.plan.peak_bytes["l3"]}
        self.memory = {level: garbage.integers(0, 256, n).astype(np.uint8) for level, n in sizes.items()}
        for name, array in values.items():
            if name in compiled.layout.views:
                self.tensor(name)[...] = array

    def tensor(self, name: str) -> np.ndarray:
        """A tensor where it is between steps, through its view."""
        type, view = self.compiled.graph.type(name), self.compiled.layout.views[name]
        dtype = INTEGERS[type.dtype]
        strides = [s * dtype.itemsize for s in view.strides]
        return self.array(Ref(view.storage, view.offset * dtype.itemsize), type.shape, dtype, strides)

    def array(
        self, ref: Ref, shape: Sequence[int], dtype: np.dtype, strides: Sequence[int] | None = None
    ) -> np.ndarray:
        place = self.compiled.plan.placements[ref.buffer]
        memory = self.memory[place.buffer.level]
        return np.ndarray(tuple(shape), dtype, memory.data, place.offset + ref.offset, strides)

    def read(self, op: Copy | GemmJob | KernelCall | Move) -> list[tuple[np.ndarray, np.ndarray]]:
        """The command's results, each with the memory it goes to."""
        byte = np.dtype(np.uint8)
        if isinstance(op, Move):
            l2, l3 = (self.array(ref, (op.bytes,), byte) for ref in (op.l2, op.l3))
            return [(l2, l3.copy())] if op.to_l2 else [(l3, l2.copy())]
        if isinstance(op, Copy):
            l1 = self.array(op.l1, (op.rows, op.row_bytes), byte)
            l2 = self.array(op.l2, (op.rows, op.row_bytes), byte, (op.stride_bytes, 1))
            return [(l1, l2.copy())] if op.to_l1 else [(l2, l1.copy())]
        return self._gemm(op) if isinstance(op, GemmJob) else self._call(op)

    def _gemm(self, job: GemmJob) -> list[tuple[np.ndarray, np.ndarray]]:
        def matrix(ref: Ref, rows: int, columns: int, stride: int, transposed: bool) -> np.ndarray:
            shape = (columns, rows) if transposed else (rows, columns)
            array = self.array(ref, shape, INTEGERS["f16"], (stride, 2))
            return array.T if transposed else array

        z = matrix(job.z, job.m, job.n, job.z_stride, job.trans_z)
        x = matrix(job.x, job.m, job.k, job.x_stride, job.trans_x)
        w = matrix(job.w, job.k, job.n, job.w_stride, job.trans_w)
        result = (x.astype(np.uint32) @ w.astype(np.uint32)).astype(np.uint16)
        if job.y:
            result += matrix(job.y, job.m, job.n, job.y_stride, job.trans_z)
        return [(z, result)]

    def _call(self, call: KernelCall) -> list[tuple[np.ndarray, np.ndarray]]:
        def at(position: int, shape: Sequence[int], dtype: str = "f16") -> np.ndarray:
            ref = call.refs[position]
            assert ref
            return self.array(ref, shape, INTEGERS[dtype])

        if call.symbol == "mix":
            inputs = [at(i, call.ints).astype(np.uint64) for i in range(len(call.refs) - 1)]
            return [(at(-1, call.ints), _mix(inputs, {})[0])]
        if call.symbol == "copy_row":
            return [(at(1, call.ints), at(0, call.ints).copy())]
        if call.symbol == "column_sum":
            rows, columns, first = call.ints
            assert np.array_equal(at(1, (columns,)), at(0, (rows, columns))[0]), "scratch was overwritten"
            total = at(0, (rows, columns)).sum(axis=0, dtype=np.uint16)
            return [(at(2, (columns,)), total if first else at(2, (columns,)) + total)]
        if call.symbol == "step":
            dtypes = ("f16", "f32", "f16", "f16", "f32")
            weight, master, gradient, *outs = (at(i, call.ints, dtype) for i, dtype in enumerate(dtypes))
            return list(zip(outs, _step((weight, master, gradient), {}), strict=True))
        assert call.symbol == "tdco_contiguous_b16", call.symbol
        counts, from_strides, to_strides = (call.ints[i : i + 4] for i in (0, 4, 8))
        arrays = []
        for ref, strides in zip(call.refs, (from_strides, to_strides), strict=True):
            assert ref
            arrays.append(self.array(ref, counts, INTEGERS["f16"], [2 * s for s in strides]))
        return [(arrays[1], arrays[0].copy())]


def run_out_of_order(device: Device, seed: int) -> None:
    """Runs a schedule with its queues advancing at random, held back by nothing but what tdco.h promises.

    A command reads at its start or at its end and writes at its start or at its end, as the seed has it.
    """
    chance = random.Random(seed)
    schedule = device.compiled.schedule
    counts = waits(schedule)
    queues: list[list[int]] = [[] for _ in KINDS]
    for index, command in enumerate(schedule.commands):
        queues[kind_of(command.op)].append(index)
    started, finished = [0] * len(KINDS), [0] * len(KINDS)
    pending: dict[int, list[tuple[np.ndarray, np.ndarray]] | None] = {}

    def may_start(kind: int) -> bool:
        if started[kind] == len(queues[kind]):
            return False
        index = queues[kind][started[kind]]
        command = schedule.commands[index]
        waits_for_own = kind != GEMM or job_flags(command, schedule.commands) & JOB_FLAGS["AFTER"]
        if waits_for_own and finished[kind] < started[kind]:
            return False
        return all(finished[k] >= n for k, n in enumerate(counts[index]))

    while any(n < len(q) for n, q in zip(finished, queues, strict=True)):
        choices = [(k, "start") for k in KINDS if may_start(k)]
        choices += [(k, "finish") for k in KINDS if finished[k] < started[k]]
        kind, event = chance.choice(choices)
        if event == "start":
            index = queues[kind][started[kind]]
            started[kind] += 1
            pending[index] = None
            if chance.random() < 0.5:
                pending[index] = device.read(schedule.commands[index].op)
                if chance.random() < 0.5:
                    _write(pending[index] or [])
                    pending[index] = []
            continue
        index = queues[kind][finished[kind]]
        finished[kind] += 1
        results = pending.pop(index)
        _write(device.read(schedule.commands[index].op) if results is None else results)


def _write(results: list[tuple[np.ndarray, np.ndarray]]) -> None:
    for memory, result in results:
        memory[...] = result
