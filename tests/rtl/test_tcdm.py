"""L1 as RTL against L1 in C++, which the cluster simulator can use in its place: grant for grant, word for word."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest
import tdco_sim
from redmule.verilog import emit_tcdm
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
    tcdm_max_wait_cycles=2,
)


class Report(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_uint64) for name in ("cycles", "grants", "engine_grants", "client_wait", "engine_wait")),
        ("error", ctypes.c_char * 200),
    ]


def run(cfg: HwConfig, cycles: int, seed: int) -> Report:
    sources = [HERE / "tcdm_lockstep.cpp", SIM / "soc" / "banks_model.cpp"]
    built = library(cfg, sources, {"tcdm": emit_tcdm(cfg)}, [SIM, SIM / "rtl", SIM / "soc"])
    report = Report()
    assert built.tcdm_lockstep(ctypes.c_uint64(cycles), seed, ctypes.byref(report)) == 0, report.error.decode()
    return report


@pytest.mark.parametrize("cfg", [get_config("rm_12x4"), SMALL], ids=lambda cfg: cfg.name)
def test_lockstep_with_the_model(cfg: HwConfig) -> None:
    report = run(cfg, 200_000, seed=1)
    assert report.grants > 200_000 and report.engine_grants > 20_000
    assert report.engine_wait == 1
    assert cfg.l1_ports <= report.client_wait <= cfg.l1_wait_cycles


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_lockstep_for_long(seed: int) -> None:
    report = run(get_config("rm_12x4"), 2_000_000, seed)
    assert report.engine_wait == 1
    assert report.client_wait <= get_config("rm_12x4").l1_wait_cycles
