"""The gradients of Conv, channels last, both as products on the engine.

By taps of the filter where everything lies (``taps``), or from windows in scratch memory: dW[kh,kw,Cin/g,Cout] =
windows(X)^T . dY, with all windows as the reduced dimension; dX = windows(dY) . W^T, where the window of a pixel of X
holds those dY it had a part in, and zeros between them where the stride is above 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from math import prod
from typing import Any

import numpy as np

from ..domain import Dim, Domain, Loop, Tile
from ..errors import TdcoError
from ..ir import Attrs, Node, TensorType
from ..program import GemmJob, KernelCall
from . import OpDef, Sample
from ._elementwise import require_inputs, require_same_shape
from .conv import WINDOWS, padded, windows_of
from .conv import infer as infer_conv
from .matmul import ELEMENT_BYTES, product_jobs, require_f16
from .taps import can_sum_weights, input_jobs, matrix, weight_jobs

Commands = Sequence[GemmJob | KernelCall]


def require_gradient(dy: TensorType, x: Sequence[int], w: Sequence[int], attrs: Attrs) -> None:
    """Raises TdcoError unless ``dy`` has the shape of the convolution of x with w."""
    (z,) = infer_conv([TensorType(tuple(x)), TensorType(tuple(w))], attrs)
    require_same_shape(dy, "dY", z, "the convolution's output")


def infer_weight(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    """attrs: kernel_shape (kh, kw) and those of Conv. Inputs X and dY, output dW."""
    require_inputs(types, "X", "dY")
    require_f16(types, ("X", "dY"))
    x, dy = types
    if len(x.shape) != 4 or len(dy.shape) != 4:
        raise TdcoError(f"X {x} and dY {dy} must be [B,H,W,C]")
    w = (*attrs["kernel_shape"], x.shape[3] // attrs.get("group", 1), dy.shape[3])
    require_gradient(dy, x.shape, w, attrs)
    return (TensorType(w),)


def infer_input(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    """attrs: size (H, W) of X and those of Conv. Inputs dY and W, output dX."""
    require_inputs(types, "dY", "W")
    require_f16(types, ("dY", "W"))
    dy, w = types
    if len(dy.shape) != 4 or len(w.shape) != 4:
        raise TdcoError(f"dY {dy} must be [B,H',W',Cout] and W {w} [kh,kw,Cin/g,Cout]")
    x = (dy.shape[0], *attrs["size"], w.shape[2] * attrs.get("group", 1))
    require_gradient(dy, x, w.shape, attrs)
    return (TensorType(x),)


def taps(x: np.ndarray, kernel: Sequence[int], out: Sequence[int], attrs: Attrs) -> Any:
    """(ky, kx, view of the padded ``x`` [B,oh,ow,C] under that tap of every window)."""
    (sy, sx), (oh, ow) = attrs["strides"], out
    for ky, kx in product(range(kernel[0]), range(kernel[1])):
        yield ky, kx, x[:, ky : ky + sy * (oh - 1) + 1 : sy, kx : kx + sx * (ow - 1) + 1 : sx]


def evaluate_weight(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    x, dy = inputs
    groups = attrs.get("group", 1)
    kernel, cin, cout = attrs["kernel_shape"], x.shape[3] // groups, dy.shape[3] // groups
    dw = np.empty((*kernel, cin, dy.shape[3]), x.dtype)
    for ky, kx, part in taps(padded(x, attrs), kernel, dy.shape[1:3], attrs):
        for g in range(groups):
            ci, co = slice(g * cin, (g + 1) * cin), slice(g * cout, (g + 1) * cout)
            dw[ky, kx, :, co] = np.tensordot(part[..., ci], dy[..., co], axes=([0, 1, 2], [0, 1, 2]))
    return (dw,)


def evaluate_input(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    dy, w = inputs
    groups = attrs.get("group", 1)
    cin, cout, (height, width) = w.shape[2], w.shape[3] // groups, attrs["size"]
    dx = padded(np.zeros((dy.shape[0], height, width, cin * groups), dy.dtype), attrs)
    for ky, kx, part in taps(dx, w.shape[:2], dy.shape[1:3], attrs):
        for g in range(groups):
            ci, co = slice(g * cin, (g + 1) * cin), slice(g * cout, (g + 1) * cout)
            part[..., ci] += dy[..., co] @ w[ky, kx, :, co].T
    top, left = attrs["pads"][:2]
    return (dx[:, top : top + height, left : left + width],)


def domain_weight(node: Node, inputs: Sequence[Any], outputs: Sequence[TensorType]) -> Domain:
    """Channels are parallel; windows are reduced, image by image, or row by row where there is one image: only one of
    the two is split, so that the windows stay in order whatever the tiles. Groups are never split."""
    batch, rows, cols, cout = inputs[1].shape
    kh, kw = outputs[0].shape[:2]
    (sy, _), (top, _, _, _) = node.attrs["strides"], node.attrs["pads"]
    channels = "parallel" if node.attrs.get("group", 1) == 1 else "whole"
    loops = (
        Loop("b", batch, "reduce" if batch > 1 else "whole"),
        Loop("oy", rows, "whole" if batch > 1 else "reduce"),
        Loop("ci", inputs[0].shape[3], channels),
        Loop("co", cout, channels),
    )
    x = (Dim("b"), Dim("oy", sy, -top, kh - 1 - top), Dim(), Dim("ci"))
    group_inputs = Dim("ci") if channels == "parallel" else Dim()

    def windows_bytes(sizes: Mapping[str, int]) -> int:
        return sizes["b"] * sizes["oy"] * cols * kh * kw * sizes["ci"] * ELEMENT_BYTES

    operands = (x, (Dim("b"), Dim("oy"), Dim(), Dim("co")), (Dim(), Dim(), group_inputs, Dim("co")))
    return Domain(loops, operands, None if _sums_weights(node, inputs[0].shape, inputs[1].shape) else windows_bytes)


def _sums_weights(node: Node, x: Sequence[int], dy: Sequence[int]) -> bool:
    """Whether taps are summed where everything lies."""
    return not node.attrs.get("windows") and can_sum_weights(x, dy, node.attrs)


def lower_weight(node: Node, tile: Tile) -> Commands:
    x, dy = tile.inputs
    (dw,) = tile.outputs
    assert x and dy and dw
    if _sums_weights(node, x.full, dy.full):
        return list(weight_jobs(x, dy, dw, node.attrs))
    assert tile.scratch
    (sy, sx), (top, left, _, _) = node.attrs["strides"], node.attrs["pads"]
    kh, kw, cin, cout = dw.shape
    channels, groups = x.shape[3], node.attrs.get("group", 1)
    above, before = x.start[1] - (dy.start[1] * sy - top), x.start[2] - (dy.start[2] * sx - left)
    ints = (*dy.shape[:3], kh, kw, channels, x.shape[1], x.shape[2], sy, sx, above, before)
    commands: list[GemmJob | KernelCall] = [KernelCall("tdco_im2col_f16", (x.ref, tile.scratch), ints)]
    windows, depth, scratch = prod(dy.shape[:3]), kh * kw * channels, windows_of(tile.scratch)
    if groups == 1:
        columns = matrix(scratch, 0, (depth, windows), (1, depth))
        rows = matrix(dy, 0, (windows, cout), (cout, 1))
        return [*commands, *product_jobs(columns, rows, matrix(dw, 0, (depth, cout), (cout, 1)), None, tile.first)]
    size = cout // groups
    for g, tap in product(range(groups), range(kh * kw)):
        columns = matrix(scratch, tap * channels + g * cin, (cin, windows), (1, depth))
        rows = matrix(dy, g * size, (windows, size), (cout, 1))
        result = matrix(dw, tap * cin * cout + g * size, (cin, size), (cout, 1))
        commands += product_jobs(columns, rows, result, None, tile.first)
    return commands


def met(loop: str, extent: int, outputs: int, taps: int, stride: int, pad: int) -> Dim:
    """Those of the ``outputs`` rows of dY that meet rows of dX of which ``stride`` are a step of ``loop``."""
    least = -((taps - 1 - pad) // stride)
    return Dim(loop, 1, least, (stride - 1 + pad) // stride) if extent - 1 + least < outputs else Dim()


def domain_input(node: Node, inputs: Sequence[Any], outputs: Sequence[TensorType]) -> Domain:
    """Every pixel is independent, but loops walk as many of them together as the stride: a tile needs a range of dY."""
    kh, kw, _, cout = inputs[1].shape
    channels = "parallel" if node.attrs.get("group", 1) == 1 else "whole"
    batch, height, width, cin = outputs[0].shape
    (sy, sx), (top, left, _, _) = node.attrs["strides"], node.attrs["pads"]
    rows, cols = -(-height // sy), -(-width // sx)
    loops = (Loop("b", batch), Loop("y", rows), Loop("x", cols), Loop("ci", cin, channels))
    dy_rows = met("y", rows, inputs[0].shape[1], kh, sy, top)
    dy_cols = met("x", cols, inputs[0].shape[2], kw, sx, left)
    w = (Dim(), Dim(), Dim("ci") if channels == "parallel" else Dim(), Dim())
    dx = (Dim("b"), Dim("y", sy, 0, sy - 1), Dim("x", sx, 0, sx - 1), Dim("ci"))

    def windows_bytes(sizes: Mapping[str, int]) -> int:
        return sizes["b"] * sizes["y"] * sy * sizes["x"] * sx * kh * kw * cout * ELEMENT_BYTES

    scratch = windows_bytes if _from_windows(node) else None
    return Domain(loops, ((Dim("b"), dy_rows, dy_cols, Dim()), w, dx), scratch)


def _from_windows(node: Node) -> bool:
    """Whether the gradient of the input is made from windows."""
    return bool(node.attrs.get("windows")) or node.attrs.get("group", 1) > 1


def lower_input(node: Node, tile: Tile) -> Commands:
    """By taps, on zeros where no tap begins the sums. From windows, one job per tap of the filter, each adding to dX:
    the filters of a tap are a matrix, all together are not."""
    dy, w = tile.inputs
    (dx,) = tile.outputs
    assert dy and w and dx
    if not _from_windows(node):
        unmet, jobs = input_jobs(dy, w, dx, node.attrs)
        return [KernelCall("tdco_zero_b16", (dx.ref,), (prod(dx.shape),)), *jobs] if unmet else jobs
    assert tile.scratch
    (sy, sx), (top, left, _, _) = node.attrs["strides"], node.attrs["pads"]
    kh, kw, cin, cout = w.shape
    groups = node.attrs.get("group", 1)
    below, behind = dx.start[1] + top - dy.start[1] * sy, dx.start[2] + left - dy.start[2] * sx
    ints = (*dx.shape[:3], kh, kw, cout, dy.shape[1], dy.shape[2], sy, sx, below, behind)
    commands: list[GemmJob | KernelCall] = [KernelCall("tdco_im2col_grad_f16", (dy.ref, tile.scratch), ints)]
    pixels, size, channels = prod(dx.shape[:3]), cout // groups, dx.shape[3]
    scratch = windows_of(tile.scratch)
    for g, tap in product(range(groups), range(kh * kw)):
        windows = matrix(scratch, tap * cout + g * size, (pixels, size), (kh * kw * cout, 1))
        filters = matrix(w, tap * cin * cout + g * size, (size, cin), (1, cout))
        commands += product_jobs(windows, filters, matrix(dx, g * cin, (pixels, cin), (channels, 1)), None, tap == 0)
    return commands


def flop_weight(inputs: Sequence[Any], outputs: Sequence[TensorType], attrs: Attrs) -> int:
    return 2 * inputs[1].size * prod(outputs[0].shape[:3])


def flop_input(inputs: Sequence[Any], outputs: Sequence[TensorType], attrs: Attrs) -> int:
    """As the forward pass: zeros that a stride puts between dY do not count, though the engine multiplies them."""
    return 2 * inputs[0].size * prod(inputs[1].shape[:3])


Case = tuple[tuple[int, ...], tuple[int, ...], Attrs]


def case(
    x: tuple[int, ...], w: tuple[int, ...], strides: tuple[int, ...], pads: tuple[int, ...], group: int = 1
) -> Case:
    return x, w, {"strides": strides, "pads": pads, **({"group": group} if group > 1 else {})}


CASES = (
    case((1, 8, 8, 3), (3, 3, 3, 5), (1, 1), (1, 1, 1, 1)),
    case((2, 7, 6, 2), (3, 2, 2, 4), (2, 1), (1, 0, 2, 1)),
    case((1, 9, 5, 4), (5, 3, 4, 1), (3, 2), (4, 2, 0, 1)),
    case((2, 4, 3, 5), (1, 1, 5, 6), (1, 1), (0, 0, 0, 0)),
    case((1, 8, 7, 4), (1, 1, 4, 3), (2, 2), (0, 0, 0, 0)),
    case((1, 1, 1, 2), (3, 3, 2, 3), (1, 1), (1, 1, 1, 1)),
    case((2, 5, 6, 4), (3, 3, 2, 6), (1, 2), (1, 1, 1, 1), 2),
    case((1, 7, 7, 6), (3, 3, 2, 3), (2, 2), (0, 1, 1, 0), 3),
    case((1, 5, 5, 4), (3, 3, 4, 6), (3, 3), (0, 0, 0, 0)),
    case((2, 8, 9, 5), (3, 3, 5, 7), (2, 2), (1, 1, 1, 1)),
)


def output_type(x: tuple[int, ...], w: tuple[int, ...], attrs: Attrs) -> TensorType:
    return infer_conv([TensorType(x), TensorType(w)], attrs)[0]


OPS = (
    OpDef(
        name="ConvWeightGrad",
        infer=infer_weight,
        eval=evaluate_weight,
        domain=domain_weight,
        lower=lower_weight,
        choices=WINDOWS,
        flop=flop_weight,
        samples=tuple(
            Sample((TensorType(x), output_type(x, w, attrs)), {**attrs, "kernel_shape": w[:2], **choice})
            for x, w, attrs in CASES
            for choice in WINDOWS
        ),
    ),
    OpDef(
        name="ConvInputGrad",
        infer=infer_input,
        eval=evaluate_input,
        domain=domain_input,
        lower=lower_input,
        choices=WINDOWS,
        flop=flop_input,
        samples=tuple(
            Sample((output_type(x, w, attrs), TensorType(w)), {**attrs, "size": x[1:3], **choice})
            for x, w, attrs in CASES
            for choice in WINDOWS
        ),
    ),
)
