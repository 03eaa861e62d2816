"""Data sets: real images, resized and normalised to what the zoo's models take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import TdcoError


@dataclass(frozen=True)
class Dataset:
    """Images [N,3,32,32] float32 and labels [N] int32, for training and held out."""

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


def load(name: str, rotation: float = 0.0) -> Dataset:
    """The data set ``name``, its images turned by ``rotation`` degrees counter-clockwise.

    Raises:
        TdcoError: there is no such data set.
    """
    from .digits import load_digits

    loaders = {"digits": load_digits}
    if name not in loaders:
        raise TdcoError(f"there is no data set {name!r}", hint="known: " + ", ".join(loaders))
    return loaders[name](rotation)
