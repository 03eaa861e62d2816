"""What commands cost, in cycles: what every choice of the compiler is made by."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

from tdco_spec import HwConfig

from .program import GemmJob

Predictor = Callable[[GemmJob], int]
"""Engine cycles of a job that has the memory to itself, the engine's overlap with its neighbours left out."""

JOB_START_CYCLES = 60
"""Of an engine job beside its core formula: filling the array, draining the last rows."""


def core_formula(cfg: HwConfig) -> Predictor:
    """Predicts passes over the array and the start: exact but for a few cycles once K is 16 or more.

    Smaller K can be bound by the port; where that matters, pass the cycle model instead.
    """

    def cycles(job: GemmJob) -> int:
        passes = ceil(job.k / cfg.cols) * ceil(job.m / cfg.rows) * ceil(job.n / cfg.tile_cols)
        return (cfg.pipe + 1) * cfg.cols * passes + JOB_START_CYCLES

    return cycles
