"""Chooses the tile sizes of every node: the fewest modelled cycles among those that fit L1.

The model is deliberately simple: engine and cores of one tile work one after the other, the DMA moves the next tile
meanwhile. Constants are those of the engine and the DMA, not fitted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import permutations, product
from math import ceil, prod

from tdco_spec import HwConfig

from .cost import Predictor, core_formula
from .domain import Domain, Operand, Tile
from .errors import TdcoError
from .ir import Graph
from .layout import Layout, is_view
from .ops import get_op
from .orient import orient
from .program import GemmJob, Ref
from .transfer import copies
from .work import Access, Tiling, Work, aligned, demand_bytes, describe, scratch_bytes, tile_bytes

COMMAND_CYCLES = 100
"""Of every command beside its own work: the controller waits for what it needs, writes its registers, notes its end."""
COPY_START_CYCLES = 16
ROW_START_CYCLES = 1
"""Of every row of a copy: it starts a burst of its own."""
CALL_START_CYCLES = 200
"""Fork, argument fetch and barrier of a kernel call."""
CORE_CYCLES_PER_ELEMENT = 8

MORE_TILES = 4
"""The search stops at so many times the fewest tiles that fit."""


Kind = tuple[tuple[str, int], ...]
"""A tile shape: every loop with its size."""


def choose_tiling(graph: Graph, layout: Layout, cfg: HwConfig, predict: Predictor | None = None) -> dict[int, Tiling]:
    """The tiling of every computing node, by its index in ``graph.nodes``.

    Raises:
        TdcoError: a node's smallest tiles do not fit L1.
    """
    predict = predict or core_formula(cfg)
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
            known[key] = _best(work, cfg, predict, graph.source(node))
        chosen[index] = known[key]
    return chosen


def _best(work: Work, cfg: HwConfig, predict: Predictor, source: str) -> Tiling:
    limit = cfg.l1_bytes - cfg.l1_reserved_bytes
    finest = max((loop.extent for loop in work.domain.loops), default=1)
    one_each = tuple(int(a is not None) for a in work.accesses)
    parts, finer = 2, 0
    while True:  # coarse tiles first; once some fit, down to an eighth of their size is tried as well
        options = sorted(_candidates(work.domain, parts, cfg), key=lambda option: option[0])
        fits = [(n, sizes) for n, sizes in options if demand_bytes(work, sizes, one_each) <= limit]
        if parts >= finest or finer == 3 or (fits and fits[0][0] == 1):
            break
        finer += bool(fits)
        parts *= 2
    if not fits:
        raise _no_fit(work, options[-1][1], limit, source)
    most = MORE_TILES * fits[0][0] if fits[0][0] > 1 else 1  # no split beats a single tile in this model
    compute = cache(lambda kind: _compute_cycles(work, dict(kind), cfg, predict))
    found = (best for n, sizes in fits if n <= most if (best := _cheapest(work, sizes, cfg, compute)))
    return min(found, key=lambda pair: pair[0])[1]


def _no_fit(work: Work, least: Mapping[str, int], limit: int, source: str) -> TdcoError:
    shares = {a.name: tile_bytes(a, least) for a in work.accesses if a}
    shares["scratch"] = scratch_bytes(work.domain, least)
    largest = sorted(shares, key=lambda n: (-shares[n], n))[:3]
    what = ", ".join(f"{n} {shares[n]} bytes" for n in largest if shares[n])
    return TdcoError(
        f"its smallest tiles need {sum(map(aligned, shares.values()))} bytes of L1 ({what}), {limit} are available",
        f"{work.node.op} node {source}",
        "a configuration with more l1_bytes, or smaller dimensions where the operator cannot be split",
    )


def _candidates(domain: Domain, parts: int, cfg: HwConfig) -> Iterator[tuple[int, dict[str, int]]]:
    """(number of tiles, sizes): even splits of every loop into up to ``parts``, also rounded to engine tiles."""
    sizes = [_sizes(loop.extent, 1 if loop.kind == "whole" else parts, cfg) for loop in domain.loops]
    for combination in product(*sizes):
        tiles = prod(ceil(loop.extent / size) for loop, size in zip(domain.loops, combination, strict=True))
        yield tiles, {loop.name: size for loop, size in zip(domain.loops, combination, strict=True)}


def _sizes(extent: int, most: int, cfg: HwConfig) -> list[int]:
    sizes = {extent}
    for parts in (2, 3, *(1 << n for n in range(2, most.bit_length()))):
        if parts <= most:
            even = ceil(extent / parts)
            sizes.add(even)
            for unit in (cfg.rows, cfg.tile_cols):
                if even > unit:
                    sizes |= {min(extent, ceil(even / unit) * unit), even // unit * unit}
    return sorted(sizes)


def _cheapest(
    work: Work, sizes: Mapping[str, int], cfg: HwConfig, compute_of: Callable[[Kind], float]
) -> tuple[tuple, Tiling] | None:
    """(modelled cycles and tie-breakers, tiling) with the best order of the loops; None if none fits L1.

    The slower of compute and copies counts, since copies run ahead of the commands, across nodes too; a tile that has
    one buffer is moved while nothing else runs.
    """
    loops = work.domain.loops
    limit = cfg.l1_bytes - cfg.l1_reserved_bytes
    counts = {loop.name: ceil(loop.extent / sizes[loop.name]) for loop in loops}
    compute = sum(n * compute_of(kind) for kind, n in _tile_kinds(work.domain, sizes))
    filled = {loop.name: loop.extent / (sizes[loop.name] * counts[loop.name]) for loop in loops}
    moves = [_copy_cycles(a, sizes, filled, cfg) if a else 0.0 for a in work.accesses]
    fixed = [loop.name for loop in loops if loop.kind != "reduce" and counts[loop.name] == 1]
    outside = [loop.name for loop in loops if loop.kind != "reduce" and counts[loop.name] > 1]
    reduce = [loop.name for loop in loops if loop.kind == "reduce"]
    found = []
    for parallel in permutations(outside) if len(outside) <= 3 else [tuple(outside)]:
        order = (*fixed, *parallel, *reduce)
        loads = [_loads(a, order, counts) if a else 0 for a in work.accesses]
        for slots in _slots(loads, prod(counts.values())):
            if demand_bytes(work, sizes, slots) <= limit:
                dma = sum(n * cycles for n, cycles in zip(loads, moves, strict=True))
                exposed = sum((n - 1) * c for n, c, slot in zip(loads, moves, slots, strict=True) if slot == 1)
                cycles = max(compute, dma - exposed) + exposed
                found.append(
                    ((cycles, compute + dma, tuple(sizes.values()), order, slots), Tiling(sizes, order, slots))
                )
    return min(found, key=lambda pair: pair[0], default=None)


def _slots(loads: Sequence[int], tiles: int) -> Iterator[tuple[int, ...]]:
    """Buffers per tensor: two for all whose tile ever changes, or only for those whose tile always does."""
    yield tuple(min(n, 2) for n in loads)
    if any(1 < n < tiles for n in loads):
        yield tuple(min(n, 2) if n == tiles else min(n, 1) for n in loads)


def _tile_kinds(domain: Domain, sizes: Mapping[str, int]) -> Iterator[tuple[Kind, int]]:
    """The different tile shapes, and how many tiles have each; edges matter little to the cost, so all start at 0."""
    kinds = []
    for loop in domain.loops:
        size = sizes[loop.name]
        whole, rest = divmod(loop.extent, size)
        kinds.append([(loop.name, size, whole)] + ([(loop.name, rest, 1)] if rest else []))
    for combination in product(*kinds):
        yield tuple((name, size) for name, size, _ in combination), prod(n for _, _, n in combination)


def _compute_cycles(work: Work, sizes: Mapping[str, int], cfg: HwConfig, predict: Predictor) -> float:
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
    touched_elements = [prod(a.box(loops)[1]) for a in work.accesses if a]
    elements = max(*touched_elements, scratch_bytes(work.domain, sizes) // 2) if calls else 0
    cores = calls * CALL_START_CYCLES + elements * CORE_CYCLES_PER_ELEMENT / cfg.cores
    return len(commands) * COMMAND_CYCLES + cores + sum(predict(orient(job, predict)) for job in jobs)


def _copy_cycles(access: Access, sizes: Mapping[str, int], filled: Mapping[str, float], cfg: HwConfig) -> float:
    """DMA cycles of moving one tile of a tensor, on average: ``filled`` is the mean tile size over the full one."""
    _, shape = access.box({name: (0, size) for name, size in sizes.items()})
    cycles = 0.0
    for _, part in copies(shape, access.view.strides, access.order, access.item_bytes):
        row_cycles = ROW_START_CYCLES + ceil(part.row_bytes / cfg.dma_bytes_per_cycle)
        cycles += COMMAND_CYCLES + COPY_START_CYCLES + part.rows * row_cycles
    return cycles * prod(filled[d.loop] for d in access.dims if d.loop)


def _loads(access: Access, order: Sequence[str], counts: Mapping[str, int]) -> int:
    """How often a tensor's tile is moved: whenever a loop at or outside the innermost one it depends on advances."""
    own = {d.loop for d in access.dims}
    last = max((i for i, name in enumerate(order) if name in own and counts[name] > 1), default=-1)
    return prod(counts[name] for name in order[: last + 1])
