"""An estimate of a step's energy: engine and cores from published figures, memories by assumption.

Not a measurement: the published figures are of other chips, technologies (22 and 28 nm) and operating points than one
another, each at its most efficient voltage, so a chip at 360 MHz takes more. Leakage and sleeping cores do not count.
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
    "l2_assumed": Cost(1.4, "byte between L2 and L1", "assumption, the order of Vega's channel (arXiv 2110.09101)"),
    "l3_assumed": Cost(880.0, "byte between L3 and L2", "assumption, the order of Vega's HyperRAM (arXiv 2110.09101)"),
}


def estimate(stats: Mapping[str, Any]) -> dict[str, float]:
    """Microjoule by part and their ``total``, of a run's ``stats``; an ``_assumed`` part has no source."""
    moved = stats["dma_bytes"]
    counts = {
        "engine": stats["macs"],
        "cores": stats["instructions"],
        "l2_assumed": moved["l2_l1"] + moved["l1_l2"],
        "l3_assumed": moved["l3_l2"],
    }
    parts = {name: counts[name] * COSTS[name].picojoule * 1e-6 for name in COSTS}
    return {**parts, "total": sum(parts.values())}
