"""The engine's speed, held to its targets and to a golden file; ``pytest -s`` prints the table."""

import json

import numpy as np
import pytest
from tdco_sim.bench import bench_gemm, bench_workload
from tdco_sim.workloads import WORKLOADS, swapped
from tdco_spec import get_config

from .cycles import (
    GOLDEN,
    GOLDEN_CONFIGS,
    OVER_CORE,
    STALL_SEEDS,
    STALLED,
    TARGETS,
    WORKLOAD,
    WORKLOAD_LIMIT,
    WORKLOAD_UPSTREAM,
    Shape,
    core_cycles,
    cycles,
    engine,
    golden_cycles,
    port_requests,
    row,
    show,
)
from .jobs import random_shape

RANDOM_SHAPES = 60


def by_config(configs: tuple[str, ...]) -> list:
    """The rm_12x4 in every run; the others need an RTL build of a minute each."""
    return [pytest.param(name, marks=() if name == "rm_12x4" else pytest.mark.slow) for name in configs]


@pytest.mark.parametrize("config", by_config(("rm_12x4", "rm_8x8")))
def test_targets(config: str) -> None:
    targets = [target for target in TARGETS if target.config == config]
    measured = [cycles(config, target.shape, **target.options) for target in targets]
    show(
        f"{config}: TRIGGER to event, memory always ready", [row(*pair) for pair in zip(targets, measured, strict=True)]
    )
    for target, taken in zip(targets, measured, strict=True):
        assert taken <= target.limit, target


@pytest.mark.slow
def test_the_products_of_a_training_step_in_one_queue() -> None:
    library, cfg = engine("rm_12x4")
    (result,) = bench_workload(library, cfg, WORKLOAD)
    assert (result["mismatches"], result["guard_errors"]) == (0, 0), result
    assert result["busy"] == result["cycles"] and result["macs"] == 61_591_296, result
    case = f"rm_12x4 {WORKLOAD}, {result['jobs']} jobs, {result['swapped']} with operands exchanged"
    core = sum(
        gemm.count * min(core_cycles(cfg, gemm.shape), core_cycles(cfg, swapped(gemm).shape))
        for gemm in WORKLOADS[WORKLOAD]
    )
    show(
        "the products of a CCT-2 FT-2 step, queued",
        [(case, core, result["cycles"], WORKLOAD_LIMIT, WORKLOAD_UPSTREAM)],
    )
    assert result["cycles"] <= WORKLOAD_LIMIT


def test_small_k_is_bound_by_the_port() -> None:
    cfg = get_config("rm_12x4")
    shapes: list[Shape] = [(96, 96, k) for k in range(1, 16)]
    bounds = [max(core_cycles(cfg, shape), port_requests(cfg, shape)) + OVER_CORE[True] for shape in shapes]
    measured = [cycles("rm_12x4", shape) for shape in shapes]
    rows = [
        (",".join(map(str, shape)), core_cycles(cfg, shape), taken, bound, 0)
        for shape, taken, bound in zip(shapes, measured, bounds, strict=True)
    ]
    show("rm_12x4, small K: at most max(core, lines moved) + 66", rows)
    assert all(taken <= bound for taken, bound in zip(measured, bounds, strict=True)), rows


def test_refused_grants_cost_little(seed: int) -> None:
    """A share of 0.3 of the grants refused at random, with ten seeds."""
    rows = []
    for shape, factor in STALLED.items():
        quiet = cycles("rm_12x4", shape)
        seeds = [STALL_SEEDS * seed + i for i in range(STALL_SEEDS)]
        stalled = [cycles("rm_12x4", shape, stall=0.3, seed=each) for each in seeds]
        case = f"{','.join(map(str, shape))}: {quiet:,} quiet, worst x {max(stalled) / quiet:.4f}, at most x {factor}"
        rows.append((case, core_cycles(get_config("rm_12x4"), shape), max(stalled), quiet * factor, 0))
    show(f"rm_12x4, 30 % of grants refused, worst of {STALL_SEEDS} seeds", rows)
    assert all(worst <= limit for _, _, worst, limit, _ in rows), rows


@pytest.mark.parametrize("y", [True, False])
@pytest.mark.parametrize("config", by_config(("rm_12x4", "rm_12x4_acc32")))
def test_any_shape_is_close_to_core(config: str, seed: int, y: bool) -> None:
    """K of a line or more, nothing transposed."""
    library, cfg = engine(config)
    rng = np.random.default_rng(seed)
    shapes = [(m, n, max(k, cfg.tile_cols)) for m, n, k in (random_shape(rng, cfg) for _ in range(RANDOM_SHAPES))]
    for shape, result in zip(shapes, bench_gemm(library, cfg, shapes, y=y, seed=seed), strict=True):
        assert result["cycles"] <= core_cycles(cfg, shape) + OVER_CORE[y], (shape, result)


@pytest.mark.slow
def test_transposed_x_of_a_wide_line_is_bound_by_the_port() -> None:
    """rm_8x8 takes 16 lines of a transposed X where 8 do otherwise: more than its port moves beside W."""
    cfg = get_config("rm_8x8")
    shape = (96, 96, 96)
    tiles = 12 * 6
    lines = tiles * 96 * 2 + 2 * 96 * 6  # a line of X and one of W for each step of K; Y and Z
    taken = cycles("rm_8x8", shape, trans_x=True)
    show("rm_8x8, trans_x: bound by lines moved", [("96,96,96", core_cycles(cfg, shape), taken, lines + 66, 0)])
    assert lines <= taken <= lines + OVER_CORE[True]


@pytest.mark.parametrize("config", by_config(GOLDEN_CONFIGS))
def test_cycles_are_those_of_the_golden_file(config: str) -> None:
    """A deliberate change: ``python -m tests.rtl.cycles``."""
    assert golden_cycles(config) == json.loads(GOLDEN.read_text())[config]
