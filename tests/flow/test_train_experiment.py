"""``tdco experiment``: the statistics of pairs, and the page that is written of them."""

import math
from pathlib import Path
from typing import Any

import pytest
from tdco.cli._experiment_page import COSTS_PLOT, LOSS_PLOT, PAGE, write_page
from tdco.training.experiment import compared


def test_pairs_are_compared() -> None:
    """By hand: differences 0.01, 0.02 and 0.03 have the mean 0.02, and 0.01 / sqrt(3) is its standard error."""
    found = compared([0.51, 0.62, 0.73], [0.50, 0.60, 0.70])
    assert found["difference"] == pytest.approx(0.02) and found["standard_error"] == pytest.approx(0.01 / math.sqrt(3))
    assert found["device"] == pytest.approx(0.62) and not found["agrees"]
    assert compared([0.504], [0.5])["agrees"] and math.isnan(compared([0.5], [0.5])["standard_error"])
    assert not compared([0.506, 0.506], [0.5, 0.5])["agrees"]
    assert compared([0.53, 0.49], [0.5, 0.5])["agrees"]  # a point apart, with a standard error of two


def row(strategy: str, device: float) -> dict[str, Any]:
    costs = {"trainable": 1290, "dynamic_peak_bytes": 2048, "updates_per_second": 400.4, "energy_uj": 119.6}
    runs = {"device_runs": [device, device], "torch_runs": [0.5, 0.5]}
    words = {"words_compared": 10, "mismatches": 0}
    return {"strategy": strategy, "lr": 0.02, **compared([device] * 2, [0.5] * 2), **runs, **costs, **words}


def test_the_page_is_the_same_for_the_same_results(tmp_path: Path) -> None:
    rows = [row("ft2", 0.501), row("lora2", 0.4)]
    result = {
        "title": "T", "name": "cct2-mnist", "model": "mine", "data": "MNIST", "samples": 60, "test": 9, "seeds": 2,
        "start": 0.1, "results": rows,
    }  # fmt: skip
    curves = {s: [([2.0] * 60, [2.0] * 60)] * 2 for s in ("ft2", "lora2")}
    written = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        write_page(folder, result, curves)
        written.append([(folder / name).read_bytes() for name in (PAGE, COSTS_PLOT, LOSS_PLOT)])
    assert written[0] == written[1]
    page = written[0][0].decode()
    assert "| ft2 | 0.02 | 50.10% | 50.00% | +0.10 ± 0.00 | yes | 1,290 | 400 | 120 | 2 |" in page
    assert "| lora2 | 0.02 | 40.00% | 50.00% | -10.00 ± 0.00 | **no** |" in page
    assert "LoRA-2 against FT-2: -10.10 points on the device, +0.00 in torch fp32." in page
