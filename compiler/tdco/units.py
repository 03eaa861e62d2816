"""Graph, layout and tilings -> units of work on the engine or the cores, and what each must wait for.

A unit is what one tile of a node does on one of the two without a break. Its operands are ``Block``s: pieces of tensors
as they lie in L1. A small tensor is one block, whole and with the strides it has in L2, so that any view of it can be
used where it is; of a large one, or where a kernel wants a strided view dense, every tile is a block.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from math import prod

from .cost import Costs
from .domain import Operand, Tile
from .ir import DTYPES, Graph
from .layout import Layout
from .ops import get_op
from .order import waits_for_jobs
from .orient import orient
from .program import Command, GemmJob, KernelCall, Ref, refs
from .transfer import Region, copies, overlap
from .work import Access, Tiling, Work, describe, ranges, read_storages, scratch_bytes


@dataclass(frozen=True)
class Block:
    """A piece of ``storage`` in L1, or scratch memory of ``node`` (storage ""). ``parts`` are the DMA transfers that
    fill it: byte offset in the block, bytes of the storage."""

    name: str
    storage: str
    bytes: int
    parts: tuple[tuple[int, Region], ...] = ()


@dataclass(frozen=True)
class Use:
    """How a unit uses a block: the bytes of its ``space``, a storage or the scratch memory itself, and whether they are
    read and written."""

    block: str
    space: str
    regions: tuple[Region, ...]
    read: bool
    write: bool


@dataclass(frozen=True)
class Unit:
    """``ops`` for the engine or the cores, one after the other; refs name blocks.

    ``after_cycles``: what it takes longer if its first job has the AFTER flag. ``waits``: another of them has it.
    ``before``: units it must follow. ``early``: as ``Domain.early``.
    """

    node: int
    on_engine: bool
    ops: tuple[GemmJob | KernelCall, ...]
    uses: tuple[Use, ...]
    cycles: int
    after_cycles: int = 0
    waits: bool = False
    before: tuple[int, ...] = ()
    early: bool = False


def make_units(
    graph: Graph, layout: Layout, tilings: Mapping[int, Tiling], costs: Costs
) -> tuple[dict[str, Block], tuple[Unit, ...]]:
    """All blocks by name, and the units of all nodes in the graph's order."""
    blocks: dict[str, Block] = {}
    units: list[Unit] = []
    ends: dict[str, list[int]] = {}
    read = read_storages(graph, layout)
    for index, tiling in tilings.items():
        work = describe(graph, layout, graph.nodes[index], costs.whole_bytes, read)
        done = ends.setdefault(work.node.op, [])
        for loops, first, last in ranges(work.domain, tiling):
            start = len(units)
            units += _tile_units(graph, index, work, tiling, loops, first, last, blocks, costs)
            if 0 < work.domain.scratch_tiles <= len(done):
                units[start] = replace(units[start], before=(done[-work.domain.scratch_tiles],))
            done.append(len(units) - 1)
    return blocks, tuple(_behind(graph, list(_with_order(units))))


def engine_floor(graph: Graph, layout: Layout, tilings: Mapping[int, Tiling], costs: Costs) -> int:
    """``Schedule.floor_cycles``: of every node's jobs if one tile were all of it, each in its better orientation."""
    whole = {}
    for index, tiling in tilings.items():
        loops = describe(graph, layout, graph.nodes[index]).domain.loops
        whole[index] = replace(tiling, sizes={loop.name: loop.extent for loop in loops})
    _, units = make_units(graph, layout, whole, costs)
    return sum(costs.job(op, False) for unit in units for op in unit.ops if isinstance(op, GemmJob))


def _tile_units(
    graph: Graph,
    index: int,
    work: Work,
    tiling: Tiling,
    loops: Mapping[str, tuple[int, int]],
    first: bool,
    last: bool,
    blocks: dict[str, Block],
    costs: Costs,
) -> Iterator[Unit]:
    """The units of one tile: runs of commands for the engine or for the cores."""
    operands: list[Operand | None] = []
    uses: list[Use] = []
    for position, access in enumerate(work.accesses):
        if access is None:
            operands.append(None)
            continue
        operand, block, regions = _place(graph, access, position in tiling.split, loops)
        blocks.setdefault(block.name, block)
        operands.append(operand)
        output = position >= len(work.inputs)
        uses.append(Use(block.name, block.storage, regions, not output or not first, output))
    scratch = None
    if size_bytes := scratch_bytes(work.domain, {name: size for name, (_, size) in loops.items()}):
        name = f"scratch@{index}{tuple(at for at, _ in loops.values())}".replace(" ", "")
        blocks[name] = Block(name, "", size_bytes)
        scratch = Ref(name)
        uses.append(Use(name, name, (Region(0, size_bytes),), True, True))
    count = len(work.inputs)
    op = get_op(work.node.op)
    assert op.lower
    lowered = op.lower(work.node, Tile(loops, tuple(operands[:count]), tuple(operands[count:]), scratch, first, last))
    room = (scratch, size_bytes) if scratch else None
    for on_engine, group in groupby(lowered, lambda c: isinstance(c, GemmJob)):
        run = tuple(group)
        waits = waits_for_jobs(run)
        ops = tuple(
            orient(c, costs, after) if isinstance(c, GemmJob) else bounded(c, operands, room)
            for c, after in zip(run, waits, strict=True)
        )
        named = {ref.buffer for c in ops for ref in refs(c)}
        mine = _merged(u for u in uses if u.block in named)
        cycles = sum(map(costs.op, ops, waits))
        after_cycles = costs.op(ops[0], on_engine) - costs.op(ops[0])
        early = work.domain.early
        yield Unit(index, on_engine, ops, mine, cycles, after_cycles, any(waits), early=early)


def commands_of(unit: Unit, names: Mapping[str, str]) -> Iterator[Command]:
    """The commands of ``unit`` on the buffers that hold its blocks, by their ``names``."""

    def buffer(ref: Ref) -> Ref:
        return Ref(names[ref.buffer], ref.offset)

    for op in unit.ops:
        if isinstance(op, GemmJob):
            y = op.y and buffer(op.y)
            yield Command(replace(op, x=buffer(op.x), w=buffer(op.w), z=buffer(op.z), y=y), unit.node)
        else:
            yield Command(replace(op, refs=tuple(ref and buffer(ref) for ref in op.refs)), unit.node)


def _place(
    graph: Graph, access: Access, split: bool, loops: Mapping[str, tuple[int, int]]
) -> tuple[Operand, Block, tuple[Region, ...]]:
    """The operand of a tile, the block that holds it, and its bytes in the storage."""
    start, shape = access.box(loops)
    item, storage = access.item_bytes, access.view.storage
    base = access.first_byte(start)
    parts = tuple((at, r.shifted(base)) for at, r in copies(shape, access.view.strides, access.order, item))
    regions = tuple(r for _, r in parts)
    if not split and access.in_place(shape):
        size_bytes = graph.type(storage).bytes
        block = Block(storage, storage, size_bytes, tuple(copies((size_bytes,), (1,), (0,), 1)))
        return access.operand(Ref(storage, base), start, shape, in_place=True), block, regions
    if len(regions) == 1 and regions[0].dense:
        name = f"{storage}@{base}+{regions[0].rows * regions[0].row_bytes}"
    else:
        order = "".join(f".{d}" for d in access.order if shape[d] > 1)
        name = f"{storage}@{base}{order}{list(shape)}{list(access.view.strides)}".replace(" ", "")
    block = Block(name, storage, prod(shape) * item, parts)
    return access.operand(Ref(name), start, shape), block, regions


def _hull_bytes(operand: Operand) -> int:
    """From the operand's first byte to its last."""
    return DTYPES[operand.dtype].itemsize * (
        1 + sum((n - 1) * s for n, s in zip(operand.shape, operand.strides, strict=True))
    )


def bounded(call: KernelCall, operands: Sequence[Operand | None], scratch: tuple[Ref, int] | None) -> KernelCall:
    """``call`` with its extents: each ref reaches to the end of the operand, or the scratch bytes, it points into."""
    spans = [(o.ref, _hull_bytes(o)) for o in operands if o] + ([scratch] if scratch else [])

    def reach(ref: Ref | None) -> int:
        if ref is None:
            return 0
        return max(o.offset + n - ref.offset for o, n in spans if o.buffer == ref.buffer and o.offset <= ref.offset)

    return replace(call, extents=tuple(map(reach, call.refs)))


def _merged(uses: Iterator[Use]) -> tuple[Use, ...]:
    """One use per block: an operand that is read and updated in place is one."""
    found: dict[str, Use] = {}
    for use in uses:
        old = found.get(use.block)
        if old:
            regions = tuple(dict.fromkeys((*old.regions, *use.regions)))
            use = Use(use.block, use.space, regions, old.read or use.read, old.write or use.write)
        found[use.block] = use
    return tuple(found.values())


def _behind(graph: Graph, units: Sequence[Unit]) -> Iterator[Unit]:
    """Each unit with what its node's attribute ``behind`` asks for: all units of the node that computes this value."""
    places = {node.outputs[0]: place for place, node in enumerate(graph.nodes)}
    for unit in units:
        value = graph.nodes[unit.node].attrs.get("behind")
        if value:
            others = {i for i, other in enumerate(units) if other.node == places[value]}
            unit = replace(unit, before=tuple(sorted(others.union(unit.before))))
        yield unit


def _with_order(units: Sequence[Unit]) -> Iterator[Unit]:
    """Each unit with those before it whose bytes it must not touch earlier, beside those it has."""
    touched: dict[str, list[tuple[int, Region, bool]]] = {}
    for index, unit in enumerate(units):
        before = set(unit.before)
        mine = [(use.space, region, use.write) for use in unit.uses for region in use.regions]
        for space, region, write in mine:
            for other, theirs, wrote in touched.get(space, ()):
                if (write or wrote) and overlap(region, theirs):
                    before.add(other)
        for space, region, write in mine:
            known = touched.setdefault(space, [])
            if write and region.dense:
                known[:] = [t for t in known if t[1].offset < region.offset or region.end < t[1].end]
            known.append((index, region, write))
        yield replace(unit, before=tuple(sorted(before)))
