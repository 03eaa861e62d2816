"""``python -m tdco.zoo.pretrain``: makes the shipped checkpoint, CCT-2 trained on *upright* digits, in a few minutes.

The demo then adapts it to tilted ones. It must not have seen any: the only augmentations are shifts and noise.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..data import Dataset, load
from ..reference import accuracy, torch_steps
from ..strategies import all_methods
from .cct2 import CHECKPOINT, Cct2

TILT_DEGREES = 30.0
SHIFT_PIXELS = 2
STRATEGY = "ft2"


def pretrain(data: Dataset, epochs: int, seed: int, noise: float, lr: float, batch: int = 32) -> Cct2:
    """CCT-2 trained from scratch with AdamW, a one-cycle learning rate and label smoothing; in eval mode."""
    torch.manual_seed(seed)
    model = Cct2()
    images, labels = torch.from_numpy(data.train_images), torch.from_numpy(data.train_labels).long()
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.05)
    steps = epochs * (len(images) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    for epoch in range(epochs):
        total = 0.0
        for chosen in torch.randperm(len(images))[: len(images) // batch * batch].split(batch):
            logits = model(_augment(images[chosen], noise))
            loss = nn.functional.cross_entropy(logits, labels[chosen], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item() * batch
        print(f"epoch {epoch + 1}/{epochs}: loss {total / len(images):.3f}", flush=True)
    return model.eval()


def _augment(images: Tensor, noise: float) -> Tensor:
    dy, dx = torch.randint(-SHIFT_PIXELS, SHIFT_PIXELS + 1, (2,)).tolist()
    return torch.roll(images, (dy, dx), (2, 3)) + noise * torch.randn_like(images)


def adapt(model: Cct2, tilted: Dataset, steps: int, seed: int, lr: float) -> tuple[float, float]:
    """Accuracy on the held-out tilted digits before and after ``steps`` FT-2 steps of batch 1, in fp32."""
    trainable = all_methods()[STRATEGY]("", [name for name, _ in model.named_parameters()]).trainable
    chosen = np.random.default_rng(seed).permutation(len(tilted.train_images))[:steps]
    _, new = torch_steps(model, trainable, tilted.train_images[chosen], tilted.train_labels[chosen], lr)
    test = tilted.test_images, tilted.test_labels
    return accuracy(model, *test), accuracy(model, *test, tensors=new)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--noise", type=float, default=0.1)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_name(CHECKPOINT))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    upright, tilted = load("digits"), load("digits", TILT_DEGREES)
    model = pretrain(upright, args.epochs, args.seed, args.noise, args.lr)
    arrays = {k: v.numpy().astype(np.float16) for k, v in model.state_dict().items()}
    model.load_state_dict({k: torch.from_numpy(v.astype(np.float32)) for k, v in arrays.items()})
    held_out = accuracy(model, upright.test_images, upright.test_labels)
    meta = {"accuracy": held_out, "epochs": args.epochs, "seed": args.seed, "noise": args.noise, "lr": args.lr}
    np.savez_compressed(args.output, **arrays, **{f"meta.{k}": np.float64(v) for k, v in meta.items()})  # type: ignore[arg-type]
    print(f"{args.output}: {args.output.stat().st_size} bytes, upright held-out accuracy {held_out:.1%}")
    for seed in range(5):
        before, after = adapt(model, tilted, steps=200, seed=seed, lr=0.01)
        print(
            f"tilted by {TILT_DEGREES:g} degrees, sample order {seed}: {before:.1%} before, {after:.1%} after 200 steps"
        )


if __name__ == "__main__":
    main()
