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
    assert ran["rtl_macs"] == compiled["macs"] and compiled["flop"] == ran["flop"]
    assert 0.95 * ran["flop"] < 2 * ran["rtl_macs"] <= ran["flop"], "padding is not multiplied"
    assert ran["max_rel_error"] <= 0.02 and ran["cosine"] >= 0.999
    assert ran["l1_peak_bytes"] <= compiled["l1_peak_bytes"] and ran["l2_peak_bytes"] <= compiled["l2_peak_bytes"]


@pytest.mark.slow
def test_the_demo_learns(tmp_path: Path) -> None:
    result = tdco("demo", "-o", tmp_path / "demo")
    assert result["mismatches"] == 0 and result["words_compared"] > 0
    assert result["accuracy_after"] >= result["accuracy_before"] + 0.15


MODELS = Path(__file__).parents[1] / "flow" / "models.py"
COMPILE = ("-s", "train:*", "-c", "rm_12x4", "-o", "OUT")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("run", "OUT"), 1, "holds no compiled program"),
        (("run", "OUT", "--seed", "-1"), 2, "--seed"),
        (("compile",), 2, "MODEL"),
        (("compile", "zoo:cct2", "-s", "lp", "-c", "rm_9x9", "-o", "OUT"), 1, "rm_12x4"),
        (("compile", "zoo:cct2", "-s", "lora3", "-c", "rm_12x4", "-o", "OUT"), 1, "train"),
        (("compile", "zoo:nothing", *COMPILE), 1, "cct2"),
        (("compile", "missing.onnx", *COMPILE), 1, "missing.onnx"),
        (("compile", f"{MODELS}:with_tanh", *COMPILE), 1, "Tanh"),
        (("compile", f"{MODELS}:with_tanh", *COMPILE), 1, "Relu"),
        (("compile", f"{MODELS}:tied", *COMPILE), 1, "shares weights: 2.weight"),
        (("compile", f"{MODELS}:not_a_model", *COMPILE), 1, "returned int"),
        (("hw", "verilog", "rm_0x0"), 1, "rm_12x4"),
        (("hw", "header", "rm_12x4", "-o", "/nowhere/x.h"), 1, "/nowhere/x.h"),
        (("bench", "gemm", "--shape", "1x2"), 1, "MxNxK"),
        (("bench", "gemm", "--stall", "1"), 2, "--stall"),
    ],
)
def test_errors_are_one_object_and_a_code(tmp_path: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    out = tmp_path / "out"
    error = tdco(*(str(out) if a == "OUT" else a for a in arguments), code=code)["error"]
    assert said in f"{error['where']}: {error['what']} ({error['hint']})"
    assert not out.exists()


def test_a_foreign_program_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "program.json").write_text("{}")
    assert "format" in tdco("run", tmp_path, code=1)["error"]["what"]


def test_output_is_one_object(tmp_path: Path) -> None:
    assert "#define" in tdco("hw", "header", "rm_12x4")["text"]
    assert next(c["name"] for c in tdco("hw", "list")["configs"]) == "rm_12x4"
    assert tdco("doctor")["ok"]


def test_a_step_without_gemm_has_nothing_to_show_for_the_rtl(tmp_path: Path) -> None:
    """Nothing compared is a failure."""
    tdco("compile", f"{MODELS}:norm_only", "-s", "train:*", "-c", "rm_12x4", "-o", tmp_path / "out")
    ran = tdco("run", tmp_path / "out", "--engine", "rtl", code=1)
    assert not ran["ok"] and not ran["words_compared"]
