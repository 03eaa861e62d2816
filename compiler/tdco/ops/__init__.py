"""The operator table: one file per operator in this folder, found by scanning it. No central list.

A file defines ``OPS = (OpDef(...), ...)``: an operator and, where it has a kernel of its own, its gradient operator.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

import numpy as np

from ..domain import Domain, Tile
from ..errors import TdcoError
from ..ir import Attrs, Builder, Node, TensorType
from ..program import GemmJob, KernelCall


@dataclass(frozen=True)
class Sample:
    """One test case of an operator: input shapes (or arrays, where values matter) and attributes.

    The generic tests draw random inputs of these types, and check shape inference, gradient, host C and tiling.
    An array is stored in its own dtype; float64 stands for f16.
    """

    inputs: tuple[TensorType | np.ndarray | None, ...]
    attrs: Attrs = field(default_factory=dict)
    scale: float = 1.0
    """Standard deviation of the random inputs."""


class Grad(Protocol):
    def __call__(
        self, b: Builder, node: Node, dys: Sequence[str | None], wanted: Sequence[bool]
    ) -> Sequence[str | None]:
        """Emits the nodes of the gradient and returns, per input, the name of d(loss)/d(input) or None.

        ``dys[i]`` is the gradient of output i (None: unused); only inputs with ``wanted`` need one.
        """


@dataclass(frozen=True, kw_only=True)
class OpDef:
    """Everything tdco knows about an operator.

    ``eval`` is the only definition of its semantics. ``domain`` and ``lower`` are what the tiler and the scheduler
    work from; a view operator has ``view`` instead and costs nothing at run time.
    """

    name: str
    infer: Callable[[Sequence[Any], Attrs], tuple[TensorType, ...]]
    """Output types from input types (None for an absent optional input); raises TdcoError."""
    eval: Callable[[Sequence[Any], Attrs], tuple[np.ndarray, ...]]
    """numpy reference; computes in the precision of its inputs."""
    grad: Grad | None = None
    """None: not differentiable (an operator that only occurs behind the loss, or a gradient operator)."""
    frozen: tuple[int, ...] = ()
    """Inputs that have no gradient although they are numbers: the statistics of a batch normalisation."""
    domain: Callable[[Node, Sequence[Any], Sequence[TensorType]], Domain] | None = None
    """(node, input types, output types) -> iteration domain."""
    lower: Callable[[Node, Tile], Sequence[GemmJob | KernelCall]] | None = None
    """Commands that compute one tile whose operands lie in L1."""
    view: Callable[[TensorType, TensorType, Attrs, tuple[int, ...]], tuple[int, tuple[int, ...]] | None] | None = None
    """(input type, output type, attrs, input strides) -> (element offset, output strides), or None if not a view."""
    unview: Callable[[TensorType, TensorType, Attrs, tuple[int, ...]], tuple[int, ...] | None] | None = None
    """(input type, output type, attrs, output strides) -> input strides when the *output* owns the storage."""
    flop: Callable[[Sequence[Any], Sequence[TensorType], Attrs], int] | None = None
    """2 x MACs of a GEMM or convolution; None counts as 0."""
    choices: tuple[Attrs, ...] = ()
    """Attributes that choose between ways to compute the same: the one of the fewest modelled cycles is added."""
    update: bool = False
    """True for operators that may write state."""
    samples: tuple[Sample, ...] = ()


@cache
def all_ops() -> dict[str, OpDef]:
    """Every operator by name, in file order."""
    table: dict[str, OpDef] = {}
    for module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
        for op in getattr(importlib.import_module(f"{__name__}.{module}"), "OPS", ()):
            if op.name in table:
                raise RuntimeError(f"operator {op.name} is defined twice")
            table[op.name] = op
    return table


def get_op(name: str) -> OpDef:
    """The operator ``name``.

    Raises:
        TdcoError: it is not supported; the hint lists what is.
    """
    ops = all_ops()
    if name not in ops:
        raise TdcoError(f"operator {name} is not supported", hint="supported: " + ", ".join(sorted(ops)))
    return ops[name]
