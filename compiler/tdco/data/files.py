"""Reading archives of arrays."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from ..errors import TdcoError


def arrays(file: Path, *names: str) -> list[np.ndarray] | None:
    """The arrays ``names`` of an .npz file; None where it is no .npz file or lacks one of them.

    Raises:
        TdcoError: the file is damaged.
    """
    if file.suffix != ".npz" or not file.is_file():
        return None
    try:
        with np.load(file, allow_pickle=False) as found:
            return [found[n] for n in names] if set(names) <= set(found.files) else None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as e:
        raise TdcoError(f"is no whole .npz file ({e})", str(file), "fetch it again") from None
