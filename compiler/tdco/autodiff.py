"""Forward graph -> training step: loss, gradients of the trained tensors alone, and their updates in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from .errors import TdcoError
from .ir import Builder, Graph, Node, TensorType, prune, verify
from .ops import get_op
from .optimizer import MASTER, SCALE, Update, apply, begin, finish, parse

LEARNING_RATE = 0.01
LOSS_SCALE = 512.0
"""The gradient of the loss that backpropagation starts from; the update divides it out again in fp32."""

LOSS, LABEL, TARGET = "loss", "label", "target"
LOSSES = ("cross_entropy", "mse", "reconstruction")
"""Of the model's output: with a class per sample, with a tensor of its shape, with the model's own input."""


def parameters(graph: Graph) -> dict[str, TensorType]:
    """The weights of a forward graph by the names the user knows: what can be trained."""
    return {n: graph.type(n) for n in graph.constants if graph.values[n].source == n and graph.type(n).dtype == "f16"}


def inference_graph(forward: Graph) -> Graph:
    """The step of the ``infer`` strategy: the forward pass, every weight frozen."""
    return verify(prune(forward))


def training_graph(
    forward: Graph,
    trainable: Sequence[str],
    loss: str = "cross_entropy",
    lr: float = LEARNING_RATE,
    loss_scale: float = LOSS_SCALE,
    optimizer: str = "sgd",
    accumulate: int = 1,
    scale_every: int | None = None,
) -> Graph:
    """One step of training on ``forward``, whose only output is what ``loss`` (one of ``LOSSES``) judges.

    Every trained ``w`` becomes state twice: ``w`` (fp16, what the forward pass reads) and ``w.master`` (fp32, what the
    optimizer changes, beside slots of its own). Inputs gain ``label`` [B] or ``target``, outputs are ``loss`` [1] and
    the model's. Nothing is emitted for branches without a trained tensor. Each update stands right behind the tensor's
    gradient and the last reader of its old value. ``optimizer`` as ``optimizer.parse`` takes
    it; ``accumulate``: an update every so many steps, with their mean gradient; ``scale_every`` as ``Update`` has it.

    Raises:
        TdcoError: an unknown loss or parameter, an operator on the way without gradient, or a trained tensor that
            the loss does not depend on.
    """
    _require_parameters(forward, trainable)
    if accumulate < 1:
        raise TdcoError(f"cannot accumulate {accumulate} gradients", hint="at least 1")
    b = Builder(with_state(forward, trainable, parse(optimizer).update == "fp32"))
    (y,) = b.outputs
    value = _add_loss(b, loss, y)
    if scale_every is None:
        seed = b.constant(f"{value}.grad", np.full(b.type(value).shape, loss_scale, np.float32), "f32")
    else:
        seed = b.add_state(SCALE, np.full(1, loss_scale, np.float32), "f32")
    grads = _backpropagate(b, value, trainable, seed)
    b.outputs = [value, y]
    for name in trainable:
        if name not in grads:
            raise TdcoError("the loss does not depend on it", f"parameter {name}", "leave it out of the strategy")
    update = Update(parse(optimizer), lr, loss_scale, accumulate, scale_every)
    add_updates(b, {name: grads[name] for name in trainable}, update)
    return verify(prune(b.graph()))


def add_updates(b: Builder, grads: Mapping[str, str], update: Update) -> None:
    """Puts the update of every tensor in ``grads``, name -> gradient, behind the last node that needs its old value."""
    step, last_use = b.nodes, _last_uses(b.nodes)
    b.nodes = []
    count = begin(b, update)
    prologue = b.nodes
    behind: dict[int, list[Node]] = {}
    flags = []
    for name, grad in grads.items():
        b.nodes = []
        flags.append(apply(b, update, name, grad, count))
        behind.setdefault(max(last_use[name], last_use[grad]), []).extend(b.nodes)
    b.nodes = [*prologue, *(n for index, node in enumerate(step) for n in (node, *behind.get(index, ())))]
    finish(b, update, flags, count)


def _add_loss(b: Builder, loss: str, y: str) -> str:
    """Emits the loss of the model's output ``y``; returns its name."""
    if loss not in LOSSES:
        raise TdcoError(f"loss {loss!r} is not supported", hint="supported: " + ", ".join(LOSSES))
    if loss == "cross_entropy":
        label = b.input(LABEL, TensorType(b.type(y).shape[:-1], "i32"), LABEL)
        return b.add("SoftmaxCrossEntropyLoss", [y, label], {}, [LOSS, "log_prob"], LOSS)[0]
    if loss == "mse":
        return b.add1("MSELoss", [y, b.input(TARGET, b.type(y), TARGET)], {}, LOSS, LOSS)
    (x,) = b.inputs
    if b.type(x) != b.type(y):
        raise TdcoError(f"its output is {b.type(y)}, its input {b.type(x)}", "loss reconstruction", "both must agree")
    return b.add1("MSELoss", [y, x], {}, LOSS, LOSS)


def _require_parameters(forward: Graph, trainable: Sequence[str]) -> None:
    known = parameters(forward)
    for name in trainable:
        if name not in known:
            raise TdcoError(f"the model has no parameter {name!r}", forward.name, "it has: " + ", ".join(known))
    if not trainable:
        raise TdcoError("no parameter is trained", forward.name, "use inference_graph, or name some")


def with_state(forward: Graph, trainable: Sequence[str], masters: bool = True) -> Graph:
    """``forward`` with the weights ``trainable`` as state, each beside its fp32 master where there are ``masters``."""
    b = Builder(replace(forward, state={n: forward.constants[n] for n in trainable}))
    for name in trainable:
        contents = b.constants.pop(name)
        if masters:
            b.add_state(name + MASTER, contents, "f32", name, forward.values[name].perm)
    return b.graph()


def _backpropagate(b: Builder, loss: str, trainable: Sequence[str], seed: str) -> dict[str, str]:
    """Emits the gradient nodes; returns every trained tensor's gradient, multiplied by the loss's, ``seed``."""
    forward = tuple(b.nodes)
    depends = set(trainable)
    for node in forward:
        if depends.intersection(node.inputs):
            depends.update(node.outputs)
    grads: dict[str, str] = {loss: seed}
    for node in reversed(forward):
        dys = [grads.get(o) for o in node.outputs]
        wanted = [i in depends for i in node.inputs]
        if not any(wanted) or not any(dys):
            continue
        for name, dx in zip(node.inputs, _gradients(b, node, dys, wanted), strict=True):
            if dx is None or name not in depends:
                continue
            assert b.type(dx).shape == b.type(name).shape, f"{node.op}: gradient of {name} has another shape"
            if name in grads:
                dx = b.add1("Add", [grads[name], dx], name=f"{name}.grad", source=node.source)
            grads[name] = dx
    return grads


def _gradients(b: Builder, node: Node, dys: Sequence[str | None], wanted: Sequence[bool]) -> Sequence[str | None]:
    grad = get_op(node.op).grad
    where = f"{node.op} node {node.source or node.outputs[0]}"
    hint = "train only tensors that come behind it"
    if grad is None:
        raise TdcoError(f"operator {node.op} has no gradient", where, hint)
    try:
        return grad(b, node, dys, wanted)
    except TdcoError as e:
        raise TdcoError(e.what, e.where or where, e.hint or hint) from None


def _last_uses(nodes: Sequence[Node]) -> dict[str, int]:
    """Value -> index of the last node that defines or reads it; reading a view is reading what it views."""
    last: dict[str, int] = {}
    base: dict[str, str] = {}
    for index, node in enumerate(nodes):
        for name in (*node.inputs, *node.outputs):
            last[name] = last[base.get(name, name)] = index
        if get_op(node.op).view:
            base[node.outputs[0]] = base.get(node.inputs[0], node.inputs[0])
    return last
