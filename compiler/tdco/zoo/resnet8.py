"""ResNet8, MLPerf Tiny's image classifier (arXiv 2106.07597): three stacks of two convolutions, 3x32x32 in, 10 classes.

78,186 parameters. Batch norms keep their statistics: where convolution and scale are frozen they are folded into it,
otherwise scale and shift may be trained. Padding is symmetric (the Keras original pads stride 2 at one end only).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

PARAMETERS = 78_186
CALIBRATION_BATCH = 64


class Stack(nn.Module):
    """Two convolutions beside a shortcut, which has one of its own where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(inputs, outputs, 3, stride, 1), nn.BatchNorm2d(outputs)
        self.conv2, self.norm2 = nn.Conv2d(outputs, outputs, 3, 1, 1), nn.BatchNorm2d(outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(self.conv1(x)).relu()
        return (self.shortcut(x) + self.norm2(self.conv2(y))).relu()


class ResNet8(nn.Module):
    """[B,3,32,32] -> logits [B,10]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 16, 3, 1, 1), nn.BatchNorm2d(16)
        self.stacks = nn.Sequential(Stack(16, 16, 1), Stack(16, 32, 2), Stack(32, 64, 2))
        self.fc = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stacks(self.norm(self.conv(x)).relu())
        return self.fc(x.mean((2, 3)))


def calibrated(model: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """``model`` in eval mode, its batch norms' statistics those of standard noise: fresh weights need some."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches
    with torch.no_grad():
        model.train()(torch.randn(CALIBRATION_BATCH, *shape))
    return model.eval()


def build(pretrained: bool = True, seed: int = 0) -> tuple[nn.Module, Tensor]:
    """ResNet8 with weights drawn from ``seed`` (no checkpoint ships), and an example input [1,3,32,32]."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model, example = calibrated(ResNet8(), (3, 32, 32)), torch.randn(1, 3, 32, 32)
    count = sum(p.numel() for p in model.parameters())
    assert count == PARAMETERS, f"ResNet8 has {PARAMETERS} parameters, this module {count}"
    return model, example
