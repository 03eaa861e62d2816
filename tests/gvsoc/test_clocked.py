"""The engine as GVSoC clocks it, without GVSoC: each request in words, granted when the slowest of them is done."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest
from tdco_sim import golden, model
from tdco_sim.build import shared_library
from tdco_sim.engine import Engine, job_words
from tdco_sim.gvsoc import simulator
from tdco_spec import MEMORY_MAP, get_config
from tdco_spec.emit import c_header

HERE = Path(__file__).parent
CFG = get_config("rm_12x4")
L1 = MEMORY_MAP["l1"].base
FLAGS = ("-std=gnu++20", "-O2", "-march=native", "-ffp-contract=off", "-Wall", "-Wextra", "-Wno-psabi")


def library(name: str, *sources: Path) -> ctypes.CDLL:
    sim = simulator.SIM
    includes = [simulator.TARGET, sim, sim / "model", sim / "golden"]
    return ctypes.CDLL(str(shared_library(name, [HERE / f"{name}.cpp", *sources], FLAGS, includes, HEADERS)))


HEADERS = {"tdco_hw.h": c_header(CFG)}


@pytest.mark.parametrize("max_latency", [0, 1, 7])
def test_requests_are_granted_with_their_slowest_word(max_latency: int, seed: int) -> None:
    script = library("clocked_scripted")
    script.run_script.restype = ctypes.c_char_p
    made = ctypes.c_int64()
    assert script.run_script(seed, max_latency, ctypes.c_int64(40_000), ctypes.byref(made)) == b""
    assert made.value > 2_000


@pytest.mark.parametrize("max_latency", [0, 5])
@pytest.mark.parametrize("flags", [("Y",), ("TRANS_X", "TRANS_W", "TRANS_Z", "Y"), ("RELU",)])
def test_jobs_give_goldens_bits_in_any_rounding_mode(max_latency: int, flags: tuple[str, ...], seed: int) -> None:
    jobs = library("clocked_jobs", *simulator.ENGINE_MODEL)
    jobs.run_job.restype = ctypes.c_int64
    rng = np.random.default_rng(seed)
    m, n, k = (int(size) for size in rng.integers(1, 40, 3))
    addrs = dict(zip("xwyz", (L1 + 2 + 0x2000 * i for i in range(4)), strict=True))
    words = job_words((m, n, k), addrs, dict.fromkeys("xwyz", 82), flags)
    l1 = rng.normal(size=CFG.l1_bytes // 2).astype(np.float16).view(np.uint8)
    wanted, got = l1.copy(), l1.copy()
    engine = Engine(golden.build(CFG), wanted)
    engine.run(words)
    for rounding in (0, 1):
        got[:] = l1
        array = (ctypes.c_uint32 * len(words))(*words)
        cycles = jobs.run_job(ctypes.c_void_p(got.ctypes.data), array, max_latency, seed, rounding)
        assert (got == wanted).all()
        alone = model.predict_cycles(CFG, [words])[0]
        assert cycles == alone if max_latency == 0 else cycles > alone
    engine.close()
