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
from ..errors import TdcoError
from ..optimizer import UPDATES
from ..reference import accuracy, adapter_start, compare_updates, torch_steps
from ..strategies import Training
from .journal import npz, write
from .loop import Samples
from .order import sample_order

TOLERANCE = 0.005
"""Of accuracy, between device and torch."""


@dataclass(frozen=True)
class Case:
    """One way to train: ``optimizer`` as ``optimizer.parse`` takes it."""

    name: str
    strategy: str
    lr: float
    optimizer: str = "sgd"


@dataclass(frozen=True)
class Experiment:
    """What every case starts from: a model and data."""

    title: str
    model: str
    data: str
    config: str
    cases: tuple[Case, ...]


RATES = {"lp": 0.02, "ft1": 0.01, "lora1": 0.01, "ft2": 0.005, "lora2": 0.01}
"""As ``tdco rates`` found them."""
ROUNDING_RATES = (0.0003, 0.001, 0.003, 0.01)


def _rounding(title: str, model: str, data: str, strategy: str, rates: tuple[float, ...]) -> Experiment:
    """Every way to keep weights with every one of ``rates``."""
    pairs = ((update, rate) for update in UPDATES for rate in rates)
    cases = (Case(f"{update}-{rate:g}", strategy, rate, f"sgd,update={update}") for update, rate in pairs)
    return Experiment(title, model, data, "rm_12x4", tuple(cases))


EXPERIMENTS = {
    "cct2-mnist": Experiment(
        "CCT-2 from CIFAR-10 to MNIST",
        "zoo:cct2_cifar10",
        "mnist",
        "rm_12x4",
        tuple(Case(strategy, strategy, rate) for strategy, rate in RATES.items()),
    ),
    "rounding": _rounding("Rounding of weights by learning rate", "zoo:cct2_cifar10", "mnist", "ft1", ROUNDING_RATES),
    "rounding-mlp": _rounding(
        "Rounding of a perceptron's weights", "zoo:mlp", "digits", "full", (0.0001, *ROUNDING_RATES)
    ),
}


def torch_run(
    module: nn.Module, training: Training, batch: int, train: Samples, test: Samples, seed: int, file: Path
) -> dict[str, Any]:
    """One epoch of ``train`` in torch fp32 as the device takes it; kept in ``file``, and read from there.

    {"accuracy", "loss": of every step, "tensors": the trained ones by name}.
    """
    if not file.exists():
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
        arrays = {f"tensors/{name}": array for name, array in tensors.items()}
        write(file, npz({**arrays, "loss": np.array(losses), "accuracy": np.array(found)}))
    with np.load(file) as arrays:
        tensors = {n.removeprefix("tensors/"): arrays[n] for n in arrays.files if n.startswith("tensors/")}
        return {"accuracy": float(arrays["accuracy"]), "loss": arrays["loss"].tolist(), "tensors": tensors}


def update_error(
    module: nn.Module, training: Training, device: Mapping[str, np.ndarray], torch: Mapping[str, np.ndarray]
) -> float:
    """How far the device's update of all trained tensors is from torch's, as relative L2, from the tensors after it."""
    start = {n: p.detach().numpy() for n, p in module.named_parameters()} | adapter_start(module, training.adapters)
    moved = [{n: held[n].reshape(start[n].shape) - start[n] for n in torch} for held in (device, torch)]
    return compare_updates(moved[0], moved[1]).max_rel_error


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


def settle(out: Path, settings: Mapping[str, Any]) -> None:
    """Writes what the runs in ``out`` share, or sees that those there do.

    Raises:
        TdcoError: it holds runs with something else.
    """
    file = out / "settings.json"
    out.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        write(file, json.dumps(settings).encode())
    held = json.loads(file.read_text())
    for key, value in settings.items():
        if held.get(key) != value:
            raise TdcoError(f"holds an experiment with other {key}", str(out), "another --out, or remove it")
