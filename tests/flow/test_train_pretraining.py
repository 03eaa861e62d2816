"""``tdco pretrain``: interrupted or not, the same weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tdco.data import load
from tdco.training.pretraining import Recipe, augmented, pretrain

from .models import small_cnn


def test_an_interrupted_run_ends_with_the_same_weights(tmp_path: Path) -> None:
    data, recipe = load("digits"), Recipe(epochs=2, batch=64)

    def interrupt(epoch: dict[str, float]) -> None:
        raise KeyboardInterrupt

    whole, interrupted = small_cnn()[0], small_cnn()[0]
    assert pretrain(whole, data, recipe, tmp_path / "whole").epochs == 2
    with pytest.raises(KeyboardInterrupt):
        pretrain(interrupted, data, recipe, tmp_path / "part", interrupt)
    resumed = small_cnn()[0]
    assert pretrain(resumed, data, recipe, tmp_path / "part").epochs == 2
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())
    ended = pretrain(small_cnn()[0], data, Recipe(epochs=2, batch=64, seconds=0.01), tmp_path / "short")
    assert 0 < ended.epochs < 1 and ended.seconds >= 0.01


def test_images_are_shifted_and_mirrored_whole() -> None:
    """Every row of an image is the same ramp, so each of its rows must be a shifted ramp, rising or falling."""
    ramp = torch.arange(1.0, 33.0).expand(8, 3, 32, 32)
    moved = augmented(ramp, True, torch.Generator().manual_seed(0))
    assert moved.shape == ramp.shape
    directions = set()
    for image in moved:
        row = image[0, 16]
        steps = (row[row > 0][1:] - row[row > 0][:-1]).unique()
        assert len(steps) == 1
        directions.add(float(steps[0]))
    assert directions == {1.0, -1.0}
