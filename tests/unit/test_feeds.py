"""Samples become a program's inputs in one way, for `tdco run`, `tdco train` and evaluation alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tdco.cli.run import step_inputs
from tdco.data.feeds import feeds, fitted, load_for
from tdco.errors import TdcoError

RNG = np.random.default_rng(0)


def document(image: list[int], classes: int = 10) -> dict[str, Any]:
    """Of a program that trains on batches of images and labels."""
    specs = [{"name": "x", "shape": image, "dtype": "f16"}, {"name": "label", "shape": image[:1], "dtype": "i32"}]
    return {"inputs": specs, "outputs": [{"name": "loss", "shape": [1]}, {"name": "y", "shape": [image[0], classes]}]}


def test_the_last_batch_is_filled_up_with_the_first_samples() -> None:
    images, labels = RNG.uniform(-1, 1, (5, 3, 4, 4)).astype(np.float16), np.arange(5, dtype=np.int32)
    found = feeds(document([2, 3, 4, 4]), images, labels)
    assert found["label"].tolist() == [[0, 1], [2, 3], [4, 0]] and found["x"].shape == (3, 2, 3, 4, 4)
    np.testing.assert_array_equal(found["x"].reshape(6, 3, 4, 4), images[[0, 1, 2, 3, 4, 0]])
    assert found["x"].dtype == np.float16 and found["label"].dtype == np.int32
    np.testing.assert_array_equal(feeds(document([5, 48]), images, labels)["x"][0], images.reshape(5, 48))


@pytest.mark.parametrize("image", [[4, 1, 28, 28], [2, 3, 64, 64], [1, 1, 32, 48], [1, 3, 32, 32], [2, 3072]])
def test_images_are_made_what_the_model_takes(image: list[int]) -> None:
    """Digits keep their shape, whatever the size; a label stays with its image."""
    plain = step_inputs(document([image[0], 3, 32, 32]), "digits", 2, 0.0, 1)
    found = step_inputs(document(image), "digits", 2, 0.0, 1)
    assert found["x"].shape == (2, *image) and (found["label"] == plain["label"]).all()
    back = fitted(found["x"].reshape(-1, *(image[1:] if len(image) == 4 else (3, 32, 32))), (3, 32, 32), "x")
    assert np.abs(back - plain["x"].reshape(-1, 3, 32, 32)).mean() < 0.06
    assert found["x"].min() >= -1 and found["x"].max() <= 1


def test_colours_become_grey_by_their_luminance() -> None:
    images = np.stack([np.full((8, 8), v) for v in (1.0, -1.0, 0.5)])[None].astype(np.float16)
    grey = fitted(images, (1, 8, 8), "x")
    assert grey.shape == (1, 1, 8, 8) and np.allclose(grey, 0.299 - 0.587 + 0.5 * 0.114, atol=1e-3)
    assert (fitted(grey, (3, 8, 8), "x") == grey).all()


def test_what_is_no_image_is_said() -> None:
    with pytest.raises(TdcoError, match=r"input x: takes .64., which no image of .3, 32, 32. can be made .use --data"):
        feeds(document([4, 64]), np.zeros((4, 3, 32, 32)), np.zeros(4, np.int32))
    with pytest.raises(TdcoError, match="data digits: has 10 classes, the model 4"):
        load_for(document([1, 3, 32, 32], classes=4), "digits")
