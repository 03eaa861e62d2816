"""MNIST, and whatever else comes in the same four IDX files: yann.lecun.com's format, plain or gzipped."""

from __future__ import annotations

import gzip
import hashlib
import struct
import warnings
import zlib
from math import prod
from pathlib import Path

import numpy as np

from ..errors import TdcoError, TdcoWarning
from . import Dataset, normalised

MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
"""Of the uncompressed files."""
SIDE = 32
UNSIGNED_BYTES = 0x08


def read(folder: Path) -> Dataset | None:
    """The data set of ``folder``; None where none of its files is there.

    Raises:
        TdcoError: a file is missing, truncated or no IDX file.
    """
    files = {name: _find(folder, name) for name in MD5}
    if not any(files.values()):
        return None
    arrays, known = [], True
    for name, file in files.items():
        if file is None:
            raise TdcoError(f"has no {name}[.gz]", str(folder), f"MNIST is four files: {', '.join(MD5)}")
        data = _contents(file)
        known = known and hashlib.md5(data, usedforsecurity=False).hexdigest() == MD5[name]
        arrays.append(_array(data, file))
    if not known:
        warnings.warn(
            f"{folder}: IDX files of another data set than MNIST (their md5 differ)", TdcoWarning, stacklevel=2
        )
    train, train_labels, test, test_labels = arrays
    for images, labels, which in ((train, train_labels, "train"), (test, test_labels, "t10k")):
        if images.ndim != 3 or labels.shape != images.shape[:1]:
            raise TdcoError(f"{which}: {images.shape} images and {labels.shape} labels do not go together", str(folder))
        if max(images.shape[1:]) > SIDE:
            raise TdcoError(f"images of {images.shape[1]}x{images.shape[2]} are larger than {SIDE}x{SIDE}", str(folder))
    return Dataset("MNIST" if known else folder.name, _padded(train), train_labels.astype(np.int32),
                   _padded(test), test_labels.astype(np.int32))  # fmt: skip


def _find(folder: Path, name: str) -> Path | None:
    dotted = name.replace("-idx", ".idx", 1)
    names = (name, f"{name}.gz", dotted, f"{dotted}.gz")
    return next((folder / n for n in names if (folder / n).is_file()), None)


def _contents(file: Path) -> bytes:
    if file.suffix != ".gz":
        return file.read_bytes()
    try:
        return gzip.decompress(file.read_bytes())
    except (EOFError, gzip.BadGzipFile, zlib.error) as e:
        raise TdcoError(f"is no whole gzip file ({e})", str(file), "fetch it again") from None


def _array(data: bytes, file: Path) -> np.ndarray:
    """IDX: two zero bytes, type, number of dimensions, each as big-endian 32 bits, then the elements."""
    if len(data) < 4 or data[:3] != bytes((0, 0, UNSIGNED_BYTES)) or len(data) < 4 + 4 * data[3]:
        raise TdcoError("is no IDX file of unsigned bytes", str(file))
    shape = struct.unpack_from(f">{data[3]}I", data, 4)
    start = 4 + 4 * data[3]
    if len(data) - start != prod(shape):
        raise TdcoError(
            f"is truncated: {len(data) - start} bytes of {prod(shape)} ({shape})", str(file), "fetch it again"
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _padded(images: np.ndarray) -> np.ndarray:
    """With a black margin up to 32x32."""
    margins = [(m // 2, m - m // 2) for m in (SIDE - images.shape[1], SIDE - images.shape[2])]
    return normalised(np.pad(images, ((0, 0), *margins)))
