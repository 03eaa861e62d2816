"""Chooses the tile sizes of every node: the fewest modelled cycles among those that fit L1.

Small tiles let engine, cores and DMA work on different parts of the same tensors at the same time; every tile costs its
commands. A node is charged for its work, for its commands, and for one tile's work more: the time until the node behind
it can start.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import product
from math import ceil, prod

from tdco_spec import HwConfig

from .cost import Costs
from .domain import Domain, Loop, Operand, Tile
from .errors import TdcoError
from .ir import Graph, Node
from .layout import Layout, is_view
from .ops import get_op
from .order import waits_for_jobs
from .orient import orient
from .program import GemmJob, Ref
from .transfer import Region, copies
from .units import bounded
from .work import (
    Access,
    Tiling,
    Work,
    aligned,
    describe,
    largest_tile,
    ranges,
    read_storages,
    scratch_bytes,
    tile_bytes,
)

TILE_CYCLES = 150
"""Of every further tile beside its own work: the controller's share of its commands."""
MOST_TILES = 64
"""The search tries no more tiles of a node than this, unless L1 asks for them."""
MORE_TILES = 4
"""Where L1 asks for more, so many times the fewest that fit."""

TILES_IN_L1 = 6
"""A tile's blocks of its own take at most this part of L1, or half of it if the node cannot be cut so."""
FEW_TILES = 16
"""Rather than more tiles of a node, tiles of up to a quarter of L1: each has commands of its own."""

BLOCKS_IN_L1 = 3
"""The same where rows, columns and sums are cut: one block at work, one on its way, results that wait."""

NEAR_NODES = 12
"""Nodes between two uses of a storage up to which it may stay in L1."""

STREAMED = {"GemmUpdate": 4, "OuterSGD": 4, "ProductUpdate": 6}
"""Updates of a weight by rows, in large tiles, for their calls are what the step waits for: at most this part of L1."""
FOLLOWED_SHARE = 1 / 8
"""Of L1: the last product with a weight so large is cut by the rows of such an update, which begins with the first."""
SMALL_BYTES, SMALL_SHARE = 16 << 10, 4
"""Of all operands of another update in such a step: it is not cut unless it is more than this part of L1, for its
commands would take longer than its work."""

SUMS, STREAM = "sums", "stream"
"""Ways to cut a node other than by its rows alone, see ``_way``."""

Kind = tuple[tuple[str, int], ...]
"""A tile shape: every loop with its size."""


def choose_tiling(graph: Graph, layout: Layout, costs: Costs, parts: int = 4) -> dict[int, Tiling]:
    """The tiling of every computing node, by its index in ``graph.nodes``, in about ``parts`` runs of rows.

    Nodes that are cut alike pass each other single tiles: the engine works on the first rows of a tensor while the
    cores compute the next ones.

    Raises:
        TdcoError: a node's smallest tiles do not fit L1.
    """
    known: dict[tuple, Tiling] = {}
    works: dict[int, Work] = {}
    chosen: dict[int, Tiling] = {}
    read = read_storages(graph, layout)
    followed = _followed(graph, layout, costs)
    for index, node in enumerate(graph.nodes):
        if is_view(node):
            continue
        work = works[index] = describe(graph, layout, node, costs.whole_bytes, read)
        way = _way(graph, index, work, followed)
        key = (
            node.op,
            way,
            tuple(sorted((k, repr(v)) for k, v in node.attrs.items())),
            tuple(a and (a.type, a.view.strides, a.view.offset, a.whole) for a in work.accesses),
        )
        if key not in known:
            known[key] = _best(graph, work, costs, parts, way)
        chosen[index] = known[key]
    return _in_panels(works, chosen)


def _followed(graph: Graph, layout: Layout, costs: Costs) -> frozenset[int]:
    """The last product with each large weight that is then updated row by row, by its index."""
    storages = {state: layout.views[state].storage for state in graph.state}
    states = {value: storages[state] for state, value in graph.updates.items()}
    found = set()
    for index, node in enumerate(graph.nodes):
        if not _streams(graph, node) or graph.type(node.outputs[0]).bytes < FOLLOWED_SHARE * costs.cfg.l1_bytes:
            continue
        for before in range(index - 1, -1, -1):
            product = graph.nodes[before]
            weight = product.inputs[1] if product.op == "MatMul" else ""
            if weight and layout.views[weight].storage == states.get(node.outputs[-1]):
                found.add(before)
                break
    return frozenset(found)


def _streams(graph: Graph, node: Node) -> bool:
    """Whether ``node`` updates a weight as the rows of it come: on the engine only where it has little to multiply."""
    return node.op in STREAMED and (node.op != "GemmUpdate" or graph.type(node.inputs[0]).shape[1] == 1)


def _way(graph: Graph, index: int, work: Work, followed: Collection[int]) -> str:
    """How a node is cut in a step with products that are ``followed``: these along their sums, by the rows of the
    updates, which stream in large tiles, or whole if small."""
    if index in followed:
        return SUMS
    small = sum(prod(a.type.shape) * a.item_bytes for a in work.accesses if a) <= SMALL_BYTES
    streams = _streams(graph, work.node) or (followed and small and get_op(work.node.op).update)
    return STREAM if streams else ""


def _best(graph: Graph, work: Work, costs: Costs, parts: int, way: str) -> Tiling:
    limit = costs.cfg.l1_bytes - costs.cfg.l1_reserved_bytes
    fits: list[dict[str, int]] = []
    if way == SUMS:
        cuts = (_by_sums(work.domain, count) for count in _doubling(parts))
        fits = [sizes for sizes in cuts if _moved_bytes(work, sizes) <= limit // TILES_IN_L1][:1]
    elif not work.domain.early:
        fits = _run_fits(graph, work, costs, parts, limit, way)
    if not fits and not work.domain.dense:
        fits = _block_fits(work, costs.cfg, limit)
    if not fits:
        fits = [sizes for _, sizes in _smaller(graph, work, costs.cfg, limit)]
    compute = cache(lambda kind: compute_cycles(work, dict(kind), costs))
    found = (best for sizes in fits if (best := _cheapest(graph, work, sizes, costs, compute, way)))
    return min(found, key=lambda pair: pair[0])[1]


def _run_fits(graph: Graph, work: Work, costs: Costs, parts: int, limit: int, way: str) -> list[dict[str, int]]:
    """Sizes of tiles that are runs of rows, as many as L1 asks for; blocks rather than cuts through sums alone."""
    tiles = _doubling(parts)
    few = [count for count in tiles if count <= FEW_TILES]
    shares = [*product((TILES_IN_L1, 4), few), *product((TILES_IN_L1, 2), tiles)]
    if way == STREAM:
        shares = [(STREAMED.get(work.node.op, SMALL_SHARE), count) for count in range(parts, MOST_TILES + 1, parts)]
    fits: list[dict[str, int]] = []
    for sums in (False, True):
        if fits and not work.domain.dense:
            break
        for share, count in shares:  # a convolution may be cheaper with its sums cut than by channels alone
            options = [s for n in dict.fromkeys((1, count)) for s in _in_rows(work.domain, n, sums, costs.cfg)]
            some = [s for s in options if _least_bytes(graph, work, s) <= limit]
            some = [s for s in some if _moved_bytes(work, s) <= limit // share]
            if some:
                fits += some
                break
        if not fits and not work.domain.dense:
            fits = _block_fits(work, costs.cfg, limit)
    return fits


def _block_fits(work: Work, cfg: HwConfig, limit: int) -> list[dict[str, int]]:
    """Sizes that cut every loop, of which L1 holds ``BLOCKS_IN_L1``."""
    return [s for s in _in_blocks(work.domain, cfg) if _working_bytes(work, s) <= limit // BLOCKS_IN_L1]


def _doubling(parts: int) -> list[int]:
    """Numbers of tiles from ``parts`` on."""
    return [parts << n for n in range((MOST_TILES // parts).bit_length())]


def _in_panels(works: Mapping[int, Work], tilings: Mapping[int, Tiling]) -> dict[int, Tiling]:
    """``tilings`` where a storage is held in L1 tile by tile instead of whole as long as the nodes that use it one soon
    after the other all touch the same tiles, and each is one piece of it."""
    uses: dict[str, list[list[tuple[int, int, frozenset[Region] | None]]]] = {}
    for index, work in works.items():
        every = [loops for loops, _, _ in ranges(work.domain, tilings[index])]
        for position, access in enumerate(work.accesses):
            if access and access.whole:
                runs = uses.setdefault(access.view.storage, [])
                if not runs or index - runs[-1][-1][0] > NEAR_NODES:
                    runs.append([])
                pieces = {access.piece(loops) for loops in every}
                runs[-1].append((index, position, None if None in pieces else frozenset(filter(None, pieces))))
    split = {index: set(tiling.split) for index, tiling in tilings.items()}
    for run in (run for runs in uses.values() for run in runs):
        if len({pieces for *_, pieces in run}) == 1 and run[0][2] and len(run[0][2]) > 1:
            for index, position, _ in run:
                split[index].add(position)
    return {index: replace(tiling, split=frozenset(split[index])) for index, tiling in tilings.items()}


def _moved_bytes(work: Work, sizes: Mapping[str, int]) -> int:
    """Of a tile's operands that are not held whole; what is updated in place counts once."""
    moved = {
        (a.view, a.dims): tile_bytes(a, sizes) for a in work.accesses if a and not a.in_place(largest_tile(a, sizes))
    }
    return sum(moved.values())


def _working_bytes(work: Work, sizes: Mapping[str, int]) -> int:
    """The same with scratch memory for two tiles."""
    return _moved_bytes(work, sizes) + 2 * scratch_bytes(work.domain, sizes)


def _in_rows(domain: Domain, parts: int, sums: bool, cfg: HwConfig) -> Iterator[dict[str, int]]:
    """Sizes where a tile is a run of rows as they follow each other in memory, so that there are about ``parts`` tiles:
    outer loops have size 1, one is cut, those inside are whole. A product may be cut by columns instead, a convolution
    by channels. ``sums`` are cut too, and then channels of a convolution."""
    parallel = [loop for loop in domain.loops if loop.kind == "parallel"]
    cut = [loop for loop in domain.loops if sums and loop.kind == "reduce"]
    for walk in _walks(domain, parallel):
        sizes = {loop.name: loop.extent for loop in domain.loops}
        left = parts
        for loop in walk:
            sizes[loop.name] = ceil(loop.extent / left)
            left = ceil(left / ceil(loop.extent / sizes[loop.name]))
        channels = [x for x in parallel[-1:] if domain.dense and cut and sizes[x.name] == x.extent]
        for some in product(*(_sizes(loop.extent, MOST_TILES, cfg) for loop in (*cut, *channels))):
            yield sizes | {loop.name: size for loop, size in zip((*cut, *channels), some, strict=True)}


def _by_sums(domain: Domain, parts: int) -> dict[str, int]:
    """Sizes that cut sums alone."""
    return {x.name: ceil(x.extent / parts) if x.kind == "reduce" else x.extent for x in domain.loops}


def _in_blocks(domain: Domain, cfg: HwConfig) -> Iterator[dict[str, int]]:
    """Sizes that cut every loop, where no operand fits L1 whole: then sums alone would be cut too finely."""
    for tiles, sizes in _candidates(domain, FEW_TILES, cfg):
        if tiles <= MOST_TILES and all(sizes[x.name] == 1 for x in domain.loops[:-3]):
            yield sizes


def _walks(domain: Domain, parallel: list[Loop]) -> list[list[Loop]]:
    """Which of the ``parallel`` loops are cut, outermost first."""
    if len(parallel) < 2:
        return [parallel]
    if not domain.dense:
        return [parallel, [*parallel[:-2], parallel[-1]]]
    others, last = {loop.name for loop in parallel[:-1]}, parallel[-1].name
    used = [{d.loop for d in dims} for dims in domain.operands if dims and len(dims) > 1]
    filters = any(last in loops and not loops & others for loops in used)
    inputs = any(loops & others and last not in loops for loops in used)
    return [parallel, parallel[-1:]] if filters and inputs else [parallel]


def _smaller(graph: Graph, work: Work, cfg: HwConfig, limit: int) -> list[tuple[int, dict[str, int]]]:
    """Candidates where only many tiles fit."""
    finest = max((loop.extent for loop in work.domain.loops), default=1)
    parts = 2 * MOST_TILES
    while True:
        options = sorted(_candidates(work.domain, parts, cfg), key=lambda option: option[0])
        fits = [(n, sizes) for n, sizes in options if _least_bytes(graph, work, sizes) <= limit]
        if fits:
            return [option for option in fits if option[0] <= MORE_TILES * fits[0][0]]
        if parts >= finest:
            raise _no_fit(work, options[-1][1], limit, graph.source(work.node))
        parts *= 2


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


def _split(graph: Graph, work: Work, sizes: Mapping[str, int], limit: int) -> frozenset[int] | None:
    """The operands that cannot be used in whole blocks, since they would not fit together; None: nothing helps.

    A tile that changes is counted twice, so that the DMA may work ahead, where there is room for that.
    """
    split: set[int] = set()
    scratch = aligned(scratch_bytes(work.domain, sizes))

    def demand() -> int:
        blocks: dict[object, int] = {}
        for position, access in enumerate(work.accesses):
            if access is None:
                continue
            if position not in split and access.in_place(largest_tile(access, sizes)):
                blocks[access.view.storage] = aligned(graph.type(access.view.storage).bytes)
            else:
                blocks[access.view, access.dims] = aligned(tile_bytes(access, sizes))
        return sum(blocks.values()) + scratch

    while demand() > limit:
        whole = [
            (graph.type(a.view.storage).bytes - tile_bytes(a, sizes), position)
            for position, a in enumerate(work.accesses)
            if a and position not in split and a.in_place(largest_tile(a, sizes))
        ]
        if not whole or max(whole)[0] <= 0:
            return None
        split.add(max(whole)[1])
    return frozenset(split)


def _least_bytes(graph: Graph, work: Work, sizes: Mapping[str, int]) -> int:
    """L1 bytes of a tile's operands, each with a block of its own."""
    same = {(a.view, a.dims): aligned(tile_bytes(a, sizes)) for a in work.accesses if a}
    return sum(same.values()) + aligned(scratch_bytes(work.domain, sizes))


def _cheapest(
    graph: Graph, work: Work, sizes: Mapping[str, int], costs: Costs, compute_of: Callable[[Kind], float], way: str
) -> tuple[tuple, Tiling] | None:
    """(modelled cycles and tie-breakers, tiling) with the best order of the loops; None if none fits L1."""
    loops = work.domain.loops
    split = _split(graph, work, sizes, costs.cfg.l1_bytes - costs.cfg.l1_reserved_bytes)
    if split is None:
        return None
    counts = {loop.name: ceil(loop.extent / sizes[loop.name]) for loop in loops}
    tiles = prod(counts[loop.name] for loop in loops if loop.kind != "reduce")
    tiles = tiles if tiles > 1 or any(loop.kind == "parallel" for loop in loops) else prod(counts.values())
    compute = sum(n * compute_of(kind) for kind, n in _tile_kinds(work.domain, sizes))
    filled = {loop.name: loop.extent / (sizes[loop.name] * counts[loop.name]) for loop in loops}
    moves = [
        0.0 if a is None else _copy_cycles(a, sizes, filled, position not in split, costs)
        for position, a in enumerate(work.accesses)
    ]
    order = tuple(loop.name for kinds in ({"parallel", "whole"}, {"reduce"}) for loop in loops if loop.kind in kinds)
    dma = sum(n * _loads(a, order, counts) for n, a in zip(moves, work.accesses, strict=True) if a)
    until_next = 0 if way == STREAM else (compute + dma) / tiles
    cycles = max(compute, dma) + until_next + TILE_CYCLES * prod(counts.values())
    return (cycles, compute + dma, tuple(sizes.values()), order), Tiling(sizes, order, split)


def _tile_kinds(domain: Domain, sizes: Mapping[str, int]) -> Iterator[tuple[Kind, int]]:
    """The different tile shapes, and how many tiles have each; edges matter little to the cost, so all start at 0."""
    kinds = []
    for loop in domain.loops:
        size = sizes[loop.name]
        whole, rest = divmod(loop.extent, size)
        kinds.append([(loop.name, size, whole)] + ([(loop.name, rest, 1)] if rest else []))
    for combination in product(*kinds):
        yield tuple((name, size) for name, size, _ in combination), prod(n for _, _, n in combination)


def compute_cycles(work: Work, sizes: Mapping[str, int], costs: Costs) -> float:
    """Cycles of engine and cores for one tile."""
    loops = {name: (0, size) for name, size in sizes.items()}
    op = get_op(work.node.op)
    assert op.lower

    def operands(accesses: Sequence[Access | None], kind: str) -> tuple[Operand | None, ...]:
        return tuple(a.operand(Ref(f"{kind}{i}"), *a.box(loops)) if a else None for i, a in enumerate(accesses))

    tile = Tile(loops, operands(work.inputs, "in"), operands(work.outputs, "out"), Ref("scratch"))
    every = [*tile.inputs, *tile.outputs]
    scratch = (Ref("scratch"), scratch_bytes(work.domain, sizes))
    lowered = op.lower(work.node, tile)
    return sum(
        costs.op(orient(c, costs, after) if isinstance(c, GemmJob) else bounded(c, every, scratch), after)
        for c, after in zip(lowered, waits_for_jobs(lowered), strict=True)
    )


def _copy_cycles(
    access: Access, sizes: Mapping[str, int], filled: Mapping[str, float], may_stay: bool, costs: Costs
) -> float:
    """DMA cycles of moving one tile of a tensor, on average: ``filled`` is the mean tile size over the full one."""
    shape = largest_tile(access, sizes)
    if may_stay and access.in_place(shape):
        return 0.0
    moved = copies(shape, access.view.strides, access.order, access.item_bytes)
    return costs.copies(region for _, region in moved) * prod(filled[d.loop] for d in access.dims if d.loop)


def _loads(access: Access, order: Sequence[str], counts: Mapping[str, int]) -> int:
    """How often a tensor's tile is moved: whenever a loop at or outside the innermost one it depends on advances."""
    own = {d.loop for d in access.dims}
    last = max((i for i, name in enumerate(order) if name in own and counts[name] > 1), default=-1)
    return prod(counts[name] for name in order[: last + 1])
