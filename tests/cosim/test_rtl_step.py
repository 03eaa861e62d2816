"""CCT-2 steps with every GEMM on the Verilated engine, through the command line as a user would."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from tdco.cli import main


def tdco(*arguments: object, code: int = 0) -> dict:
    """The JSON object that ``tdco arguments --json`` prints; it must exit with ``code``."""
    result = CliRunner().invoke(main, [*map(str, arguments), "--json"])
    assert result.exit_code == code, result.output
    return dict(json.loads(result.stdout))


@pytest.mark.parametrize(
    ("strategy", "config"),
    [
        ("lp", "rm_12x4"),
        *(
            pytest.param(s, c, marks=pytest.mark.slow)
            for s, c in (("ft1", "rm_12x4"), ("ft2", "rm_12x4"), ("ft2", "rm_8x4"), ("ft2", "rm_8x8"))
        ),
    ],
)
def test_every_gemm_of_a_step_on_the_rtl(tmp_path: Path, strategy: str, config: str) -> None:
    out = tmp_path / "out"
    compiled = tdco("compile", "zoo:cct2", "-s", strategy, "-c", config, "-o", out)
    ran = tdco("run", out, "--engine", "rtl", "--data", "digits", "--rotate", 30)
    assert ran["mismatches"] == 0 and ran["words_compared"] > 0
    assert ran["rtl_jobs"] == compiled["gemm_jobs"]
    assert 2 * ran["rtl_macs"] == compiled["flop"] == ran["flop"]
    assert ran["max_rel_error"] <= 0.02 and ran["cosine"] >= 0.999
    assert ran["l1_peak_bytes"] <= compiled["l1_peak_bytes"] and ran["l2_peak_bytes"] <= compiled["l2_peak_bytes"]


@pytest.mark.slow
def test_the_demo_learns(tmp_path: Path) -> None:
    result = tdco("demo", "-o", tmp_path / "demo")
    assert result["mismatches"] == 0 and result["words_compared"] > 0
    assert result["accuracy_after"] >= result["accuracy_before"] + 0.15


def test_errors_are_one_sentence_and_a_code(tmp_path: Path) -> None:
    nothing = tdco("run", tmp_path, code=1)["error"]
    assert nothing["what"] == "holds no compiled program" and nothing["where"] == str(tmp_path)
    unknown = tdco("compile", "zoo:cct2", "-s", "lp", "-c", "rm_9x9", "-o", tmp_path / "o", code=1)["error"]
    assert "rm_12x4" in unknown["what"]
    file = Path(__file__).parents[1] / "flow" / "models.py"
    tanh = tdco("compile", f"{file}:with_tanh", "-s", "train:*", "-c", "rm_12x4", "-o", tmp_path / "o", code=1)["error"]
    assert "Tanh" in tanh["what"] + tanh["where"] and "Relu" in tanh["hint"]
    assert not (tmp_path / "o").exists()
