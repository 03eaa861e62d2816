"""``tdco rates``: learning rates are tried on images that the experiment leaves alone, and the steady one is taken."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from tdco import zoo
from tdco.cli import main
from tdco.cli._experiment_page import PAGE
from tdco.cli.rates import NAME
from tdco.data import Dataset
from tdco.errors import TdcoError
from tdco.reference import accuracy, torch_steps
from tdco.strategies import resolve
from tdco.training.experiment import RATES
from tdco.training.loop import Samples
from tdco.training.order import held_out, subset
from tdco.training.rates import EVALUATED, GRID, SEEDS, course, other_samples, score
from tdco.zoo import forward_graph


def numbered(count: int, held: int) -> Dataset:
    """Images that hold their number."""
    train, test = (np.arange(n, dtype=np.float32).reshape(n, 1, 1, 1) for n in (count, held))
    return Dataset("numbered", train, np.arange(count) % 10, test, np.arange(held) % 10)


def test_no_image_is_the_experiments() -> None:
    data = numbered(400, 50)
    used = np.concatenate([subset(400, 20, seed) for seed in range(SEEDS)])
    for seed in range(3):
        train, test = other_samples(data, 20, 25, seed)
        assert len(train.labels) == len(set(train.images.flat)) == 20 and len(test.labels) == 25
        assert not set(used) & set(train.images.flat) and not set(held_out(50, 25)) & set(test.images.flat)
        assert not set(held_out(50, 40)) & set(other_samples(data, 20, 10, seed)[1].images.flat), "of more, too"
        assert (train.images.ravel() % 10 == train.labels).all() and (test.images.ravel() % 10 == test.labels).all()
    with pytest.raises(TdcoError, match="are left"):
        other_samples(data, 20, 26, 0)


def test_a_course_is_one_run_with_stops() -> None:
    model = zoo.load("zoo:mlp")
    assert model.module
    rng = np.random.default_rng(0)
    images, labels = rng.standard_normal((70, 3, 32, 32)).astype(np.float32), rng.integers(0, 10, 70)
    train, test = Samples(images[:40], labels[:40]), Samples(images[40:], labels[40:])
    training = resolve("full", forward_graph(model, 1), 0.01)
    found = course(model.module, training, train, test)
    for share, got in zip(EVALUATED, found, strict=True):
        end = round(share * 40)
        tensors = torch_steps(model.module, training.trainable, images[:end], labels[:end], 0.01)[1]
        assert got == accuracy(model.module, images[40:], labels[40:], tensors)
    assert len(set(found)) > 1


def test_the_steadier_of_two_is_better() -> None:
    assert score([[0.7, 0.8], [0.7, 0.8]]) == pytest.approx(0.7)
    assert score([[0.6, 0.9], [0.6, 0.9]]) < score([[0.7, 0.8], [0.7, 0.8]]) < score([[0.8, 0.8], [0.8, 0.8]])


def test_the_page_shows_the_best_of_every_strategy(tmp_path: Path) -> None:
    """From courses that are there already: half right everywhere, but at one rate more."""
    (tmp_path / PAGE).write_text(f"<!-- compare {NAME} -->\n<!-- end -->\n")
    (tmp_path / "settings.json").write_text(json.dumps({"samples": 5, "test": 4}))
    for strategy in RATES:
        for lr in GRID:
            (tmp_path / f"{strategy}-{lr:g}-seed0.json").write_text(json.dumps([0.75 if lr == GRID[1] else 0.5] * 2))
    arguments = ["-o", str(tmp_path), "--samples", "5", "--test", "4", "--seeds", "1", "--jobs", "1"]
    done = CliRunner().invoke(main, ["rates", *arguments, "--write", str(tmp_path), "--json"])
    assert [row["best"] for row in json.loads(done.stdout)["results"]] == [GRID[1]] * len(RATES)
    assert "| ft2 | 50.0 ± 0.0 | **75.0 ± 0.0** | 50.0 ± 0.0 |" in (tmp_path / PAGE).read_text()


def test_the_experiment_uses_what_the_page_shows() -> None:
    page = (Path(__file__).parents[2] / "docs" / PAGE).read_text()
    section = page.partition(f"<!-- compare {NAME} -->")[2].partition("<!-- end -->")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")]
    best = {name: next(lr for lr, cell in zip(rows[0][1:], cells, strict=True) if "**" in cell)
            for name, *cells in rows[2:]}  # fmt: skip
    assert {name: float(lr) for name, lr in best.items()} == RATES
