"""GVSoC as a second simulator of the cluster: a target of our own, for an installation that the user has."""

from .install import HINT, KNOWN_VERSION, Gvsoc, find, is_wanted
from .simulator import Run, Simulator, try_out

__all__ = ["HINT", "KNOWN_VERSION", "Gvsoc", "Run", "Simulator", "find", "is_wanted", "try_out"]
