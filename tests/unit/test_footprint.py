"""The memory of a step by category: what it must add up to, and a case worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

from tdco.cli.run import as_planned
from tdco.footprint import Life, footprint, over_time
from tdco.ir import Builder, Graph, TensorType
from tdco.pipeline import compile_model
from tdco.zoo import load
from tdco_spec import get_config

MODELS = Path(__file__).parents[1] / "flow" / "models.py"


def named(*names: str) -> Graph:
    """A graph of nothing but 100-byte inputs."""
    b = Builder(name="named")
    for name in names:
        b.input(name, TensorType((50,)))
    b.outputs = [names[0]]
    return b.graph()


def test_peaks_by_hand() -> None:
    found = [
        Life("w", "parameters", "l2", 0, 100, 0, 9),
        Life("a", "activations", "l1", 0, 60, 1, 2),  # two parts of one tensor, then the whole of it in L2
        Life("a", "activations", "l1", 64, 40, 1, 2),
        Life("a", "activations", "l2", 100, 100, 2, 6),
        Life("g", "gradients", "l1", 0, 100, 5, 6),
        Life("scratch", "temporaries", "l1", 128, 30, 6, 6),
    ]
    memory = footprint(named("w", "a", "g"), found)
    assert memory["parameters_bytes"] == 100 and memory["masters_bytes"] == memory["optimizer_bytes"] == 0
    assert memory["dynamic_peak_bytes"] == 230 and memory["dynamic_bound_bytes"] == 230
    assert memory["dynamic_at_peak"] == {"activations": 100, "gradients": 100, "temporaries": 30}
    assert memory["total_bytes"] == 330
    assert footprint(named("a"), found[:4])["dynamic_peak_bytes"] == 200, "what lies in L1 and L2 counts in both"
    assert footprint(named("a"), found[:4])["dynamic_bound_bytes"] == 100
    assert over_time(found[1:4]) == [(1, 100), (2, 200), (3, 100), (7, 0)]


def test_a_step_adds_up(tmp_path: Path) -> None:
    model = load(f"{MODELS}:mlp")
    document = compile_model(model, "train:3.*", get_config("rm_12x4"), tmp_path / "out")
    memory = document["memory"]
    trained = 32 * 10 + 10
    assert memory["parameters_bytes"] == 2 * (64 * 32 + 32 + trained) + 4, "and the gradient of the loss"
    assert memory["masters_bytes"] == 4 * trained and memory["optimizer_bytes"] == 0
    assert memory["dynamic_bound_bytes"] <= memory["dynamic_peak_bytes"]
    levels = memory["levels"]
    assert levels.keys() == {"l1", "l2", "l3"} and levels["l3"]["peak_bytes"] == 0
    assert all(0 <= level["bound_bytes"] <= level["peak_bytes"] + 15 for level in levels.values())
    assert levels["l2"]["peak_bytes"] == document["stats"]["l2_peak_bytes"]
    lives = [Life(**life) for life in json.loads((tmp_path / "out/memory.json").read_text())]
    assert over_time(lives)[-1][1] == 0
    kinds = {life.tensor: life.category for life in lives}
    assert kinds["input"] == kinds["label"] == "activations"
    assert kinds["3.weight"] == "parameters" and kinds["3.weight.master"] == "masters"
    grads = {name for name, category in kinds.items() if category == "gradients"}
    assert "3.bias.grad" in grads and not grads & {"logits", "loss", "3.weight"}


def test_a_run_must_keep_to_the_plan() -> None:
    plan = {"l1_peak_bytes": 100, "l2_peak_bytes": 50, "dma_bytes": {"l2_l1": 8, "l1_l2": 4}}
    moved = {"l2_l1": 8, "l1_l2": 4, "l3_l2": 0}
    assert as_planned({"l1_peak_bytes": 90, "l2_peak_bytes": 50, "dma_bytes": moved}, plan)
    assert not as_planned({"l1_peak_bytes": 100, "l2_peak_bytes": 51, "dma_bytes": moved}, plan)
    assert not as_planned({"l1_peak_bytes": 100, "l2_peak_bytes": 50, "dma_bytes": {**moved, "l1_l2": 2}}, plan)
