"""CCT-2 (cct_2_3x2_32 of SHI-Labs' Compact Transformers, mlp_ratio 1): 283,723 parameters, 3x32x32 in, 10 classes out.

Two convolutions turn the image into 64 tokens of 128, two pre-norm transformer blocks mix them, and a learned weighted
mean over the tokens (sequence pooling) feeds the classifier. Architecture: arXiv 2104.05704, section 3.
"""

from __future__ import annotations

from importlib.resources import files

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
    """[B,3,32,32] -> [B,64,128]: twice conv 3x3, ReLU, max pool 3/2/1; the pixels left are the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(64, EMBED, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        for conv in (self.conv1, self.conv2):
            x = F.max_pool2d(F.relu(conv(x)), 3, stride=2, padding=1)
        return x.flatten(2).transpose(1, 2)


class Block(nn.Module):
    """[B,64,128] -> [B,64,128]: attention, then an MLP whose residual starts from the *normalised* tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(EMBED), nn.LayerNorm(EMBED)
        self.q, self.k, self.v = (nn.Linear(EMBED, EMBED, bias=False) for _ in range(3))
        self.proj, self.fc1, self.fc2 = (nn.Linear(EMBED, EMBED) for _ in range(3))

    def attention(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        q, k, v = (p(x).reshape(batch, tokens, HEADS, -1).transpose(1, 2) for p in (self.q, self.k, self.v))
        weights = (q @ k.transpose(2, 3) * (EMBED // HEADS) ** -0.5).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(batch, tokens, EMBED))

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm2(x + self.attention(self.norm1(x)))
        return x + self.fc2(F.gelu(self.fc1(x)))


class Cct2(nn.Module):
    """[B,3,32,32] -> logits [B,10]."""

    def __init__(self) -> None:
        super().__init__()
        self.tokenizer = Tokenizer()
        self.position = nn.Parameter(torch.empty(1, TOKENS, EMBED))
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.norm = nn.LayerNorm(EMBED)
        self.seq_pool = nn.Linear(EMBED, 1)
        self.fc = nn.Linear(EMBED, CLASSES)
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


def build(pretrained: bool = True, seed: int = 0) -> tuple[nn.Module, Tensor]:
    """CCT-2 in eval mode and an example input [1,3,32,32].

    ``pretrained`` loads the shipped checkpoint (upright digits, see ``zoo.pretrain``); otherwise the weights are drawn
    as SHI-Labs draws them, from ``seed``.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Cct2().eval()
        example = torch.randn(IMAGE_SHAPE)
    count = sum(p.numel() for p in model.parameters())
    assert count == PARAMETERS, f"CCT-2 has {PARAMETERS} parameters, this module {count}"
    if pretrained:
        arrays = checkpoint()[0]
        model.load_state_dict({k: torch.from_numpy(v.astype(np.float32)) for k, v in arrays.items()})
    return model, example


def checkpoint() -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """The shipped fp16 parameters by name, and how they were obtained (held-out accuracy and settings)."""
    with (files(__package__) / CHECKPOINT).open("rb") as file, np.load(file) as arrays:
        meta = {k.removeprefix("meta."): float(arrays[k]) for k in arrays.files if k.startswith("meta.")}
        return {k: arrays[k] for k in arrays.files if not k.startswith("meta.")}, meta
