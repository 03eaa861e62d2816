"""AddBias: Z[...,M,N] = Y[...,M,N] + bias[N], by the engine: a column of ones times the bias, added to Y.

It stands in front of a Gemm that starts from Y and had a bias; so Y is a residual and the sum costs the cores nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..domain import Dim, Domain, Tile
from ..ir import Attrs, Node, TensorType
from . import OpDef, Sample
from ._elementwise import Commands, require_inputs, require_same_shape
from .matmul import product_domain, product_jobs, require_f16


def infer(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    require_inputs(types, "Y", "bias", "one")
    require_f16(types, ("Y", "the bias", "one"))
    y, bias, one = types
    require_same_shape(bias, "the bias", TensorType(y.shape[-1:]), "a row of Y")
    require_same_shape(one, "one", TensorType((1,)), "a number")
    return (y,)


def evaluate(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    y, bias, one = inputs
    return (one * bias + y,)


def domain(node: Node, inputs: Sequence[Any], outputs: Sequence[TensorType]) -> Domain:
    (z,) = outputs
    product = product_domain(TensorType((*z.shape[:-1], 1)), TensorType((1, z.shape[-1])), z)
    *_, dims = product.operands
    return replace(product, operands=(dims, (Dim("n"),), (Dim(),), dims), rows=(0, 3))


def lower(node: Node, tile: Tile) -> Commands:
    (y, bias, one), (z,) = tile.inputs, tile.outputs
    assert y and bias and one and z
    ones = replace(one, shape=(*z.shape[:-1], 1), strides=(0,) * len(z.shape))
    row = replace(bias, shape=(1, *bias.shape), strides=(0, *bias.strides))
    return product_jobs(ones, row, z, y, True)


OPS = (
    OpDef(
        name="AddBias",
        infer=infer,
        eval=evaluate,
        domain=domain,
        lower=lower,
        samples=(
            Sample((TensorType((2, 9, 10)), TensorType((10,)), np.ones(1))),
            Sample((TensorType((13, 1)), TensorType((1,)), np.ones(1))),
        ),
    ),
)
