"""The compiler's output types: commands for the engine, the cores and the DMA, and where their buffers lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple


class Ref(NamedTuple):
    """A byte address, symbolic until the memory plan is made: ``offset`` bytes into ``buffer``."""

    buffer: str
    offset: int = 0

    def shifted(self, offset: int) -> Ref:
        return Ref(self.buffer, self.offset + offset)


@dataclass(frozen=True, kw_only=True)
class GemmJob:
    """Exactly one engine launch: the job registers of ``tdco_spec.regs``. Strides in bytes, all operands in L1."""

    m: int
    n: int
    k: int
    x: Ref
    w: Ref
    z: Ref
    y: Ref | None = None
    x_stride: int
    w_stride: int
    z_stride: int
    y_stride: int = 0
    trans_x: bool = False
    trans_w: bool = False
    trans_z: bool = False
    y_column: bool = False
    relu: bool = False


@dataclass(frozen=True)
class KernelCall:
    """A C kernel on the cores: ``symbol(args, core, cores)`` with pointers, integers and floats in this order.

    ``writes`` counts how many of the last refs are written (all others are only read); a written ref may be read too.
    ``extents``: bytes behind each ref that the call may touch; empty: all of every buffer.
    """

    symbol: str
    refs: tuple[Ref | None, ...]
    ints: tuple[int, ...] = ()
    floats: tuple[float, ...] = ()
    writes: int = 1
    extents: tuple[int, ...] = ()


@dataclass(frozen=True)
class Copy:
    """One DMA transfer between L1 (dense) and L2: ``rows`` rows of ``row_bytes``, ``stride_bytes`` apart in L2."""

    l1: Ref
    l2: Ref
    row_bytes: int
    rows: int
    stride_bytes: int
    to_l1: bool


@dataclass(frozen=True)
class Move:
    """One transfer of ``bytes`` between L2 and L3, both dense."""

    l2: Ref
    l3: Ref
    bytes: int
    to_l2: bool


def refs(op: GemmJob | KernelCall | Copy | Move) -> list[Ref]:
    """All that a command names."""
    if isinstance(op, GemmJob):
        return [op.x, op.w, op.y, op.z] if op.y else [op.x, op.w, op.z]
    if isinstance(op, KernelCall):
        return [ref for ref in op.refs if ref]
    return [op.l1, op.l2] if isinstance(op, Copy) else [op.l2, op.l3]


@dataclass(frozen=True)
class Command:
    """A command in issue order. ``after``: indices of earlier commands that must have finished before it starts."""

    op: GemmJob | KernelCall | Copy | Move
    node: int
    after: tuple[int, ...] = ()


@dataclass(frozen=True)
class Buffer:
    """A piece of memory: ``level`` is "l1", "l2" or "l3"; ``tensor`` names the value it holds (part of)."""

    name: str
    bytes: int
    level: str
    tensor: str


@dataclass(frozen=True)
class Schedule:
    """``cycles``: how long the step is modelled to take; ``floor_cycles``: how long the engine alone would take if L1
    held every operator whole, one job behind the other. ``busy``, ``tried``: as of ``schedule.Planned``."""

    buffers: Mapping[str, Buffer]
    commands: tuple[Command, ...]
    cycles: int = 0
    floor_cycles: int = 0
    busy: tuple[int, int, int, int] = (0, 0, 0, 0)
    tried: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Placement:
    """Where and when a buffer lives: byte ``offset`` in its level, from command ``first`` to ``last`` inclusive."""

    buffer: Buffer
    offset: int
    first: int
    last: int


@dataclass(frozen=True)
class MemoryPlan:
    """Placements by buffer name and, per level, the peak in bytes (reserved bytes included) and the liveness bound."""

    placements: Mapping[str, Placement]
    peak_bytes: Mapping[str, int]
    bound_bytes: Mapping[str, int]
