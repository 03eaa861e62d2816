"""Measures engines, and compares every bit of them with golden: GEMM jobs in cycles, the multiply-adder in vectors."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tdco_spec import JOB_FLAGS, HwConfig

from . import golden, model, rtl
from .engine import L1_BASE, ContendedEngine, Engine, TimedEngine, Traffic, job_words
from .errors import SimError
from .workloads import WORKLOADS, Gemm, swapped

Shape = tuple[int, int, int]
ALIGNMENT = 64
SPEED_FLOORS = {"engine_kcycle_per_second": 60, "ratio": 0.35}
"""What the RTL's simulation is asked for at least, on one core: see :func:`bench_speed`."""


def bench_gemm(
    engine: Path,
    cfg: HwConfig,
    shapes: Sequence[Shape],
    *,
    trans_x: bool = False,
    trans_w: bool = False,
    trans_z: bool = False,
    y: bool = True,
    bias: bool = False,
    relu: bool = False,
    stall: float = 0.0,
    repeat: int = 1,
    traffic: float | None = None,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """One result per (M, N, K) of ``shapes``: ``repeat`` jobs queued on library ``engine``, random operands.

    ``bias``: Y is one stored line, repeated. ``stall``: probability that a cycle passes without a grant. Memory is as
    large as the operands need. cycles: first TRIGGER to last event; utilization: macs / (cycles * FMAs); mismatches:
    halfwords of memory that differ from golden's, flags counted in; guard_errors: bytes written outside Z, and words
    read that hold no byte of an operand.

    ``traffic``: on an ``engine`` with L1 as RTL (rtl.build_on_tcdm), a core without a request makes one for a random
    word with this probability each cycle. The result then has ``traffic``: see :func:`_beside_cores`.

    Raises:
        SimError: on a hang, a breach of the memory port's protocol, or operands that are larger than an RTL L1.
    """
    if not 0 <= stall < 1:
        raise SimError(f"must be at least 0 and below 1, not {stall}", "stall")
    flags = {"TRANS_X": trans_x, "TRANS_W": trans_w, "TRANS_Z": trans_z, "RELU": relu, "Y": y or bias}
    names = [name for name, on in flags.items() if on]
    results = []
    for shape in shapes:
        jobs, size = _queue(shape, names, bias, repeat)
        result = _run_queue(engine, cfg, jobs, size, stall, traffic, seed)
        results.append({"shape": list(shape), **result, "words_compared": repeat * shape[0] * shape[1]})
    return results


def bench_workload(
    engine: Path, cfg: HwConfig, name: str, *, stall: float = 0.0, traffic: float | None = None, seed: int = 0
) -> list[dict[str, Any]]:
    """The products of ``WORKLOADS[name]`` as one queue of independent jobs, each turned the way that takes less.

    The result is as of :func:`bench_gemm`, without a shape: ``workload``, ``jobs``, and ``swapped``, how many of them.
    """
    predict = model.predictor(cfg)

    def cycles(gemm: Gemm) -> int:
        return predict(*gemm.shape, sum(JOB_FLAGS[flag] for flag in gemm.flags)).queued

    gemms = [gemm for gemm in WORKLOADS[name] for _ in range(gemm.count)]
    turned = [min(gemm, swapped(gemm), key=cycles) for gemm in gemms]
    jobs, size = [], 0
    for gemm in turned:
        own, own_size = _queue(gemm.shape, list(gemm.flags), gemm.bias, 1, L1_BASE + size)
        jobs += own
        size += own_size
    result = _run_queue(engine, cfg, jobs, size, stall, traffic, seed)
    words = sum(gemm.m * gemm.n for gemm in gemms)
    turns = sum(was is not now for was, now in zip(gemms, turned, strict=True))
    return [{"workload": name, "jobs": len(jobs), "swapped": turns, **result, "words_compared": words}]


def _queue(shape: Shape, flags: list[str], bias: bool, repeat: int, base: int = L1_BASE) -> tuple[list[list[int]], int]:
    """``repeat`` jobs on the same operands with a Z each, and how many bytes of L1 from ``base`` on they need."""
    m, n, k = shape
    if min(shape) < 1 or max(shape) > 0xFFFF:
        raise SimError("M, N and K must be from 1 to 65535", "x".join(map(str, shape)))
    z_shape = (n, m) if "TRANS_Z" in flags else (m, n)
    stored = {"x": (k, m) if "TRANS_X" in flags else (m, k), "w": (n, k) if "TRANS_W" in flags else (k, n)}
    if "Y" in flags:
        stored["y"] = (1, z_shape[1]) if bias else z_shape
    stored |= {f"z{i}": z_shape for i in range(repeat)}
    addrs, end = {}, base
    for name, (lines, length) in stored.items():
        addrs[name] = end
        end += -(-2 * lines * length // ALIGNMENT) * ALIGNMENT
    strides = {name[0]: 2 * length for name, (_, length) in stored.items()} | ({"y": 0} if bias else {})
    jobs = []
    for i in range(repeat):
        places = {name: addrs[name] for name in "xwy" if name in addrs} | {"z": addrs[f"z{i}"]}
        jobs.append(job_words(shape, places, strides, flags))
    return jobs, end - base


def _run_queue(
    engine: Path, cfg: HwConfig, jobs: list[list[int]], size: int, stall: float, traffic: float | None, seed: int
) -> dict[str, Any]:
    """The jobs on library ``engine`` and on golden, with ``size`` random bytes of L1."""
    if traffic is not None and size > cfg.l1_bytes:
        raise SimError(f"the operands need {size} bytes of L1, {cfg.name} has {cfg.l1_bytes}", "traffic")
    halves = np.random.default_rng(seed).normal(size=size // 2).astype(np.float16)
    before, l1, wanted = (halves.copy().view(np.uint8) for _ in range(3))
    device = TimedEngine(engine, l1) if traffic is None else ContendedEngine(engine, l1)
    reference = Engine(golden.build(cfg), wanted)
    beside: dict[str, Any] = {}
    try:
        device.set_stall(stall, seed)
        if isinstance(device, ContendedEngine):
            device.set_traffic(traffic or 0, seed)
        cycles, guard_errors, raised = device.run_queue(jobs)
        if isinstance(device, ContendedEngine):
            beside = {
                "traffic": _beside_cores(engine, cfg, before, jobs, device.traffic(cfg.cores), traffic or 0, seed)
            }
            beside["traffic"]["ratio"] = cycles / beside["traffic"]["quiet_cycles"]
        expected = 0
        for job in jobs:
            expected |= reference.run(job)
        stats = device.stats
    finally:
        device.close()
        reference.close()
    mismatches = int((l1.view(np.uint16) != wanted.view(np.uint16)).sum()) + (raised != expected)
    return {
        "cycles": cycles,
        "busy": stats.busy,
        "macs": stats.macs,
        "utilization": stats.macs / (cycles * cfg.fmas),
        "mismatches": mismatches + (beside["traffic"].pop("mismatches") if beside else 0),
        "guard_errors": guard_errors,
        **beside,
    }


def _beside_cores(
    engine: Path, cfg: HwConfig, l1: NDArray[np.uint8], jobs: list[list[int]], seen: Traffic, rate: float, seed: int
) -> dict[str, Any]:
    """What ``seen`` is worth: against the engine without cores, and the cores without the engine.

    rate: of requests by a core that has none; quiet_cycles: of the jobs; core_rates, quiet_core_rates: requests granted
    a cycle, by core; least_share: the smallest quotient of the two.
    """
    device = ContendedEngine(engine, l1)
    try:
        device.set_traffic(0)
        quiet_cycles = device.run_queue(jobs)[0]
        device.set_traffic(rate, seed)
        device.run_cores(seen.cycles)
        alone = device.traffic(cfg.cores)
    finally:
        device.close()
    shares = [got / quiet if quiet else 1.0 for got, quiet in zip(seen.rates, alone.rates, strict=True)]
    return {
        "rate": rate,
        "quiet_cycles": quiet_cycles,
        "core_rates": seen.rates,
        "quiet_core_rates": alone.rates,
        "least_share": min(shares),
        "mismatches": seen.mismatches + alone.mismatches,
    }


def bench_speed(engine: Path, fma_array: Path, cfg: HwConfig, seconds: float = 5.0, seed: int = 0) -> dict[str, Any]:
    """Simulated kcycle per CPU second of the engine on L1 as RTL (``engine``: rtl.build_on_tcdm) under full load.

    Full load: 96x96x96 back to back while each core requests random words at 0.2 a cycle. Measured against the
    multiply-adders alone, all fed with random bits (``fma_array``: rtl.build_fma_array), in turns, so that both see
    the same machine, for ``seconds`` of CPU time each. ``floors``: ``SPEED_FLOORS``, each with what was ``asked`` and
    whether it was ``met`` on this machine at this time.

    Raises:
        SimError: if the engine hangs.
    """
    jobs, size = _queue((96, 96, 96), ["Y"], False, 1)
    halves = np.random.default_rng(seed).normal(size=size // 2).astype(np.float16)
    device = ContendedEngine(engine, halves.view(np.uint8))
    spent, cycles = {"engine": 0.0, "array": 0.0}, {"engine": 0, "array": 0}
    turns = 10
    try:
        device.set_traffic(0.2, seed)
        while min(spent.values()) < seconds:
            for name in spent:
                start = time.process_time()
                while time.process_time() - start < seconds / turns:
                    if name == "engine":
                        cycles[name] += device.run_queue(jobs * 4)[0]
                    else:
                        rtl.run_fma_array(fma_array, 50_000, seed)
                        cycles[name] += 50_000
                spent[name] += time.process_time() - start
        mismatches = device.traffic(cfg.cores).mismatches
    finally:
        device.close()
    speed = {name: cycles[name] / spent[name] / 1e3 for name in spent}
    measured = {
        "engine_kcycle_per_second": speed["engine"],
        "array_kcycle_per_second": speed["array"],
        "ratio": speed["engine"] / speed["array"],
    }
    floors = {name: {"asked": least, "met": measured[name] >= least} for name, least in SPEED_FLOORS.items()}
    return {**measured, "floors": floors, "mismatches": mismatches, "cpu_seconds": sum(spent.values())}
