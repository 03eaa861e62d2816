"""What ordinary jobs found in RedMulE (main, 51cd064, October 2025): each of its defects is a case here.

M, N and K are the BLAS names, K reduces. Memory around every operand is guarded on read and write, so a store past Z
fails in the cycle it is made.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import redmule.verilog
from tdco_sim.rtl.stress import QueueRun, build_stress
from tdco_spec import get_config

from .campaign import run_queue
from .jobs import Arena, Y, make_job

CFG = get_config("rm_12x4")
ARENA_BYTES = 1 << 19
Shape = tuple[int, int, int]


@pytest.fixture(scope="module")
def library() -> Path:
    return build_stress(redmule.verilog.emit(CFG), CFG)


def run(
    library: Path, seed: int, shapes: Sequence[Shape], flags: int = Y, stall: str = "none", p: float = 0.0
) -> QueueRun:
    """One queue of jobs of ``shapes``, checked in every respect."""
    rng, arena = np.random.default_rng(seed), Arena(ARENA_BYTES)
    arena.reset(rng)
    queue = [make_job(rng, arena, shape, flags, "special") for shape in shapes]
    return run_queue(library, CFG, arena, queue, stall, p, seed)


@pytest.mark.parametrize("shape", [(13, 16, 16), (64, 64, 64), (65, 128, 128)], ids=str)
def test_rows_that_do_not_fill_a_tile_store_nothing_past_z(library: Path, seed: int, shape: Shape) -> None:
    """RedMulE stored 341, 1,006 and 1,770 bytes after Z: it moves twelve rows of Y and Z however few there are."""
    run(library, seed, [shape])


@pytest.mark.parametrize("shape", [(150, 16, 9), (168, 16, 9), (200, 16, 13), (144, 16, 9), (192, 32, 13)], ids=str)
def test_tall_matrices_with_a_small_odd_k(library: Path, seed: int, shape: Shape) -> None:
    """RedMulE got 272, 560 and 304 elements wrong and hung twice: row leftovers were read from W's counters."""
    run(library, seed, [shape])


@pytest.mark.parametrize(
    "shape", [(36, 16, 4), (96, 96, 4), (24, 16, 1), (12, 16, 1), (36, 16, 8), (60, 16, 5), (97, 16, 7)], ids=str
)
def test_small_k_over_several_tiles(library: Path, seed: int, shape: Shape) -> None:
    """RedMulE hung on the first three and got 96, 159, 160 and 320 elements of the others wrong."""
    run(library, seed, [shape])


@pytest.mark.parametrize("shape", [(12, 16, 16), (24, 16, 16), (96, 96, 96)], ids=str)
def test_without_y(library: Path, seed: int, shape: Shape) -> None:
    """RedMulE hung beyond one tile, waiting for a Y that nobody loads."""
    run(library, seed, [shape], flags=0)


def test_jobs_in_a_row_without_a_clear(library: Path, seed: int) -> None:
    """RedMulE got every element of a second job wrong unless it was cleared in between."""
    run(library, seed, [(24, 32, 20), (13, 16, 9), (24, 32, 20), (1, 1, 1), (30, 17, 32)])


@pytest.mark.parametrize("p", [0.02, 0.05, 0.1, 0.2, 0.3])
def test_randomly_refused_grants(library: Path, seed: int, p: float) -> None:
    """RedMulE hung in one of twenty runs at p = 0.02, in half of them at 0.2, and once ended with wrong data."""
    for i in range(5):
        assert sum(run(library, 5 * seed + i, [(48, 32, 32)], stall="random", p=p).jobs[0].refused.values()) > 0


@pytest.mark.parametrize("size", [17, 18, 31, 33])
def test_lines_at_odd_halfwords(library: Path, seed: int, size: int) -> None:
    """Every second line starts in the middle of a word, and the word it ends in belongs to it by half."""
    for flags in (0, Y):
        run(library, seed, [(size, size, size), (size, 16, size), (16, size, 17)], flags=flags)
