"""What commands cost, in cycles: what every choice of the compiler is made by."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import ceil

from tdco_spec import HwConfig

from .program import GemmJob, KernelCall
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
    "tdco_add_f16_f16": 6.0,
    "tdco_finite_f16": 3.4,
    "tdco_gelu_f16": 32.0,
    "tdco_gelu_grad_f16": 46.0,
    "tdco_im2col_f16": 2.2,
    "tdco_layer_norm_f16": 31.0,
    "tdco_layer_norm_grad_f16": 36.0,
    "tdco_max_pool_f16": 11.5,
    "tdco_mul_f16_f32": 14.0,
    "tdco_relu_f16": 4.8,
    "tdco_sgd_f16": 5.0,
    "tdco_softmax_f16": 47.0,
    "tdco_softmax_grad_f16": 30.0,
}
"""Cycles of one core per element of a kernel's largest operand, by symbol, measured in steps on the cluster."""
OTHER_CORE_CYCLES = 8.0


def core_formula(cfg: HwConfig) -> Predictor:
    """Predicts passes over the array: exact but for a few cycles once K is 16 or more.

    Smaller K can be bound by the port; where that matters, pass the cycle model instead.
    """

    def cycles(job: GemmJob, after: bool) -> int:
        passes = ceil(job.k / cfg.cols) * ceil(job.m / cfg.rows) * ceil(job.n / cfg.tile_cols)
        return (cfg.pipe + 1) * cfg.cols * passes + (JOB_START_CYCLES if after else QUEUED_JOB_CYCLES)

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
        elements = max(op.extents, default=0) / (4 if "f32" in op.symbol.split("_")[-1] else 2)
        return CALL_START_CYCLES + ceil(elements * CORE_CYCLES.get(op.symbol, OTHER_CORE_CYCLES) / self.cfg.cores)

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
