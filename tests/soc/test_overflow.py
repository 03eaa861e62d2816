"""A gradient that overflows on the cluster: the engine's flag stops its update, as on the host."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from tdco import zoo
from tdco.passes import multiply_twice
from tdco.pipeline import compile_model
from tdco_sim import golden, host, tensors
from tdco_sim.soc.run import run
from tdco_spec import get_config

CFG = get_config("rm_12x4")
MODELS = Path(__file__).parents[1] / "flow" / "models.py"


@pytest.mark.parametrize(("engine", "least_share"), [("golden", 1), ("model", 1), ("model", 0)])
def test_an_overflow_skips_its_step_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, least_share: float
) -> None:
    """Also where every gradient is multiplied twice, to be looked at and for the update, and never stored."""
    monkeypatch.setattr(sys.modules[multiply_twice.__module__], "LEAST_SHARE", least_share)
    compile_model(zoo.load(f"{MODELS}:mlp"), "train:*weight", CFG, tmp_path)
    assert ("ProductUpdate" in (tmp_path / "program.json").read_text()) == (least_share == 0)
    image, label = (spec["name"] for spec in tensors.description(tmp_path)["inputs"])
    images = np.random.default_rng(0).standard_normal((2, 4, 64)).astype(np.float16)
    images[0, 0, 0] = np.inf
    inputs = {image: images, label: np.zeros((2, 4), np.int32)}
    skipped = run(tmp_path, None, None, engine, inputs={n: a[:1] for n, a in inputs.items()}).state
    both, want = (
        run(tmp_path, None, None, engine, inputs=inputs).state,
        host.run(tmp_path, golden.build(CFG), inputs=inputs).state,
    )
    for name, old in tensors.initial_state(tmp_path).items():
        np.testing.assert_array_equal(skipped[name], old)
        np.testing.assert_array_equal(both[name], want[name])
        assert (both[name] != old).any()
