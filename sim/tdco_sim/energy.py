"""An estimate of a step's energy from published figures.

Not a measurement: the figures are of other chips, technologies (22, 28 and 45 nm) and operating points than one
another; engine and cores at their most efficient voltage, so a chip at 360 MHz takes more there. L1 is in the
figures of engine and cores. Leakage and sleeping cores do not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Cost:
    """``picojoule`` per ``unit``, and where the figure comes from."""

    picojoule: float
    unit: str
    source: str


COSTS: dict[str, Cost] = {
    "engine": Cost(
        2 / 755e9 * 1e12,
        "MAC",
        "RedMulE 12x4 with its cluster, fp16 GEMM, 22 nm, 0.65 V, 470 MHz: 755 GFLOPS/W, L1 included "
        "(Tortorella et al., arXiv 2301.03904, abstract)",
    ),
    "cores": Cost(
        1 / 193e9 * 1e12,
        "instruction",
        "RI5CY cluster, 28 nm FD-SOI, near threshold: 193 MOPS/mW, L1 and instruction caches included "
        "(Gautschi et al., arXiv 1608.08376, abstract)",
    ),
    "l2": Cost(
        100 / 8,
        "byte between L2 and L1",
        "SRAM of 1 MB, 45 nm, 0.9 V: 100 pJ for 64 bits (Horowitz, Computing's energy problem, ISSCC 2014)",
    ),
    "l3": Cost(
        1950 / 8,
        "byte between L3 and L2",
        "DRAM: 1.3 to 2.6 nJ for 64 bits, the mean of both (the same paper)",
    ),
}


def estimate(stats: Mapping[str, Any]) -> dict[str, float]:
    """Microjoule by part and their ``total``, of a run's ``stats``."""
    moved = stats["dma_bytes"]
    counts = {
        "engine": stats["macs"],
        "cores": stats["instructions"],
        "l2": moved["l2_l1"] + moved["l1_l2"],
        "l3": moved["l3_l2"],
    }
    parts = {name: counts[name] * COSTS[name].picojoule * 1e-6 for name in COSTS}
    return {**parts, "total": sum(parts.values())}
