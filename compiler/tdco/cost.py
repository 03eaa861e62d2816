"""What commands cost, in cycles: what every choice of the compiler is made by."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import ceil

from tdco_spec import HwConfig

from .program import Copy, GemmJob, KernelCall, Move
from .transfer import Region

Predictor = Callable[[GemmJob, bool], int]
"""Engine cycles that a job adds to a queue of others like it; with True, as one that has the AFTER flag."""

JOB_START_CYCLES = 60
"""Of an engine job beside its core formula: filling the array, draining the last rows."""
QUEUED_JOB_CYCLES = 2
"""The same where the job before it is still running: its operands were fetched under that one."""
JOB_COMMAND_CYCLES = 30
"""Of the controller's time for a job, what does not hide behind the engine's; measured by compiling with 0 to 100."""
CALL_START_CYCLES = 250
"""Fork, argument fetch, cold instructions and barrier of a kernel call."""
COPY_START_CYCLES = 60
"""Of a copy beside its bytes: the controller's command, the DMA's start-up."""
HOP_CYCLES = 120
"""From the end of a command to the start of one on another resource that waited for it: event and controller."""

CORE_CYCLES: dict[str, float] = {
    "tdco_adamw_f16": 21.1,
    "tdco_add_f16_f16": 4.8,
    "tdco_average_pool_f16": 5.7,
    "tdco_average_pool_grad_f16": 45.3,
    "tdco_batch_norm_f16": 6.2,
    "tdco_batch_norm_grad_f16": 6.2,
    "tdco_depthwise_conv_f16": 64.8,
    "tdco_depthwise_conv_input_grad_f16": 70.4,
    "tdco_gelu_f16": 20.7,
    "tdco_gelu_grad_f16": 22.5,
    "tdco_half_sgd_f16": 17.5,
    "tdco_im2col_f16": 3.8,
    "tdco_im2col_grad_f16": 12.4,
    "tdco_kahan_sgd_f16": 27.2,
    "tdco_layer_norm_f16": 19.6,
    "tdco_layer_norm_grad_f16": 25.0,
    "tdco_layer_norm_param_grad_f16": 19.0,
    "tdco_max_pool_f16": 4.7,
    "tdco_max_pool_grad_f16": 106.2,
    "tdco_momentum_f16": 13.1,
    "tdco_mul_f16_f16": 11.4,
    "tdco_outer_sgd_f16": 3.3,
    "tdco_relu_f16": 4.8,
    "tdco_relu_grad_f16": 6.9,
    "tdco_sgd_f16": 4.1,
    "tdco_softmax_f16": 26.6,
    "tdco_softmax_grad_f16": 15.9,
    "tdco_stochastic_sgd_f16": 57.0,
}
"""Cycles of one core per element of a kernel's largest operand, by symbol, as `tdco bench kernels --costs` prints them:
a call alone on the cluster."""
L1_WAITS = 1.08
"""How much longer a kernel takes beside engine and DMA, which want L1 too."""
OTHER_CORE_CYCLES = 8.0
FLAG_KERNELS = ("tdco_finite_product_f16",)
"""Read a flag of the engine, and nothing else where no gradient overflows."""


def elements(symbol: str, extents: Iterable[int]) -> int:
    """Of a kernel's largest operand, in the format that its name ends with; ``extents`` in bytes."""
    return max(extents, default=0) // (4 if symbol.endswith("32") else 2)


def array_cycles(m: int, n: int, k: int, cfg: HwConfig) -> int:
    """Of a job's passes over the array: the least it adds to a queue, whatever the engine waits for."""
    return (cfg.pipe + 1) * cfg.cols * ceil(k / cfg.cols) * ceil(m / cfg.rows) * ceil(n / cfg.tile_cols)


def core_formula(cfg: HwConfig) -> Predictor:
    """Predicts passes over the array: exact but for a few cycles once K is 16 or more.

    Smaller K can be bound by the port; where that matters, pass the cycle model instead.
    """

    def cycles(job: GemmJob, after: bool) -> int:
        return array_cycles(job.m, job.n, job.k, cfg) + (JOB_START_CYCLES if after else QUEUED_JOB_CYCLES)

    return cycles


@dataclass(frozen=True)
class Costs:
    """Cycles of every command on one configuration."""

    cfg: HwConfig
    job: Predictor
    whole_bytes: int = field(init=False)
    """Storages up to this size may be held in L1 as one block: three of them fit side by side."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "whole_bytes", (self.cfg.l1_bytes - self.cfg.l1_reserved_bytes) // 3)

    def op(self, op: GemmJob | KernelCall, after: bool = False) -> int:
        """Of a command among others of its kind. ``after``: it is a job that waits for all before it."""
        if isinstance(op, GemmJob):
            return self.job(op, after) + JOB_COMMAND_CYCLES
        per_element = 0.0 if op.symbol in FLAG_KERNELS else CORE_CYCLES.get(op.symbol, OTHER_CORE_CYCLES)
        cycles = L1_WAITS * elements(op.symbol, op.extents) * per_element
        return CALL_START_CYCLES + ceil(cycles / self.cfg.cores)

    def move(self, size_bytes: int) -> int:
        """Of a transfer between L2 and L3."""
        return COPY_START_CYCLES + self.cfg.l3_startup_cycles + size_bytes * self.cfg.l3_cycles_per_byte

    def command(self, op: GemmJob | KernelCall | Copy | Move, after: bool = False) -> int:
        """Of any command; ``after`` as for ``op``."""
        if isinstance(op, Move):
            return self.move(op.bytes)
        if isinstance(op, Copy):
            return self.copies([Region(op.l2.offset, op.row_bytes, op.rows, op.stride_bytes)])
        return self.op(op, after)

    def copies(self, regions: Iterable[Region]) -> int:
        """Of the transfers that move ``regions``."""
        cycles = 0
        for region in regions:
            row_cycles = ceil(region.row_bytes / self.cfg.dma_bytes_per_cycle)
            cycles += COPY_START_CYCLES + region.rows * row_cycles
        return cycles


def default_costs(cfg: HwConfig, predict: Predictor | None = None) -> Costs:
    """Costs with ``predict`` for the engine, each job's prediction made once; without it the closed formula."""
    predict = predict or core_formula(cfg)
    shapes: dict[tuple[int, int, int, bool, bool, bool, bool, bool], int] = {}

    def cached(job: GemmJob, after: bool) -> int:
        key = (job.m, job.n, job.k, job.trans_x, job.trans_w, job.trans_z, job.y is not None, after)
        if key not in shapes:
            shapes[key] = predict(job, after)
        return shapes[key]

    return Costs(cfg, cached)
