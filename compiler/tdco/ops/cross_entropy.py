"""SoftmaxCrossEntropyLoss: mean over the batch of -log(softmax(logits)[label]), and its gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..domain import Dim, Domain, Loop, Tile
from ..errors import TdcoError
from ..ir import Attrs, Builder, Node, TensorType
from ..program import KernelCall
from . import OpDef, Sample
from ._elementwise import Commands, refs, require_dtype, require_inputs, require_same_shape, row_sizes

NAME = "SoftmaxCrossEntropyLoss"


def require_scores(scores: TensorType, name: str, dtype: str, labels: TensorType) -> None:
    require_dtype(scores, name, dtype)
    require_dtype(labels, "labels", "i32")
    if len(scores.shape) != 2 or scores.size == 0:
        raise TdcoError(f"{name} is {scores}, but must be [batch, classes]", hint="reshape it")
    require_same_shape(labels, "labels", TensorType(scores.shape[:1], "i32"), "the batch")


def infer(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    """attrs: reduction, "mean" only (the default); no ignore_index. Outputs loss f32[1] and log_prob f32[B,C]."""
    require_inputs(types, "logits", "labels")
    logits, labels = types
    require_scores(logits, "logits", "f16", labels)
    reduction = attrs.get("reduction", "mean")
    if reduction != "mean" or attrs.get("ignore_index") is not None:
        raise TdcoError(f"reduction={reduction!r} with ignore_index={attrs.get('ignore_index')} is not supported",
                        hint="supported: reduction='mean' over all rows")  # fmt: skip
    return (TensorType((1,), "f32"), TensorType(logits.shape, "f32"))


def one_hot(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """[B,C] of ones and zeros in the precision of ``scores``.

    Raises:
        TdcoError: a label is no class.
    """
    classes = scores.shape[-1]
    bad = labels[(labels < 0) | (labels >= classes)]
    if bad.size:
        raise TdcoError(f"label {bad[0]} is not one of the classes 0 to {classes - 1}", NAME)
    return np.eye(classes, dtype=scores.dtype)[labels]


def evaluate(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    logits, labels = inputs
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_prob = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    picked = np.where(one_hot(labels, log_prob) > 0, log_prob, 0).sum(axis=-1)
    return (-picked.mean(keepdims=True), log_prob)


def grad(b: Builder, node: Node, dys: Sequence[str | None], wanted: Sequence[bool]) -> Sequence[str | None]:
    logits, labels = node.inputs
    dloss, dlog_prob = dys
    if dlog_prob:
        raise TdcoError("log_prob cannot be differentiated, only the loss", f"{NAME} node {node.source}")
    if dloss is None or not wanted[0]:
        return (None, None)
    return (b.add1(f"{NAME}Grad", [dloss, node.outputs[1], labels], {}, f"{logits}.grad", node.source), None)


def domain(node: Node, inputs: Sequence[Any], outputs: Sequence[TensorType]) -> Domain:
    """Never split: the mean needs all rows, and there are few."""
    loops = tuple(Loop(name, n, "whole") for name, n in zip(("b", "c"), inputs[0].shape, strict=True))
    rows, value = (Dim("b"), Dim("c")), (Dim("b"),)
    return Domain(loops, (rows, value, (Dim(),), rows))


def lower(node: Node, tile: Tile) -> Commands:
    """Two calls: the loss reads log-probabilities that other cores have computed."""
    (logits, labels), (loss, log_prob) = tile.inputs, tile.outputs
    assert logits
    return [
        KernelCall("tdco_log_softmax_f16", refs(logits, log_prob), row_sizes(logits)),
        KernelCall("tdco_nll_loss_f32", refs(log_prob, labels, loss), row_sizes(logits)),
    ]


def infer_grad(types: Sequence[Any], attrs: Attrs) -> tuple[TensorType, ...]:
    require_inputs(types, "dloss", "log_prob", "labels")
    dloss, log_prob, labels = types
    require_scores(log_prob, "log_prob", "f32", labels)
    require_dtype(dloss, "dloss", "f32")
    require_same_shape(dloss, "dloss", TensorType((1,), "f32"), "the loss")
    return (TensorType(log_prob.shape),)


def evaluate_grad(inputs: Sequence[Any], attrs: Attrs) -> tuple[np.ndarray, ...]:
    """dlogits = (softmax - onehot) * dloss / B. ``dloss`` carries the loss scale."""
    dloss, log_prob, labels = inputs
    return ((np.exp(log_prob) - one_hot(labels, log_prob)) * (dloss / len(labels)),)


def domain_grad(node: Node, inputs: Sequence[Any], outputs: Sequence[TensorType]) -> Domain:
    """Never split either: the kernel divides by the number of rows it is given."""
    loops = tuple(Loop(name, n, "whole") for name, n in zip(("b", "c"), outputs[0].shape, strict=True))
    rows, value = (Dim("b"), Dim("c")), (Dim("b"),)
    return Domain(loops, ((Dim(),), rows, value, rows))


def lower_grad(node: Node, tile: Tile) -> Commands:
    (dx,) = tile.outputs
    assert dx
    return [KernelCall("tdco_cross_entropy_grad_f16", refs(*tile.inputs, dx), row_sizes(dx))]


def labels(*classes: int) -> np.ndarray:
    return np.array(classes, np.int32)


def log_probabilities(batch: int, classes: int) -> np.ndarray:
    logits = np.random.default_rng(0).normal(0, 2, (batch, classes))
    return evaluate([logits, np.zeros(batch, np.int32)], {})[1].astype(np.float32)


ONE = np.ones(1, np.float32)

OPS = (
    OpDef(
        name=NAME,
        infer=infer,
        eval=evaluate,
        grad=grad,
        domain=domain,
        lower=lower,
        samples=(
            Sample((TensorType((1, 10)), labels(7))),
            Sample((TensorType((5, 3)), labels(0, 2, 1, 1, 0)), {"reduction": "mean"}, scale=4.0),
            Sample((TensorType((9, 100)), labels(*range(0, 99, 11)))),
            Sample((TensorType((1, 1)), labels(0))),
            Sample((np.array([[1000.0, 0, -1000.0], [-1000.0, -1000.0, -1000.0]]), labels(2, 1))),
        ),
    ),
    OpDef(
        name=f"{NAME}Grad",
        infer=infer_grad,
        eval=evaluate_grad,
        domain=domain_grad,
        lower=lower_grad,
        samples=(
            Sample((256 * ONE, log_probabilities(1, 10), labels(9))),
            Sample((ONE, log_probabilities(5, 3), labels(0, 2, 1, 1, 0))),
            Sample((ONE, np.array([[0.0, -200.0, -1e5]], np.float32), labels(1))),
        ),
    ),
)
