"""CCT-6/3x1 (cct_6_3x1_32 of SHI-Labs' Compact Transformers): one convolution, six blocks of 256, larger than L2.

3,233,803 parameters, 65,536 of them the learned positional embedding (arXiv 2104.05704 counts 3.17 M without it);
256 tokens, 4 heads, mlp_ratio 2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .cct2 import IMAGE_SHAPE, Cct

PARAMETERS = 3_233_803
EMBED, TOKENS, BLOCKS, HEADS, HIDDEN = 256, 256, 6, 4, 512


def build(pretrained: bool = True, seed: int = 0) -> tuple[nn.Module, Tensor]:
    """CCT-6 in eval mode with weights drawn from ``seed`` (no checkpoint ships) and an example input [1,3,32,32]."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model, example = Cct((EMBED,), TOKENS, BLOCKS, HEADS, HIDDEN).eval(), torch.randn(IMAGE_SHAPE)
    count = sum(p.numel() for p in model.parameters())
    assert count == PARAMETERS, f"CCT-6 has {PARAMETERS} parameters, this module {count}"
    return model, example
