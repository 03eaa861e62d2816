"""The engine's cycle model: an engine behind engine.h, and a predictor of cycles at a memory that never refuses."""

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tdco_spec import JOB_FLAGS, HwConfig
from tdco_spec.emit import c_header

from ..build import shared_library
from ..engine import job_words

__all__ = ["Cycles", "build", "predict_cycles", "predictor"]

HERE = Path(__file__).parent
FLAGS = ("-std=c++20", "-O3", "-march=native", "-ffp-contract=off", "-fno-fast-math", "-Wall", "-Wextra", "-Wno-psabi")
TIMING_FLAGS = sum(JOB_FLAGS[name] for name in ("TRANS_X", "TRANS_W", "TRANS_Z", "Y", "AFTER"))
"""The flags that cycles depend on. Addresses and strides have no influence: the port is a word wider than a line."""


def build(cfg: HwConfig) -> Path:
    """The shared library of the cycle model of ``cfg``, compiled on first use.

    Raises:
        SimError: if there is no working C++ compiler.
    """
    sources = [HERE / "model.cpp", HERE / "engine.cpp", HERE.parent / "driver.cpp"]
    includes = [HERE, HERE.parent, HERE.parent / "golden"]
    return shared_library("model", sources, FLAGS, includes, {"tdco_hw.h": c_header(cfg)})


@cache
def _library(cfg: HwConfig) -> ctypes.CDLL:
    return ctypes.CDLL(str(build(cfg)))


class Cycles(NamedTuple):
    """Of a job: from its TRIGGER to its event on an idle engine; what an equal one behind it adds. One with AFTER adds
    as much behind any other, but for a part of a slot."""

    alone: int
    queued: int


def predict_cycles(cfg: HwConfig, jobs: Sequence[Sequence[int]]) -> list[int]:
    """Cycles from the first TRIGGER to the event of each of ``jobs`` (the words of the job registers).

    The jobs are handed over as soon as the queue has room, a register access a cycle.
    """
    words = [word for job in jobs for word in job]
    cycles = (ctypes.c_uint64 * len(jobs))()
    _library(cfg).tdco_model_predict((ctypes.c_uint32 * len(words))(*words), len(jobs), cycles)
    return list(cycles)


def predictor(cfg: HwConfig) -> Callable[[int, int, int, int], Cycles]:
    """A function of (m, n, k, JOB_FLAGS bits): the cycles of such a job; it remembers what it was asked."""

    @cache
    def predict(m: int, n: int, k: int, flags: int) -> Cycles:
        job = [*job_words((m, n, 0), {}, {})[:-1], k | flags << 16]
        (alone,), (_, both) = predict_cycles(cfg, [job]), predict_cycles(cfg, [job, job])
        return Cycles(alone, both - alone)

    return lambda m, n, k, flags: predict(m, n, k, flags & TIMING_FLAGS)
