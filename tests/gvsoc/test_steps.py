"""Whole training steps of CCT-2 on GVSoC: the host's bits with both engines, and cycles near those of soc.

Needs an installation (TDCO_GVSOC), as tests/gvsoc/test_gvsoc.py does.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tdco import zoo
from tdco.cli import main
from tdco.pipeline import compile_model
from tdco_sim import gvsoc
from tdco_spec import get_config

MODELS = Path(__file__).parents[1] / "flow" / "models.py"


def tdco(*arguments: str | Path) -> dict[str, Any]:
    done = CliRunner().invoke(main, [*map(str, arguments), "--json"])
    return dict(json.loads(done.stdout))


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["lp", "ft2", "lora2"])
def test_step_of_cct2(installed: gvsoc.Gvsoc, strategy: str, tmp_path: Path) -> None:
    tdco("compile", "zoo:cct2", "-s", strategy, "-c", "rm_12x4", "-o", tmp_path)
    compared = {engine: tdco("compare", tmp_path, "--engine", engine) for engine in ("model", "rtl")}
    for result in compared.values():
        assert result["gvsoc_version"] == installed.version
        assert result["mismatches"] == {"soc": 0, "gvsoc": 0}
        assert result["disagreements"] == []
        assert result["ok"]
    # the cycle model and the circuit take the same cycles on GVSoC too
    assert compared["model"]["step"] == compared["rtl"]["step"]
    assert compared["model"]["jobs"] == compared["rtl"]["jobs"]


@pytest.mark.slow
def test_runs_report_the_same_on_soc_and_gvsoc(installed: gvsoc.Gvsoc, tmp_path: Path) -> None:
    tdco("compile", "zoo:cct2", "-s", "lp", "-c", "rm_12x4", "-o", tmp_path)
    options = ("--engine", "model", "--data", "digits", "--steps", "2", "--profile")
    soc, other = (tdco("run", tmp_path, "--platform", platform, *options) for platform in ("soc", "gvsoc"))
    assert set(other) - set(soc) == {"gvsoc_version"}
    assert set(soc) <= set(other)
    equal = {"flop", "mismatches", "words_compared", "max_rel_error", "loss", "firmware_sha256", "dma_bytes"}
    equal |= {"l1_peak_bytes", "l2_peak_bytes"}
    assert {key: soc[key] for key in equal} == {key: other[key] for key in equal}
    assert {key for key in soc if other[key] is None} <= {"instructions", "energy_uj"}
    for part in ("engine", "cores", "dma"):
        assert other["busy"][part] == pytest.approx(soc["busy"][part], rel=0.05)


@pytest.mark.slow
def test_a_step_with_its_state_in_l3(installed: gvsoc.Gvsoc, tmp_path: Path) -> None:
    """L3's DMA gets its next transfer while one is under way."""
    cfg, model = get_config("rm_12x4"), zoo.load(f"{MODELS}:mlp")
    roomy = compile_model(model, "full", cfg, tmp_path / "roomy", optimizer="adamw")["stats"]["l2_peak_bytes"]
    tight = replace(cfg, l2_bytes=cfg.l2_reserved_bytes + roomy * 2 // 3 // 16 * 16)
    compile_model(model, "full", tight, tmp_path / "tight", optimizer="adamw")
    done = tdco("run", tmp_path / "tight", "--platform", "gvsoc", "--engine", "model", "--steps", "2")
    assert done["dma_bytes"]["l3_l2"] > 0
    assert (done["ok"], done["mismatches"]) == (True, 0)
