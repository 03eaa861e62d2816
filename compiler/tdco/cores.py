"""Every GEMM on the cores instead of the engine, with the same bits: what the engine is worth."""

from __future__ import annotations

from dataclasses import replace

from .ops.finite import PRODUCT, SCAN
from .ops.matmul import ELEMENT_BYTES
from .order import Op
from .program import GemmJob, KernelCall, Schedule


def _without_engine(op: Op) -> Op:
    """A kernel in place of a job; a look at a gradient that no flag can save."""
    if isinstance(op, GemmJob):
        return gemm_call(op)
    if isinstance(op, KernelCall) and op.symbol == PRODUCT:
        return replace(op, symbol=SCAN)
    return op


def without_engine(schedule: Schedule) -> Schedule:
    """``schedule`` with a kernel call in place of every engine job.

    Calls run one after the other, jobs might overlap: what was in order stays so.
    """
    commands = tuple(replace(c, op=_without_engine(c.op)) for c in schedule.commands)
    return replace(schedule, commands=commands)


def gemm_call(job: GemmJob) -> KernelCall:
    """The call that computes ``job``."""
    x, w, y, z = (stride // ELEMENT_BYTES for stride in (job.x_stride, job.w_stride, job.y_stride, job.z_stride))
    y_strides = (y, 0) if job.y_column else (y, 1)
    strides = (
        *((1, x) if job.trans_x else (x, 1)),
        *((1, w) if job.trans_w else (w, 1)),
        *(y_strides[::-1] if job.trans_z else y_strides),
        *((1, z) if job.trans_z else (z, 1)),
    )
    return KernelCall("tdco_gemm_f16", (job.x, job.w, job.y, job.z), (job.m, job.n, job.k, *strides, int(job.relu)))
