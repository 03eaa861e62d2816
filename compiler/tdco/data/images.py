"""Pictures in folders, one per class: ``CLASS/*`` or ``train/CLASS/*`` and ``test/CLASS/*``."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..errors import TdcoError
from . import Dataset, normalised

SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm", ".gif", ".webp"))
SIDE, HELD_OUT = 32, 5
"""Pixels; without a folder ``test`` every fifth picture of a class is held out."""


def read(folder: Path) -> Dataset | None:
    """The data set of ``folder``; None where there are no pictures in class folders.

    Raises:
        TdcoError: a picture cannot be read, or the two halves have other classes.
    """
    if not folder.is_dir():
        return None
    if (folder / "train").is_dir() and (folder / "test").is_dir():
        train, test = _classes(folder / "train"), _classes(folder / "test")
        if train.keys() != test.keys():
            odd = sorted(train.keys() ^ test.keys())
            raise TdcoError(f"class {odd[0]} is not both in train and in test", str(folder))
    else:
        found = _classes(folder)
        test = {name: files[HELD_OUT - 1 :: HELD_OUT] for name, files in found.items()}
        train = {name: [f for f in files if f not in set(test[name])] for name, files in found.items()}
    if not train:
        return None
    return Dataset(folder.name, *_half(train), *_half(test))


def _classes(folder: Path) -> dict[str, list[Path]]:
    """The pictures of every sub-folder that has some, by its name."""
    found = {d.name: sorted(f for f in d.iterdir() if f.suffix.lower() in SUFFIXES) for d in sorted(folder.iterdir())
             if d.is_dir()}  # fmt: skip
    return {name: files for name, files in found.items() if files}


def _half(classes: dict[str, list[Path]]) -> tuple[np.ndarray, np.ndarray]:
    files = [(f, label) for label, name in enumerate(classes) for f in classes[name]]
    return decoded(f for f, _ in files), np.array([label for _, label in files], np.int32)


def decoded(files: Iterable[Path | tuple[str, bytes]]) -> np.ndarray:
    """Pictures (paths, or names and their bytes) as [N,3,32,32], resized to the square whatever their shape.

    Raises:
        TdcoError: one cannot be read; it is named.
    """
    pictures: list[np.ndarray] = []
    for file in files:
        name, source = (str(file), file) if isinstance(file, Path) else (file[0], io.BytesIO(file[1]))
        pictures.append(_decoded(name, source))
    return normalised(np.stack(pictures)) if pictures else np.zeros((0, 3, SIDE, SIDE), np.float16)


def _decoded(name: str, source: Path | BinaryIO) -> np.ndarray:
    try:
        with Image.open(source) as picture:
            rgb = picture.convert("RGB")
    except (OSError, UnidentifiedImageError, SyntaxError) as e:
        raise TdcoError(f"is no picture that can be read ({e})", name) from None
    if rgb.size != (SIDE, SIDE):
        rgb = rgb.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.asarray(rgb)


def split(groups: Sequence[tuple[int, ...]]) -> np.ndarray:
    """Whether each sample is held out: every fifth of the distinct groups is, with all its samples."""
    held = set(sorted(set(groups))[HELD_OUT - 1 :: HELD_OUT])
    return np.array([g in held for g in groups], bool)
