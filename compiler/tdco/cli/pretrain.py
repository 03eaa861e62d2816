"""``tdco pretrain``: a model of the zoo trained from scratch in PyTorch, kept in fp16."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click
import numpy as np

from .. import data, zoo
from ..errors import TdcoError
from ._console import console, json_command, key_values


def _show(result: dict[str, Any]) -> None:
    key_values(f"pretrained {result['model']}", result)


@click.command()
@click.argument("model")
@click.option("--data", "source", default="cifar10", show_default=True, help="As of tdco data.")
@click.option("--output", "-o", required=True, type=click.Path(dir_okay=False, path_type=Path), help="An .npz file.")
@click.option("--epochs", type=click.IntRange(min=1), default=100, show_default=True)
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="Ends then, the learning rate run down.")
@click.option("--batch", type=click.IntRange(min=1), default=128, show_default=True)
@click.option("--lr", type=float, default=1e-3, show_default=True)
@click.option("--flips/--no-flips", default=True, show_default=True, help="Mirrored images; not for characters.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True)
@json_command(_show)
def pretrain(
    model: str, source: str, output: Path, epochs: int, minutes: float | None, batch: int, lr: float, flips: bool,
    seed: int, threads: int,
) -> dict[str, Any]:  # fmt: skip
    """Trains MODEL of the zoo from scratch in PyTorch fp32 and writes its weights in fp16.

    Goes on from OUTPUT.checkpoint, written after each epoch, where there is one.
    """
    import torch

    from ..training.pretraining import Recipe, accuracy, half_precision
    from ..training.pretraining import pretrain as train

    torch.set_num_threads(threads)
    module = zoo.load(model, pretrained=False, seed=seed).module
    if module is None:
        raise TdcoError("has no PyTorch module to train", model)
    with console.status(f"reading {source}"):
        samples = data.load(source)
    recipe = Recipe(epochs, 60 * minutes if minutes else math.inf, batch, lr, flips=flips, seed=seed)
    output.parent.mkdir(parents=True, exist_ok=True)
    done = train(module, samples, recipe, output.with_name(output.name + ".checkpoint"), _say)
    meta = {"epochs": done.epochs, "minutes": done.seconds / 60, "seed": seed, "lr": lr, "batch": batch}
    arrays: dict[str, Any] = half_precision(module, meta)
    held_out = accuracy(module, samples.test_images, samples.test_labels)
    arrays |= {"meta.accuracy": np.array(held_out), "meta.data": np.array(samples.name)}
    np.savez_compressed(output, **arrays)
    return {
        "model": model, "data": samples.name, "held_out": len(samples.test_labels), "accuracy": held_out,
        "train_loss": done.loss, **meta, "file": str(output), "bytes": output.stat().st_size,
    }  # fmt: skip


def _say(epoch: dict[str, float]) -> None:
    console.print(
        f"epoch {epoch['epoch']:.2f}: loss {epoch['loss']:.3f}, held-out accuracy {epoch['accuracy']:.1%} "
        f"({epoch['seconds'] / 60:.1f} min)"
    )
