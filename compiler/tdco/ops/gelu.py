"""Gelu, the exact form x/2 * (1 + erf(x / sqrt(2))), and its gradient (Hendrycks and Gimpel, arXiv:1606.08415)."""

from __future__ import annotations

from collections.abc import Sequence
from math import pi, sqrt
from typing import Any

import numpy as np

from ..errors import TdcoError
from ..ir import Attrs, Builder, Node, TensorType
from . import OpDef, Sample
from ._elementwise import elementwise_domain, elementwise_lower, same_type_infer


def infer(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    """attrs: approximate, "none" only (the default)."""
    approximate = attrs.get("approximate", "none")
    if approximate != "none":
        raise TdcoError(f"approximate={approximate!r} is not supported", hint="the exact form is: approximate='none'")
    return same_type_infer("x")(types, attrs)


def _cdf(x: np.ndarray) -> np.ndarray:
    """Of the standard normal distribution."""
    from scipy.special import ndtr  # takes half a second to import

    cdf: np.ndarray = ndtr(x)
    return cdf


def evaluate(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    (x,) = inputs
    return (x * _cdf(x),)


def grad(b: Builder, node: Node, dys: Sequence[str | None], wanted: Sequence[bool]) -> Sequence[str | None]:
    if dys[0] is None or not wanted[0]:
        return (None,)
    return (b.add1("GeluGrad", [dys[0], node.inputs[0]], name=f"{node.inputs[0]}.grad", source=node.source),)


def evaluate_grad(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    """dx = dy * (cdf(x) + x * pdf(x)) of the standard normal distribution."""
    dy, x = inputs
    return (dy * (_cdf(x) + x * np.exp(-0.5 * x * x) * (1 / sqrt(2 * pi))),)


SHAPES = ((1, 64, 128), (3, 5, 7), (1,))
TAILS = (np.linspace(-6, -3, 31), np.linspace(3, 60, 31))
"""Each by itself: the tests' tolerance is relative to the largest element."""

OPS = (
    OpDef(
        name="Gelu",
        infer=infer,
        eval=evaluate,
        grad=grad,
        domain=elementwise_domain,
        lower=elementwise_lower("tdco_gelu_f16"),
        samples=(
            *(Sample((TensorType(shape),)) for shape in SHAPES),
            Sample((TensorType((8, 16)),), {"approximate": "none"}, scale=4.0),
            *(Sample((x,)) for x in TAILS),
        ),
    ),
    OpDef(
        name="GeluGrad",
        infer=same_type_infer("dy", "x"),
        eval=evaluate_grad,
        domain=elementwise_domain,
        lower=elementwise_lower("tdco_gelu_grad_f16"),
        samples=(
            *(Sample((TensorType(shape), TensorType(shape))) for shape in SHAPES),
            *(Sample((TensorType(x.shape), x)) for x in TAILS),
        ),
    ),
)
