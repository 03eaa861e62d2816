"""A node as the tiler and the scheduler see it: its loops, the tensors it touches, and what a tile of them needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from .domain import Dim, Domain, Operand, touched
from .ir import DTYPES, Graph, Node, TensorType
from .layout import Layout, View, is_view
from .ops import get_op
from .program import Ref
from .transfer import storage_order, tile_strides

ALIGN_BYTES = 16
"""Of every buffer: a multiple of all element sizes and of the DMA's 8-byte beat, so no copy or kernel starts askew."""


@dataclass(frozen=True)
class Tiling:
    """Tile ``sizes`` by loop, the loops in the ``order`` they are walked, outermost first and reduce loops last, and
    how many buffers (``slots``) each of the node's inputs and outputs has: 2 where the DMA moves one tile while
    another is in use."""

    sizes: Mapping[str, int]
    order: tuple[str, ...]
    slots: tuple[int, ...]


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
    def accesses(self) -> tuple[Access | None, ...]:
        """Inputs, then outputs, as ``Tiling.slots`` counts them."""
        return (*self.inputs, *self.outputs)


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


def tile_bytes(access: Access, sizes: Mapping[str, int]) -> int:
    """Size of the largest tile of a tensor."""
    count = 1
    for dim, full in zip(access.dims, access.type.shape, strict=True):
        count *= min(full, dim.coeff * (sizes[dim.loop] - 1) + dim.hi - dim.lo + 1) if dim.loop else full
    return count * access.item_bytes


def scratch_bytes(domain: Domain, sizes: Mapping[str, int]) -> int:
    return domain.scratch(sizes) if domain.scratch else 0


def demand_bytes(work: Work, sizes: Mapping[str, int], slots: Sequence[int]) -> int:
    """L1 bytes of all buffers of a node."""
    operands = sum(n * aligned(tile_bytes(a, sizes)) for n, a in zip(slots, work.accesses, strict=True) if a)
    return operands + aligned(scratch_bytes(work.domain, sizes))


def aligned(size_bytes: int) -> int:
    return -(-size_bytes // ALIGN_BYTES) * ALIGN_BYTES
