"""Which samples a step takes: a function of the seed and the step alone, so that a run can go on anywhere."""

from __future__ import annotations

import numpy as np

SUBSET = 1 << 32
"""No epoch: the draw of the samples that are used at all."""


def subset(available: int, samples: int | None, seed: int) -> np.ndarray:
    """The indices of ``samples`` of ``available`` samples, drawn by ``seed``; all of them for None."""
    if samples is None or samples >= available:
        return np.arange(available)
    return np.random.default_rng((seed, SUBSET)).permutation(available)[:samples]


def sample_order(count: int, seed: int, first: int, wanted: int) -> np.ndarray:
    """Numbers ``first`` to ``first + wanted`` of an endless sequence: every epoch is a new permutation of ``count``."""
    epochs = range(first // count, (first + wanted - 1) // count + 1)
    orders = [np.random.default_rng((seed, epoch)).permutation(count) for epoch in epochs]
    start = first - epochs[0] * count
    return np.concatenate(orders)[start : start + wanted]


def held_out(available: int, wanted: int) -> np.ndarray:
    """The same ``wanted`` of the held-out samples in every run."""
    return np.random.default_rng(SUBSET).permutation(available)[:wanted]
