"""The Verilated engine under stress.cpp: a memory that refuses, a monitor that checks every promise in every cycle."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tdco_spec import HwConfig

from ..errors import SimError
from . import library

STALLS = ("none", "random", "bursts", "held", "x", "w", "y", "z")
"""Patterns of refused grants; the last four starve the requests of one operand."""


def build_stress(verilog: str, cfg: HwConfig) -> Path:
    """The shared library of the engine whose Verilog is ``verilog`` (top module redmule) under stress.cpp."""
    return library("stress", "redmule", verilog, cfg)


@dataclass(frozen=True)
class JobRun:
    """What happened to a job: another was in the queue when it came; refused cycles of its X, W, Y and Z."""

    queued: bool
    refused: dict[str, int]


@dataclass(frozen=True)
class QueueRun:
    """What happened to a queue. cycles: first TRIGGER to last event; flags: STATUS_FLAGS, unless it was cleared;
    stalls: the engine's counters STALL_X, STALL_W and STALL_YZ since reset or SOFT_CLEAR, as "x", "w" and "yz"."""

    cycles: int
    granted: int
    finished: int
    flags: int
    cleared: bool
    stalls: dict[str, int]
    jobs: list[JobRun]


class _Scenario(ctypes.Structure):
    _fields_ = [
        ("stall", ctypes.c_uint32),
        ("seed", ctypes.c_uint32),
        ("probability", ctypes.c_double),
        ("clear_after", ctypes.c_uint32),
    ]


class _Report(ctypes.Structure):
    _fields_ = [
        ("cycles", ctypes.c_uint64),
        ("granted", ctypes.c_uint64),
        ("finished", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("cleared", ctypes.c_uint32),
        ("stalls", ctypes.c_uint32 * 3),
    ]


class _JobReport(ctypes.Structure):
    _fields_ = [("queued", ctypes.c_uint32), ("refused", ctypes.c_uint32 * 4)]


class StressEngine:
    """An engine on ``l1``, the bytes from address ``base`` on; it keeps its state from one queue to the next."""

    def __init__(self, path: Path, l1: NDArray[np.uint8], base: int) -> None:
        self.l1 = l1  # must stay alive
        self.stress = ctypes.CDLL(str(path))
        self.stress.tdco_stress_open.restype = ctypes.c_void_p
        self.stress.tdco_stress_error.restype = ctypes.c_char_p
        self.handle = ctypes.c_void_p(self.stress.tdco_stress_open(ctypes.c_void_p(l1.ctypes.data), base, l1.size))

    def run(
        self, jobs: Sequence[Sequence[int]], stall: str, probability: float, seed: int, clear_after: int = 0
    ) -> QueueRun:
        """Runs up to 8 jobs (each the words of the job registers) through the queue.

        ``stall`` is one of ``STALLS``. ``clear_after``: SOFT_CLEAR so many cycles after the first TRIGGER, unless all
        is over by then.

        Raises:
            SimError: the first promise the engine broke.
        """
        words = [word for job in jobs for word in job]
        scenario = _Scenario(STALLS.index(stall), seed, probability, clear_after)
        report, of_jobs = _Report(), (_JobReport * len(jobs))()
        array = (ctypes.c_uint32 * len(words))(*words)
        failed = self.stress.tdco_stress_run(
            self.handle, array, len(jobs), ctypes.byref(scenario), ctypes.byref(report), of_jobs
        )
        if failed:
            raise SimError(self.stress.tdco_stress_error(self.handle).decode())
        runs = [JobRun(bool(j.queued), dict(zip("xwyz", j.refused, strict=True))) for j in of_jobs]
        stalls = dict(zip(("x", "w", "yz"), report.stalls, strict=True))
        return QueueRun(
            report.cycles, report.granted, report.finished, report.flags, bool(report.cleared), stalls, runs
        )

    def close(self) -> None:
        self.stress.tdco_stress_close(self.handle)
