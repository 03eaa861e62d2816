"""Training graphs as ONNX Runtime exports them -> the step they describe: forward, backward and updates are given.

Their peculiarities: nodes in any order; ``SGD`` with its learning rate as an attribute and outputs ``*_updated``; the
loss node's only output may be the log-probabilities; ``LayerNormalizationGrad`` may lack the forward pass' statistics.
The gradient of the loss starts from tdco's loss scale instead of 1, and the update divides it out again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx
from onnx import helper

from .autodiff import LOSS_SCALE, add_updates, parameters, with_state
from .errors import TdcoError
from .ir import Builder, Graph, prune, verify
from .onnx_import import import_onnx
from .optimizer import Optimizer, Update

LOSS_NODE = "SoftmaxCrossEntropyLoss"


@dataclass(frozen=True)
class TrainingGraph:
    """A step before its updates: ``forward`` has the scores and every gradient among its outputs.

    ``gradients``: trained tensor -> its gradient; ``updated``: trained tensor -> the ONNX output with its new value.
    """

    forward: Graph
    scores: str
    gradients: Mapping[str, str]
    updated: Mapping[str, str]
    lr: float


def is_training_graph(model: onnx.ModelProto) -> bool:
    return any(node.op_type == "SGD" for node in model.graph.node)


def import_training(model: onnx.ModelProto, name: str = "") -> TrainingGraph:
    """The training graph in ``model``.

    Raises:
        TdcoError: it uses an unsupported operator, differing learning rates, or lacks a loss node or a weight.
    """
    weights = {t.name for t in model.graph.initializer}
    updates = [n for n in model.graph.node if n.op_type == "SGD"]
    for node in updates:
        if len(node.input) != 2 or node.input[0] not in weights:
            raise TdcoError(f"updates {node.input[0]!r}, which is no weight of the model", f"SGD node {node.name}")
    rates = {next((a.f for a in n.attribute if a.name == "lr"), 0.0) for n in updates}
    if len(rates) != 1 or not all(rate > 0 for rate in rates):
        raise TdcoError(f"its SGD nodes have learning rates {sorted(rates)}", name, "one positive rate is supported")
    losses = [n for n in model.graph.node if n.op_type == LOSS_NODE]
    if len(losses) != 1:
        raise TdcoError(f"has {len(losses)} {LOSS_NODE} nodes", name, "training graphs with one are supported")
    trained = {n.input[0]: n.input[1] for n in updates}
    scores = losses[0].input[0]
    pruned = onnx.ModelProto()
    pruned.CopyFrom(model)
    del pruned.graph.node[:], pruned.graph.output[:]
    pruned.graph.node.extend(n for n in model.graph.node if n.op_type != "SGD")
    outputs = dict.fromkeys((scores, *trained.values()))
    pruned.graph.output.extend(helper.make_empty_tensor_value_info(o) for o in outputs)
    graph = import_onnx(pruned, name=name, trained=trained)
    names = dict(zip(outputs, graph.outputs, strict=True))
    gradients = {w: names[g] for w, g in trained.items()}
    updated = {n.input[0]: n.output[0] for n in updates}
    return TrainingGraph(graph, names[scores], gradients, updated, round(rates.pop(), 9))


def step_graph(training: TrainingGraph, forward: Graph) -> Graph:
    """The whole step; ``forward`` is the one in ``training``, perhaps rewritten by passes."""
    for name in training.gradients:
        if name not in parameters(forward):
            raise TdcoError("is trained, but is no fp16 weight", name)
    b = Builder(with_state(forward, tuple(training.gradients)))
    loss = next(n.outputs[0] for n in b.nodes if n.op == LOSS_NODE)
    b.outputs = [loss, training.scores]
    add_updates(b, training.gradients, Update(Optimizer("sgd"), training.lr, LOSS_SCALE))
    return verify(prune(b.graph()))
