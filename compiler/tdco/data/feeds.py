"""Samples as the inputs of a program: in its batches, sizes and colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from ..errors import TdcoError
from ..ir import DTYPES
from . import Dataset, load

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Of red, green and blue in grey (ITU-R BT.601)."""


def load_for(document: Mapping[str, Any], source: str, rotation: float = 0.0) -> Dataset:
    """The data set ``source`` (see ``load``) for the program that ``document``, its program.json, describes.

    Raises:
        TdcoError: there is no such data set, or it has more classes than the program's labels may have.
    """
    found = load(source, rotation)
    labelled = any(DTYPES[spec["dtype"]].kind == "i" for spec in document["inputs"])
    if labelled and found.classes > (known := classes(document)):
        raise TdcoError(f"has {found.classes} classes, the model {known}", f"data {source}")
    return found


def classes(document: Mapping[str, Any]) -> int:
    """Of the program's scores."""
    return int(next(o["shape"][-1] for o in document["outputs"] if o["name"] != "loss"))


def feeds(document: Mapping[str, Any], images: np.ndarray, labels: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """The program's inputs by name, [steps, batch, ...], for ``images`` [N,C,H,W] and, where it takes them, ``labels``
    [N]. The last batch is filled up with the first samples.

    Raises:
        TdcoError: an input is no image, and of another size.
    """
    result = {}
    for spec in document["inputs"]:
        (batch, *shape), dtype = spec["shape"], DTYPES[spec["dtype"]]
        if dtype.kind == "i":
            assert labels is not None, "the program takes labels"
            values = labels
        else:
            values = fitted(images, shape, spec["name"])
        steps = -(-len(values) // batch)
        result[spec["name"]] = np.resize(values, (steps, batch, *shape)).astype(dtype)
    return result


def fitted(images: np.ndarray, shape: Sequence[int], name: str) -> np.ndarray:
    """``images`` [N,C,H,W] of one or three channels as [N, *shape]: where that is an image too, it may have another
    size, and be grey or coloured; nothing happens to those that fit.

    Raises:
        TdcoError: ``shape``, of the input ``name``, is neither an image nor of the same size.
    """
    if len(shape) == 3 and shape[0] in (1, 3):
        return _resized(_coloured(images, shape[0]), shape[1], shape[2])
    if images[0].size != prod(shape):
        what = f"takes {list(shape)}, which no image of {list(images.shape[1:])} can be made"
        raise TdcoError(what, f"input {name}", "use --data random, or a model of images [1 or 3, height, width]")
    return images.reshape(len(images), *shape)


def _coloured(images: np.ndarray, channels: int) -> np.ndarray:
    if images.shape[1] == channels:
        return images
    if channels == 3:
        return np.repeat(images, 3, axis=1)
    return np.einsum("nchw,c->nhw", images.astype(np.float32), LUMA)[:, None]


def _resized(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear, over all the pixels that become one where images get smaller."""
    if images.shape[2:] == (height, width):
        return images
    from PIL import Image

    planes = images.reshape(-1, *images.shape[2:]).astype(np.float32)
    resized = [Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR) for plane in planes]
    return np.stack([np.asarray(plane) for plane in resized]).reshape(*images.shape[:2], height, width)
