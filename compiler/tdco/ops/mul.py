"""Mul: a * b element by element, broadcast by numpy's rules and stored like a."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ir import Attrs, Builder, Node, TensorType
from . import OpDef, Sample
from ._elementwise import broadcast_infer, broadcast_lower, elementwise_domain, unbroadcast


def evaluate(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    return (np.asarray(inputs[0] * inputs[1]),)


def grad(b: Builder, node: Node, dys: Sequence[str | None], wanted: Sequence[bool]) -> Sequence[str | None]:
    (dy,) = dys
    grads: list[str | None] = []
    for x, other, want in zip(node.inputs, reversed(node.inputs), wanted, strict=True):
        if dy is None or not want:
            grads.append(None)
            continue
        product = b.add1("Mul", [dy, other], name=f"{x}.grad", source=node.source)
        grads.append(unbroadcast(b, node, product, x))
    return grads


SAMPLES = (
    Sample((TensorType((2, 64, 64)), TensorType(()))),
    Sample((TensorType((1, 64, 128)), TensorType((128,)))),
    Sample((TensorType((1, 64, 128)), TensorType((1, 64, 1)))),
    Sample((TensorType((5, 7)), TensorType((5, 7)))),
    Sample((TensorType((1, 7)), TensorType((3, 5, 1)))),
    Sample((TensorType((2, 3, 5)), TensorType((2, 1, 5)))),
    Sample((TensorType((3, 5)), np.array(1 / 3, np.float32))),
    Sample((TensorType((1,), "f32"), TensorType((1,), "f32"))),
    Sample((TensorType((3, 5), "f32"), TensorType((5,)))),
)

OPS = (
    OpDef(
        name="Mul",
        infer=broadcast_infer,
        eval=evaluate,
        grad=grad,
        domain=elementwise_domain,
        lower=broadcast_lower("mul"),
        samples=SAMPLES,
    ),
)
