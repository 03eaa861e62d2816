"""Exchanged operands: the same bits in the same place, the cheaper way chosen; what jobs cost, with AFTER or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from tdco.cli._engines import engine_library, job_predictor
from tdco.codegen_c import job_flags
from tdco.cost import array_cycles, default_costs
from tdco.order import waits_for_jobs
from tdco.orient import orient, swapped
from tdco.program import Command, GemmJob, KernelCall, Ref
from tdco_sim import golden, model
from tdco_sim.engine import L1_BASE, Engine, TimedEngine, job_words
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


def words(job: GemmJob, after: bool = False) -> list[int]:
    """The job registers, with each buffer 8 KB long and on a place of its own."""
    places = {"x": 0, "w": 0x2000, "y": 0x4000, "z": 0x6000}
    refs = {"x": job.x, "w": job.w, "y": job.y, "z": job.z}
    addrs = {name: L1_BASE + places[ref.buffer] + ref.offset for name, ref in refs.items() if ref}
    strides = {"x": job.x_stride, "w": job.w_stride, "y": job.y_stride, "z": job.z_stride}
    bits = job_flags(Command(job, 0), []) | after * JOB_FLAGS["AFTER"]
    return job_words((job.m, job.n, job.k), addrs, strides, [name for name, bit in JOB_FLAGS.items() if bits & bit])


def run(job: GemmJob, l1: np.ndarray) -> tuple[np.ndarray, int]:
    memory = l1.copy()
    engine = Engine(golden.build(CFG), memory)
    raised = engine.run(words(job))
    engine.close()
    return memory, raised


def cycles(engine: Path, jobs: Sequence[GemmJob], after: Sequence[bool]) -> int:
    """From the first TRIGGER to the last event, on library ``engine``."""
    device = TimedEngine(engine, np.zeros(0x8000, np.uint8))
    try:
        return device.run_queue([words(job, flag) for job, flag in zip(jobs, after, strict=True)])[0]
    finally:
        device.close()


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


@pytest.mark.parametrize("number", range(20))
def test_vectors_give_the_same_bits_as_lines_and_as_columns(number: int, seed: int) -> None:
    """Whichever form a prediction prefers."""
    rng = np.random.default_rng((seed, number, 3))
    job = random_job(rng)
    m, n, k = (1 if rng.random() < 0.6 else size for size in (job.m, job.n, job.k))
    gap = int(rng.integers(0, 2))
    x, w, z = (2 * (n + gap) for n in (m if job.trans_x else k, k if job.trans_w else n, m if job.trans_z else n))
    job = replace(job, m=m, n=n, k=k, x_stride=x, w_stride=w, z_stride=z, y_stride=z if job.y_stride else 0)
    l1 = rng.standard_normal(0x4000).astype(np.float16).view(np.uint8)
    want = run(job, l1)[0]
    chosen = set()
    for wanted in product((False, True), repeat=3):

        def predict(way: GemmJob, after: bool, wanted: tuple[bool, ...] = wanted) -> int:
            return 10**6 + ((way.trans_x, way.trans_w, way.trans_z) != wanted)

        way = orient(job, default_costs(CFG, predict))
        chosen.add(way)
        np.testing.assert_array_equal(run(way, l1)[0], want, err_msg=f"{job} as {way}")
    assert len(chosen) > 1


def test_a_column_of_x_is_fetched_as_a_line() -> None:
    """Of an update of rank one; on the RTL, too, it takes less."""
    job = GemmJob(m=80, n=40, k=1, x=Ref("x"), w=Ref("w"), z=Ref("z"), y=Ref("y"),
                  x_stride=2, w_stride=80, z_stride=80, y_stride=80)  # fmt: skip
    chosen, rtl = orient(job, default_costs(CFG, job_predictor(CFG))), engine_library("rtl", CFG)
    assert chosen.trans_x and cycles(rtl, [chosen], [False]) < 0.8 * cycles(rtl, [job], [False])


def test_the_cheaper_orientation_is_chosen() -> None:
    costs = default_costs(CFG)
    predict = costs.job
    job = replace(random_job(np.random.default_rng(0)), m=64, n=128, k=128)
    assert predict(job, False) == 16 * 32 * 6 * 8 + 2
    assert orient(job, costs) == swapped(job) and predict(swapped(job), False) == 16 * 32 * 11 * 4 + 2
    assert orient(swapped(job), costs) == swapped(job)
    square = replace(job, n=64)
    assert orient(square, costs) == square


def test_one_prediction_is_enough_to_choose(seed: int) -> None:
    """No prediction is less than the array's cycles, so the choice is the one that both predictions would give."""
    rng, costs = np.random.default_rng((seed, 2)), default_costs(CFG, job_predictor(CFG))
    for job in (random_job(rng) for _ in range(200)):
        for after in (False, True):
            assert costs.job(job, after) >= array_cycles(job.m, job.n, job.k, CFG)
            if 1 not in (job.m, job.n, job.k):
                assert orient(job, costs, after) == min(job, swapped(job), key=lambda way: costs.job(way, after))


def test_the_orientation_chosen_by_the_cycle_model_is_the_faster_one_on_the_rtl(seed: int) -> None:
    """Behind a job like it, with AFTER or not. Where K is short the closed formula does not see it."""
    rng, rtl = np.random.default_rng((seed, 1)), engine_library("rtl", CFG)
    costs, formula = default_costs(CFG, job_predictor(CFG)), default_costs(CFG)
    jobs = [random_job(rng) for _ in range(12)]
    jobs += [replace(jobs[0], m=m, n=n, k=k) for m, n, k in ((1, 40, 8), (40, 1, 8), (12, 17, 1), (25, 16, 40))]
    turned = better = 0
    for job in jobs:
        for after in (False, True):
            chosen = orient(job, costs, after)
            taken = {
                way: cycles(rtl, [way] * 2, [after] * 2) - cycles(rtl, [way], [after]) for way in (job, swapped(job))
            }
            assert taken[chosen] == min(taken.values()), (job, after, taken)
            turned += chosen != job
            better += taken[chosen] < taken[orient(job, formula, after)]
    assert turned and better


def test_chains_of_jobs_that_wait_are_predicted(seed: int) -> None:
    """On the RTL a chain of different jobs, each of which reads what the one before wrote, takes what is predicted.

    A job behind a short one may find the array in the middle of an empty slot: ``pipe`` cycles.
    """
    costs, rtl = default_costs(CFG, job_predictor(CFG)), engine_library("rtl", CFG)
    for number in range(5):
        rng = np.random.default_rng((seed, 2, number))
        chain = [replace(random_job(rng), y=Ref("z")) for _ in range(6)]
        waits = waits_for_jobs(chain)
        assert waits == [False] + 5 * [True]
        taken = cycles(rtl, chain, waits) - cycles(rtl, chain[:1], [False])
        assert abs(taken - sum(costs.job(job, True) for job in chain[1:])) <= CFG.pipe * 5
        assert taken > sum(costs.job(job, False) for job in chain[1:]) + 5 * 20
        assert (
            taken == np.diff(model.predict_cycles(CFG, [words(*pair) for pair in zip(chain, waits, strict=True)])).sum()
        )


def test_which_jobs_wait() -> None:
    """For an earlier one whose Z they touch, or whose operands they overwrite, unless another has waited for it."""
    first = replace(random_job(np.random.default_rng(3)), m=8, n=8, k=8, x_stride=16, w_stride=16, z_stride=16, y=None)

    def job(x: int, z: int) -> GemmJob:
        return replace(first, x=Ref("z", x), z=Ref("z", z))

    apart = [job(0x1000, 0), job(0x1000, 0x80), job(0x1000, 0x100)]
    assert waits_for_jobs(apart) == [False] * 3
    assert waits_for_jobs([*apart, job(0x80, 0x200), job(0, 0x300), job(0x200, 0x400)]) == 3 * [False] + [
        True,
        False,
        True,
    ]
    assert waits_for_jobs([job(0x1000, 0), job(0x1080, 0x1000)]) == [False, True]
    kernel = KernelCall("tdco_relu_f16", (Ref("z"),))
    assert waits_for_jobs([job(0x1000, 0), kernel, job(0, 0x80)]) == [False] * 3
