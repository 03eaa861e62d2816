"""Add: a + b, broadcast by numpy's rules and stored like a."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ir import Attrs, Builder, Node, TensorType
from . import OpDef, Sample
from ._elementwise import broadcast_infer, broadcast_lower, elementwise_domain, unbroadcast


def evaluate(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    return (np.asarray(inputs[0] + inputs[1]),)


def grad(b: Builder, node: Node, dys: Sequence[str | None], wanted: Sequence[bool]) -> Sequence[str | None]:
    (dy,) = dys
    return [unbroadcast(b, node, dy, x) if dy and want else None for x, want in zip(node.inputs, wanted, strict=True)]


SAMPLES = (
    Sample((TensorType((1, 64, 128)), TensorType((1, 64, 128)))),
    Sample((TensorType((1, 64, 128)), TensorType((128,)))),
    Sample((TensorType((3, 5, 7)), TensorType((1, 5, 7)))),
    Sample((TensorType((7,)), TensorType((3, 5, 7)))),
    Sample((TensorType((5, 7)), TensorType(()))),
    Sample((TensorType((2, 3, 5)), TensorType((2, 1, 5)))),
    Sample((TensorType((3, 1)), TensorType((1, 5)))),
    Sample((TensorType((1,)), TensorType((1,)))),
    Sample((TensorType((5, 7), "f32"), TensorType((5, 7), "f32"))),
    Sample((TensorType((3, 5)), TensorType((5,), "f32"))),
    Sample((TensorType((3, 5), "f32"), TensorType((3, 1)))),
)

OPS = (
    OpDef(
        name="Add",
        infer=broadcast_infer,
        eval=evaluate,
        grad=grad,
        domain=elementwise_domain,
        lower=broadcast_lower("add"),
        samples=SAMPLES,
    ),
)
