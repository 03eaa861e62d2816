"""ReduceMean: the mean over some dimensions, as a sum in fp32 that is scaled once at its end."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ..domain import Tile
from ..ir import Attrs, Builder, Node
from ..program import GemmJob, KernelCall
from . import OpDef
from .reduce_sum import SAMPLES, domain, infer, reduce_call, spread


def evaluate(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    keepdims = bool(attrs.get("keepdims", 1))
    return (np.asarray(np.mean(inputs[0], axis=tuple(attrs["axes"]), keepdims=keepdims)),)


def grad(b: Builder, node: Node, dys: Sequence[str | None], wanted: Sequence[bool]) -> Sequence[str | None]:
    (dy,) = dys
    if dy is None or not wanted[0]:
        return (None,)
    count = prod(b.type(node.inputs[0]).shape[d] for d in node.attrs["axes"])
    type = b.type(dy)
    weight = b.constant("mean.weight", np.full((1,) * len(type.shape), 1 / count), type.dtype)
    return (spread(b, node, b.add1("Mul", [dy, weight], source=node.source)),)


def lower(node: Node, tile: Tile) -> Sequence[GemmJob | KernelCall]:
    (x,), (z,) = tile.inputs, tile.outputs
    assert x and z
    scale = 1 / prod(x.full[d] for d in node.attrs["axes"])
    return [reduce_call(node.attrs["axes"], x, z, tile.first, scale if tile.last else 1.0)]


OPS = (OpDef(name="ReduceMean", infer=infer, eval=evaluate, grad=grad, domain=domain, lower=lower, samples=SAMPLES),)
