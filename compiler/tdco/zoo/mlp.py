"""A perceptron with one hidden layer, 3072-32-10, for trying things out: a step takes a millisecond on the host."""

from __future__ import annotations

import torch
from torch import Tensor, nn

IMAGE_SHAPE = (1, 3, 32, 32)
HIDDEN, CLASSES = 32, 10


class Mlp(nn.Module):
    """[B,3,32,32] -> logits [B,10]."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.fc = nn.Linear(3072, HIDDEN), nn.Linear(HIDDEN, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.hidden(x.flatten(1)).relu())


def build(pretrained: bool = True, seed: int = 0) -> tuple[nn.Module, Tensor]:
    """The perceptron with weights drawn from ``seed`` as torch draws them (no checkpoint ships), and an example."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Mlp().eval(), torch.randn(IMAGE_SHAPE)
