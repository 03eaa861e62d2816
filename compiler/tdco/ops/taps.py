"""Convolutions and their gradients as sums of products over the taps of the filter, of pixels where they lie.

Under tap k, row ``o`` of a convolution's outputs meets row ``o * stride + k - pad`` of its inputs, and columns
likewise: a run of outputs and the run of inputs it meets are matrices in place, lines of pixels that may be some pixels
apart. What would meet padding is left out, so outputs at the edges have fewer taps. No windows are copied; the price is
a job per tap, and per row of outputs where the next row does not just go on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, product

from ..domain import Operand
from ..ir import Attrs
from ..program import GemmJob
from .matmul import at, product_jobs

Runs = list[tuple[bool, range, range]]
"""Whether a run of pixels is met by its first tap here, its rows (or columns), and those of dY that they meet."""


def meet(outputs: range, inputs: range, tap: int, stride: int, pad: int) -> tuple[range, range]:
    """Those of ``outputs`` that meet one of ``inputs`` under ``tap``, and those they meet; both ranges have step 1."""
    first = max(outputs.start, -((tap - pad - inputs.start) // stride))
    end = max(first, min(outputs.stop, (inputs.stop - 1 + pad - tap) // stride + 1))
    met = first * stride + tap - pad
    return range(first, end), range(met, met + (end - first) * stride, stride)


def pixels(t: Operand, images: range, rows: range, cols: range) -> Operand:
    """[images, rows, cols, C] of the dense tile ``t`` of [B,H,W,C], all counted in the whole tensor."""
    _, height, width, channels = t.shape
    image, row, col = (r.start - start for r, start in zip((images, rows, cols), t.start, strict=False))
    offset = ((image * height + row) * width + col) * channels
    shape = (len(images), len(rows), len(cols), channels)
    strides = (height * width * channels, rows.step * width * channels, cols.step * channels, 1)
    return Operand(at(t.ref, offset), (0,) * 4, shape, strides, shape, t.dtype)


def extent(t: Operand, dim: int) -> range:
    """Where tile ``t`` lies along a dimension."""
    return range(t.start[dim], t.start[dim] + t.shape[dim])


def matrix(t: Operand, offset: int, shape: tuple[int, int], strides: tuple[int, int]) -> Operand:
    """A matrix in L1, ``offset`` elements behind the first of ``t``."""
    return Operand(at(t.ref, offset), (0, 0), shape, strides, shape, t.dtype)


def can_sum_weights(x: Sequence[int], dy: Sequence[int], attrs: Attrs) -> bool:
    """Whether every tap of the filter meets something of x [B,H,W,C]: otherwise its gradient is nobody's result."""
    axes = zip(attrs["kernel_shape"], attrs["strides"], attrs["pads"][:2], dy[1:3], x[1:3], strict=True)
    return attrs.get("group", 1) == 1 and all(
        meet(range(outputs), range(inputs), tap, stride, pad)[0]
        for taps, stride, pad, outputs, inputs in axes
        for tap in range(taps)
    )


def weight_jobs(x: Operand, dy: Operand, dw: Operand, attrs: Attrs) -> Iterator[GemmJob]:
    """dW[ky,kx] += X^T . dY over the pixels of dY in their order; the first row that a tap meets begins its sum."""
    (sy, sx), (top, left, _, _) = attrs["strides"], attrs["pads"]
    kh, kw, cin, cout = dw.shape
    for ky, kx in product(range(kh), range(kw)):
        down, up = meet(extent(dy, 1), extent(x, 1), ky, sy, top)
        right, back = meet(extent(dy, 2), extent(x, 2), kx, sx, left)
        begin, _ = meet(range(dy.full[1]), range(x.full[1]), ky, sy, top)
        result = matrix(dw, (ky * kw + kx) * cin * cout, (cin, cout), (cout, 1))
        goes_on = len(right) == dy.shape[2] and up.step * x.shape[2] == len(right) * back.step
        step = len(down) if goes_on else 1
        for b, n in product(extent(dy, 0), range(0, len(down), step or 1)):
            image = range(b, b + 1)
            rows = pixels(dy, image, down[n : n + step], right)
            met = pixels(x, image, up[n : n + step], back)
            depth = rows.shape[1] * rows.shape[2]
            columns = matrix(met, 0, (cin, depth), (1, met.strides[2]))
            lines = matrix(rows, 0, (depth, cout), (rows.strides[2], 1))
            first = b == 0 and down[n] == begin[0]
            yield from product_jobs(columns, lines, result, None, first)


def input_jobs(dy: Operand, w: Operand, dx: Operand, attrs: Attrs) -> tuple[bool, list[GemmJob]]:
    """dX += dY . W[ky,kx]^T over the pixels of dX that a tap meets, and whether some pixels are met by none.

    Where the stride is above 1 these pixels are as far apart, and nothing but them is multiplied.
    """
    kh, kw, cin, cout = w.shape
    (sy, sx), (top, left, _, _) = attrs["strides"], attrs["pads"]
    rows_unmet, rows = _taps(dy, dx, 1, kh, sy, top)
    cols_unmet, cols = _taps(dy, dx, 2, kw, sx, left)
    images, jobs = extent(dx, 0), list[GemmJob]()
    for (ky, down), (kx, right) in product(rows.items(), cols.items()):
        filters = matrix(w, (ky * kw + kx) * cin * cout, (cout, cin), (1, cout))
        for (new_row, y, dy_y), (new_col, x, dy_x) in product(down, right):
            begun = pixels(dx, images, y, x)
            jobs += product_jobs(pixels(dy, images, dy_y, dy_x), filters, begun, None, new_row and new_col)
    return rows_unmet or cols_unmet, jobs


def _taps(dy: Operand, dx: Operand, dim: int, taps: int, stride: int, pad: int) -> tuple[bool, dict[int, Runs]]:
    """Along a dimension, whether pixels of the tile dX are met by no tap, and for every tap those it meets, in runs.

    A tap that meets many pixels comes early: one that meets all of its kind begins every sum. The order is the same
    for all tiles.
    """
    outputs, inputs = range(dy.full[dim]), range(dx.full[dim])
    met = {tap: meet(outputs, inputs, tap, stride, pad)[1] for tap in range(taps)}
    first: dict[int, int] = {}
    order = sorted(met, key=lambda tap: -len(met[tap]))
    for tap in order:
        for pixel in met[tap]:
            first.setdefault(pixel, tap)
    found: dict[int, Runs] = {}
    for tap in order:
        pairs = list(zip(*meet(extent(dy, dim), extent(dx, dim), tap, stride, pad)[::-1], strict=True))
        found[tap] = []
        for here, run in groupby(pairs, lambda pair: first[pair[0]]):
            x, y = zip(*run, strict=True)
            found[tap].append((here == tap, range(x[0], x[-1] + 1, stride), range(y[0], y[-1] + 1)))
    return any(pixel not in first for pixel in extent(dx, dim)), found
