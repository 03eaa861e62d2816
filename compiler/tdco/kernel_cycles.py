"""How long a kernel call takes, by the sizes that its cycles grow with: what the busiest core has to do.

Cores share a kernel's work in whole pieces, so of 9 rows on 8 cores one does two. Each function takes a call's
integers, in the order that the kernel documents, and the number of cores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil

from .cost import elements
from .program import KernelCall

Sizes = tuple[float, ...]
Work = Callable[[Sequence[int], int], Sizes]


def _even(i: Sequence[int], cores: int) -> Sizes:
    """Elements."""
    return (ceil(i[0] / cores),)


def _in_blocks(i: Sequence[int], cores: int) -> Sizes:
    """Elements in blocks of 16, which cores take in turn, and elements beside them."""
    return 16 * ceil(i[0] // 16 / cores), ceil(i[0] % 16 / cores)


def _one_core(i: Sequence[int], cores: int) -> Sizes:
    return (i[0],)


def _finite(i: Sequence[int], cores: int) -> Sizes:
    return (ceil(i[0] / (1 if i[1] else cores)),)


def _rows(i: Sequence[int], cores: int) -> Sizes:
    """Rows, and elements of them; a third integer, where there is one, is how many cores have room to work."""
    rows = ceil(i[0] / min(cores, i[2] if len(i) > 2 and i[2] else cores))
    return rows, rows * i[1]


def _columns(i: Sequence[int], cores: int) -> Sizes:
    """Columns, and elements of them."""
    columns = ceil(i[1] / cores)
    return columns, columns * i[0]


def _broadcast(i: Sequence[int], cores: int) -> Sizes:
    """Elements of dense operands, or runs and elements of strided ones."""
    count = ceil(i[0] * i[1] * i[2] / cores)
    if i[0] * i[1] == 1 and i[5] == i[8] == 1:
        return count, 0, 0
    return 0, ceil(count / i[2]), count


def _strided(i: Sequence[int], cores: int) -> Sizes:
    """Runs, and elements."""
    count = ceil(i[0] * i[1] * i[2] * i[3] / cores)
    return ceil(count / i[3]), count


def _channels_down(i: Sequence[int], cores: int) -> Sizes:
    """Runs down four channels, or one, and their rows."""
    together = 4 if i[1] % 4 == 0 else 1
    rows = ceil(i[1] // together * i[0] / cores)
    return ceil(rows / i[0]), rows


def _channels(i: Sequence[int], cores: int) -> Sizes:
    """Pairs of channels, or single ones, and their rows."""
    columns = ceil(i[1] / (2 if i[1] % 2 == 0 else 1) / cores)
    return columns, columns * i[0]


def _sums(i: Sequence[int], cores: int) -> Sizes:
    """Sums of pairs, or of elements, and what they add."""
    line = i[2] * i[4] if i[3] == 1 else i[4]
    sums = ceil(i[0] * i[2] * i[4] / (2 if line % 2 == 0 else 1) / cores)
    return sums, sums * i[1] * i[3]


def _outer(i: Sequence[int], cores: int) -> Sizes:
    """Strips of 16 columns, their rows, columns beside them, and elements of these."""
    m, strips, beside = i[0], i[1] // 16, i[1] % 16
    rows = ceil(m * strips / cores)
    return ceil(rows / m), rows, beside, beside * ceil(m / cores)


def _together(channels: int) -> int:
    return 4 if channels % 4 == 0 else 1


def _windows(lines: int, columns: int, taps: float, channels: int, cores: int) -> Sizes:
    """Lines of four channels, or one, outputs on them, and what these are made of."""
    own = ceil(lines * (channels // _together(channels)) / cores)
    return own, own * columns, own * columns * taps


def _forward_windows(i: Sequence[int], cores: int) -> Sizes:
    return _windows(i[0] * i[4], i[5], i[6] * i[7], i[3], cores)


def _backward_windows(i: Sequence[int], cores: int) -> Sizes:
    return _windows(i[0] * i[1], i[2], i[6] * i[7] / (i[8] * i[9]), i[3], cores)


def _pixels_back(i: Sequence[int], cores: int) -> Sizes:
    """Pixels, and four channels, or one, of the windows over them."""
    pixels = ceil(i[0] * i[1] * i[2] / cores)
    blocks = pixels * (i[3] // _together(i[3]))
    return pixels, blocks, blocks * i[6] * i[7] / (i[8] * i[9])


def _filter_sums(i: Sequence[int], cores: int) -> Sizes:
    """Four taps, or one, lines that they go over, and their windows."""
    taps = ceil(i[6] * i[7] * i[3] / _together(i[3]) / cores)
    return taps, taps * i[0] * i[4], taps * i[0] * i[4] * i[5]


def _max_pool(i: Sequence[int], cores: int) -> Sizes:
    """Lines and outputs of windows that are worked on by line; other windows, and their elements."""
    last = i[11] + 2 * (i[5] - 1)
    if i[6] <= 3 and i[7] == 3 and i[9] == 2 and i[11] in (0, -1) and last + 2 < i[2] and i[3] % 4 == 0:
        lines = ceil(i[0] * i[4] * i[3] / 4 / cores)
        return lines, lines * i[5], 0, 0
    windows = ceil(i[0] * i[4] * i[3] / cores) * i[5]
    return 0, 0, windows, windows * i[6] * i[7]


def _max_pool_back(i: Sequence[int], cores: int) -> Sizes:
    """Pixels of dx, windows over them, and elements that windows share with others."""
    parts = max(1, cores // i[3])
    own = i[0] * ceil(i[3] * parts / cores) / parts
    windows = own * i[4] * i[5]
    return own * i[1] * i[2], windows, windows * max(0, i[6] * i[7] - i[8] * i[9])


def _im2col(i: Sequence[int], cores: int) -> Sizes:
    """Lines of windows, those beyond an edge, blocks of 8 of their elements, and what is left of a line."""
    lines = ceil(i[0] * i[1] * i[2] / cores) * i[3]
    inside = (i[7] - i[4] + i[11]) // i[9] + 1 - ceil(i[11] / i[9])
    beyond = lines * max(0, i[2] - max(0, inside)) / i[2]
    row = i[4] * i[5]
    return lines, beyond, lines * (row // 8), lines * (row % 8)


def _im2col_back(i: Sequence[int], cores: int) -> Sizes:
    """Taps, and their channels."""
    taps = ceil(i[0] * i[1] * i[2] / cores) * i[3] * i[4]
    return taps, taps * i[5]


WORK: dict[str, Work] = {
    "accumulate": _even, "adamw": _even, "add": _broadcast, "average_pool": _forward_windows,
    "average_pool_grad": _pixels_back, "batch_norm": _channels_down, "batch_norm_grad": _channels_down,
    "batch_norm_param_grad": _channels, "contiguous": _strided, "cross_entropy_grad": _rows,
    "depthwise_conv": _forward_windows, "depthwise_conv_input_grad": _backward_windows,
    "depthwise_conv_weight_grad": _filter_sums, "factor": _even, "finite": _finite, "gelu": _even, "gelu_grad": _even,
    "half_sgd": _even, "im2col": _im2col, "im2col_grad": _im2col_back, "kahan_sgd": _even, "layer_norm": _rows,
    "layer_norm_grad": _rows, "layer_norm_param_grad": _columns, "log_softmax": _rows, "max_pool": _max_pool,
    "max_pool_grad": _max_pool_back, "momentum": _even, "mse_grad": _even, "mse_lanes": _even, "mul": _broadcast,
    "nll_loss": _one_core, "outer_sgd": _outer, "reduce": _sums, "relu": _even, "relu_grad": _even, "sgd": _in_blocks,
    "softmax": _rows, "softmax_grad": _rows, "stochastic_sgd": _even, "zero": _even,
}  # fmt: skip
"""By kernel, without ``tdco_`` and the formats behind its name."""


CALL_CYCLES: dict[str, tuple[float, ...]] = {
    "tdco_accumulate_f32": (60.1, 141.0, 9.6),
    "tdco_adamw_f16": (55.5, 455.0, 65.8),
    "tdco_adamw_f32": (138.0, 443.0, 84.6),
    "tdco_adamw_rates_f32": (61.0, 158.0),
    "tdco_add_f16_f16": (120.2, 304.7, 4.9, 0.0, 0.0),
    "tdco_add_f16_f32": (99.0, 348.0, 0.0, 0.0, 126.5),
    "tdco_add_f32_f16": (0.0, 358.0, 0.0, 118.8, 116.6),
    "tdco_add_f32_f32": (94.9, 375.0, 8.0, 0.0, 0.0),
    "tdco_all_i32": (68.3, 57.0),
    "tdco_average_pool_f16": (406.4, 717.0, 0.0, 27.6, 20.1),
    "tdco_average_pool_grad_f16": (0.0, 745.0, 350.3, 163.3, 0.1),
    "tdco_batch_norm_f16": (135.1, 530.5, 227.2, 25.7),
    "tdco_batch_norm_grad_f16": (80.7, 450.6, 227.6, 26.0),
    "tdco_batch_norm_param_grad_f16": (103.0, 519.8, 70.1, 19.8),
    "tdco_contiguous_b16": (297.7, 325.5, 36.0, 8.2),
    "tdco_contiguous_b32": (0.0, 333.0, 291.9, 15.7),
    "tdco_count_i32": (16.0, 84.0),
    "tdco_cross_entropy_grad_f16": (0.0, 590.1, 0.0, 44.5),
    "tdco_depthwise_conv_f16": (353.9, 0.0, 545.8, 0.0, 21.7),
    "tdco_depthwise_conv_input_grad_f16": (0.0, 0.0, 766.4, 201.9, 0.0),
    "tdco_depthwise_conv_weight_grad_f32": (385.5, 0.0, 293.8, 0.0, 24.9),
    "tdco_due_i32": (19.0, 63.0),
    "tdco_factor_f16": (115.1, 152.0, 15.4),
    "tdco_finite_begin": (17.2, 17.3),
    "tdco_finite_f16": (194.3, 328.2, 3.5),
    "tdco_finite_f32": (117.4, 230.9, 7.2),
    "tdco_finite_product_f16": (19.1, 21.2),
    "tdco_gelu_f16": (194.7, 373.9, 20.7),
    "tdco_gelu_grad_f16": (208.9, 391.2, 23.4),
    "tdco_half_sgd_f16": (115.8, 123.9, 19.2),
    "tdco_half_sgd_f32": (79.0, 214.0, 19.2),
    "tdco_im2col_f16": (958.8, 559.8, 38.2, 36.6, 9.9, 5.3),
    "tdco_im2col_grad_f16": (960.1, 370.0, 0.0, 16.9),
    "tdco_kahan_sgd_f16": (80.3, 0, 27.3),
    "tdco_kahan_sgd_f32": (85.8, 266.0, 29.8),
    "tdco_layer_norm_f16": (371.8, 999.0, 0.0, 19.1),
    "tdco_layer_norm_grad_f16": (394.7, 913.0, 0.0, 24.5),
    "tdco_layer_norm_param_grad_f16": (0.0, 224.3, 0.0, 19.6),
    "tdco_log_softmax_f16": (0.0, 951.7, 0.0, 62.1),
    "tdco_loss_scale_f32": (41.0, 162.0),
    "tdco_max_pool_f16": (327.5, 583.0, 113.3, 69.3, 0.0, 22.0),
    "tdco_max_pool_grad_f16": (0.0, 0.0, 0.0, 0.0, 62.5),
    "tdco_momentum_f16": (103.7, 150.0, 26.1),
    "tdco_momentum_f32": (79.5, 202.0, 26.4),
    "tdco_mse_grad_f16": (68.3, 474.7, 9.3),
    "tdco_mse_lanes_f16": (0.0, 608.0, 8.5),
    "tdco_mse_loss_f32": (58.0, 190.0),
    "tdco_mul_f16_f16": (0.0, 595.4, 0.0, 0.0, 13.1),
    "tdco_mul_f16_f32": (0.0, 348.0, 0.0, 271.8, 3.1),
    "tdco_mul_f32_f16": (88.4, 340.0, 0.0, 0.0, 127.8),
    "tdco_mul_f32_f32": (268.0, 279.0, 0.0, 0.0, 0.0),
    "tdco_nll_loss_f32": (0.0, 125.9, 13.3),
    "tdco_outer_sgd_f16": (287.1, 785.1, 163.8, 98.2, 0.0, 18.9),
    "tdco_reduce_f16_f16": (131.6, 429.7, 108.2, 9.9),
    "tdco_reduce_f16_f32": (166.2, 309.3, 9.9, 9.0),
    "tdco_reduce_f32_f16": (0.0, 360.0, 0.0, 41.1),
    "tdco_reduce_f32_f32": (0.0, 392.0, 0.0, 25.1),
    "tdco_relu_f16": (112.7, 259.8, 4.8),
    "tdco_relu_grad_f16": (170.4, 330.4, 7.0),
    "tdco_scaled_begin_f32": (12.0, 62.0),
    "tdco_sgd_f16": (164.6, 201.3, 8.8, 0.0),
    "tdco_sgd_f32": (98.7, 156.6, 13.2, 29.5),
    "tdco_softmax_f16": (150.2, 753.2, 0.0, 26.3),
    "tdco_softmax_grad_f16": (0.0, 692.9, 0.0, 17.1),
    "tdco_stochastic_sgd_f16": (80.5, 441.0, 49.9),
    "tdco_stochastic_sgd_f32": (183.2, 388.0, 61.3),
    "tdco_zero_b16": (40.2, 163.7, 1.0),
}
"""By symbol: cycles of a call, more of them at a step's first one, whose instructions come from L2, and cycles for each
of its sizes, as `tdco bench kernels --costs --step OUT ..` prints them: of kernels that the steps call, as fits these
calls best; of others, as fits the operators' samples."""
OTHER_CYCLES = 250.0, 8.0
"""Of a kernel that is not in the table: of a call, and of one core per element of the largest operand."""


def kernel_of(symbol: str) -> str:
    """``tdco_add_f16_f16`` -> ``add``."""
    words = symbol.removeprefix("tdco_").split("_")
    while words[-1] in ("f16", "f32", "b16", "b32", "i32"):
        words.pop()
    return "_".join(words)


def work(symbol: str, ints: Sequence[int], cores: int) -> Sizes:
    """What a call's cycles grow with, on the core that has most to do; nothing where they do not grow."""
    sizes = WORK.get(kernel_of(symbol))
    return sizes(ints, cores) if sizes else ()


def call_cycles(call: KernelCall, cores: int, first: bool) -> float:
    """Cycles of ``call`` alone on the cluster, from the first core's entry to the last one's return. ``first``: the
    kernel's first call of a step."""
    if call.symbol not in CALL_CYCLES:
        start, per_element = OTHER_CYCLES
        return start + per_element * elements(call.symbol, call.extents) / cores
    start, more, *per_size = CALL_CYCLES[call.symbol]
    return (
        start
        + more * first
        + sum(c * size for c, size in zip(per_size, work(call.symbol, call.ints, cores), strict=True))
    )
