"""Pretraining in PyTorch fp32: AdamW, warm-up and cosine decay, flips and shifts, checkpoints that resume.

The recipe is that of Compact Transformers (arXiv 2104.05704) less its heavy augmentation, which pays after hundreds of
epochs. The images are those of ``tdco.data``: the model learns to read what a compiled program is fed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..data import Dataset

SHIFT_PIXELS = 4
WARM_UP = 0.05
"""Of the whole training, with the learning rate rising linearly."""
MAX_GRADIENT_NORM = 1.0
EVALUATED = 2_000
"""Held-out images after each epoch; no choice depends on them."""
OnEpoch = Callable[[dict[str, float]], None]


@dataclass(frozen=True)
class Recipe:
    """``seconds``: of training, evaluation apart; the learning rate decays by the share of whichever of ``epochs`` and
    ``seconds`` is further gone, so a machine too slow for all epochs still ends with a low one."""

    epochs: int
    seconds: float = math.inf
    batch: int = 128
    lr: float = 1e-3
    weight_decay: float = 0.03
    label_smoothing: float = 0.1
    flips: bool = True
    seed: int = 0


@dataclass(frozen=True)
class Pretrained:
    """``epochs`` may have a fraction where the time was over first."""

    epochs: float
    seconds: float
    loss: float


def pretrain(
    module: nn.Module, data: Dataset, recipe: Recipe, checkpoint: Path, on_epoch: OnEpoch = lambda _: None
) -> Pretrained:
    """Trains ``module`` in place; goes on from ``checkpoint`` where that file exists, and writes it after each epoch.

    With ``seconds`` at infinity the result depends on nothing but the recipe, interrupted or not.
    """
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(module.parameters(), recipe.lr, weight_decay=recipe.weight_decay)
    images, labels = torch.from_numpy(data.train_images), torch.from_numpy(data.train_labels).long()
    done = _resume(checkpoint, module, optimizer)
    batches, epoch, seconds, loss = len(images) // recipe.batch, done["epoch"], done["seconds"], done["loss"]
    if batches == 0:
        raise ValueError(f"{len(images)} images make no batch of {recipe.batch}")
    while epoch < recipe.epochs and seconds < recipe.seconds:
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + int(epoch))
        order, total, start = torch.randperm(len(images), generator=generator), 0.0, time.perf_counter()
        module.train()
        for step, chosen in enumerate(order[: batches * recipe.batch].split(recipe.batch)):
            used = seconds + time.perf_counter() - start
            share = max((epoch + step / batches) / recipe.epochs, used / recipe.seconds)
            if share >= 1:
                break
            rate = recipe.lr * min(share / WARM_UP, (1 + math.cos(math.pi * share)) / 2)
            total += _step(module, optimizer, rate, recipe, images[chosen], labels[chosen], generator)
        else:
            step = batches
        epoch, seconds = epoch + step / batches, seconds + time.perf_counter() - start
        loss = total / max(step, 1)
        shown = accuracy(module, data.test_images[:EVALUATED], data.test_labels[:EVALUATED])
        _save(checkpoint, module, optimizer, {"epoch": epoch, "seconds": seconds, "loss": loss})
        on_epoch({"epoch": epoch, "loss": loss, "accuracy": shown, "seconds": seconds})
    module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    module.eval()
    return Pretrained(epoch, seconds, loss)


def _step(
    module: nn.Module, optimizer: torch.optim.Optimizer, lr: float, recipe: Recipe, x: Tensor, y: Tensor,
    generator: torch.Generator,
) -> float:  # fmt: skip
    for group in optimizer.param_groups:
        group["lr"] = lr
    x = augmented(x.float(), recipe.flips, generator).contiguous(memory_format=torch.channels_last)
    loss = nn.functional.cross_entropy(module(x), y, label_smoothing=recipe.label_smoothing)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(module.parameters(), MAX_GRADIENT_NORM)
    optimizer.step()
    return loss.item()


def augmented(images: Tensor, flips: bool, generator: torch.Generator) -> Tensor:
    """[B,C,H,W], each shifted by up to ``SHIFT_PIXELS`` both ways, mid-grey moving in, half of them mirrored."""
    batch, _, height, width = images.shape
    padded = nn.functional.pad(images, [SHIFT_PIXELS] * 4)
    top, left = torch.randint(0, 2 * SHIFT_PIXELS + 1, (2, batch), generator=generator)
    rows, columns = top[:, None] + torch.arange(height), left[:, None] + torch.arange(width)
    if flips:
        mirrored = torch.rand(batch, generator=generator) < 0.5
        columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    picked = padded[torch.arange(batch)[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2)


def accuracy(module: nn.Module, images: np.ndarray, labels: np.ndarray, batch: int = 500) -> float:
    """Share of ``images`` that ``module``, put into eval mode, classifies rightly."""
    module.eval()
    right = 0
    with torch.no_grad():
        for first in range(0, len(images), batch):
            logits = module(torch.from_numpy(images[first : first + batch]).float())
            right += int((logits.argmax(1).numpy() == labels[first : first + batch]).sum())
    return right / len(images)


def _resume(checkpoint: Path, module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    if not checkpoint.exists():
        return {"epoch": 0.0, "seconds": 0.0, "loss": math.nan}
    saved = torch.load(checkpoint, weights_only=True)
    module.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    return dict(saved["done"])


def _save(checkpoint: Path, module: nn.Module, optimizer: torch.optim.Optimizer, done: dict[str, float]) -> None:
    """Whole or not at all: a kill while writing leaves the file of the epoch before."""
    new = checkpoint.with_name(checkpoint.name + ".new")
    torch.save({"model": module.state_dict(), "optimizer": optimizer.state_dict(), "done": done}, new)
    new.replace(checkpoint)


def half_precision(module: nn.Module, meta: dict[str, float]) -> dict[str, np.ndarray]:
    """The parameters in fp16, as the zoo ships them, and ``meta`` beside them; ``module`` is rounded to them."""
    arrays = {k: v.numpy().astype(np.float16) for k, v in module.state_dict().items()}
    module.load_state_dict({k: torch.from_numpy(v.astype(np.float32)) for k, v in arrays.items()})
    return {**arrays, **{f"meta.{k}": np.array(v) for k, v in meta.items()}}
