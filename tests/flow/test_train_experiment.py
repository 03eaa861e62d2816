"""``tdco experiment``: the statistics of pairs, and the pages that are written of them."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tdco.cli import main
from tdco.cli._experiment_page import COSTS_PLOT, LOSS_PLOT, PAGE, write_page
from tdco.cli._rounding_page import write_rounding
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
    words = {"words_compared": 10, "mismatches": 0, "update_error": 0.0123}
    return {"strategy": strategy, "lr": 0.02, **compared([device] * 2, [0.5] * 2), **runs, **costs, **words}


RESULT = {"title": "T", "model": "mine", "data": "MNIST", "samples": 60, "test": 9, "seeds": 2, "start": 0.1}


def page_of(name: str, folder: Path) -> str:
    """A page with a place for the experiment ``name`` and text around it."""
    folder.mkdir()
    (folder / PAGE).write_text(f"Before.\n<!-- compare {name} -->\nold\n<!-- end -->\nBehind.\n")
    return name


def test_the_page_is_the_same_for_the_same_results(tmp_path: Path) -> None:
    rows = [row("ft2", 0.501), row("lora2", 0.4)]
    runs = {s: [{"device_loss": [2.0] * 60, "torch_loss": [2.0] * 60}] * 2 for s in ("ft2", "lora2")}
    written = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        write_page(folder, {**RESULT, "name": page_of("cct2-mnist", folder), "results": rows}, runs)
        written.append([(folder / name).read_bytes() for name in (PAGE, COSTS_PLOT, LOSS_PLOT)])
    assert written[0] == written[1]
    page = written[0][0].decode()
    assert page.startswith("Before.\n") and page.endswith("Behind.\n") and "\nold\n" not in page
    assert "| ft2 | 0.02 | 50.10% | 50.00% | +0.10 ± 0.00 | yes | 1.2% | 1,290 | 400 | 120 | 2 |" in page
    assert "| lora2 | 0.02 | 40.00% | 50.00% | -10.00 ± 0.00 | **no** | 1.2% |" in page
    assert "LoRA-2 against FT-2, mean and standard error: -10.10 ± 0.00 points on the device, +0.00 ± 0.00 in" in page


def test_the_smallest_rounding_that_loses_no_more_than_a_master_is_enough(tmp_path: Path) -> None:
    """Of two learning rates: at the low one rounding to nearest loses the training."""
    found = {("fp16", 0.001): 0.5, ("fp32", 0.001): 0.1, ("fp16", 0.01): 0.22, ("fp32", 0.01): 0.2}
    rows = [
        {**row("full", 0.5), "lr": lr, "optimizer": f"sgd,update={way}", "update_error": error, "cycles": 1000}
        for (way, lr), error in found.items()
    ]
    folder = tmp_path / "docs"
    write_rounding(folder, {**RESULT, "name": page_of("rounding", folder), "results": rows}, None)
    page = (folder / PAGE).read_text()
    assert "| lr | torch fp32 | fp16, 2 bytes | fp32, 6 bytes | enough |" in page
    assert "| 0.001 | 50.0% | 50.0% (50.0%) | 50.0% (10.0%) | fp32 |" in page
    assert "| 0.01 | 50.0% | 50.0% (22.0%) | 50.0% (20.0%) | fp16 |" in page


def test_other_runs_in_the_folder_are_refused(tmp_path: Path) -> None:
    done = experiment(tmp_path, "--samples", "5", "--cases", "no such")
    assert done["error"]["what"] == "there is no case 'no such'" and "fp16-0.0001" in done["error"]["hint"]
    (tmp_path / "settings.json").write_text(json.dumps({"samples": 6}))
    done = experiment(tmp_path, "--samples", "5", "--cases", "fp16-0.01")
    assert done["error"]["what"] == "holds an experiment with other samples"


@pytest.mark.slow
def test_an_experiment_from_end_to_end(tmp_path: Path) -> None:
    """The second run finds everything done; costs are measured again if the step that is compiled now has the bits of
    the one that the runs took."""
    arguments = ("--samples", "20", "--test", "20", "--seeds", "1", "--cases", "fp16-0.0001,fp32-0.0001")
    first = experiment(tmp_path, *arguments)
    rows = {r["name"]: r for r in first["results"]}
    assert rows["fp32-0.0001"]["update_error"] < 0.05 < rows["fp16-0.0001"]["update_error"]
    assert all(r["mismatches"] == 0 < r["words_compared"] for r in rows.values())
    assert experiment(tmp_path, *arguments) == experiment(tmp_path, *arguments, "--costs") == first
    weights = tmp_path / "fp32-0.0001" / "program" / "l2.bin"
    weights.write_bytes(bytes(weights.stat().st_size))
    done = experiment(tmp_path, *arguments, "--costs")
    assert done["error"]["what"] == "trains with other bits than its runs"


def experiment(out: Path, *arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(main, ["experiment", "rounding-mlp", "-o", str(out), "--json", *arguments])
    return dict(json.loads(done.stdout))
