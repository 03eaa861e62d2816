"""The engine's commands as a user or a script sees them: keys of the JSON object, and the exit status."""

import json
from pathlib import Path
from typing import Any

import pytest
import redmule.area
import tdco.cli.bench
from click.testing import CliRunner
from tdco.cli import main
from tdco_sim import rtl

from .test_area import engine_area

FAULTY = Path(__file__).parents[1] / "cosim" / "faulty.v"
WRONG_RESULT = 7  # N of the job whose result the faulty engine gets wrong


def run(*arguments: object, code: int = 0) -> dict[str, Any]:
    """What ``tdco arguments --json`` prints; it must exit with ``code``."""
    done = CliRunner().invoke(main, [*map(str, arguments), "--json"])
    assert done.exit_code == code, done.output
    return dict(json.loads(done.stdout))


FMA_KEYS = {"ok", "config", "vectors", "mismatches_rtl", "mismatches_golden", "examples"}


def test_fma(tmp_path: Path, seed: int) -> None:
    result = run("bench", "fma", "--count", 1000, "--seed", seed)
    assert result.keys() >= FMA_KEYS and result["ok"]
    assert result["vectors"] > 1000 and result["mismatches_rtl"] == result["mismatches_golden"] == 0
    wrong = tmp_path / "wrong.txt"
    wrong.write_text("3C00 3C00 3C00 4001 00\n")
    result = run("bench", "fma", "--vectors", wrong, code=1)
    assert result.keys() >= FMA_KEYS and not result["ok"]
    assert (result["vectors"], result["mismatches_rtl"], result["mismatches_golden"]) == (1, 1, 1)


GEMM_KEYS = {"shape", "cycles", "busy", "macs", "utilization", "mismatches", "guard_errors", "words_compared"}


def test_gemm(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    result = run("bench", "gemm", "--shape", "12x16x16,3x5x7", "--seed", seed)
    assert result["ok"] and [r["shape"] for r in result["results"]] == [[12, 16, 16], [3, 5, 7]]
    assert all(r.keys() == GEMM_KEYS and r["mismatches"] == r["guard_errors"] == 0 for r in result["results"])
    assert result["results"][0]["cycles"] == result["results"][0]["busy"] == 125

    monkeypatch.setattr(tdco.cli.bench, "engine_library", lambda _engine, cfg: rtl.build(FAULTY.read_text(), cfg))
    result = run("bench", "gemm", "--shape", f"1x{WRONG_RESULT}x1", code=1)
    assert not result["ok"] and result["results"][0]["mismatches"] > 0


def test_area(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the measurement that test_area.py has made, once as it is and once as if Yosys had failed."""
    monkeypatch.setattr(redmule.area, "measure", lambda cfg: engine_area(cfg.name))
    result = run("hw", "area", "rm_12x4")
    assert result.keys() == {"config", "blocks", "total", "fma", "longest_other", "clockable"}
    assert result["blocks"][0].keys() == {
        "block",
        "instances",
        "cells",
        "flip_flops",
        "levels",
        "start",
        "end",
        "through",
    }
    assert result["fma"].keys() == {"levels", "pipe", "unpipelined_levels", "ratio"}
    assert result["total"].keys() == {"cells", "flip_flops"}

    def fail(_cfg: object) -> None:
        raise redmule.area.SynthesisError("Yosys rejects it")

    monkeypatch.setattr(redmule.area, "measure", fail)
    assert run("hw", "area", "rm_12x4", code=1)["error"]["what"] == "Yosys rejects it"


@pytest.mark.slow
def test_simspeed() -> None:
    """Its figures are the machine's; that each is there and that nothing came out wrong is not."""
    result = run("bench", "simspeed", "--strategy", "lp", "--engine", "golden", "--seconds", 0.1)
    assert result["ok"] and result["rtl"]["mismatches"] == 0
    assert result["rtl"]["floors"].keys() == {"engine_kcycle_per_second", "ratio"}
    assert all(result["rtl"][name] > 0 for name in ("engine_kcycle_per_second", "array_kcycle_per_second", "ratio"))
    assert [row["engine"] for row in result["soc"]] == ["golden"] and result["soc"][0]["kcycle_per_second"] > 0
