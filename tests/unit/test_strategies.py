"""Which tensors each strategy trains, and what a strategy that does not fit says."""

from __future__ import annotations

import pytest
from tdco.errors import TdcoError
from tdco.strategies import resolve

from ..flow.models import cct2, own

BLOCK = [f"{m}.weight" for m in ("q", "k", "v", "proj", "fc1", "fc2")]
HEAD = ["seq_pool.weight", "seq_pool.bias", "fc.weight", "fc.bias"]


def test_the_named_strategies_of_cct2() -> None:
    _, graph = cct2()
    expected = {
        "infer": [],
        "lp": ["fc.weight", "fc.bias"],
        "ft1": [f"blocks.1.{n}" for n in BLOCK] + HEAD,
        "ft2": [f"blocks.{b}.{n}" for b in (0, 1) for n in BLOCK] + HEAD,
    }
    for strategy, names in expected.items():
        training = resolve(strategy, graph)
        assert list(training.trainable) == names and training.lr == 0.01


def test_full_trains_everything() -> None:
    _, graph = cct2()
    training = resolve("full", graph)
    assert sum(graph.type(n).size for n in training.trainable) == 283_723


def test_patterns() -> None:
    _, graph = cct2()
    assert resolve("train:fc.*", graph).trainable == ("fc.weight", "fc.bias")
    assert resolve("train:norm.*,position", graph).trainable == ("position", "norm.weight", "norm.bias")


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ("train:classifier*", "models.mlp: no parameter matches 'classifier.' .the model has: 0.weight, 0.bias"),
        ("train:", "names no parameter .for example train:fc"),
        ("lp", "strategy lp on model models.mlp: no parameter matches 'fc.weight' .for any model: train:PATTERN,"),
        (
            "ft2",
            "strategy ft2 on model models.mlp: no parameter matches 'blocks.0.q.weight' .for any model: train:PATTERN",
        ),
        (
            "lora1",
            "no parameter matches 'blocks.0.q.weight' .for any model: train:PATTERN,.. or full; the model has: 0",
        ),
        ("lora3", "strategy 'lora3' is not supported .supported: ft1, ft2, infer, lora1, lora2, lora, lp, train, full"),
        ("full:x", "takes no argument, but got 'x'"),
        ("infer:x", "takes no argument, but got 'x'"),
    ],
)
def test_what_does_not_fit_says_so(strategy: str, message: str) -> None:
    _, graph = own("mlp")
    with pytest.raises(TdcoError, match=message):
        resolve(strategy, graph)
