"""What a run of a compiled program gives back, whatever the platform."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class RunResult:
    """Outputs by name, [steps, ...] each; state by name after the last step; stats of the whole run.

    ``stats``: steps, seconds; jobs, macs, cycles, busy (of the engine); words_compared and mismatches against the
    checking engine; status_flags (every bit some job raised); kernel_calls; dma_bytes {l2_l1, l1_l2};
    l1_peak_bytes and l2_peak_bytes (one past the highest byte touched).
    """

    outputs: dict[str, np.ndarray]
    state: dict[str, np.ndarray]
    stats: dict[str, Any]
