"""MobileNetV1 of width 0.25, MLPerf Tiny's person detector (arXiv 2106.07597): 3x96x96 in, 2 classes.

213,586 parameters. Depthwise and pointwise convolutions in turn, each with a batch norm, which keeps its statistics as
ResNet8's does. Padding is symmetric as in torch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .resnet8 import calibrated

PARAMETERS = 213_586
FIRST = 8
BLOCKS = ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *(((128, 1),) * 5), (256, 2), (256, 1))
"""(output channels, stride) of every depthwise separable block."""


class Separable(nn.Module):
    """A depthwise 3x3 and a pointwise convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(self.depthwise(x)).relu()
        return self.norm2(self.pointwise(x)).relu()


class MobileNet(nn.Module):
    """[B,3,96,96] -> logits [B,2]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, FIRST, 3, 2, 1, bias=False), nn.BatchNorm2d(FIRST)
        inputs = (FIRST, *(outputs for outputs, _ in BLOCKS))
        self.blocks = nn.Sequential(*(Separable(i, o, s) for i, (o, s) in zip(inputs, BLOCKS, strict=False)))
        self.fc = nn.Linear(inputs[-1], 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.norm(self.conv(x)).relu())
        return self.fc(x.mean((2, 3)))


def build(pretrained: bool = True, seed: int = 0) -> tuple[nn.Module, Tensor]:
    """MobileNetV1 with weights drawn from ``seed`` (no checkpoint ships), and an example input [1,3,96,96]."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model, example = calibrated(MobileNet(), (3, 96, 96)), torch.randn(1, 3, 96, 96)
    count = sum(p.numel() for p in model.parameters())
    assert count == PARAMETERS, f"MobileNetV1 has {PARAMETERS} parameters, this module {count}"
    return model, example
