"""The contract every part of tdco shares: hardware configuration, registers, memory map.

Standard library only, so that the RTL, the compiler and the simulators can all import it.
"""

from .config import CONFIGS, ConfigError, HwConfig, get_config
from .memmap import MEMORY_MAP, Region
from .regs import JOB_FLAGS, JOB_REGISTERS, REGISTERS, STATUS_FLAGS, Register

__all__ = [
    "CONFIGS",
    "JOB_FLAGS",
    "JOB_REGISTERS",
    "MEMORY_MAP",
    "REGISTERS",
    "STATUS_FLAGS",
    "ConfigError",
    "HwConfig",
    "Region",
    "Register",
    "get_config",
]
