"""Which operand of a product takes the engine's rows: Z = X.W, or the same sums as Z^T = W^T.X^T, whichever is cheaper.

Rows are filled in steps of ``rows``, columns in steps of ``tile_cols``: 64 x 128 wastes less as 128 x 64. A vector may
be a line or a column: a line is fetched at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

from .cost import Costs, array_cycles
from .ops.matmul import ELEMENT_BYTES
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


def _forms(job: GemmJob) -> Iterator[GemmJob]:
    """``job`` in all ways to call its vectors transposed or not."""
    x = _other(job.m, job.k, job.x_stride, job.trans_x)
    w = _other(job.k, job.n, job.w_stride, job.trans_w)
    z = _other(job.m, job.n, job.z_stride, job.trans_z)
    y = _other(job.m, job.n, job.y_stride, job.trans_z) if job.y else 0
    changes: list[list[dict[str, Any]]] = [[{}], [{}], [{}]]
    if x:
        changes[0].append({"trans_x": not job.trans_x, "x_stride": x})
    if w:
        changes[1].append({"trans_w": not job.trans_w, "w_stride": w})
    if z and y is not None and not job.y_column:
        changes[2].append({"trans_z": not job.trans_z, "z_stride": z, "y_stride": y})
    return (replace(job, **a, **b, **c) for a, b, c in product(*changes))


def _other(rows: int, cols: int, stride: int, transposed: bool) -> int | None:
    """The stride of the other way to call a dense vector: one line, or lines of one element. None for a matrix."""
    lines, line = (cols, rows) if transposed else (rows, cols)
    if line == 1 and stride == ELEMENT_BYTES:
        return ELEMENT_BYTES * lines
    return ELEMENT_BYTES if lines == 1 else None


def orient(job: GemmJob, costs: Costs, after: bool = False) -> GemmJob:
    """The cheaper of ``job`` and its exchange, vectors in either form, which will have the AFTER flag if ``after``; the
    first of those that cost the same. One that takes less than the other's multiply-adds alone needs no prediction of
    the other."""
    if 1 in (job.m, job.n, job.k):
        return min((*_forms(job), *_forms(swapped(job))), key=lambda way: costs.job(way, after))
    least, least_turned = (array_cycles(m, n, job.k, costs.cfg) for m, n in ((job.m, job.n), (job.n, job.m)))
    if least <= least_turned and costs.job(job, after) <= least_turned:
        return job
    turned = swapped(job)
    if least_turned < least and costs.job(turned, after) < least:
        return turned
    return min(job, turned, key=lambda way: costs.job(way, after))
