"""L1 as RTL: against L1 in C++, grant for grant and word for word; against shares of it derived by hand; and under an
engine whose cores load it."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import tdco_sim
from redmule.verilog import emit, emit_engine_tcdm, emit_fma_array, emit_tcdm
from tdco_sim import golden, rtl
from tdco_sim.bench import bench_gemm, bench_speed
from tdco_sim.engine import L1_BASE, Engine, job_words
from tdco_spec import HwConfig, get_config

from .verilated import HERE, library

SIM = Path(tdco_sim.__file__).parent
SMALL = HwConfig(
    name="small",
    rows=3,
    cols=4,
    pipe=0,
    cores=2,
    dma_bytes_per_cycle=4,
    l1_banks=8,
    l1_bytes=4096,
    l1_reserved_bytes=1024,
)


class Report(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_uint64) for name in ("cycles", "grants", "engine_grants", "client_wait", "engine_wait")),
        ("error", ctypes.c_char * 200),
    ]


@cache
def build(cfg: HwConfig) -> ctypes.CDLL:
    sources = [HERE / "tcdm_lockstep.cpp", SIM / "soc" / "banks_model.cpp"]
    return library(cfg, sources, {"tcdm": emit_tcdm(cfg)}, [SIM, SIM / "rtl", SIM / "soc"])


def run(cfg: HwConfig, cycles: int, seed: int) -> Report:
    report = Report()
    assert build(cfg).tcdm_lockstep(ctypes.c_uint64(cycles), seed, ctypes.byref(report)) == 0, report.error.decode()
    return report


@pytest.mark.parametrize("cfg", [get_config("rm_12x4"), SMALL], ids=lambda cfg: cfg.name)
def test_lockstep_with_the_model(cfg: HwConfig, seed: int) -> None:
    report = run(cfg, 200_000, seed)
    assert report.grants > 200_000 and report.engine_grants > 20_000
    assert 1 < report.engine_wait <= cfg.l1_wait_cycles
    assert cfg.l1_ports - 1 <= report.client_wait <= cfg.l1_wait_cycles


@pytest.mark.slow
@pytest.mark.parametrize("number", range(10))
def test_lockstep_for_long(number: int, seed: int) -> None:
    report = run(CFG, 2_000_000, 10 * seed + number)
    assert max(report.engine_wait, report.client_wait) <= CFG.l1_wait_cycles


CFG = get_config("rm_12x4")
CORES, ALL = (1 << CFG.cores) - 1, (1 << CFG.l1_ports) - 1


def scenario(cycles: int, clients: int, stride: int, engine: bool) -> tuple[set[int], set[int], int, int]:
    """Grants of each client that asks, their longest waits, and both of the engine."""
    grants, waits = ((ctypes.c_uint32 * (CFG.l1_ports + 1))() for _ in range(2))
    build(CFG).tcdm_scenario(cycles, clients, stride, engine, grants, waits)
    asking = [i for i in range(CFG.l1_ports) if clients >> i & 1]
    return {grants[i] for i in asking}, {waits[i] for i in asking}, grants[CFG.l1_ports], waits[CFG.l1_ports]


def test_clients_on_distinct_banks_do_not_wait() -> None:
    assert scenario(1000, ALL, 1, False) == ({1000}, {0}, 0, 0)


def test_eight_cores_on_one_bank_take_turns() -> None:
    assert scenario(8 * 100, CORES, CFG.l1_banks, False) == ({100}, {7}, 0, 0)


def test_the_engine_beside_cores_on_other_banks() -> None:
    cores_8_to_15 = 0xFF << 8 & ALL  # clients 8 to 12 on banks 8 to 12; the engine's words lie in banks 0 to 7
    assert scenario(1000, cores_8_to_15, 1, True) == ({1000}, {0}, 1000, 0)


def test_a_core_on_the_engines_banks() -> None:
    assert scenario(200, 1, 1, True) == ({100}, {1}, 100, 1)


def test_a_core_on_each_of_the_engines_banks() -> None:
    assert scenario(200, CORES, 1, True) == ({100}, {1}, 100, 1)


def test_everybody_on_one_bank_waits_as_long_as_the_bound_says() -> None:
    initiators = CFG.l1_ports + 1
    expected = {100}, {CFG.l1_wait_cycles}, 100, CFG.l1_wait_cycles
    assert scenario(100 * initiators, ALL, CFG.l1_banks, True) == expected


@cache
def engine_on_tcdm() -> Path:
    return rtl.build_on_tcdm(emit(CFG), emit_tcdm(CFG), CFG)


def test_gemm_beside_cores(seed: int) -> None:
    quiet, odd = bench_gemm(engine_on_tcdm(), CFG, [(96, 96, 96), (33, 17, 50)], traffic=0.2, seed=seed)
    for result in (quiet, odd):
        assert result["mismatches"] == result["guard_errors"] == 0
    assert quiet["traffic"]["ratio"] <= 1.05
    assert quiet["traffic"]["least_share"] >= 0.75
    assert all(rate > 0.19 for rate in quiet["traffic"]["quiet_core_rates"])


def test_gemm_beside_cores_that_never_pause(seed: int) -> None:
    flags = {"trans_x": True, "trans_w": True, "trans_z": True, "bias": True}
    (result,) = bench_gemm(engine_on_tcdm(), CFG, [(70, 40, 16)], traffic=1.0, repeat=3, seed=seed, **flags)
    assert result["mismatches"] == result["guard_errors"] == 0
    assert result["traffic"]["ratio"] <= CFG.cores + 1  # a line waits for each core at most once
    assert min(result["traffic"]["core_rates"]) >= 1 / (CFG.cores + 1)


@pytest.mark.slow
def test_simulation_speed() -> None:
    result = bench_speed(engine_on_tcdm(), rtl.build_fma_array(emit_fma_array(CFG), CFG), CFG, seconds=3)
    print({name: (result[name], floor) for name, floor in result["floors"].items()})
    assert result["mismatches"] == 0
    assert min(result[name] for name in result["floors"]) > 0


@pytest.mark.slow
def test_engine_and_l1_as_one_block(seed: int) -> None:
    cfg = replace(SMALL, name="tiny", rows=2, cols=2, pipe=1, cores=1, l1_banks=4)
    m, n, k = 5, 7, 9
    places = {name: L1_BASE + 512 * i + 2 for i, name in enumerate("xwyz")}
    job = job_words((m, n, k), places, {"x": 2 * k, "w": 2 * n, "y": 2 * n, "z": 2 * n}, ["Y"])
    l1 = np.random.default_rng(seed).normal(size=cfg.l1_bytes // 2).astype(np.float16).view(np.uint8)
    wanted = l1.copy()
    reference = Engine(golden.build(cfg), wanted)
    reference.run(job)
    reference.close()
    block = library(cfg, [HERE / "engine_tcdm.cpp"], {"redmule_tcdm": emit_engine_tcdm(cfg)}, [SIM, SIM / "rtl"])
    words = (ctypes.c_uint32 * len(job))(*job)
    cycles = block.run_engine_tcdm(ctypes.c_void_p(l1.ctypes.data), cfg.l1_bytes // 4, words)
    core = (cfg.pipe + 1) * cfg.cols * -(-k // cfg.cols) * -(-m // cfg.rows) * -(-n // cfg.tile_cols)
    assert core <= cycles
    np.testing.assert_array_equal(l1.view(np.uint16), wanted.view(np.uint16))
