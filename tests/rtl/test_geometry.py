"""Arrays of any legal geometry compute the same bits; the others are refused with the inequality they violate."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import redmule.verilog
from tdco_sim import bench, rtl
from tdco_spec import ConfigError, HwConfig, get_config

GEOMETRIES = [(1, 1, 0), (1, 1, 1), (1, 3, 0), (3, 2, 2), (2, 5, 0), (5, 3, 1), (4, 1, 4), (2, 2, 5), (16, 4, 3)]
GEOMETRIES += [(20, 10, 2), (24, 6, 3)]  # lines longer than those of the named ones, their lengths no powers of two
JOBS = 40
FLAGS = ("trans_x", "trans_w", "trans_z", "y", "bias", "relu")


def geometry(rows: int, cols: int, pipe: int, **options: Any) -> HwConfig:
    return replace(
        get_config("rm_12x4"), name=f"{rows}x{cols}, pipe {pipe}", rows=rows, cols=cols, pipe=pipe, **options
    )


def check(cfg: HwConfig, seed: int) -> None:
    """Random queues, half of them stalled, against golden; nothing outside of operands is read or written."""
    library = rtl.build(redmule.verilog.emit(cfg), cfg)
    rng = np.random.default_rng((cfg.hash, seed))
    for number in range(JOBS):
        edges = (1, cfg.rows, cfg.rows + 1, cfg.tile_cols, cfg.tile_cols + 1, 2 * cfg.tile_cols + 1, 20)
        m, n, k = (int(size) for size in rng.choice(edges, 3))
        flags = {name: bool(rng.integers(0, 2)) for name in FLAGS}
        stall, repeat = 0.4 * (number % 2), int(rng.choice([1, 1, 5]))
        (result,) = bench.bench_gemm(
            library, cfg, [(m, n, k)], stall=stall, repeat=repeat, seed=JOBS * seed + number, **flags
        )
        assert (result["mismatches"], result["guard_errors"]) == (0, 0), (flags, result)
        assert result["macs"] == repeat * m * n * k


@pytest.mark.slow
@pytest.mark.parametrize("shape", GEOMETRIES, ids=lambda shape: "x".join(map(str, shape)))
def test_geometry(shape: tuple[int, int, int], seed: int) -> None:
    check(geometry(*shape), seed)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 1, 0), (3, 2, 1)], ids=lambda shape: "x".join(map(str, shape)))
def test_geometry_with_f32_accumulator(shape: tuple[int, int, int], seed: int) -> None:
    check(geometry(*shape, acc="fp32"), seed)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((0, 1, 0), "rows must be >= 1, not 0"),
        ((1, 0, 0), "cols must be >= 1, not 0"),
        ((1, 1, -1), "pipe must be >= 0, not -1"),
        ((3, 2, 0), r"rows <= cols \* \(pipe \+ 1\), but 3 > 2"),
        ((4, 8, 3), "port_words <= l1_banks, but 17 > 16"),
    ],
)
def test_illegal_geometries_name_the_inequality(shape: tuple[int, int, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        geometry(*shape)
