"""Conv: Z[B,H',W',Cout] = X[B,H,W,Cin] * W[kh,kw,Cin/g,Cout] + bias[Cout] in g groups, channels last, rectified on
request.

Inputs are multiplied where they lie, a job per tap of the filter (``by_taps``), or a tile's windows become the rows of
a matrix in scratch memory (im2col), which the engine multiplies with the filters read as a matrix [kh*kw*Cin, Cout]:
every output is one chain over K in the order ky, kx, cin. The attribute ``windows`` asks for the latter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, product
from math import prod
from typing import Any

import numpy as np

from ..domain import Dim, Domain, Loop, Operand, Tile
from ..errors import TdcoError
from ..ir import Attrs, Builder, Node, TensorType
from ..program import GemmJob, KernelCall, Ref
from . import OpDef, Sample
from ._elementwise import require_inputs
from .matmul import ELEMENT_BYTES, at, product_jobs, require_f16
from .relu import rectified, unrectified
from .taps import extent, matrix, meet, pixels

WINDOWS: tuple[Attrs, ...] = ({}, {"windows": 1})
"""What may be chosen: by taps where possible, or from windows."""


def infer(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    """attrs: strides (y, x), pads (top, left, bottom, right), and where given group, dilations (1, 1) and relu."""
    require_inputs(types[:2], "X", "W")
    x, w, *rest = types
    bias = rest[0] if rest else None
    require_f16(types, ("X", "W", "the bias"))
    if len(x.shape) != 4 or len(w.shape) != 4:
        raise TdcoError(f"X {x} and W {w} must be [B,H,W,Cin] and [kh,kw,Cin,Cout]", hint="only 2-D convolutions")
    groups = attrs.get("group", 1)
    if tuple(attrs.get("dilations", (1, 1))) != (1, 1):
        raise TdcoError(f"dilations {tuple(attrs['dilations'])} are not supported yet", hint="only (1, 1)")
    if groups < 1 or x.shape[3] != w.shape[2] * groups or w.shape[3] % groups:
        in_groups = f" in {groups} groups" if groups != 1 else ""
        raise TdcoError(f"X {x} has {x.shape[3]} channels, but the filters {w} take {w.shape[2]}{in_groups}")
    if bias is not None and bias.shape != (w.shape[3],):
        raise TdcoError(f"the bias must be [{w.shape[3]}], one value per filter of {w}, but it is {bias}")
    rows, cols = (
        _windows(f"{x} along {'HW'[d]}", x.shape[1 + d], w.shape[d], attrs["strides"][d], attrs["pads"][d::2])
        for d in (0, 1)
    )
    return (TensorType((x.shape[0], rows, cols, w.shape[3])),)


def _windows(what: str, extent: int, kernel: int, stride: int, pads: Sequence[int]) -> int:
    """How many windows fit along one dimension."""
    if stride < 1 or any(not 0 <= pad < kernel for pad in pads):
        raise TdcoError(f"stride {stride} and pads {tuple(pads)} do not suit a kernel of {kernel}: {what}",
                        hint="strides are at least 1, pads smaller than the kernel")  # fmt: skip
    if extent + sum(pads) < kernel:
        raise TdcoError(f"a kernel of {kernel} does not fit into {what} with pads {tuple(pads)}")
    return (extent + sum(pads) - kernel) // stride + 1


def padded(x: np.ndarray, attrs: Attrs) -> np.ndarray:
    top, left, bottom, right = attrs["pads"]
    return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))


def evaluate(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, w, *rest = inputs
    windows = np.lib.stride_tricks.sliding_window_view(padded(x, attrs), w.shape[:2], axis=(1, 2))
    windows = windows[:, :: attrs["strides"][0], :: attrs["strides"][1]]  # [B, H', W', Cin, kh, kw]
    groups = attrs.get("group", 1)
    parts = zip(np.split(windows, groups, axis=3), np.split(w, groups, axis=3), strict=True)
    z = np.concatenate([np.tensordot(part, own, axes=([4, 5, 3], [0, 1, 2])) for part, own in parts], axis=-1)
    return (rectified(z + rest[0] if rest and rest[0] is not None else z, attrs),)


def grad(b: Builder, node: Node, dys: Sequence[str | None], wanted: Sequence[bool]) -> Sequence[str | None]:
    """Of every operator OP on x, filters and perhaps a bias, by OPInputGrad and OPWeightGrad."""
    (dy,) = dys
    if dy is None:
        return (None,) * len(node.inputs)
    x, w, *bias = node.inputs
    dx = dw = None
    dy = unrectified(b, node, dy)
    if wanted[0]:
        attrs = {**node.attrs, "size": b.type(x).shape[1:3]}
        dx = b.add1(f"{node.op}InputGrad", [dy, w], attrs, f"{x}.grad", node.source)
    if wanted[1]:
        attrs = {**node.attrs, "kernel_shape": b.type(w).shape[:2]}
        dw = b.add1(f"{node.op}WeightGrad", [x, dy], attrs, f"{w}.grad", node.source)
    if not bias:
        return dx, dw
    dbias = None
    if bias[0] and wanted[2]:  # a long sum: fp32
        attrs = {"axes": (0, 1, 2), "keepdims": 0, "dtype": "f32"}
        dbias = b.add1("ReduceSum", [dy], attrs, f"{bias[0]}.grad", node.source)
    return dx, dw, dbias


def domain(node: Node, inputs: Sequence[Any], outputs: Sequence[TensorType]) -> Domain:
    """Every output is independent; the channels of several groups stay together. By taps, the filter's rows
    accumulate."""
    (kh, kw), cin = inputs[1].shape[:2], inputs[0].shape[3]
    (sy, sx), (top, left, _, _) = node.attrs["strides"], node.attrs["pads"]
    channels = "parallel" if node.attrs.get("group", 1) == 1 else "whole"
    kinds = (("b", "parallel"), ("oy", "parallel"), ("ox", "parallel"), ("co", channels))
    loops = tuple(Loop(name, n, kind) for (name, kind), n in zip(kinds, outputs[0].shape, strict=True))
    x = (Dim("b"), Dim("oy", sy, -top, kh - 1 - top), Dim("ox", sx, -left, kw - 1 - left), Dim())
    bias: list[tuple[Dim, ...] | None] = [(Dim("co"),) if t is not None else None for t in inputs[2:]]

    def im2col_bytes(sizes: Mapping[str, int]) -> int:
        return sizes["b"] * sizes["oy"] * sizes["ox"] * kh * kw * cin * ELEMENT_BYTES

    z = tuple(Dim(loop.name) for loop in loops)
    if by_taps(node, inputs[0].shape, inputs[1].shape, outputs[0].shape):
        taps = (Loop("ky", kh, "reduce"), Loop("kx", kw, "whole"))
        return Domain((*loops, *taps), (x, (Dim("ky"), Dim("kx"), Dim(), Dim("co")), *bias, z))
    return Domain(loops, (x, (Dim(), Dim(), Dim(), Dim("co")), *bias, z), im2col_bytes)


def by_taps(node: Node, x: tuple[int, ...], w: tuple[int, ...], z: tuple[int, ...]) -> bool:
    """Whether inputs are multiplied where they lie, a job per run of outputs and tap of the filter, without windows.

    It takes for every output's sum a column of the filter that no output lacks, and where it is not the only one, a
    first and another last row of the filter: so that the last job may rectify.
    """
    (kh, kw), sx = w[:2], node.attrs["strides"][1]
    across = (z[2] - 1) * sx < x[2]
    down = all(last - first >= (kw > 1) for first, last in (_filter_rows(node, oy, kh, x[1]) for oy in range(z[1])))
    return across and down and node.attrs.get("group", 1) == 1 and not node.attrs.get("windows")


def _filter_rows(node: Node, oy: int, kh: int, height: int) -> tuple[int, int]:
    """The first and the last row of the filter that reach row ``oy`` of the outputs; the others meet padding alone."""
    above = node.attrs["pads"][0] - oy * node.attrs["strides"][0]
    return max(0, above), min(kh, height + above) - 1


def tap_jobs(node: Node, tile: Tile) -> Iterator[GemmJob]:
    """The jobs of a tile by taps: the filter's rows in their order, and their columns from the one on that no output
    lacks. A row of outputs is begun by the first row of the filter that reaches it; in the last one that
    column comes last, and rectifies."""
    x, w, *rest = tile.inputs
    (z,) = tile.outputs
    assert x and w and z
    (sy, sx), (top, left, _, _) = node.attrs["strides"], node.attrs["pads"]
    start, (cin, cout), relu = rest[0] if rest else None, w.shape[2:], bool(node.attrs.get("relu"))
    columns = [*range(left, w.shape[1]), *range(left)]
    for ky in range(w.start[0], w.start[0] + w.shape[0]):
        runs = _runs(node, x, z, ky, w.full[0])
        for step, (begins, ends, run) in product(range(w.shape[1]), runs):
            kx = columns[(step + ends) % w.shape[1]]
            first, last = begins and kx == left, ends and kx == left
            rows, above = meet(run, extent(x, 1), ky, sy, top)
            cols, before = meet(extent(z, 2), extent(x, 2), kx, sx, left)
            if rows and cols:
                own = ((ky - w.start[0]) * w.shape[1] + kx) * cin * cout
                filters = matrix(w, own, (cin, cout), (cout, 1))
                result, images = pixels(z, extent(z, 0), rows, cols), extent(x, 0)
                yield from product_jobs(pixels(x, images, above, before), filters, result, start, first, relu and last)


def _runs(node: Node, x: Operand, z: Operand, ky: int, kh: int) -> list[tuple[bool, bool, range]]:
    """The rows of outputs in the tile that row ``ky`` of the filter reaches, in runs: whether it is the first that
    reaches them, and the last."""
    reach = {oy: _filter_rows(node, oy, kh, x.full[1]) for oy in extent(z, 1)}
    rows = [oy for oy, (first, last) in reach.items() if first <= ky <= last]
    runs = [(key, list(run)) for key, run in groupby(rows, lambda oy: (ky == reach[oy][0], ky == reach[oy][1]))]
    return [(*key, range(run[0], run[-1] + 1)) for key, run in runs]


def lower(node: Node, tile: Tile) -> Sequence[GemmJob | KernelCall]:
    x, w, *rest = tile.inputs
    (z,) = tile.outputs
    assert x and w and z
    if by_taps(node, x.full, w.full, z.full):
        return list(tap_jobs(node, tile))
    assert tile.scratch
    (sy, sx), (top, left, _, _) = node.attrs["strides"], node.attrs["pads"]
    kh, kw, _, cout = w.shape
    cin, groups = x.shape[3], node.attrs.get("group", 1)
    # distance from the first row (column) of the first window to the first one of x that lies in L1
    above, before = x.start[1] - (z.start[1] * sy - top), x.start[2] - (z.start[2] * sx - left)
    ints = (*z.shape[:3], kh, kw, cin, x.shape[1], x.shape[2], sy, sx, above, before)
    windows = KernelCall("tdco_im2col_f16", (x.ref, tile.scratch), ints)
    depth, bias, relu = kh * kw * cin, rest[0] if rest else None, bool(node.attrs.get("relu"))
    scratch = windows_of(tile.scratch)
    if groups > 1:
        return [windows, *_group_jobs(scratch, w, z, bias, groups, relu)]
    rows = matrix(scratch, 0, (prod(z.shape[:3]), depth), (depth, 1))
    filters = matrix(w, 0, (depth, cout), (cout, 1))
    target = matrix(z, 0, (rows.shape[0], cout), (cout, 1))
    return [windows, *product_jobs(rows, filters, target, bias, True, relu)]


def windows_of(scratch: Ref) -> Operand:
    """Scratch memory full of windows, as something to take matrices from."""
    return Operand(scratch, (0,), (0,), (1,), (0,), "f16")


def _group_jobs(
    windows: Operand, w: Operand, z: Operand, bias: Operand | None, groups: int, relu: bool
) -> Iterator[GemmJob]:
    """One job per group and tap of the filter: the inputs of a group lie in pieces among the others'."""
    kh, kw, cin, cout = w.shape
    pixels, own, line = prod(z.shape[:3]), cout // groups, kh * kw * cin * groups
    for g, tap in product(range(groups), range(kh * kw)):
        rows = matrix(windows, (tap * groups + g) * cin, (pixels, cin), (line, 1))
        filters = matrix(w, tap * cin * cout + g * own, (cin, own), (cout, 1))
        start = Operand(at(bias.ref, g * own), (0,), (own,), (1,), (own,), "f16") if bias else None
        target = matrix(z, g * own, (pixels, own), (cout, 1))
        yield from product_jobs(rows, filters, target, start, tap == 0, relu and tap == kh * kw - 1)


def flop(inputs: Sequence[Any], outputs: Sequence[TensorType], attrs: Attrs) -> int:
    return 2 * outputs[0].size * prod(inputs[1].shape[:3])


def _sample(
    x: tuple[int, ...], w: tuple[int, ...], bias: bool, strides: tuple[int, ...], pads: tuple[int, ...], **attrs: int
) -> Sample:
    types = [TensorType(x), TensorType(w)] + [TensorType(w[3:])] * bias
    return Sample(tuple(types), {"strides": strides, "pads": pads, **attrs})


OPS = (
    OpDef(
        name="Conv",
        infer=infer,
        eval=evaluate,
        grad=grad,
        domain=domain,
        lower=lower,
        choices=WINDOWS,
        flop=flop,
        samples=(
            _sample((1, 8, 8, 3), (3, 3, 3, 5), False, (1, 1), (1, 1, 1, 1)),
            _sample((1, 16, 32, 3), (3, 3, 3, 2), False, (1, 1), (1, 1, 1, 1)),
            _sample((1, 8, 8, 3), (3, 3, 3, 5), False, (1, 1), (1, 1, 1, 1), windows=1),
            _sample((2, 7, 6, 2), (3, 2, 2, 4), True, (2, 1), (1, 0, 2, 1), windows=1, relu=1),
            _sample((2, 6, 5, 8), (1, 1, 8, 6), True, (1, 1), (0, 0, 0, 0), relu=1),
            _sample((1, 7, 5, 8), (1, 1, 8, 6), True, (2, 2), (0, 0, 0, 0), relu=1),
            _sample((2, 7, 6, 2), (3, 2, 2, 4), True, (2, 1), (1, 0, 2, 1)),
            _sample((1, 9, 5, 4), (5, 3, 4, 1), True, (3, 2), (4, 2, 0, 1)),
            _sample((2, 4, 3, 5), (1, 1, 5, 6), False, (1, 1), (0, 0, 0, 0)),
            _sample((1, 1, 1, 2), (3, 3, 2, 3), False, (1, 1), (1, 1, 1, 1)),
            _sample((2, 5, 6, 4), (3, 3, 2, 6), True, (1, 2), (1, 1, 1, 1), group=2),
            _sample((1, 5, 4, 3), (2, 2, 1, 3), False, (2, 1), (0, 1, 1, 0), group=3),
            _sample((1, 6, 5, 16), (3, 3, 16, 8), False, (1, 1), (1, 1, 1, 1)),
            _sample((2, 7, 6, 17), (3, 2, 17, 20), True, (2, 1), (1, 0, 1, 1)),
            _sample((1, 8, 8, 3), (3, 3, 3, 5), True, (1, 1), (1, 1, 1, 1), relu=1),
            _sample((1, 5, 4, 4), (2, 2, 2, 6), False, (2, 1), (0, 1, 1, 0), group=2, relu=1),
            _sample((1, 6, 5, 16), (3, 3, 16, 8), True, (1, 1), (1, 1, 1, 1), relu=1),
            _sample((2, 7, 6, 17), (4, 3, 17, 20), False, (2, 1), (2, 1, 1, 2), relu=1),
            _sample((1, 7, 3, 16), (3, 1, 16, 4), False, (1, 1), (1, 0, 1, 0), relu=1),
            _sample((1, 1, 5, 16), (3, 3, 16, 4), False, (1, 1), (1, 1, 1, 1), relu=1),
        ),
    ),
)
