"""Data sets: real images as the standard files hold them, resized and normalised to what the zoo's models take."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import TdcoError

FOLDER_VARIABLE = "TDCO_DATA"


@dataclass(frozen=True)
class Dataset:
    """Images [N,3,32,32], floating point in [-1, 1], and labels [N] int32, for training and held out.

    ``name`` says which copy of the data it is, as it should stand beside any accuracy measured on it.
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray

    @property
    def classes(self) -> int:
        return 1 + int(max(self.train_labels.max(), self.test_labels.max()))


def load(source: str, rotation: float = 0.0) -> Dataset:
    """The data set ``source``, its images turned by ``rotation`` degrees counter-clockwise.

    ``digits``, a folder or file with the data, or the name of one in ``TDCO_DATA``.

    Raises:
        TdcoError: there is no such data set, or a file is truncated or something else; it is named.
    """
    if source == "digits":
        from .digits import load_digits

        return load_digits(rotation)
    data = _read(source)
    if data.train_images.shape[0] == 0 or data.test_images.shape[0] == 0:
        raise TdcoError("has no images for training, or none held out", f"data {source}")
    if not rotation:
        return data
    return replace(
        data, train_images=_turned(data.train_images, rotation), test_images=_turned(data.test_images, rotation)
    )


def _read(source: str) -> Dataset:
    from . import cifar10, gtsrb, images, mnist, omniglot

    formats: dict[str, Callable[[Path], Dataset | None]] = {
        "mnist": mnist.read, "cifar10": cifar10.read, "omniglot": omniglot.read, "gtsrb": gtsrb.read,
        "folder of images": images.read,
    }  # fmt: skip
    path, tried = Path(source), formats
    if not path.exists():
        root = os.environ.get(FOLDER_VARIABLE)
        if source in formats:
            tried = {source: formats[source]}
            if not root:
                raise TdcoError(f"{FOLDER_VARIABLE} does not say where it is", f"data {source}", "or give its folder")
        path = Path(root or "") / source
    if not path.exists():
        known = ", ".join(("digits", *list(formats)[:-1]))
        raise TdcoError(f"there is no data set {source!r}", str(path), f"give a folder, or one of {known}")
    for read in tried.values():
        if (data := read(path)) is not None:
            return data
    raise TdcoError("holds no data that is known", str(path), f"known: {', '.join(tried)}")


def normalised(images: np.ndarray) -> np.ndarray:
    """[N,H,W] or [N,H,W,3] uint8 -> [N,3,H,W] float16 in [-1, 1]."""
    if images.ndim == 3:
        images = np.repeat(images[..., None], 3, axis=3)
    levels = (np.arange(256, dtype=np.float32) / 127.5 - 1).astype(np.float16)
    return levels[np.ascontiguousarray(images.transpose(0, 3, 1, 2))]


def _turned(images: np.ndarray, degrees: float) -> np.ndarray:
    from scipy import ndimage

    turned = ndimage.rotate(images.astype(np.float32), degrees, axes=(3, 2), reshape=False, order=1, cval=-1.0)
    return turned.clip(-1, 1).astype(images.dtype)
