"""What a run of a compiled program gives back, whatever the platform."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class RunResult:
    """Outputs by name, [steps, ...] each; state by name after the last step; stats of the whole run.

    ``stats`` everywhere: steps, seconds; jobs, macs, cycles; status_flags (every bit some job raised);
    dma_bytes {l2_l1, l1_l2}; l1_peak_bytes and l2_peak_bytes (one past the highest byte touched).

    On host, cycles and busy are the engine's; words_compared and mismatches against the checking engine; kernel_calls.
    On soc and gvsoc, cycles and step_cycles are the whole steps'; busy {engine, dma, cores}; dma_bytes {.., l3_l2};
    firmware_sha256. On soc alone: cpu_seconds, instructions, l1_requests {granted, refused, engine_refused}, harts (of
    each, the cycles that soc.simulator.HART_CYCLES names), and on request profile and events. On gvsoc: gvsoc_version.
    """

    outputs: dict[str, np.ndarray]
    state: dict[str, np.ndarray]
    stats: dict[str, Any]
