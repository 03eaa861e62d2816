"""The part of docs/experiments.md on rounding: which way of keeping weights is enough at which learning rate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tdco_sim.compare import write_markdown

from ._experiment_page import PAGE, command, line

WAYS = {"fp16": 2, "stochastic": 2, "kahan": 4, "fp32": 6}
"""Of keeping a trained weight, and its bytes; what takes least comes first."""
TOLERANCE = 0.05
"""Of an update's distance from torch's, beyond the fp32 master's."""


def write_rounding(docs: Path, result: dict[str, Any], runs: object) -> None:
    """Its part of ``docs``/experiments.md."""
    write_markdown(docs / PAGE, result["name"], _lines(result))


def _lines(result: dict[str, Any]) -> list[str]:
    by = {(row["optimizer"].partition("=")[2], row["lr"]): row for row in result["results"]}
    rates, ways = sorted({lr for _, lr in by}), [way for way in WAYS if way in {way for way, _ in by}]
    lines = [*_text(result).splitlines(), ""]
    lines += [line("lr", "torch fp32", *(f"{way}, {WAYS[way]} bytes" for way in ways), "enough")]
    lines += [line("---:", *["---:"] * (1 + len(ways)), "---")]
    for lr in rates:
        rows = {way: by[way, lr] for way in ways}
        cells = [f"{row['device']:.1%} ({row['update_error']:.1%})" for row in rows.values()]
        limit = rows["fp32"]["update_error"] + TOLERANCE
        enough = next(way for way, row in rows.items() if row["update_error"] <= limit)
        lines.append(line(f"{lr:g}", f"{rows[ways[0]]['torch']:.1%}", *cells, enough))
    costs = ", ".join(f"{way} {by[way, rates[0]]['cycles']:,}" for way in ways)
    return [*lines, "", f"Cycles of a step (soc, engine model): {costs}."]


def _text(result: dict[str, Any]) -> str:
    strategy, seeds = result["results"][0]["strategy"], result["seeds"]
    return f"""
## {result["title"]}

Written by `{command(result)}`.

`{result["model"]}` learns {result["data"]} by `{strategy}`, plain SGD: {result["samples"]:,} images, each once, one per
step; {result["test"]:,} are held out, the same in all runs. A trained weight is kept as fp16 rounded to nearest, as
fp16 rounded by chance (stochastic), as fp16 with a carry of what rounding lost (kahan), or with an fp32 master. Each
cell: accuracy, and how far the whole update is from torch's (relative L2), means over {seeds} seed{"s" * (seeds > 1)}.
*Enough*: the first of the ways whose update is at most {TOLERANCE:.0%} farther from torch's than with an fp32 master;
what is left with a master comes of the fp16 passes, not of how weights are kept.
"""
