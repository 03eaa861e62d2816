"""Exchanged operands: the same bits in the same place, and the cheaper way chosen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tdco.codegen_c import job_flags
from tdco.cost import core_formula
from tdco.orient import orient, swapped
from tdco.program import Command, GemmJob, Ref
from tdco_sim import golden
from tdco_sim.engine import L1_BASE, Engine, job_words
from tdco_spec import JOB_FLAGS, get_config

CFG = get_config("rm_12x4")


def random_job(rng: np.random.Generator) -> GemmJob:
    m, n, k = (int(x) for x in rng.integers(1, 40, 3))
    trans_x, trans_w, trans_z, with_y, column, relu, same = (bool(x) for x in rng.integers(0, 2, 7))

    def stride(trans: bool, rows: int, cols: int) -> int:
        return 2 * ((rows if trans else cols) + int(rng.integers(0, 4)))

    y = Ref("y") if with_y else None
    return GemmJob(
        m=m, n=n, k=k, x=Ref("x"), w=Ref("w"), z=Ref("z"), y=y, trans_x=trans_x, trans_w=trans_w, trans_z=trans_z,
        x_stride=stride(trans_x, m, k), w_stride=stride(trans_w, k, n), z_stride=stride(trans_z, m, n),
        y_stride=0 if same else stride(trans_z, m, n), y_column=with_y and column, relu=relu,
    )  # fmt: skip


def run(job: GemmJob, l1: np.ndarray) -> tuple[np.ndarray, int]:
    places = {"x": 0, "w": 0x2000, "y": 0x4000, "z": 0x6000}
    refs = {"x": job.x, "w": job.w, "y": job.y, "z": job.z}
    addrs = {name: L1_BASE + places[ref.buffer] + ref.offset for name, ref in refs.items() if ref}
    strides = {"x": job.x_stride, "w": job.w_stride, "y": job.y_stride, "z": job.z_stride}
    bits = job_flags(Command(job, 0), [])
    memory = l1.copy()
    engine = Engine(golden.build(CFG), memory)
    raised = engine.run(
        job_words((job.m, job.n, job.k), addrs, strides, [name for name, bit in JOB_FLAGS.items() if bits & bit])
    )
    engine.close()
    return memory, raised


@pytest.mark.parametrize("number", range(40))
def test_an_exchanged_job_gives_the_same_bits(number: int, seed: int) -> None:
    rng = np.random.default_rng((seed, number))
    job = random_job(rng)
    l1 = rng.standard_normal(0x4000).astype(np.float16).view(np.uint8)
    (a, a_flags), (b, b_flags) = run(job, l1), run(swapped(job), l1)
    assert not np.array_equal(a, l1)
    np.testing.assert_array_equal(a, b)
    assert a_flags == b_flags
    assert swapped(swapped(job)) == job


def test_the_cheaper_orientation_is_chosen() -> None:
    predict = core_formula(CFG)
    job = replace(random_job(np.random.default_rng(0)), m=64, n=128, k=128)
    assert predict(job) == 16 * 32 * 6 * 8 + 2
    assert orient(job, predict) == swapped(job) and predict(swapped(job)) == 16 * 32 * 11 * 4 + 2
    assert orient(swapped(job), predict) == swapped(job)
    square = replace(job, n=64)
    assert orient(square, predict) == square
