"""Deep-AE, MLPerf Tiny's anomaly detector (arXiv 2106.07597), without batch norm: 640-128x4-8-128x4-640, ReLU, MSE.

264,192 weights and 1,672 biases. It is trained to reproduce its input.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

SIZES = (640, 128, 128, 128, 128, 8, 128, 128, 128, 128, 640)
PARAMETERS = 264_192 + 1_672
LOSS = "reconstruction"


class DeepAe(nn.Module):
    """[B,640] -> [B,640]: five frames of 128 log-mel energies."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(SIZES))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return self.layers[-1](x)


def build(pretrained: bool = True, seed: int = 0) -> tuple[nn.Module, Tensor]:
    """Deep-AE with weights drawn from ``seed`` (no checkpoint ships), and an example input [1,640]."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = DeepAe().eval()
        for layer in model.layers:
            assert isinstance(layer, nn.Linear)
            nn.init.kaiming_normal_(layer.weight)
        example = torch.randn(1, SIZES[0])
    count = sum(p.numel() for p in model.parameters())
    assert count == PARAMETERS, f"Deep-AE has {PARAMETERS} parameters, this module {count}"
    return model, example
