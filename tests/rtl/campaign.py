"""Campaigns of random jobs on the Verilated engine under stress, their results compared with golden, bit for bit."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from tdco_sim import golden
from tdco_sim.engine import L1_BASE, Engine
from tdco_sim.errors import SimError
from tdco_sim.rtl.stress import STALLS, QueueRun, StressEngine
from tdco_spec import HwConfig

from .coverage import IMPOSSIBLE, ORDERS, Coverage, bins_of, dimensions
from .jobs import ARENA_BYTES, LARGE_FROM, Arena, Job, is_large, port_lines, random_queue

QUEUE_LENGTHS = (1, 1, 2, 5, 7)
CLEARED, LATEST_CLEAR = 0.1, 2000  # share of queues; cycles after the first TRIGGER

Memory = NDArray[np.uint8]


@dataclass
class Result:
    """Totals of a campaign. Whatever is in ``failures`` is a defect, told with how to see it again."""

    coverage: Coverage
    jobs: int = 0
    words_compared: int = 0
    clears: int = 0
    large: int = 0
    cycles: int = 0
    refused: int = 0
    failures: list[str] = field(default_factory=list)


def run_campaign(library: Path, cfg: HwConfig, jobs: int, seed: int, stop_after: int = 5) -> Result:
    """At least ``jobs`` finished jobs, in queues that each depend on ``seed`` and their number alone."""
    result = Result(Coverage(cfg))
    memory = np.zeros(ARENA_BYTES, np.uint8)
    wanted = np.zeros(ARENA_BYTES, np.uint8)
    engine, reference = StressEngine(library, memory, L1_BASE), Engine(golden.build(cfg), wanted)
    arena, number = Arena(ARENA_BYTES), 0
    try:
        while result.jobs < jobs and len(result.failures) < stop_after:
            rng = np.random.default_rng([seed, number])
            arena.reset(rng)
            queue = random_queue(rng, arena, cfg, int(rng.choice(QUEUE_LENGTHS)))
            memory[:], wanted[:] = arena.data, arena.data
            stall, probability = str(rng.choice(STALLS)), float(rng.choice([0.1, 0.3, 0.7]))
            clear_after = int(rng.integers(1, LATEST_CLEAR)) if rng.random() < CLEARED else 0
            words = [job.words(L1_BASE) for job in queue]
            try:
                run = engine.run(words, stall, probability, int(rng.integers(1 << 32)), clear_after)
                compare(cfg, queue, words, run, memory, reference)
            except SimError as error:
                result.failures.append(f"--seed {seed}, queue {number}, stall {stall}: {error.what}")
                engine.close()
                engine = StressEngine(library, memory, L1_BASE)
            else:
                count(result, queue, run, stall)
            number += 1
    finally:
        engine.close()
        reference.close()
    return result


def run_queue(
    library: Path, cfg: HwConfig, arena: Arena, queue: Sequence[Job], stall: str = "none", p: float = 0.0, seed: int = 0
) -> QueueRun:
    """One queue of jobs placed in ``arena``, on an engine of its own.

    Raises:
        SimError: the first thing that is wrong.
    """
    memory, wanted = arena.data.copy(), arena.data.copy()
    engine, reference = StressEngine(library, memory, L1_BASE), Engine(golden.build(cfg), wanted)
    words = [job.words(L1_BASE) for job in queue]
    try:
        run = engine.run(words, stall, p, seed)
        compare(cfg, queue, words, run, memory, reference)
    finally:
        engine.close()
        reference.close()
    return run


def compare(
    cfg: HwConfig, queue: Sequence[Job], words: list[list[int]], run: QueueRun, memory: Memory, reference: Engine
) -> None:
    """The whole memory against golden's, which runs the jobs in its own; flags and number of requests.

    Raises:
        SimError: if anything differs.
    """
    flags = 0
    for job in words[: run.finished]:
        flags |= reference.run(job)
    differs = memory != reference.l1
    if run.cleared:
        if run.finished < len(words):
            reference.run(words[run.finished])  # this one may have stored some of its lines
            differs &= memory != reference.l1
    elif run.flags != flags:
        raise SimError(f"flags 0x{run.flags:X}, golden 0x{flags:X}")
    elif run.granted != (lines := sum(port_lines(cfg, job) for job in queue)):
        raise SimError(f"{run.granted} requests, not {lines}")
    if differs.any():
        at = int(np.flatnonzero(differs)[0])
        raise SimError(f"{int(differs.sum())} bytes differ from golden, the first at 0x{L1_BASE + at:X}")


def count(result: Result, queue: Sequence[Job], run: QueueRun, stall: str) -> None:
    """Add a good queue to the totals; jobs that were cleared away count for nothing."""
    result.clears += run.cleared
    result.cycles += run.cycles
    for job, of_job in list(zip(queue, run.jobs, strict=True))[: run.finished]:
        result.jobs += 1
        result.refused += sum(of_job.refused.values())
        if job.illegal:
            result.coverage.broken[job.illegal] += 1
        else:
            result.large += is_large(job.shape)
            result.words_compared += job.z.size
            result.coverage.add(bins_of(result.coverage.cfg, job, of_job, stall))


def show(result: Result, seed: int, seconds: float) -> None:
    """Print totals and coverage."""
    cfg, console = result.coverage.cfg, Console(width=120)
    console.print(
        f"{cfg.name}, seed {seed}: {result.jobs:,} random jobs ({result.coverage.broken.total():,} illegal, "
        f"{result.large:,} of at least {LARGE_FROM} in each size), {result.clears:,} soft clears, "
        f"{result.cycles:,} cycles, {result.refused:,} refused grants, {result.words_compared:,} elements "
        f"compared, {len(result.failures)} failures; {result.jobs / seconds:.0f} jobs/s"
    )
    bins = Table(title="Jobs in each bin", title_justify="left")
    bins.add_column("dimension")
    bins.add_column("bins")
    for name, values in dimensions(cfg).items():
        bins.add_row(name, ", ".join(f"{value} {result.coverage.hits[((name, value),)]:,}" for value in values))
    bins.add_row("illegal", ", ".join(f"{rule} {count:,}" for rule, count in result.coverage.broken.items()))
    console.print(bins)
    crosses = Table(title="Combinations hit", title_justify="left")
    for column in ("of dimensions", "possible", "hit", "%"):
        crosses.add_column(column, justify="right")
    for order in ORDERS:
        total, missed = result.coverage.table(order)
        crosses.add_row(str(order), f"{total:,}", f"{total - len(missed):,}", f"{100 * (1 - len(missed) / total):.1f}")
    console.print(crosses)
    for combination, reason in IMPOSSIBLE:
        console.print(f"impossible: {', '.join(f'{k} {v}' for k, v in combination.items())}: {reason}")
