"""How a part of a tensor moves between L2, where it may be any strided view, and L1, where it is dense."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from typing import NamedTuple

COPY_MAX_BYTES = 131_071
"""The DMA's 17-bit transfer length."""


class Region(NamedTuple):
    """Bytes of one buffer: ``rows`` rows of ``row_bytes``, the first at ``offset``, ``stride`` bytes apart."""

    offset: int
    row_bytes: int
    rows: int = 1
    stride: int = 0

    @property
    def end(self) -> int:
        return self.offset + (self.rows - 1) * self.stride + self.row_bytes

    @property
    def dense(self) -> bool:
        return self.rows == 1 or self.stride == self.row_bytes

    def shifted(self, offset: int) -> Region:
        return Region(self.offset + offset, self.row_bytes, self.rows, self.stride)


def overlap(a: Region, b: Region) -> bool:
    """Whether ``a`` and ``b`` may share a byte: exact between regions of one stride, by their hulls otherwise."""
    if a.end <= b.offset or b.end <= a.offset:
        return False
    stride = a.stride if a.rows > 1 else b.stride
    if (b.rows > 1 and b.stride != stride) or stride < max(a.row_bytes, b.row_bytes):
        return True
    distance = (b.offset - a.offset) % stride
    return distance < a.row_bytes or distance + b.row_bytes > stride


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides in elements of a dense row-major tensor."""
    return tuple(prod(shape[d + 1 :]) for d in range(len(shape)))


def is_row_major(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether ``strides`` are row-major as far as they matter (a dimension of one element has no stride)."""
    return all(n == 1 or s == r for n, s, r in zip(shape, strides, row_major(shape), strict=True))


def storage_order(shape: Sequence[int], strides: Sequence[int], innermost: int) -> tuple[int, ...]:
    """The order, outermost first, in which the dimensions of a tensor's tiles lie in L1.

    Row-major if ``innermost`` is 0; otherwise the order they have in L2, so that the DMA moves whole rows, as long as
    one of so many last dimensions stays innermost: of two for an operand of a GEMM.
    """
    natural = tuple(range(len(shape)))
    real = [d for d in natural if shape[d] > 1]
    stored = sorted(real, key=lambda d: -strides[d])
    if not innermost or stored == real or stored[-1] < len(shape) - innermost:
        return natural
    return (*(d for d in natural if shape[d] == 1), *stored)


def moves_in_rows(shape: Sequence[int], strides: Sequence[int], innermost: int) -> bool:
    """Whether the DMA can move the tensor row by row: the dimension innermost in L1 has unit stride in L2."""
    order = [d for d in storage_order(shape, strides, innermost) if shape[d] > 1]
    return not order or strides[order[-1]] == 1


def tile_strides(shape: Sequence[int], order: Sequence[int]) -> tuple[int, ...]:
    """Strides in elements of a dense tile of ``shape`` with its dimensions stored in ``order``."""
    strides, step = [0] * len(shape), 1
    for d in reversed(order):
        strides[d] = step
        step *= shape[d]
    return tuple(strides)


def copies(
    shape: Sequence[int], strides: Sequence[int], order: Sequence[int], item_bytes: int
) -> Iterator[tuple[int, Region]]:
    """The DMA transfers of one tile: (byte offset in the dense L1 tile, bytes of L2 relative to its first element).

    ``strides`` are the tensor's in L2, in elements. Dimensions that lie behind each other on both sides merge; what
    remains beyond two dimensions becomes several transfers, none longer than ``COPY_MAX_BYTES``.
    """
    if 0 in shape:
        return
    dims = [(shape[d], strides[d] * item_bytes) for d in order if shape[d] > 1]
    dims.append((item_bytes, 1))
    merged = dims[-1:]
    for count, stride in reversed(dims[:-1]):
        inner_count, inner_stride = merged[0]
        if stride == inner_count * inner_stride:
            merged[0] = (count * inner_count, inner_stride)
        else:
            merged.insert(0, (count, stride))
    *outer, (rows, stride), (row_bytes, _) = [(1, 0), *merged] if len(merged) == 1 else merged
    l1 = 0
    for index in product(*(range(count) for count, _ in outer)):
        base = sum(i * s for i, (_, s) in zip(index, outer, strict=True))
        for offset, region in _chunks(Region(base, row_bytes, rows, stride)):
            yield l1 + offset, region
        l1 += rows * row_bytes


def _chunks(whole: Region) -> Iterator[tuple[int, Region]]:
    """``whole`` cut into transfers of a legal length, each with its offset in L1."""
    width = min(whole.row_bytes, COPY_MAX_BYTES & ~15)
    rows = max(1, COPY_MAX_BYTES // width)
    for column in range(0, whole.row_bytes, width):
        row_bytes = min(width, whole.row_bytes - column)
        step = rows if width == whole.row_bytes else 1
        for row in range(0, whole.rows, step):
            offset = whole.offset + row * whole.stride + column
            region = Region(offset, row_bytes, min(step, whole.rows - row), whole.stride)
            yield row * whole.row_bytes + column, region
