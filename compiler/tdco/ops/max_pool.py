"""MaxPool of NHWC tensors, and its gradient, which goes to the first maximum of every window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..domain import Dim, Domain, Loop, Operand, Tile
from ..errors import TdcoError
from ..ir import Attrs, Builder, Node, TensorType
from ..program import KernelCall
from . import OpDef, Sample
from ._elementwise import Commands, refs, require_dtype, require_inputs, require_same_shape


def output_shape(x: TensorType, attrs: Attrs) -> tuple[int, ...]:
    """Shape of y: windows that begin in the padded input and end in it (floor).

    Raises:
        TdcoError: x is not [B,H,W,C], or the window, its strides or its padding cannot be.
    """
    kernel, strides, pads = attrs["kernel_shape"], attrs["strides"], attrs["pads"]
    if len(x.shape) != 4 or len(kernel) != 2 or len(strides) != 2 or len(pads) != 4:
        raise TdcoError(f"x is {x}, kernel_shape {kernel}, strides {strides}, pads {pads}", hint="only 2-D, x[B,H,W,C]")
    if tuple(attrs.get("dilations", (1, 1))) != (1, 1) or attrs.get("ceil_mode", 0):
        raise TdcoError("dilations other than 1 and ceil_mode are not supported")
    if min(*kernel, *strides) < 1 or min(pads) < 0:
        raise TdcoError(f"kernel_shape {kernel} and strides {strides} must be positive, pads {pads} not negative")
    shape = []
    for name, size, k, stride, before, after in zip(
        ("height", "width"), x.shape[1:3], kernel, strides, pads[:2], pads[2:], strict=True
    ):
        if max(before, after) >= k:
            raise TdcoError(f"padding ({before}, {after}) of the {name} is not below the window's {k}")
        if size + before + after < k:
            raise TdcoError(f"a window of {k} does not fit the {name} of {x} padded by ({before}, {after})")
        shape.append((size + before + after - k) // stride + 1)
    return (x.shape[0], *shape, x.shape[3])


def infer(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    """attrs: kernel_shape (h, w), strides (h, w), pads (top, left, bottom, right)."""
    require_inputs(types, "x")
    require_dtype(types[0], "x", "f16")
    return (TensorType(output_shape(types[0], attrs), "f16"),)


def windows(x: np.ndarray, attrs: Attrs) -> np.ndarray:
    """[B,OH,OW,C,h*w]: every window's elements, row by row; padding is -inf."""
    top, left, bottom, right = attrs["pads"]
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=-np.inf)
    view = np.lib.stride_tricks.sliding_window_view(padded, tuple(attrs["kernel_shape"]), axis=(1, 2))
    rows, cols = attrs["strides"]
    view = view[:, ::rows, ::cols]
    return view.reshape(*view.shape[:4], -1)


def evaluate(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    return (windows(inputs[0], attrs).max(axis=-1),)


def grad(b: Builder, node: Node, dys: Sequence[str | None], wanted: Sequence[bool]) -> Sequence[str | None]:
    (x,), (y,), (dy,) = node.inputs, node.outputs, dys
    if dy is None or not wanted[0]:
        return (None,)
    return (b.add1("MaxPoolGrad", [dy, x, y], node.attrs, f"{x}.grad", node.source),)


def infer_grad(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    require_inputs(types, "dy", "x", "y")
    for type, name in zip(types, ("dy", "x", "y"), strict=True):
        require_dtype(type, name, "f16")
    dy, x, y = types
    require_same_shape(dy, "dy", y, "y")
    require_same_shape(y, "y", TensorType(output_shape(x, attrs)), "the pooled x")
    return (x,)


def evaluate_grad(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    """dx: every dy is added where its window has its maximum, the first one of several as PyTorch does."""
    dy, x, _ = inputs
    top, left, bottom, right = attrs["pads"]
    batch, height, width, channels = x.shape
    padded = np.zeros((batch, height + top + bottom, width + left + right, channels), x.dtype)
    best = windows(x, attrs).argmax(axis=-1)
    n, i, j, c = np.indices(dy.shape)
    rows = i * attrs["strides"][0] + best // attrs["kernel_shape"][1]
    cols = j * attrs["strides"][1] + best % attrs["kernel_shape"][1]
    np.add.at(padded, (n, rows, cols, c), dy)
    return (padded[:, top : top + height, left : left + width],)


def domain(node: Node, inputs: Sequence[Any], outputs: Sequence[TensorType]) -> Domain:
    """Tiled over images, rows of y and channels; a tile of rows needs those of x that its windows cover."""
    (y,) = outputs
    stride, top = node.attrs["strides"][0], node.attrs["pads"][0]
    rows = Dim("oh", stride, -top, node.attrs["kernel_shape"][0] - 1 - top)
    names = ("b", "oh", "ow", "c")
    kinds = ("parallel", "parallel", "whole", "parallel")
    loops = tuple(Loop(name, n, kind) for name, n, kind in zip(names, y.shape, kinds, strict=True))
    return Domain(loops, ((Dim("b"), rows, Dim(), Dim("c")), tuple(map(Dim, names))))


def kernel_ints(x: Operand, y: Operand, attrs: Attrs) -> tuple[int, ...]:
    """Sizes of the tile, the window, and where in the tile of x its first window begins."""
    top, left = attrs["pads"][:2]
    first_row = y.start[1] * attrs["strides"][0] - top - x.start[1]
    return (*x.shape, *y.shape[1:3], *attrs["kernel_shape"], *attrs["strides"], first_row, -left)


def lower(node: Node, tile: Tile) -> Commands:
    (x,), (y,) = tile.inputs, tile.outputs
    assert x and y
    return [KernelCall("tdco_max_pool_f16", refs(x, y), kernel_ints(x, y, node.attrs))]


def domain_grad(node: Node, inputs: Sequence[Any], outputs: Sequence[TensorType]) -> Domain:
    """Tiled over images and channels: a row of x belongs to the windows of several rows of y."""
    batch, height, width, channels = outputs[0].shape
    loops = (Loop("b", batch), Loop("h", height, "whole"), Loop("w", width, "whole"), Loop("c", channels))
    pooled, image = (Dim("b"), Dim(), Dim(), Dim("c")), (Dim("b"), Dim("h"), Dim("w"), Dim("c"))
    return Domain(loops, (pooled, image, pooled, image))


def lower_grad(node: Node, tile: Tile) -> Commands:
    (dy, x, y), (dx,) = tile.inputs, tile.outputs
    assert x and y
    return [KernelCall("tdco_max_pool_grad_f16", refs(dy, x, y, dx), kernel_ints(x, y, node.attrs))]


def window(kernel: int, stride: int, *pads: int) -> Attrs:
    return {"kernel_shape": (kernel, kernel), "strides": (stride, stride), "pads": pads or (0, 0, 0, 0)}


UNEVEN = {"kernel_shape": (2, 3), "strides": (3, 1), "pads": (1, 0, 0, 2)}


def grad_sample(x: np.ndarray, attrs: Attrs) -> Sample:
    """A sample of the gradient with the y that belongs to ``x``."""
    x = x.astype(np.float16).astype(np.float64)
    (y,) = evaluate([x], attrs)
    return Sample((TensorType(y.shape), x, y), attrs)


def grad_samples() -> tuple[Sample, ...]:
    """Random images, and images behind a Relu: most of their windows' maxima are ties."""
    rng = np.random.default_rng(0)
    return (
        grad_sample(rng.normal(size=(1, 32, 32, 16)), window(3, 2, 1, 1, 1, 1)),
        grad_sample(np.maximum(rng.normal(-1, 1, (2, 16, 16, 4)), 0), window(3, 2, 1, 1, 1, 1)),
        grad_sample(rng.integers(-2, 3, (1, 9, 7, 3)).astype(np.float64), window(3, 1, 1, 1, 1, 1)),
        grad_sample(rng.normal(size=(2, 7, 5, 3)), UNEVEN),
        grad_sample(np.zeros((1, 4, 4, 1)), window(2, 2)),
        grad_sample(np.full((1, 1, 1, 1), -3.0), window(1, 1)),
    )


OPS = (
    OpDef(
        name="MaxPool",
        infer=infer,
        eval=evaluate,
        grad=grad,
        domain=domain,
        lower=lower,
        samples=(
            Sample((TensorType((1, 32, 32, 64)),), window(3, 2, 1, 1, 1, 1)),
            Sample((TensorType((1, 16, 16, 128)),), window(3, 2, 1, 1, 1, 1)),
            Sample((TensorType((2, 7, 5, 3)),), window(2, 2)),
            Sample((TensorType((2, 7, 5, 3)),), UNEVEN),
            Sample((TensorType((1, 3, 3, 1)),), window(3, 1, 2, 2, 2, 2)),
            Sample((TensorType((1, 1, 1, 1)),), window(1, 1)),
        ),
    ),
    OpDef(
        name="MaxPoolGrad",
        infer=infer_grad,
        eval=evaluate_grad,
        domain=domain_grad,
        lower=lower_grad,
        samples=grad_samples(),
    ),
)
