"""Random jobs on the Verilated engine under every kind of stall, against golden; ``pytest -s`` prints the coverage."""

import os
import time
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import redmule.verilog
from tdco_sim.rtl.stress import QueueRun, build_stress
from tdco_spec import CONFIGS, STATUS_FLAGS, HwConfig, get_config

from .campaign import Result, run_campaign, run_queue, show
from .jobs import ARENA_BYTES, LARGE_FROM, LONGEST_CYCLES, RULES, Arena, Y, break_a_rule, core_cycles, make_job

RM_12X4 = get_config("rm_12x4")
SMALL = replace(RM_12X4, name="3x2, pipe 1, queue of 2", rows=3, cols=2, pipe=1, queue_jobs=2)
LONG_JOBS = 20_000
COVERED = 0.95
"""Part of the possible combinations of three dimensions, and of four, that a long campaign must hit."""


@cache
def library(cfg: HwConfig) -> Path:
    return build_stress(redmule.verilog.emit(cfg), cfg)


def campaign(cfg: HwConfig, jobs: int, seed: int) -> Result:
    engine = library(cfg)
    start = time.perf_counter()
    result = run_campaign(engine, cfg, jobs, seed)
    show(result, seed, time.perf_counter() - start)
    assert not result.failures, "\n".join(result.failures)
    assert result.jobs >= jobs and result.words_compared > 0
    return result


@pytest.mark.parametrize(("cfg", "jobs"), [(SMALL, 600), (RM_12X4, 300)], ids=lambda value: getattr(value, "name", ""))
def test_short_campaign(cfg: HwConfig, jobs: int, seed: int) -> None:
    result = campaign(cfg, jobs, seed)
    assert result.coverage.share(1) == 1
    assert result.large > 0 or core_cycles(cfg, (LARGE_FROM,) * 3) > LONGEST_CYCLES


@pytest.mark.slow
def test_long_campaign(seed: int) -> None:
    """TDCO_RTL_JOBS: fewer jobs, or more. With fewer, the coverage that is asked of so many is not."""
    result = campaign(RM_12X4, int(os.environ.get("TDCO_RTL_JOBS", LONG_JOBS)), seed)
    if result.jobs < LONG_JOBS:
        warnings.warn(f"coverage is not asserted: {result.jobs:,} jobs ran, not {LONG_JOBS:,}", stacklevel=1)
        return
    assert result.coverage.share(2) == 1
    assert result.coverage.share(3) >= COVERED and result.coverage.share(4) >= COVERED
    assert all(result.coverage.broken.values()), result.coverage.broken
    assert result.large > 0


@pytest.mark.parametrize("cfg", [SMALL, RM_12X4], ids=lambda cfg: cfg.name)
def test_every_rule_is_kept(cfg: HwConfig, seed: int) -> None:
    """A job that breaks it is refused, between two that run. Without Y, Y's registers may hold anything."""
    for number, rule in enumerate(RULES):
        rng, arena = np.random.default_rng([seed, number]), Arena(ARENA_BYTES)
        arena.reset(rng)
        jobs = [make_job(rng, arena, (3, 5, 7), flags) for flags in (0, Y, 0)]
        queue = [jobs[0], break_a_rule(rng, jobs[1], rule), jobs[2]]
        run = run_queue(library(cfg), cfg, arena, queue)
        assert run.flags & STATUS_FLAGS["ILLEGAL"], rule
    registers = {**jobs[0].registers, "Y_ADDR": 1, "Y_STRIDE": 3}
    assert (
        not run_queue(library(cfg), cfg, arena, [replace(jobs[0], registers=registers)]).flags & STATUS_FLAGS["ILLEGAL"]
    )


@pytest.mark.parametrize("operand", "xwyz")
def test_starving_an_operand_costs_the_stalls_that_are_counted(operand: str, seed: int) -> None:
    """Whatever a job takes longer beside refused grants, the array waited for, but for empty slots and last stores."""
    cfg, shape, tiles = RM_12X4, (36, 32, 48), 3 * 2

    def run(stall: str) -> QueueRun:
        rng, arena = np.random.default_rng(seed), Arena(ARENA_BYTES)
        arena.reset(rng)
        return run_queue(library(cfg), cfg, arena, [make_job(rng, arena, shape, Y, padded=False)], stall, seed=seed)

    quiet, starved = run("none"), run(operand)
    assert quiet.stalls == {"x": 17, "w": 0, "yz": 12}  # until 12 lines of X are there; until Y is
    assert quiet.cycles == core_cycles(cfg, shape) + 17 + 12 + 32
    longer = starved.cycles - quiet.cycles
    stalled = sum(starved.stalls.values()) - sum(quiet.stalls.values())
    # While a tile's sums leave, empty slots may follow, of which only the first cycle is a stall.
    not_counted = tiles * cfg.pipe * (cfg.cols + 1) + starved.jobs[0].refused["z"]
    assert longer > 100 and stalled <= longer <= stalled + not_counted, (quiet, starved)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(65535, 1, 1), (1, 65535, 1), (1, 1, 65535), (65535, 2, 3)], ids=str)
def test_largest_sizes(seed: int, shape: tuple[int, int, int]) -> None:
    rng, arena = np.random.default_rng(seed), Arena(1 << 21)
    arena.reset(rng)
    run_queue(library(RM_12X4), RM_12X4, arena, [make_job(rng, arena, shape, Y, padded=False)])


def configs_of_every_geometry() -> list[HwConfig]:
    """Arrays of all proportions: one row, one column, no pipeline, a deep one, rows = tile_cols, large queues."""
    shapes = [
        (1, 1, 0),
        (1, 1, 3),
        (2, 1, 1),
        (1, 2, 0),
        (2, 2, 0),
        (3, 3, 0),
        (5, 2, 2),
        (6, 3, 1),
        (4, 1, 3),
        (7, 1, 6),
    ]
    queues = [4, 1, 2, 3, 8, 4, 5, 4, 2, 4]
    return [
        replace(RM_12X4, name=f"{rows}x{cols} pipe {pipe}", rows=rows, cols=cols, pipe=pipe, queue_jobs=queue)
        for (rows, cols, pipe), queue in zip(shapes, queues, strict=True)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "cfg",
    [*configs_of_every_geometry(), *(cfg for cfg in CONFIGS.values() if cfg is not RM_12X4)],
    ids=lambda cfg: cfg.name,
)
def test_every_geometry(cfg: HwConfig, seed: int) -> None:
    campaign(cfg, 1000, seed)
