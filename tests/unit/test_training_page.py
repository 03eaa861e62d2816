"""docs/benchmarks.md: two commands write a half each and keep the other's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tdco.cli._training_page import CYCLES, MEMORY, OTHERS, PAGE, SECOND, write_others, write_page
from tdco.cli.bench_training import OTHER_CASES, Case
from tdco.footprint import Life

LIVES = [Life("x", "activations", "l2", 0, 64, 0, 3), Life("w", "parameters", "l2", 64, 128, 0, 5)]


def result(*strategies: str, error: str = "") -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys((c.key for c in (*CYCLES, *MEMORY, *OTHERS)), 7)
    row |= {"error": "", "words_compared": 4, "mismatches": 0, "worth": None}
    rows = [{**row, "strategy": s, "case": f"zoo:cct2 -s {s}", "error": error} for s in strategies]
    return {"model": "zoo:cct2", "config": "rm_12x4", "engine": "rtl", "results": rows, "others": rows}


def test_each_half_of_the_page_outlives_the_other(tmp_path: Path) -> None:
    write_page(tmp_path, result("lp"), {"lp": LIVES}, "first command")
    write_others(tmp_path, result("full"), "second command")
    write_page(tmp_path, result("lp", "ft2"), {"lp": LIVES, "ft2": LIVES}, "first command again")
    assert "second command" in (tmp_path / PAGE).read_text()
    write_others(tmp_path, result("full", "lora2"), "second command again")
    page = (tmp_path / PAGE).read_text()
    assert page.count("first command again") == page.count("second command again") == page.count(SECOND) == 1
    assert page.count("| ft2 |") == 2 and page.count("| zoo:cct2 -s lora2 |") == 1
    assert "| ft2 | 7 | 7 | 7.0 |" in page and "| 7 | - |" in page, "what was not measured is a dash"
    assert "8 words, 0 differ" in page
    named = [line.rsplit("(", 1)[1].rstrip(")") for line in page.splitlines() if line.startswith("![")]
    assert len(named) == 3 and all((tmp_path / name).exists() for name in named)


def test_a_step_that_does_not_run_is_named_with_its_reason(tmp_path: Path) -> None:
    write_others(tmp_path, result("full", error="does not fit"), "command")
    assert "- `zoo:cct2 -s full` does not run: does not fit" in (tmp_path / PAGE).read_text()


@pytest.mark.parametrize(
    "case", ["zoo:cct2 -s lora2 --l2-bytes 1048576", "zoo:deep_ae -s full --batch 8", "zoo:cct2 -s full"]
)
def test_the_second_table_has_the_steps_that_are_asked_for(case: str) -> None:
    assert case in map(str, OTHER_CASES)
    assert str(Case("m.onnx", "train:a,b", engine=False)) == "m.onnx -s 'train:a,b' --no-engine"
