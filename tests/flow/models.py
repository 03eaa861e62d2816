"""Small models of a user's own, as ``tests/flow/models.py:mlp`` and so on name them, and CCT-2's graph made once."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from tdco import zoo
from tdco.ir import Graph
from tdco.pipeline import FORWARD_PASSES
from torch import Tensor, nn

HERE = Path(__file__)


def mlp() -> tuple[nn.Module, Tensor]:
    """64 -> 32 -> 10, batch 4."""
    torch.manual_seed(1)
    layers = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 10))
    return layers, torch.randn(4, 64)


class CnnHead(nn.Module):
    """A convolutional trunk and a head of normalised, GELU-activated layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.norm, self.fc1, self.fc = nn.LayerNorm(16), nn.Linear(16, 24), nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = torch.relu(self.conv2(x)).mean((2, 3))
        return self.fc(nn.functional.gelu(self.fc1(self.norm(x))))


def cnn_head() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(2)
    return CnnHead(), torch.randn(2, 1, 16, 16)


class Scaled(nn.Module):
    """Two layers without bias and a tensor that is no parameter between them."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(12, 8, bias=False), nn.Linear(8, 10, bias=False)
        self.register_buffer("scale", torch.linspace(0.5, 1.5, 8))

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(x)) * self.scale)


def with_buffer() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(3)
    return Scaled(), torch.randn(1, 12)


class PlainMatrix(nn.Module):
    """A weight stored as it multiplies: [inputs, outputs]."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(6, 10))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.w


def plain_matrix() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(4)
    return PlainMatrix(), torch.randn(3, 6)


def smooth_mlp() -> tuple[nn.Module, Tensor]:
    """Without a ReLU, whose kink fp16 may pass on the other side than fp32."""
    torch.manual_seed(6)
    return nn.Sequential(nn.Linear(64, 32), nn.GELU(), nn.Linear(32, 10)), torch.randn(4, 64)


def deep_gelu() -> tuple[nn.Module, Tensor]:
    """A batch whose activations are larger than L1, and than all weights."""
    torch.manual_seed(7)
    layers = [layer for _ in range(5) for layer in (nn.Linear(64, 64), nn.GELU())]
    return nn.Sequential(*layers, nn.Linear(64, 10)), torch.randn(128, 64)


class PoolingCnn(nn.Module):
    """What reads small colour pictures: two convolutions with pooling, two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.fc1, self.fc2 = nn.Linear(256, 32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = nn.functional.max_pool2d(torch.relu(self.conv2(x)), 2)
        return self.fc2(torch.relu(self.fc1(x.flatten(1))))


def pooling_cnn() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(8)
    return PoolingCnn(), torch.randn(1, 3, 16, 16)


def autoencoder() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(16, 6), nn.ReLU(), nn.Linear(6, 16)), torch.randn(3, 16)


def norm_only() -> tuple[nn.Module, Tensor]:
    """Has no GEMM at all."""
    return nn.LayerNorm(10), torch.randn(2, 10)


def tied() -> tuple[nn.Module, Tensor]:
    """Uses one weight twice."""
    layers = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    layers[2].weight = layers[0].weight
    return layers, torch.randn(1, 8)


def with_tanh() -> tuple[nn.Module, Tensor]:
    """Uses an operator that tdco does not support."""
    return nn.Sequential(nn.Linear(4, 4), nn.Tanh()), torch.randn(1, 4)


def wrong_shape() -> tuple[nn.Module, Tensor]:
    """Its example is no input of it."""
    return nn.Linear(10, 3), torch.zeros(1, 12)


class Branching(nn.Linear):
    """What it computes depends on the data."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * 2 if x.sum() > 0 else x)


def branching() -> tuple[nn.Module, Tensor]:
    return Branching(12, 3), torch.zeros(1, 12)


def not_a_model() -> int:
    return 1


@cache
def own(function: str) -> tuple[zoo.Model, Graph]:
    return _optimised(zoo.load(f"{HERE}:{function}"))


@cache
def cct2(pretrained: bool = False) -> tuple[zoo.Model, Graph]:
    return _optimised(zoo.load("zoo:cct2", pretrained))


def _optimised(model: zoo.Model) -> tuple[zoo.Model, Graph]:
    graph = zoo.forward_graph(model)
    for optimise in FORWARD_PASSES:
        graph = optimise(graph)
    return model, graph


def small_cnn() -> tuple[nn.Module, Tensor]:
    """Of images as ``tdco.data`` gives them, batch 4."""
    torch.manual_seed(7)
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 8, stride=8), nn.ReLU(), nn.Flatten(), nn.Linear(128, 32), nn.ReLU(), nn.Linear(32, 10)
    )
    return layers, torch.randn(4, 3, 32, 32)
