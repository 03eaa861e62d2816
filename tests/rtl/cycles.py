"""How many cycles the engine takes: the targets it is held to, and the golden file of exact figures.

Every figure comes from ``tdco_sim.bench.bench_gemm``, that is from ``tdco bench gemm``. After a deliberate change of
speed, ``python -m tests.rtl.cycles`` in the repository's root rewrites the golden file.
"""

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import redmule.verilog
from rich.console import Console
from rich.table import Table
from tdco_sim import rtl
from tdco_sim.bench import bench_gemm
from tdco_spec import HwConfig, get_config

from .jobs import core_cycles

GOLDEN = Path(__file__).parents[1] / "golden" / "cycles.json"
GOLDEN_CONFIGS = ("rm_12x4", "rm_8x4", "rm_8x8", "rm_12x4_acc32")
OVER_CORE = {True: 66, False: 54}
"""A job with Y, without Y: cycles over core at most, for K of a line or more and nothing transposed."""
STALL_SEEDS = 10

Shape = tuple[int, int, int]
TRANSPOSES = {f"trans_{letter}": {f"trans_{letter}": True} for letter in "xwz"}
TRANSPOSES["all three transposed"] = {key: True for options in list(TRANSPOSES.values()) for key in options}


@dataclass(frozen=True)
class Target:
    """A case of the speed table: at most ``limit`` cycles. ``upstream``: RedMulE's own figure, 0 if it has none."""

    config: str
    shape: Shape
    limit: int
    upstream: int = 0
    what: str = ""
    options: dict[str, Any] = field(default_factory=dict)


TARGETS = [
    Target("rm_12x4", (96, 96, 96), 18_498, 18_539),
    Target("rm_12x4", (12, 16, 16), 130, 169),
    Target("rm_12x4", (64, 64, 64), 6_210, 6_251),
    Target("rm_12x4", (128, 128, 128), 45_122, 45_163),
    Target("rm_12x4", (24, 32, 32), 51_600, 61_900, "100 queued", {"repeat": 100}),
    *(Target("rm_12x4", (96, 96, 96), 18_530, 0, what, options) for what, options in TRANSPOSES.items()),
    Target("rm_8x8", (96, 96, 96), 13_890, 14_025),
    Target("rm_8x8", (128, 128, 128), 32_834, 33_081),
]
STALLED = {(96, 96, 96): 1.02, (48, 32, 32): 1.04, (96, 96, 16): 1.20}
"""Slowdown at most while 30 % of the grants are refused."""

WORKLOAD, WORKLOAD_LIMIT, WORKLOAD_UPSTREAM = "cct2-ft2", 1_347_000, 1_397_838
"""The products of CCT-2's FT-2 step as one queue; RedMulE also needs passes of the cores for the transposes."""

GOLDEN_SHAPES = [(1, 1, 1), (12, 16, 16), (13, 17, 33), (48, 32, 32), (33, 33, 33), (64, 64, 64), (96, 96, 96)]
GOLDEN_SHAPES += [(96, 96, k) for k in (1, 4, 8, 15)] + [(1, 64, 128), (128, 1, 64), (10, 64, 128)]
GOLDEN_OPTIONS: dict[str, dict[str, Any]] = {
    "": {},
    "no_y": {"y": False},
    **TRANSPOSES,
    "bias": {"bias": True},
    "5 queued": {"repeat": 5},
    "stall 0.3": {"stall": 0.3},
}
OPTION_SHAPES = [(13, 17, 33), (48, 32, 32)]


@cache
def engine(config: str) -> tuple[Path, HwConfig]:
    cfg = get_config(config)
    return rtl.build(redmule.verilog.emit(cfg), cfg), cfg


def cycles(config: str, shape: Shape, **options: Any) -> int:
    """From the first TRIGGER to the last event; the result is right and the engine's own count is the same."""
    (result,) = bench_gemm(*engine(config), [shape], **options)
    assert (result["mismatches"], result["guard_errors"]) == (0, 0), result
    assert result["busy"] == result["cycles"], result
    return int(result["cycles"])


def port_requests(cfg: HwConfig, shape: Shape) -> int:
    """Lines that the port must move for a job with Y and nothing transposed."""
    m, n, k = shape
    tiles_m, tiles_n, lines_k = -(-m // cfg.rows), -(-n // cfg.tile_cols), -(-k // cfg.tile_cols)
    return m * lines_k * tiles_n + k * tiles_n * tiles_m + 2 * m * tiles_n


def golden_cycles(config: str) -> dict[str, int]:
    """Exact cycles of the golden file's cases."""
    cases = [(shape, "") for shape in GOLDEN_SHAPES]
    cases += [(shape, name) for shape in OPTION_SHAPES for name in GOLDEN_OPTIONS if name]
    return {
        " ".join(("x".join(map(str, shape)), name)).strip(): cycles(config, shape, **GOLDEN_OPTIONS[name])
        for shape, name in cases
    }


def show(title: str, rows: list[tuple[str, int, int, float, int]]) -> None:
    """Print (case, core, measured, limit, upstream) as a table."""
    table = Table(title=title, title_justify="left")
    for column in ("case (M,N,K)", "core", "cycles", "at most", "RedMulE"):
        table.add_column(column, justify="left" if column.startswith("case") else "right")
    for case, core, measured, limit, upstream in rows:
        table.add_row(case, f"{core:,}", f"{measured:,}", f"{limit:,.0f}", f"{upstream:,}" if upstream else "")
    Console(width=120).print(table)


def row(target: Target, measured: int) -> tuple[str, int, int, float, int]:
    case = f"{target.config} {','.join(map(str, target.shape))} {target.what}"
    core = core_cycles(get_config(target.config), target.shape) * int(target.options.get("repeat", 1))
    return case, core, measured, target.limit, target.upstream


if __name__ == "__main__":
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps({config: golden_cycles(config) for config in GOLDEN_CONFIGS}, indent=1) + "\n")
