"""Runs one node's lowering on the host, without scheduler or memory plan.

Tiles of the node's ``Domain`` are cut, packed into a byte array that stands for L1, lowered and executed: kernels
through ctypes, GEMM jobs by a plain numpy chain of fp16 multiply-adds. Bytes outside a tile's outputs must not change.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from tdco.domain import Domain, Operand, Tile, touched
from tdco.ir import DTYPES, Node, TensorType
from tdco.ops import OpDef, Sample, get_op
from tdco.program import GemmJob, KernelCall, Ref
from tdco_sim.build import shared_library

SW = Path(__file__).parents[2] / "sw"
MAX_PTRS, MAX_INTS, MAX_FLOATS = 8, 12, 4  # TDCO_MAX_* of sw/runtime/tdco.h
GUARD_BYTES = 32
POISON = 0xFF  # NaN in fp16 and fp32


@cache
def kernels() -> ctypes.CDLL:
    """All of sw/kernels as a shared library, compiled once."""
    includes = [SW / folder for folder in ("runtime", "port/host", "kernels")]
    flags = ("-std=c11", "-O2", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror")
    return ctypes.CDLL(str(shared_library("kernels", sorted((SW / "kernels").glob("*.c")), flags, includes, {})))


class Args(ctypes.Structure):
    """``tdco_args`` of sw/runtime/tdco.h."""

    _fields_ = (
        ("p", ctypes.c_void_p * MAX_PTRS),
        ("i", ctypes.POINTER(ctypes.c_int32)),
        ("f", ctypes.POINTER(ctypes.c_float)),
        ("engine_finite", ctypes.c_uint32),
    )


@dataclass
class L1:
    """Buffers one behind the other, with guard bytes between them."""

    memory: np.ndarray = field(default_factory=lambda: np.full(1 << 20, POISON, np.uint8))
    buffers: dict[str, tuple[int, int]] = field(default_factory=dict)
    top: int = 0

    def alloc(self, name: str, size_bytes: int) -> Ref:
        offset = (self.top + GUARD_BYTES + 3) & ~3
        self.top = offset + size_bytes
        assert self.top + GUARD_BYTES <= len(self.memory), f"{name} does not fit the test's L1"
        self.buffers[name] = (offset, size_bytes)
        return Ref(name)

    def view(self, ref: Ref, shape: Sequence[int], strides: Sequence[int], dtype: np.dtype) -> np.ndarray:
        """An array at ``ref``, strides in bytes; asserts that it lies in its buffer."""
        base, size_bytes = self.buffers[ref.buffer]
        reach = [s * (n - 1) for s, n in zip(strides, shape, strict=True)]
        low = ref.offset + sum(min(r, 0) for r in reach)
        high = ref.offset + sum(max(r, 0) for r in reach) + dtype.itemsize
        assert prod(shape) == 0 or (low >= 0 and high <= size_bytes), f"{ref}: [{low}, {high}) of {size_bytes} bytes"
        return np.ndarray(shape, dtype, self.memory.data, base + ref.offset, tuple(strides))

    def operand(self, operand: Operand) -> np.ndarray:
        dtype = DTYPES[operand.dtype]
        return self.view(operand.ref, operand.shape, [s * dtype.itemsize for s in operand.strides], dtype)


def run_kernel(l1: L1, call: KernelCall, cores: int, engine_finite: int = 0) -> None:
    """Calls the kernel once per core, the last core first: no core may need another's result."""
    assert len(call.refs) <= MAX_PTRS and len(call.ints) <= MAX_INTS and len(call.floats) <= MAX_FLOATS, call
    for ref in call.refs:
        assert ref is None or 0 <= ref.offset < max(1, l1.buffers[ref.buffer][1]), f"{ref} lies outside its buffer"
    base = l1.memory.ctypes.data
    args = Args(
        i=(ctypes.c_int32 * MAX_INTS)(*call.ints),
        f=(ctypes.c_float * MAX_FLOATS)(*call.floats),
        engine_finite=engine_finite,
    )
    for n, ref in enumerate(call.refs):
        args.p[n] = base + l1.buffers[ref.buffer][0] + ref.offset if ref else None
    kernel = getattr(kernels(), call.symbol)
    kernel.restype = None
    for core in reversed(range(cores)):
        kernel(ctypes.byref(args), ctypes.c_uint32(core), ctypes.c_uint32(cores))


def run_gemm(l1: L1, job: GemmJob) -> None:
    """Z = X.W + Y as the engine does it: one fp16 rounding per multiply-add, in the order of K.

    The sum of an exact product and an fp16 number, rounded to fp64 and then to fp16, is the correctly rounded fma:
    where fp64 is too short for the sum, the product is far below a quarter of the addend's last place.
    """

    def matrix(ref: Ref, rows: int, cols: int, stride: int, transposed: bool) -> np.ndarray:
        shape, strides = ((cols, rows), (stride, 2)) if transposed else ((rows, cols), (stride, 2))
        array = l1.view(ref, shape, strides, np.dtype(np.float16))
        return array.T if transposed else array

    x = matrix(job.x, job.m, job.k, job.x_stride, job.trans_x).astype(np.float64)
    w = matrix(job.w, job.k, job.n, job.w_stride, job.trans_w).astype(np.float64)
    z = matrix(job.z, job.m, job.n, job.z_stride, job.trans_z)
    acc = np.zeros((job.m, job.n), np.float16)
    if job.y is not None and job.y_column:
        lines = job.n if job.trans_z else job.m
        column = l1.view(job.y, (lines,), (job.y_stride,), np.dtype(np.float16))
        acc[:] = column[None, :] if job.trans_z else column[:, None]
    elif job.y is not None:
        acc[:] = matrix(job.y, job.m, job.n, job.y_stride, job.trans_z)
    with np.errstate(over="ignore"):
        for k in range(job.k):
            acc = (x[:, k, None] * w[None, k, :] + acc).astype(np.float16)
    if job.relu:
        acc = np.where(acc <= 0, np.float16(0), acc)
    z[:] = acc


def tiles(domain: Domain, sizes: Mapping[str, int]) -> Iterator[tuple[dict[str, tuple[int, int]], bool, bool]]:
    """(loops, first, last) of every tile: parallel loops outside, reduce loops inside. ``sizes``: loop -> tile size."""

    def steps(kind: str) -> list[dict[str, tuple[int, int]]]:
        loops = [loop for loop in domain.loops if loop.kind == kind]
        ranges = []
        for loop in loops:
            size = min(sizes.get(loop.name, loop.extent), loop.extent) if kind != "whole" else loop.extent
            ranges.append([(at, min(size, loop.extent - at)) for at in range(0, loop.extent, max(1, size))])
        return [dict(zip((loop.name for loop in loops), step, strict=True)) for step in itertools.product(*ranges)]

    (whole,) = steps("whole")
    for outer in steps("parallel"):
        inner_steps = steps("reduce")
        for n, inner in enumerate(inner_steps):
            yield {**whole, **outer, **inner}, n == 0, n == len(inner_steps) - 1


@dataclass(frozen=True)
class Layout:
    """How a tile lies in L1: its dimensions in the order ``order``, each line ``gap`` elements longer than needed."""

    order: tuple[int, ...]
    gap: int = 0


def place(
    l1: L1, name: str, array: np.ndarray, start: tuple[int, ...], full: TensorType, layout: Layout | None
) -> Operand:
    """Packs ``array``, the part of ``full`` from ``start`` on, into L1 (``layout`` None: row-major)."""
    layout = layout or Layout(tuple(range(array.ndim)))
    strides, step = [0] * array.ndim, 1
    for d in reversed(layout.order):
        strides[d] = step
        step = step * array.shape[d] + layout.gap
    ref = l1.alloc(name, step * array.itemsize)
    operand = Operand(ref, start, array.shape, tuple(strides), full.shape, full.dtype)
    l1.operand(operand)[...] = array
    return operand


def run_node(
    node: Node,
    inputs: Sequence[np.ndarray | None],
    in_types: Sequence[TensorType | None],
    out_types: Sequence[TensorType],
    sizes: Mapping[str, int] | None = None,
    cores: int = 8,
    layouts: Sequence[Layout | None] = (),
) -> list[np.ndarray]:
    """Executes ``node`` tile by tile and returns its outputs in their storage dtype.

    ``inputs`` are in storage dtype; ``sizes`` are tile sizes by loop name (absent: untiled); ``layouts`` say, per
    operand, how its tiles lie in L1.
    """
    op = get_op(node.op)
    assert op.domain and op.lower
    domain = op.domain(node, in_types, out_types)
    types = [*in_types, *out_types]
    tensors = [
        *(None if a is None else np.ascontiguousarray(a) for a in inputs),
        *(np.frombuffer(bytes([POISON]) * t.bytes, DTYPES[t.dtype]).reshape(t.shape).copy() for t in out_types),
    ]
    assert len(domain.operands) == len(tensors), "Domain.operands must list every input and output"
    n_in = len(inputs)
    owners = [np.zeros(t.shape, np.int32) for t in out_types]
    step = 0
    for loops, first, last in tiles(domain, sizes or {}):
        l1 = L1()
        step += first
        operands: list[Operand | None] = []
        parts: list[Any] = []
        for n, (dims, tensor, type) in enumerate(zip(domain.operands, tensors, types, strict=True)):
            if dims is None or tensor is None or type is None:
                operands.append(None)
                parts.append(None)
                continue
            start, shape = touched(dims, loops, type.shape)
            box = (..., *(slice(s, s + e) for s, e in zip(start, shape, strict=True)))
            part = tensor[box]
            if n >= n_in:
                assert np.isin(owners[n - n_in][box], (0, step)).all(), "two parallel tiles write the same element"
                owners[n - n_in][box] = step
            content = part if n < n_in or not first else np.zeros_like(part)
            name = f"{'input' if n < n_in else 'output'}{n}"
            operand = place(l1, name, content, start, type, layouts[n] if layouts else None)
            if n >= n_in and first:
                base, size_bytes = l1.buffers[name]
                l1.memory[base : base + size_bytes] = POISON
            operands.append(operand)
            parts.append(part)
        scratch = None
        if domain.scratch and (size_bytes := domain.scratch({k: size for k, (_, size) in loops.items()})):
            scratch = l1.alloc("scratch", size_bytes)
        _run_tile(
            op, node, Tile(loops, tuple(operands[:n_in]), tuple(operands[n_in:]), scratch, first, last), l1, cores
        )
        for operand, part in zip(operands[n_in:], parts[n_in:], strict=True):
            if operand is not None:
                part[...] = l1.operand(operand)
    return [t for t in tensors[n_in:] if t is not None]


def _run_tile(op: OpDef, node: Node, tile: Tile, l1: L1, cores: int) -> None:
    assert op.lower
    before = l1.memory.copy()
    for command in op.lower(node, tile):
        if isinstance(command, KernelCall):
            run_kernel(l1, command, cores)
        else:
            run_gemm(l1, command)
    expected = L1(before, l1.buffers)
    for operand in filter(None, tile.outputs):
        expected.operand(operand)[...] = l1.operand(operand)
    if tile.scratch:
        base, size_bytes = l1.buffers[tile.scratch.buffer]
        before[base : base + size_bytes] = l1.memory[base : base + size_bytes]
    changed = np.flatnonzero(before != l1.memory)  # guard bytes, gaps and inputs
    assert not len(changed), f"{node.op} wrote outside its outputs, at {changed[:4]} with buffers {l1.buffers}"


def sample_types(sample: Sample) -> list[TensorType | None]:
    """The input types of a sample; a float64 array stands for fp16 storage."""
    names = {dtype: name for name, dtype in DTYPES.items()} | {np.dtype(np.float64): "f16"}
    return [TensorType(i.shape, names[i.dtype]) if isinstance(i, np.ndarray) else i for i in sample.inputs]


def sample_arrays(sample: Sample, rng: np.random.Generator) -> list[np.ndarray | None]:
    """Inputs of a sample: given arrays as they are (floats as float64), the others drawn in float64."""
    arrays: list[np.ndarray | None] = []
    for i in sample.inputs:
        if isinstance(i, TensorType):
            assert i.dtype in ("f16", "f32"), f"give the values of {i.dtype} inputs in the sample"
            arrays.append(rng.normal(0, sample.scale, i.shape))
        else:
            arrays.append(i if i is None or i.dtype.kind != "f" else i.astype(np.float64))
    return arrays


def stored(arrays: Sequence[np.ndarray | None], types: Sequence[TensorType | None]) -> list[np.ndarray | None]:
    """``arrays`` rounded to the dtypes they are stored in."""
    return [a if a is None or t is None else a.astype(DTYPES[t.dtype]) for a, t in zip(arrays, types, strict=True)]
