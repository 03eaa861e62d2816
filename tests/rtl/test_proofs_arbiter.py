"""The bound on every wait for L1, proved: every reachable state of the arbiters with every input.

A bank's arbiter is tried whole, at its real size. All banks with the engine's grant are tried on a small instance; what
holds them together, that the engine takes a bank only while it is open, does not depend on the size.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest
from redmule.tcdm.arbiter import Arbiter, BankArbiter
from redmule.verilog import convert
from tdco_spec import HwConfig, get_config

from .verilated import library

PROOF = Path(__file__).parent / "arbiter_proof.cpp"
SMALL = HwConfig(
    name="small", rows=2, cols=2, pipe=0, cores=1, l1_banks=4, dma_bytes_per_cycle=4, tcdm_max_wait_cycles=1
)


@pytest.mark.parametrize("cfg", [get_config("rm_12x4"), SMALL], ids=lambda cfg: cfg.name)
def test_every_wait_at_a_bank_is_bounded(cfg: HwConfig) -> None:
    proof = library(cfg, [PROOF], {"bank_arbiter": convert(BankArbiter(cfg), "bank_arbiter")})
    proof.prove_bank_arbiter.restype = ctypes.c_char_p
    states, tried = ctypes.c_uint64(), ctypes.c_uint64()
    assert proof.prove_bank_arbiter(ctypes.byref(states), ctypes.byref(tried)) is None
    assert states.value == cfg.l1_ports * (cfg.tcdm_max_wait_cycles + 1)
    assert tried.value == (2 * states.value - cfg.l1_ports) << cfg.l1_ports  # the engine never takes a closed bank


def test_the_engine_waits_one_cycle_at_most() -> None:
    proof = library(SMALL, [PROOF], {"arbiter": convert(Arbiter(SMALL), "arbiter")})
    proof.prove_arbiter.restype = ctypes.c_char_p
    later = [(1 << SMALL.l1_ports) - (1 << first) if first else 0 for first in range(SMALL.l1_ports)]
    reachable = [bits | taken << SMALL.l1_ports for bits in later for taken in range(SMALL.tcdm_max_wait_cycles + 1)]
    array, tried = (ctypes.c_uint32 * len(reachable))(*reachable), ctypes.c_uint64()
    assert proof.prove_arbiter(array, len(reachable), ctypes.byref(tried)) is None
    requests = (SMALL.l1_banks + 1) ** SMALL.l1_ports * (2**SMALL.l1_banks + 1)
    assert tried.value == len(reachable) ** SMALL.l1_banks * requests
