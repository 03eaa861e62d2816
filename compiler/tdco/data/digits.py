"""scikit-learn's ``load_digits``: 1,797 handwritten digits of 8x8 pixels, part of the package, so always there."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from sklearn import datasets

from . import Dataset

SIZE, MARGIN, HELD_OUT, SEED = 32, 2, 360, 0


def load_digits(rotation: float) -> Dataset:
    """3x32x32 images with values in [-1, 1]; 360 of them, drawn once with a fixed seed, are held out."""
    digits = datasets.load_digits()
    images = np.repeat(_resize(digits.images / 16.0, rotation)[:, None], 3, axis=1)
    labels = digits.target.astype(np.int32)
    order = np.random.default_rng(SEED).permutation(len(images))
    test, train = order[:HELD_OUT], order[HELD_OUT:]
    return Dataset("digits", images[train], labels[train], images[test], labels[test])


def _resize(images: np.ndarray, rotation: float) -> np.ndarray:
    """[N,8,8] in [0, 1] -> [N,32,32] in [-1, 1], bilinear, with a margin so that a turned digit loses no corner."""
    inner = SIZE - 2 * MARGIN
    large = ndimage.zoom(images, (1, inner / images.shape[1], inner / images.shape[2]), order=1)
    large = np.pad(large, ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)))
    if rotation:
        large = ndimage.rotate(large, rotation, axes=(2, 1), reshape=False, order=1)
    return (2.0 * large - 1.0).clip(-1, 1).astype(np.float32)
