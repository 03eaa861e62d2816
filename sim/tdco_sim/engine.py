"""An engine from Python: any shared library that exports engine.h, on a numpy array as its L1."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tdco_spec import JOB_FLAGS, JOB_REGISTERS, MEMORY_MAP

from .errors import SimError

L1_BASE = MEMORY_MAP["l1"].base


@dataclass(frozen=True)
class EngineStats:
    """Totals since the engine was opened; cycles and busy are 0 for an engine without timing."""

    jobs: int
    macs: int
    cycles: int
    busy: int


class _Stats(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in EngineStats.__dataclass_fields__]


class Engine:
    """The engine in shared library ``path``, working on ``l1``: the bytes of L1 from its base address on.

    ``l1`` must stay the same array; jobs read and write it in place.
    """

    def __init__(self, path: Path, l1: NDArray[np.uint8], base: int = L1_BASE) -> None:
        if l1.dtype != np.uint8 or not l1.flags.c_contiguous:
            raise ValueError("l1 must be a contiguous array of uint8")
        self.l1 = l1
        self.library = ctypes.CDLL(str(path))
        self.library.tdco_engine_open.restype = ctypes.c_void_p
        self.library.tdco_engine_error.restype = ctypes.c_char_p
        self.library.tdco_engine_id.restype = ctypes.c_uint32
        handle = self.library.tdco_engine_open(ctypes.c_void_p(l1.ctypes.data), base, l1.size)
        if not handle:
            raise SimError("the engine did not start", str(path))
        self.handle = ctypes.c_void_p(handle)

    @property
    def id(self) -> int:
        """The configuration's hash, as the engine's ID register holds it."""
        return int(self.library.tdco_engine_id(self.handle))

    @property
    def stats(self) -> EngineStats:
        stats = _Stats()
        self.library.tdco_engine_get_stats(self.handle, ctypes.byref(stats))
        return EngineStats(**{name: getattr(stats, name) for name in EngineStats.__dataclass_fields__})

    def run(self, words: Sequence[int]) -> int:
        """Runs one job to its end; returns the STATUS_FLAGS bits it raised.

        Raises:
            SimError: if it left L1 or hung.
        """
        flags = int(self.library.tdco_engine_run(self.handle, (ctypes.c_uint32 * len(words))(*words)))
        if flags < 0:
            raise SimError(self.error())
        return flags

    def error(self) -> str:
        return str(self.library.tdco_engine_error(self.handle).decode())

    def close(self) -> None:
        self.library.tdco_engine_close(self.handle)


class _Report(ctypes.Structure):
    _fields_ = [("cycles", ctypes.c_uint64), ("guard_errors", ctypes.c_uint64), ("flags", ctypes.c_uint32)]


class TimedEngine(Engine):
    """An engine with timing, so with what golden lacks: a queue of jobs, stalls, and a guard on every access."""

    def set_stall(self, probability: float, seed: int = 0) -> None:
        """From now on, a cycle passes without a grant with this probability, below 1."""
        self.library.tdco_engine_set_stall(self.handle, ctypes.c_double(probability), ctypes.c_uint32(seed))

    def run_queue(self, jobs: list[list[int]]) -> tuple[int, int, int]:
        """Runs jobs back to back: (cycles from the first TRIGGER to the last event, guard errors, STATUS_FLAGS).

        Guard errors are bytes written outside Z, and words read that hold no byte of an operand.

        Raises:
            SimError: on a hang, an access outside L1, or a breach of the memory port's protocol.
        """
        words = [word for job in jobs for word in job]
        report = _Report()
        array = (ctypes.c_uint32 * len(words))(*words)
        if self.library.tdco_engine_run_queue(self.handle, array, len(jobs), ctypes.byref(report)) != 0:
            raise SimError(self.error())
        return report.cycles, report.guard_errors, report.flags


@dataclass(frozen=True)
class Traffic:
    """What cores did beside the engine: requests granted to each of them in ``cycles``."""

    cycles: int
    grants: list[int]
    mismatches: int
    """Words that anybody read wrong, and bytes that L1 holds wrong."""

    @property
    def rates(self) -> list[float]:
        """Requests granted a cycle, by core."""
        return [grants / self.cycles for grants in self.grants]


class ContendedEngine(TimedEngine):
    """An engine on L1 as RTL, where cores request random words too."""

    def set_traffic(self, rate: float, seed: int = 0) -> None:
        """From now on a core without a request makes one in a cycle with this probability. Counters start from 0."""
        self.library.tdco_engine_set_traffic(self.handle, ctypes.c_double(rate), ctypes.c_uint32(seed))

    def run_cores(self, cycles: int) -> None:
        """Lets the cores go on without the engine."""
        self.library.tdco_engine_run_cores(self.handle, ctypes.c_uint64(cycles))

    def traffic(self, cores: int) -> Traffic:
        """What happened since `set_traffic`, in cycles in which the engine was busy or left out."""
        grants, mismatches = (ctypes.c_uint64 * cores)(), ctypes.c_uint64()
        self.library.tdco_engine_get_traffic.restype = ctypes.c_uint64
        cycles = self.library.tdco_engine_get_traffic(self.handle, grants, ctypes.byref(mismatches))
        return Traffic(cycles, list(grants), mismatches.value)


def job_words(
    shape: tuple[int, int, int], addrs: dict[str, int], strides: dict[str, int], flags: Sequence[str] = ()
) -> list[int]:
    """The job registers, in their order, for ``shape`` = (M, N, K); addresses and strides in bytes, by operand.

    ``flags`` are names of ``JOB_FLAGS``. Operands that are left out are 0.
    """
    m, n, k = shape
    values = {"M_N": m | n << 16, "K_FLAGS": k | sum(JOB_FLAGS[f] for f in flags) << 16}
    values |= {f"{name.upper()}_ADDR": addr for name, addr in addrs.items()}
    values |= {f"{name.upper()}_STRIDE": stride & 0xFFFFFFFF for name, stride in strides.items()}
    return [values.get(register.name, 0) for register in JOB_REGISTERS]
