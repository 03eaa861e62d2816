"""GTSRB, the German traffic signs: as an npz of 32x32 images, or as the benchmark's own folders of .ppm files.

Pictures of one track show the same sign as a car approaches it: a split by picture would test on what was trained.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from . import Dataset, normalised
from .files import arrays
from .images import decoded, split

_FRAME = re.compile(r"(\d{5})_(\d{5})\.ppm")


def read(path: Path) -> Dataset | None:
    """The data set in ``path``; None where there is neither. Every fifth track of all is held out.

    Raises:
        TdcoError: a file cannot be read.
    """
    files = [path] if path.is_file() else sorted(path.glob("gtsrb*.npz"))
    for file in files:
        if (found := arrays(file, "x", "y", "track")) is not None:
            x, y, track = found
            return _dataset(normalised(x), y, track)
    frames = [(f, m) for f in sorted(path.glob("**/[0-9]*/*.ppm")) if (m := _FRAME.fullmatch(f.name))]
    if not frames:
        return None
    labels = np.array([int(f.parent.name) for f, _ in frames])
    return _dataset(decoded(f for f, _ in frames), labels, np.array([int(m[1]) for _, m in frames]))


def _dataset(images: np.ndarray, labels: np.ndarray, tracks: np.ndarray) -> Dataset:
    held = split(list(zip(labels.tolist(), tracks.tolist(), strict=True)))
    labels = labels.astype(np.int32)
    return Dataset("GTSRB", images[~held], labels[~held], images[held], labels[held])
