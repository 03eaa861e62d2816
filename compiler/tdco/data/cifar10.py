"""CIFAR-10: the python and the binary batches of its home page, or .npz files of its images."""

from __future__ import annotations

import hashlib
import io
import pickle
import warnings
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import TdcoError, TdcoWarning
from . import Dataset, normalised
from .files import arrays
from .images import decoded

JPEG = (*(f"cifar10_jpeg_train_{n}.npz" for n in range(1, 6)), "cifar10_jpeg_test.npz")
TRAIN, TEST = tuple(f"data_batch_{n}" for n in range(1, 6)), "test_batch"
MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
"""Of the python batches."""
IMAGES, SAMPLE_BYTES = 10_000, 1 + 3 * 32 * 32
"""Of a batch file."""
Half = tuple[np.ndarray, np.ndarray]


def read(path: Path) -> Dataset | None:
    """The data set in ``path``; None where there is none of the known kinds. A folder may hold the batches or be the
    parent of the archive's own.

    Raises:
        TdcoError: a file is missing, truncated or something else.
    """
    if path.is_file():
        return _lossless(path)
    for folder in (path, path / "cifar-10-batches-py", path / "cifar-10-batches-bin"):
        for suffix, load in (("", _python_batch), (".bin", _binary_batch)):
            if any((folder / f"{name}{suffix}").is_file() for name in (*TRAIN, TEST)):
                batches = [load(folder / f"{name}{suffix}") for name in (*TRAIN, TEST)]
                return Dataset("CIFAR-10", *_joined(batches[:-1]), *batches[-1])
    if any((path / name).is_file() for name in JPEG):
        *train, test = [_jpeg_batch(path / name) for name in JPEG]
        return Dataset("CIFAR-10, JPEG-75 copy", *_joined(train), *test)
    return _lossless(path / "cifar10_lossless_subset.npz")


def _joined(batches: Iterable[Half]) -> Half:
    images, labels = zip(*batches, strict=True)
    return np.concatenate(images), np.concatenate(labels)


def _python_batch(file: Path) -> Half:
    if not file.is_file():
        raise TdcoError("is missing: CIFAR-10 is five batches for training and one for test", str(file))
    data = file.read_bytes()
    if hashlib.md5(data, usedforsecurity=False).hexdigest() != MD5[file.name]:
        warnings.warn(f"{file}: not the published file (its md5 differs)", TdcoWarning, stacklevel=2)
    try:
        batch = _ArraysOnly(io.BytesIO(data), encoding="bytes").load()
        pixels, labels = np.asarray(batch[b"data"]), np.asarray(batch[b"labels"])
    except (pickle.UnpicklingError, EOFError, KeyError, TypeError, ValueError, AttributeError, IndexError) as e:
        raise TdcoError(f"is no whole batch of CIFAR-10 ({e})", str(file), "fetch it again") from None
    if pixels.dtype != np.uint8 or pixels.shape != (len(labels), SAMPLE_BYTES - 1):
        raise TdcoError(f"holds {pixels.shape} of {pixels.dtype}, no images of 3x32x32 bytes", str(file))
    return _half(pixels, labels, file)


class _ArraysOnly(pickle.Unpickler):
    """Of a pickle only what arrays are made of: a file from elsewhere may name any function to call."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in {("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct")}:
            return np.zeros(0).__reduce__()[0]
        if (module, name) in {("numpy", "ndarray"), ("numpy", "dtype")}:
            return getattr(np, name)
        if (module, name) == ("_codecs", "encode"):
            return lambda text, encoding: text.encode(encoding)
        raise pickle.UnpicklingError(f"it would call {module}.{name}")


def _binary_batch(file: Path) -> Half:
    if not file.is_file():
        raise TdcoError("is missing: CIFAR-10 is five batches for training and one for test", str(file))
    data = np.frombuffer(file.read_bytes(), np.uint8)
    if data.size != IMAGES * SAMPLE_BYTES:
        raise TdcoError(f"has {data.size} bytes, a batch has {IMAGES * SAMPLE_BYTES}", str(file), "fetch it again")
    samples = data.reshape(IMAGES, SAMPLE_BYTES)
    return _half(samples[:, 1:], samples[:, 0], file)


def _half(pixels: np.ndarray, labels: np.ndarray, file: Path) -> Half:
    """Planes of red, green and blue, row by row."""
    if labels.size and labels.max() > 9:
        what = f"has a label {labels.max()}: CIFAR-10 has ten classes"
        raise TdcoError(what, str(file), "CIFAR-100 is another data set")
    return normalised(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), labels.astype(np.int32)


def _jpeg_batch(file: Path) -> Half:
    if not file.is_file():
        raise TdcoError("is missing: the JPEG copy is five files for training and one for test", str(file))
    found = arrays(file, "jpeg", "offset", "label")
    if found is None:
        raise TdcoError("has no arrays jpeg, offset, label", str(file))
    jpeg, offset, label = found
    if len(offset) != len(label) + 1 or offset[-1] != len(jpeg):
        raise TdcoError(f"{len(offset)} offsets, {len(label)} labels, {len(jpeg)} bytes do not go together", str(file))
    parts = enumerate(pairwise(offset))
    return decoded((f"{file}: image {n}", jpeg[a:b].tobytes()) for n, (a, b) in parts), label.astype(np.int32)


def _lossless(file: Path) -> Dataset | None:
    found = arrays(file, "x_train", "y_train", "x_test", "y_test")
    if found is None:
        return None
    x, y, x_test, y_test = found
    name = f"CIFAR-10, {len(x):,} + {len(x_test):,} images"
    return Dataset(name, normalised(x), y.astype(np.int32), normalised(x_test), y_test.astype(np.int32))
