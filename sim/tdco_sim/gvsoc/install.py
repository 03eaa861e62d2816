"""Finds the user's GVSoC and says whether it is one that our target runs on."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ..errors import MissingPlatform

HINT = (
    "install GVSoC with its target pulp-open from its own sources and name the prefix in TDCO_GVSOC; docs/fidelity.md"
)
KNOWN_VERSION = "209c147"
"""The commit of the GVSoC superproject everything here was checked with."""


@dataclass(frozen=True)
class Gvsoc:
    """An installation. ``python`` runs its generators; ``headers`` holds vp/vp.hpp; ``version`` is its commit."""

    prefix: Path
    python: Path
    headers: Path
    version: str

    @property
    def launcher(self) -> Path:
        return self.prefix / "bin" / "gvsoc_launcher"

    @property
    def models(self) -> Path:
        return self.prefix / "models"


def is_wanted() -> bool:
    """Whether the user has named an installation."""
    return bool(os.environ.get("TDCO_GVSOC"))


def find() -> Gvsoc:
    """The installation that ``TDCO_GVSOC`` names: its install prefix, inside or outside GVSoC's source tree.

    GVSoC does not install its headers. They are taken from ``TDCO_GVSOC_SOURCES``, else from the source tree the prefix
    lies in, which is where GVSoC's own Makefile puts it. Its Python is ``TDCO_GVSOC_PYTHON``, else python3.

    Raises:
        MissingPlatform: if there is none, or something that the target needs is missing.
    """
    if not is_wanted():
        raise MissingPlatform("GVSoC is not installed: TDCO_GVSOC is not set", "platform gvsoc", HINT)
    prefix = Path(os.environ["TDCO_GVSOC"]).expanduser().absolute()
    sources = Path(os.environ.get("TDCO_GVSOC_SOURCES") or prefix.parent).expanduser().absolute()
    headers = sources / "core" / "engine" / "include"
    needed = {
        prefix / "bin" / "gvsoc_launcher": "the simulator",
        prefix / "bin" / "gapy": "its command",
        prefix / "generators" / "pulp" / "mchan" / "mchan_v7.py": "the models of PULP",
        prefix / "models" / "pulp" / "mchan" / "mchan_v7_impl.so": "the models of target pulp-open",
        headers / "vp" / "vp.hpp": "the headers of its source tree, TDCO_GVSOC_SOURCES",
    }
    for path, what in needed.items():
        if not path.exists():
            raise MissingPlatform(f"{path} is missing: {what}", f"TDCO_GVSOC={prefix}", HINT)
    wanted = os.environ.get("TDCO_GVSOC_PYTHON") or "python3"
    python = shutil.which(wanted)
    if python is None:
        raise MissingPlatform("is no program that can be run", f"TDCO_GVSOC_PYTHON={wanted}", "name GVSoC's Python")
    return Gvsoc(prefix, Path(python), headers, _version(sources))


def _version(sources: Path) -> str:
    """The commit of the source tree, or "unknown"."""
    command = ["git", "-C", str(sources), "rev-parse", "--short=7", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return done.stdout.strip() if done.returncode == 0 else "unknown"
