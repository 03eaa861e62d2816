"""CCT-2 pretrained on CIFAR-10: the start of the experiment from CIFAR-10 to MNIST.

Made by ``tdco pretrain cct2 --data cifar10 -o F.npz --epochs 100 --minutes 62 --threads 1`` on the JPEG-75 copy of
CIFAR-10: 17.8 epochs in an hour of one core, which is what limited it; published are 200 epochs and 89.17 %. Right are
78.8 % of the copy's 10,000 held-out images, and 78.1 % of 761 of them without loss (``accuracy`` in torch fp32).
"""

from __future__ import annotations

from torch import Tensor, nn

from . import cct2

CHECKPOINT = "cct2_cifar10.npz"


def build(pretrained: bool = True, seed: int = 0) -> tuple[nn.Module, Tensor]:
    """As ``cct2.build``, with the weights that were pretrained on CIFAR-10."""
    return cct2.build(pretrained, seed, CHECKPOINT)
