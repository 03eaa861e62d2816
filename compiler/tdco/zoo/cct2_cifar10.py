"""CCT-2 pretrained on CIFAR-10: the start of the experiment from CIFAR-10 to MNIST.

Made by ``tdco pretrain cct2 --data cifar10 -o F.npz --minutes 55 --threads 1`` on the JPEG-75 copy of CIFAR-10, with
nine minutes of one core's time in those 55: two epochs, far from the published 200. Right are 59.5 % of the copy's
10,000 held-out images, and 57.3 % of 761 of them without loss (``accuracy`` of zoo:cct2_cifar10 in torch fp32).
"""

from __future__ import annotations

from torch import Tensor, nn

from . import cct2

CHECKPOINT = "cct2_cifar10.npz"


def build(pretrained: bool = True, seed: int = 0) -> tuple[nn.Module, Tensor]:
    """As ``cct2.build``, with the weights that were pretrained on CIFAR-10."""
    return cct2.build(pretrained, seed, CHECKPOINT)
