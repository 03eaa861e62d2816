"""Which learning rate a strategy takes: tried in torch fp32 alone, on images that no run of the experiment uses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import nn

from ..data import Dataset
from ..errors import TdcoError
from ..reference import accuracy, torch_steps
from ..strategies import Training
from .loop import Samples
from .order import SUBSET, held_out, subset

GRID = (0.002, 0.005, 0.01, 0.02)
EVALUATED = (0.7, 0.8, 0.9, 1.0)
"""Shares of a run's steps after which it is evaluated."""
SEEDS = 10
"""Of the experiment whose draws are left alone."""


def other_samples(data: Dataset, samples: int, test: int, seed: int) -> tuple[Samples, Samples]:
    """``samples`` training images in an order drawn by ``seed``, none of them in the experiment's first ``SEEDS``
    draws of as many, and ``test`` held-out images, the last in their order, of which the experiment takes the first.

    Raises:
        TdcoError: so many are not left.
    """
    drawn = [subset(len(data.train_labels), samples, other) for other in range(SEEDS)]
    free = np.setdiff1d(np.arange(len(data.train_labels)), np.concatenate(drawn))
    images = len(data.test_labels)
    if len(free) < samples or images < 2 * test:
        what = f"{len(free)} images to train on and {images - test} held-out ones are left"
        raise TdcoError(what, f"data {data.name}", "fewer --samples, --test")
    held = held_out(images, images)[-test:]
    train = np.random.default_rng((seed, SUBSET + 1)).permutation(free)[:samples]
    return (
        Samples(data.train_images[train].astype(np.float32), data.train_labels[train]),
        Samples(data.test_images[held].astype(np.float32), data.test_labels[held]),
    )


def course(module: nn.Module, training: Training, train: Samples, test: Samples) -> list[float]:
    """The accuracies on ``test`` at ``EVALUATED`` of one epoch of plain SGD over ``train``, an image a step."""
    tensors: dict[str, np.ndarray] = {}
    found, done = [], 0
    for end in (round(share * len(train.labels)) for share in EVALUATED):
        images, labels = train.images[done:end], train.labels[done:end]
        lr, adapters = training.lr, training.adapters
        tensors = torch_steps(module, training.trainable, images, labels, lr, adapters=adapters, start=tensors)[1]
        found.append(accuracy(module, test.images, test.labels, tensors, adapters))
        done = end
    return found


def score(courses: Sequence[Sequence[float]]) -> float:
    """Of a learning rate, from its ``courses`` by seed: the mean accuracy less its standard deviation over seeds and
    evaluations, so that of two rates that end as high the steadier one is better."""
    return float(np.mean(courses) - np.std(courses))
