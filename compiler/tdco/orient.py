"""Which operand of a product takes the engine's rows: Z = X.W, or the same sums as Z^T = W^T.X^T, whichever is cheaper.

Rows are filled in steps of ``rows``, columns in steps of ``tile_cols``: 64 x 128 wastes less as 128 x 64.
"""

from __future__ import annotations

from dataclasses import replace

from .cost import Costs, array_cycles
from .program import GemmJob


def swapped(job: GemmJob) -> GemmJob:
    """The job with operands exchanged: the same multiply-adds in the same order, the same Z in the same place.

    Y and Z keep their stored lines, so their strides and the kind of broadcast stay.
    """
    return replace(
        job,
        m=job.n,
        n=job.m,
        x=job.w,
        w=job.x,
        x_stride=job.w_stride,
        w_stride=job.x_stride,
        trans_x=not job.trans_w,
        trans_w=not job.trans_x,
        trans_z=not job.trans_z,
    )


def orient(job: GemmJob, costs: Costs, after: bool = False) -> GemmJob:
    """The cheaper of ``job`` and its exchange, which will have the AFTER flag if ``after``; ``job`` itself if they cost
    the same. One that takes less than the other's multiply-adds alone needs no prediction of the other."""
    least, least_turned = (array_cycles(m, n, job.k, costs.cfg) for m, n in ((job.m, job.n), (job.n, job.m)))
    if least <= least_turned and costs.job(job, after) <= least_turned:
        return job
    turned = swapped(job)
    if least_turned < least and costs.job(turned, after) < least:
        return turned
    return min(job, turned, key=lambda way: costs.job(way, after))
