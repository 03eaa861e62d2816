"""Omniglot: characters drawn by 20 people each, in zip files or folders ``images_background*/ALPHABET/CHARACTER``."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from ..errors import TdcoError
from . import Dataset
from .images import decoded

TRAINING_DRAWERS = 15
"""Of 20: the last five people's drawings are held out."""


def read(path: Path) -> Dataset | None:
    """The characters in ``path``, each a class, an alphabet that comes twice taken once; None where there are none.

    Raises:
        TdcoError: a file cannot be read.
    """
    samples = dict(_samples(path))
    if not samples:
        return None
    classes = {key: n for n, key in enumerate(sorted({key[:2] for key in samples}))}
    keys = sorted(samples)
    images = decoded((f"{path}: {'/'.join(map(str, key))}", samples[key]) for key in keys)
    labels = np.array([classes[key[:2]] for key in keys], np.int32)
    held = np.array([key[2] > TRAINING_DRAWERS for key in keys])
    return Dataset("Omniglot", images[~held], labels[~held], images[held], labels[held])


def _samples(path: Path) -> Iterator[tuple[tuple[str, str, int], bytes]]:
    """((alphabet, character, drawer), bytes of the picture)."""
    for file in [path] if path.is_file() else sorted(path.glob("images_*.zip")):
        if file.suffix != ".zip":
            continue
        try:
            with zipfile.ZipFile(file) as archive:
                for name in archive.namelist():
                    if key := _key(name):
                        yield key, archive.read(name)
        except (zipfile.BadZipFile, OSError) as e:
            raise TdcoError(f"is no whole zip file ({e})", str(file), "fetch it again") from None
    for file in sorted(path.glob("images_*/*/character*/*.png")):
        if key := _key(file.as_posix()):
            yield key, file.read_bytes()


def _key(name: str) -> tuple[str, str, int] | None:
    parts = PurePosixPath(name)
    stem, number = parts.stem.split("_")[-1], parts.parent.name
    if parts.suffix != ".png" or not number.startswith("character") or not stem.isdigit():
        return None
    return parts.parent.parent.name, number, int(stem)
