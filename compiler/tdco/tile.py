"""Chooses the tile sizes of every node: the fewest modelled cycles among those that fit L1.

The model is deliberately simple: engine and cores of one tile work one after the other, the DMA moves the next tile
meanwhile. Constants are those of the engine and the DMA, not fitted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import permutations, product
from math import ceil, prod

from tdco_spec import HwConfig

from .domain import Dim, Domain, Operand, Tile, touched
from .errors import TdcoError
from .ir import DTYPES, Graph, Node, TensorType
from .layout import Layout, View, is_view
from .ops import get_op
from .program import GemmJob, Ref
from .transfer import copies, storage_order, tile_strides

ALIGN_BYTES = 16
"""Of every buffer: a multiple of all element sizes and of the DMA's 8-byte beat, so no copy or kernel starts askew."""

COMMAND_CYCLES = 100
"""Of every command beside its own work: the controller waits for what it needs, writes its registers, notes its end."""
JOB_START_CYCLES = 60
"""Of an engine job beside its core formula: filling the array, draining the last rows."""
COPY_START_CYCLES = 16
CALL_START_CYCLES = 200
"""Fork, argument fetch and barrier of a kernel call."""
CORE_CYCLES_PER_ELEMENT = 8

MORE_TILES = 4
"""The search stops at so many times the fewest tiles that fit."""


Kind = tuple[tuple[str, int], ...]
"""A tile shape: every loop with its size."""


@dataclass(frozen=True)
class Tiling:
    """Tile ``sizes`` by loop, and the loops in the ``order`` they are walked, outermost first, reduce loops last."""

    sizes: Mapping[str, int]
    order: tuple[str, ...]


@dataclass(frozen=True)
class Access:
    """How a node touches one tensor: its type, its view in L2, and the order of a tile's dimensions in L1."""

    name: str
    type: TensorType
    view: View
    order: tuple[int, ...]
    dims: tuple[Dim, ...]

    def box(self, loops: Mapping[str, tuple[int, int]]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """(start, shape) of the part that a tile touches."""
        return touched(self.dims, loops, self.type.shape)

    @property
    def item_bytes(self) -> int:
        return DTYPES[self.type.dtype].itemsize

    def operand(self, ref: Ref, start: tuple[int, ...], shape: tuple[int, ...]) -> Operand:
        return Operand(ref, start, shape, tile_strides(shape, self.order), self.type.shape, self.type.dtype)


@dataclass(frozen=True)
class Work:
    """A node as the tiler and the scheduler see it; ``inputs`` and ``outputs`` have None where nothing is touched."""

    node: Node
    domain: Domain
    inputs: tuple[Access | None, ...]
    outputs: tuple[Access | None, ...]

    @property
    def accesses(self) -> tuple[Access, ...]:
        return tuple(a for a in (*self.inputs, *self.outputs) if a)


def describe(graph: Graph, layout: Layout, node: Node) -> Work:
    """What ``node`` computes on, under ``layout``."""
    op = get_op(node.op)
    assert op.domain and not is_view(node)
    in_types = [graph.type(n) if n else None for n in node.inputs]
    domain = op.domain(node, in_types, [graph.type(n) for n in node.outputs])

    def access(name: str, dims: tuple[Dim, ...] | None) -> Access | None:
        if not name or dims is None:
            return None
        type, view = graph.type(name), layout.views[name]
        return Access(name, type, view, storage_order(type.shape, view.strides, domain.dense), dims)

    found = [access(n, d) for n, d in zip((*node.inputs, *node.outputs), domain.operands, strict=True)]
    return Work(node, domain, tuple(found[: len(node.inputs)]), tuple(found[len(node.inputs) :]))


def ranges(domain: Domain, tiling: Tiling) -> Iterator[tuple[dict[str, tuple[int, int]], bool, bool]]:
    """(loops, first, last) of every tile in execution order; first and last are along the reduce loops."""
    extents = {loop.name: loop.extent for loop in domain.loops}
    reduce = {loop.name for loop in domain.loops if loop.kind == "reduce"}
    steps = [
        [
            (name, (at, min(tiling.sizes[name], extents[name] - at)))
            for at in range(0, extents[name], tiling.sizes[name])
        ]
        for name in tiling.order
    ]
    for combination in product(*steps):
        loops = dict(combination)
        first = all(loops[name][0] == 0 for name in reduce)
        last = all(sum(loops[name]) == extents[name] for name in reduce)
        yield loops, first, last


def slots(access: Access, domain: Domain, sizes: Mapping[str, int]) -> int:
    """Buffers of a tensor's tiles: 2 where the tile changes while the node runs, else 1."""
    own = {d.loop for d in access.dims}
    return 2 if any(loop.name in own and sizes[loop.name] < loop.extent for loop in domain.loops) else 1


def tile_bytes(access: Access, sizes: Mapping[str, int]) -> int:
    """Size of the largest tile of a tensor."""
    count = 1
    for dim, full in zip(access.dims, access.type.shape, strict=True):
        count *= min(full, dim.coeff * (sizes[dim.loop] - 1) + dim.hi - dim.lo + 1) if dim.loop else full
    return count * access.item_bytes


def scratch_bytes(domain: Domain, sizes: Mapping[str, int]) -> int:
    return domain.scratch(sizes) if domain.scratch else 0


def demand_bytes(work: Work, sizes: Mapping[str, int]) -> int:
    """L1 bytes of all buffers of a node."""
    operands = sum(slots(a, work.domain, sizes) * aligned(tile_bytes(a, sizes)) for a in work.accesses)
    return operands + aligned(scratch_bytes(work.domain, sizes))


def aligned(size_bytes: int) -> int:
    return -(-size_bytes // ALIGN_BYTES) * ALIGN_BYTES


def choose_tiling(graph: Graph, layout: Layout, cfg: HwConfig) -> dict[int, Tiling]:
    """The tiling of every computing node, by its index in ``graph.nodes``.

    Raises:
        TdcoError: a node's smallest tiles do not fit L1.
    """
    known: dict[tuple, Tiling] = {}
    chosen: dict[int, Tiling] = {}
    for index, node in enumerate(graph.nodes):
        if is_view(node):
            continue
        work = describe(graph, layout, node)
        key = (
            node.op,
            tuple(sorted((k, repr(v)) for k, v in node.attrs.items())),
            tuple(a and (a.type, a.view.strides) for a in (*work.inputs, *work.outputs)),
        )
        if key not in known:
            known[key] = _best(work, cfg, graph.source(node))
        chosen[index] = known[key]
    return chosen


def _best(work: Work, cfg: HwConfig, source: str) -> Tiling:
    limit = cfg.l1_bytes - cfg.l1_reserved_bytes
    finest = max((loop.extent for loop in work.domain.loops), default=1)
    parts, finer = 2, 0
    while True:  # coarse tiles first; once some fit, a half and a quarter of their size are tried as well
        options = sorted(_candidates(work.domain, parts, cfg), key=lambda option: option[0])
        fits = [(n, sizes) for n, sizes in options if demand_bytes(work, sizes) <= limit]
        if parts >= finest or finer == 2 or (fits and fits[0][0] == 1):
            break
        finer += bool(fits)
        parts *= 2
    if not fits:
        raise _no_fit(work, options[-1][1], limit, source)
    most = MORE_TILES * fits[0][0] if fits[0][0] > 1 else 1  # no split beats a single tile in this model
    compute = cache(lambda kind: _compute_cycles(work, dict(kind), cfg))
    return min((_cost(work, sizes, cfg, compute) for n, sizes in fits if n <= most), key=lambda found: found[0])[1]


def _no_fit(work: Work, least: Mapping[str, int], limit: int, source: str) -> TdcoError:
    shares = {a.name: tile_bytes(a, least) * slots(a, work.domain, least) for a in work.accesses}
    shares["scratch"] = scratch_bytes(work.domain, least)
    largest = sorted(shares, key=lambda n: (-shares[n], n))[:3]
    what = ", ".join(f"{n} {shares[n]} bytes" for n in largest if shares[n])
    return TdcoError(
        f"its smallest tiles need {demand_bytes(work, least)} bytes of L1 ({what}), {limit} are available",
        f"{work.node.op} node {source}",
        "a configuration with more l1_bytes, or smaller dimensions where the operator cannot be split",
    )


def _candidates(domain: Domain, parts: int, cfg: HwConfig) -> Iterator[tuple[int, dict[str, int]]]:
    """(number of tiles, sizes): even splits of every loop into up to ``parts``, also rounded up to engine tiles."""
    sizes = [_sizes(loop.extent, 1 if loop.kind == "whole" else parts, cfg) for loop in domain.loops]
    for combination in product(*sizes):
        tiles = prod(ceil(loop.extent / size) for loop, size in zip(domain.loops, combination, strict=True))
        yield tiles, {loop.name: size for loop, size in zip(domain.loops, combination, strict=True)}


def _sizes(extent: int, most: int, cfg: HwConfig) -> list[int]:
    sizes = {extent}
    for parts in (2, 3, *(1 << n for n in range(2, most.bit_length()))):
        if parts <= most:
            even = ceil(extent / parts)
            sizes |= {even, *(min(extent, ceil(even / unit) * unit) for unit in (cfg.rows, cfg.tile_cols))}
    return sorted(sizes)


def _cost(
    work: Work, sizes: Mapping[str, int], cfg: HwConfig, compute_of: Callable[[Kind], float]
) -> tuple[tuple, Tiling]:
    """Modelled cycles of a node with the best order of its loops, and that tiling.

    The slower resource counts, since copies run ahead of the commands, across nodes too; then the sum of both.
    """
    loops = work.domain.loops
    counts = {loop.name: ceil(loop.extent / sizes[loop.name]) for loop in loops}
    compute = sum(n * compute_of(kind) for kind, n in _tile_kinds(work.domain, sizes))
    moves = [_copy_cycles(a, sizes, cfg) for a in work.accesses]
    fixed = [loop.name for loop in loops if loop.kind != "reduce" and counts[loop.name] == 1]
    outside = [loop.name for loop in loops if loop.kind != "reduce" and counts[loop.name] > 1]
    reduce = [loop.name for loop in loops if loop.kind == "reduce"]
    found = []
    for parallel in permutations(outside) if len(outside) <= 3 else [tuple(outside)]:
        order = (*fixed, *parallel, *reduce)
        dma = sum(n * _loads(a, order, counts) for a, n in zip(work.accesses, moves, strict=True))
        found.append(((max(compute, dma), compute + dma, tuple(sizes.values()), order), Tiling(sizes, order)))
    return min(found, key=lambda pair: pair[0])


def _tile_kinds(domain: Domain, sizes: Mapping[str, int]) -> Iterator[tuple[Kind, int]]:
    """The different tile shapes, and how many tiles have each; edges matter little to the cost, so all start at 0."""
    kinds = []
    for loop in domain.loops:
        size = sizes[loop.name]
        whole, rest = divmod(loop.extent, size)
        kinds.append([(loop.name, size, whole)] + ([(loop.name, rest, 1)] if rest else []))
    for combination in product(*kinds):
        yield tuple((name, size) for name, size, _ in combination), prod(n for _, _, n in combination)


def _compute_cycles(work: Work, sizes: Mapping[str, int], cfg: HwConfig) -> float:
    """Cycles of engine and cores for one tile."""
    loops = {name: (0, size) for name, size in sizes.items()}
    op = get_op(work.node.op)
    assert op.lower

    def operands(accesses: Sequence[Access | None], kind: str) -> tuple[Operand | None, ...]:
        return tuple(a.operand(Ref(f"{kind}{i}"), *a.box(loops)) if a else None for i, a in enumerate(accesses))

    tile = Tile(loops, operands(work.inputs, "in"), operands(work.outputs, "out"), Ref("scratch"))
    commands = op.lower(work.node, tile)
    jobs = [c for c in commands if isinstance(c, GemmJob)]
    calls = len(commands) - len(jobs)
    elements = max((prod(a.box(loops)[1]) for a in work.accesses), default=0) if calls else 0
    cores = calls * CALL_START_CYCLES + elements * CORE_CYCLES_PER_ELEMENT / cfg.cores
    return len(commands) * COMMAND_CYCLES + cores + sum(engine_cycles(job.m, job.n, job.k, cfg) for job in jobs)


def engine_cycles(m: int, n: int, k: int, cfg: HwConfig) -> int:
    """Cycles of one engine job: its passes over the array, and the start."""
    passes = ceil(k / cfg.cols) * ceil(m / cfg.rows) * ceil(n / cfg.tile_cols)
    return (cfg.pipe + 1) * cfg.cols * passes + JOB_START_CYCLES


def _copy_cycles(access: Access, sizes: Mapping[str, int], cfg: HwConfig) -> float:
    """DMA cycles of moving one tile of a tensor."""
    _, shape = access.box({name: (0, size) for name, size in sizes.items()})
    transfers = sum(1 for _ in copies(shape, access.view.strides, access.order, access.item_bytes))
    return transfers * (COMMAND_CYCLES + COPY_START_CYCLES) + prod(shape) * access.item_bytes / cfg.dma_bytes_per_cycle


def _loads(access: Access, order: Sequence[str], counts: Mapping[str, int]) -> int:
    """How often a tensor's tile is moved: whenever a loop at or outside the innermost one it depends on advances."""
    own = {d.loop for d in access.dims}
    last = max((i for i, name in enumerate(order) if name in own and counts[name] > 1), default=-1)
    return prod(counts[name] for name in order[: last + 1])
