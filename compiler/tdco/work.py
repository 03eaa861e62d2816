"""A node as the tiler and the scheduler see it: its loops, the tensors it touches, and what a tile of them needs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from .domain import Dim, Domain, Operand, touched
from .ir import DTYPES, Graph, Node, TensorType
from .layout import Layout, View, is_view
from .ops import get_op
from .program import Ref
from .transfer import Region, copies, storage_order, tile_strides

ALIGN_BYTES = 16
"""Of every buffer: a multiple of all element sizes and of the DMA's 8-byte beat, so no copy or kernel starts askew."""

Box = tuple[tuple[int, ...], tuple[int, ...]]
"""(start, shape) of a part of a tensor."""


@dataclass(frozen=True)
class Tiling:
    """Tile ``sizes`` by loop, and the loops in the ``order`` they are walked, outermost first and reduce loops last.

    ``split``: positions of the operands (inputs, then outputs) whose tiles get blocks of their own in L1 although
    their storage could be held whole, for want of room."""

    sizes: Mapping[str, int]
    order: tuple[str, ...]
    split: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Access:
    """How a node touches one tensor: its type, its view in L2, and the order of a tile's dimensions in L1.

    ``whole``: its storage is small enough to be held in L1 as one block. ``innermost``: as ``Domain.innermost``.
    """

    name: str
    type: TensorType
    view: View
    order: tuple[int, ...]
    dims: tuple[Dim, ...]
    whole: bool = False
    innermost: int = 0

    def box(self, loops: Mapping[str, tuple[int, int]]) -> Box:
        """The part that a tile touches."""
        return touched(self.dims, loops, self.type.shape)

    @property
    def item_bytes(self) -> int:
        return DTYPES[self.type.dtype].itemsize

    def in_place(self, shape: tuple[int, ...]) -> bool:
        """Whether a tile of ``shape`` can be used where it lies in a block that holds the whole storage."""
        if not self.whole:
            return False
        strides = self.view.strides
        if self.innermost:  # a matrix needs one contiguous dimension
            last = slice(-self.innermost, None)
            return any(n == 1 or s == 1 for n, s in zip(shape[last], strides[last], strict=True))
        own = tile_strides(shape, self.order)
        return all(n == 1 or s == t for n, s, t in zip(shape, strides, own, strict=True))

    def first_byte(self, start: tuple[int, ...]) -> int:
        """Offset in the storage of the element at ``start``."""
        return (self.view.offset + sum(i * s for i, s in zip(start, self.view.strides, strict=True))) * self.item_bytes

    def piece(self, loops: Mapping[str, tuple[int, int]]) -> Region | None:
        """The bytes of the storage that a tile touches, if they are one dense piece; None otherwise."""
        start, shape = self.box(loops)
        regions = [r for _, r in copies(shape, self.view.strides, self.order, self.item_bytes)]
        if len(regions) != 1 or not regions[0].dense:
            return None
        return Region(self.first_byte(start), regions[0].rows * regions[0].row_bytes)

    def operand(self, ref: Ref, start: tuple[int, ...], shape: tuple[int, ...], in_place: bool = False) -> Operand:
        """The tile as lowering sees it: dense at ``ref``, or with the view's strides where it lies ``in_place``."""
        strides = self.view.strides if in_place and self.innermost else tile_strides(shape, self.order)
        return Operand(ref, start, shape, strides, self.type.shape, self.type.dtype)


@dataclass(frozen=True)
class Work:
    """A node as the tiler and the scheduler see it; ``inputs`` and ``outputs`` have None where nothing is touched."""

    node: Node
    domain: Domain
    inputs: tuple[Access | None, ...]
    outputs: tuple[Access | None, ...]

    @property
    def accesses(self) -> tuple[Access | None, ...]:
        """Inputs, then outputs, as ``Tiling.split`` counts them."""
        return (*self.inputs, *self.outputs)


def read_storages(graph: Graph, layout: Layout) -> frozenset[str]:
    """The storages that some node of the step reads and that no update writes."""
    read = {layout.views[n].storage for node in graph.nodes if not is_view(node) for n in node.inputs if n}
    return frozenset(read - {layout.views[n].storage for n in graph.updates.values()})


def describe(graph: Graph, layout: Layout, node: Node, whole_bytes: int = 0, read: Collection[str] = ()) -> Work:
    """What ``node`` computes on, under ``layout``.

    Storages of up to ``whole_bytes`` are held in L1 as one block, unless ``node`` is the last to use them: results
    that are not ``read`` again in the step leave tile by tile, and what they replace comes so, but for a weight that a
    product is added to in place.
    """
    op = get_op(node.op)
    assert op.domain and not is_view(node)
    in_types = [graph.type(n) if n else None for n in node.inputs]
    domain = op.domain(node, in_types, [graph.type(n) for n in node.outputs])
    in_place = set() if domain.dense else {layout.views[n].storage for n in node.inputs if n}
    leaving = {layout.views[n].storage for n in node.outputs if n} - in_place - set(read)

    def access(position: int, name: str, dims: tuple[Dim, ...] | None) -> Access | None:
        if not name or dims is None:
            return None
        type, view, innermost = graph.type(name), layout.views[name], domain.innermost(position)
        whole = graph.type(view.storage).bytes <= whole_bytes and view.storage not in leaving
        order = storage_order(type.shape, view.strides, innermost)
        return Access(name, type, view, order, dims, whole, innermost)

    names = zip((*node.inputs, *node.outputs), domain.operands, strict=True)
    found = [access(position, name, dims) for position, (name, dims) in enumerate(names)]
    return Work(node, domain, tuple(found[: len(node.inputs)]), tuple(found[len(node.inputs) :]))


def ranges(domain: Domain, tiling: Tiling) -> Iterator[tuple[dict[str, tuple[int, int]], bool, bool]]:
    """(loops, first, last) of every tile in execution order; first and last are along the reduce loops."""
    by_name = {loop.name: loop for loop in domain.loops}
    steps = []
    for name in tiling.order:
        loop, size = by_name[name], tiling.sizes[name]
        spans = [(name, (at, min(size, loop.extent - at))) for at in range(0, loop.extent, size)]
        steps.append([(i == 0, i == len(spans) - 1, span) for i, span in enumerate(spans)])
    reduce = [n for n, name in enumerate(tiling.order) if by_name[name].kind == "reduce"]
    for combination in product(*steps):
        loops = dict(span for _, _, span in combination)
        yield loops, all(combination[n][0] for n in reduce), all(combination[n][1] for n in reduce)


def tile_bytes(access: Access, sizes: Mapping[str, int]) -> int:
    """Size of the largest tile of a tensor."""
    count = 1
    for n in largest_tile(access, sizes):
        count *= n
    return count * access.item_bytes


def largest_tile(access: Access, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """Shape of the largest tile of a tensor."""
    return tuple(
        min(full, dim.coeff * (sizes[dim.loop] - 1) + dim.hi - dim.lo + 1) if dim.loop else full
        for dim, full in zip(access.dims, access.type.shape, strict=True)
    )


def scratch_bytes(domain: Domain, sizes: Mapping[str, int]) -> int:
    return domain.scratch(sizes) if domain.scratch else 0


def aligned(size_bytes: int) -> int:
    return -(-size_bytes // ALIGN_BYTES) * ALIGN_BYTES
