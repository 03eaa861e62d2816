"""Device fp16 against torch fp32, pairwise: the same start, seed and order of samples."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ..data import Dataset
from ..reference import accuracy, torch_steps
from ..strategies import from_document
from .journal import write
from .loop import Samples
from .order import sample_order

TOLERANCE = 0.005
"""Of accuracy, between device and torch."""


@dataclass(frozen=True)
class Experiment:
    """``rates``: the learning rate of every strategy."""

    title: str
    model: str
    data: str
    config: str
    rates: Mapping[str, float]


EXPERIMENTS = {
    "cct2-mnist": Experiment(
        "CCT-2 from CIFAR-10 to MNIST",
        "zoo:cct2_cifar10",
        "mnist",
        "rm_12x4",
        {"lp": 0.02, "ft1": 0.01, "lora1": 0.02, "ft2": 0.01, "lora2": 0.02},
    )
}


def torch_run(
    module: nn.Module, document: Mapping[str, Any], train: Samples, test: Samples, seed: int, file: Path
) -> dict[str, Any]:
    """One epoch of ``train`` in torch fp32 as the device takes it; kept in ``file``, and read from there."""
    if file.exists():
        return dict(json.loads(file.read_text()))
    training = from_document(document["train"])
    batch = document["inputs"][0]["shape"][0]
    steps = len(train.labels) // batch
    chosen = sample_order(len(train.labels), seed, 0, steps * batch)
    images, labels = (a[chosen].reshape(steps, batch, *a.shape[1:]) for a in (train.images, train.labels))
    losses, tensors = torch_steps(
        module,
        training.trainable,
        images.astype(np.float32),
        labels,
        training.lr,
        adapters=training.adapters,
        optimizer=training.optimizer,
        accumulate=training.accumulate,
    )
    found = accuracy(module, test.images.astype(np.float32), test.labels, tensors, training.adapters)
    result = {"accuracy": found, "loss": losses}
    write(file, json.dumps(result).encode())
    return result


def compared(device: Sequence[float], torch: Sequence[float]) -> dict[str, Any]:
    """Means of the accuracies, the mean of the paired differences and its standard error (NaN of fewer than two)."""
    difference = np.subtract(device, torch)
    error = float(difference.std(ddof=1) / math.sqrt(len(difference))) if len(difference) > 1 else math.nan
    mean = float(difference.mean())
    return {
        "device": float(np.mean(device)),
        "torch": float(np.mean(torch)),
        "difference": mean,
        "standard_error": error,
        "agrees": abs(mean) <= TOLERANCE or abs(mean) <= 2 * error,
    }


def parts(samples: Dataset, train: np.ndarray, test: np.ndarray) -> tuple[Samples, Samples]:
    """The training and the held-out samples of these numbers."""
    return (
        Samples(samples.train_images[train], samples.train_labels[train]),
        Samples(samples.test_images[test], samples.test_labels[test]),
    )
