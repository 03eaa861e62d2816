"""CCT-2 (cct_2_3x2_32 of SHI-Labs' Compact Transformers, mlp_ratio 1): 283,723 parameters, 3x32x32 in, 10 classes out.

Two convolutions turn the image into 64 tokens of 128, two pre-norm transformer blocks mix them, and a learned weighted
mean over the tokens (sequence pooling) feeds the classifier. Architecture: arXiv 2104.05704, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

PARAMETERS = 283_723
IMAGE_SHAPE = (1, 3, 32, 32)
CLASSES = 10
EMBED, HEADS, TOKENS = 128, 2, 64
CHECKPOINT = "cct2_digits.npz"


class Tokenizer(nn.Module):
    """[B,3,32,32] -> [B,tokens,channels]: conv 3x3, ReLU, max pool 3/2/1 for every entry of ``channels``; the pixels
    left are the tokens."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.layers = len(channels)
        for n, (inputs, outputs) in enumerate(pairwise((3, *channels)), 1):
            setattr(self, f"conv{n}", nn.Conv2d(inputs, outputs, 3, padding=1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        for n in range(1, self.layers + 1):
            x = F.max_pool2d(F.relu(getattr(self, f"conv{n}")(x)), 3, stride=2, padding=1)
        return x.flatten(2).transpose(1, 2)


class Block(nn.Module):
    """[B,tokens,embed] -> the same: attention, then an MLP whose residual starts from the *normalised* tokens."""

    def __init__(self, embed: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(embed), nn.LayerNorm(embed)
        self.q, self.k, self.v = (nn.Linear(embed, embed, bias=False) for _ in range(3))
        self.proj, self.fc1, self.fc2 = nn.Linear(embed, embed), nn.Linear(embed, hidden), nn.Linear(hidden, embed)

    def attention(self, x: Tensor) -> Tensor:
        batch, tokens, embed = x.shape
        q, k, v = (p(x).reshape(batch, tokens, self.heads, -1).transpose(1, 2) for p in (self.q, self.k, self.v))
        weights = (q @ k.transpose(2, 3) * (embed // self.heads) ** -0.5).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(batch, tokens, embed))

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm2(x + self.attention(self.norm1(x)))
        return x + self.fc2(F.gelu(self.fc1(x)))


class Cct(nn.Module):
    """[B,3,32,32] -> logits [B,10]."""

    def __init__(self, channels: Sequence[int], tokens: int, blocks: int, heads: int, hidden: int) -> None:
        super().__init__()
        embed = channels[-1]
        self.tokenizer = Tokenizer(channels)
        self.position = nn.Parameter(torch.empty(1, tokens, embed))
        self.blocks = nn.ModuleList(Block(embed, heads, hidden) for _ in range(blocks))
        self.norm = nn.LayerNorm(embed)
        self.seq_pool = nn.Linear(embed, 1)
        self.fc = nn.Linear(embed, CLASSES)
        self._initialise()

    def _initialise(self) -> None:
        nn.init.trunc_normal_(self.position, std=0.2)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.tokenizer(x) + self.position
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        weights = self.seq_pool(x).softmax(1).transpose(1, 2)
        return self.fc((weights @ x).squeeze(1))


class Cct2(Cct):
    """CCT-2."""

    def __init__(self) -> None:
        super().__init__((64, EMBED), TOKENS, 2, HEADS, EMBED)


def build(pretrained: bool = True, seed: int = 0, shipped: str = CHECKPOINT) -> tuple[nn.Module, Tensor]:
    """CCT-2 in eval mode and an example input [1,3,32,32].

    ``pretrained`` loads the checkpoint ``shipped`` (upright digits, see ``zoo.pretrain``); otherwise the weights are
    drawn as SHI-Labs draws them, from ``seed``.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Cct2().eval()
        example = torch.randn(IMAGE_SHAPE)
    count = sum(p.numel() for p in model.parameters())
    assert count == PARAMETERS, f"CCT-2 has {PARAMETERS} parameters, this module {count}"
    if pretrained:
        arrays = checkpoint(shipped)[0]
        model.load_state_dict({k: torch.from_numpy(v.astype(np.float32)) for k, v in arrays.items()})
    return model, example


def checkpoint(shipped: str = CHECKPOINT) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The shipped fp16 parameters by name, and how they were obtained (held-out accuracy and settings)."""
    with (files(__package__) / shipped).open("rb") as file, np.load(file) as arrays:
        meta = {k.removeprefix("meta."): arrays[k].item() for k in arrays.files if k.startswith("meta.")}
        return {k: arrays[k] for k in arrays.files if not k.startswith("meta.")}, meta
