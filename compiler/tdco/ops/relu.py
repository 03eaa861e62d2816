"""Relu: max(x, 0), and its gradient.

The products of the engine have an attribute ``relu``: 1 where their result is rectified on its way out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ir import Attrs, Builder, Node, TensorType
from . import OpDef, Sample
from ._elementwise import elementwise_domain, elementwise_lower, same_type_infer


def evaluate(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    return (np.maximum(inputs[0], 0),)


def grad(b: Builder, node: Node, dys: Sequence[str | None], wanted: Sequence[bool]) -> Sequence[str | None]:
    if dys[0] is None or not wanted[0]:
        return (None,)
    return (b.add1("ReluGrad", [dys[0], node.outputs[0]], name=f"{node.inputs[0]}.grad", source=node.source),)


def evaluate_grad(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    """dx = dy where y > 0, else 0. Read from y, so that x need not be kept."""
    dy, y = inputs
    return (np.where(y > 0, dy, np.zeros_like(dy)),)


def rectified(z: np.ndarray, attrs: Attrs) -> np.ndarray:
    """The result ``z`` of a product with ``attrs``."""
    return evaluate([z], {})[0] if attrs.get("relu") else z


def unrectified(b: Builder, node: Node, dy: str) -> str:
    """The gradient of the product before its ``relu``, if it has one, from that of its result."""
    return b.add1("ReluGrad", [dy, node.outputs[0]], name=dy, source=node.source) if node.attrs.get("relu") else dy


SHAPES = ((1, 32, 32, 64), (3, 5, 7), (1,))

OPS = (
    OpDef(
        name="Relu",
        infer=same_type_infer("x"),
        eval=evaluate,
        grad=grad,
        domain=elementwise_domain,
        lower=elementwise_lower("tdco_relu_f16"),
        samples=(
            *(Sample((TensorType(shape),)) for shape in SHAPES),
            Sample((np.array([-65504, -1e-3, 1e-3, 65504]),)),
        ),
    ),
    OpDef(
        name="ReluGrad",
        infer=same_type_infer("dy", "y"),
        eval=evaluate_grad,
        domain=elementwise_domain,
        lower=elementwise_lower("tdco_relu_grad_f16"),
        samples=(
            *(Sample((TensorType(shape), TensorType(shape))) for shape in SHAPES),
            Sample((np.arange(1.0, 7.0), np.array([0.0, -0.0, 6e-8, 65504, np.inf, 0.0]))),
        ),
    ),
)
