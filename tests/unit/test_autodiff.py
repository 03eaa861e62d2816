"""Training graphs: what they contain, what they leave out, and that their gradients are torch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tdco import reference, strategies
from tdco.autodiff import inference_graph, training_graph
from tdco.data import load
from tdco.errors import TdcoError
from tdco.ir import Builder, Graph, TensorType, evaluate, verify
from tdco.ops import get_op
from tdco.pipeline import STEP_PASSES

from ..flow.models import cct2, own


def step_flop(graph: Graph) -> int:
    """2 x MACs of all GEMMs and convolutions."""
    total = 0
    for node in graph.nodes:
        flop = get_op(node.op).flop
        inputs = [graph.type(i) if i else None for i in node.inputs]
        total += flop(inputs, [graph.type(o) for o in node.outputs], node.attrs) if flop else 0
    return total


def cct2_step(strategy: str, pretrained: bool = False, lr: float = 0.01) -> tuple[strategies.Training, Graph]:
    _, forward = cct2(pretrained)
    training = strategies.resolve(strategy, forward)
    step = training_graph(forward, training.trainable, lr=lr)
    for optimise in STEP_PASSES:
        step = verify(optimise(step))
    return training, step


def updates(step: Graph, feeds: dict[str, np.ndarray], dtype: type[np.floating]) -> tuple[float, reference.Updates]:
    values = evaluate(step, feeds, dtype)
    old = {n: np.asarray(a, dtype) for n, a in step.state.items()}
    moved = reference.graph_updates(old, {s: values[v] for s, v in step.updates.items()})
    return float(values["loss"][0]), {n: step.values[n].as_user(update) for n, update in moved.items()}


@pytest.mark.parametrize(
    ("strategy", "tensors", "trainable", "mflop"),
    [("lp", 2, 1_290, 70.69), ("ft1", 10, 99_723, 93.82), ("ft2", 16, 198_027, 123.18)],
)
def test_cct2_strategies_have_the_published_size(strategy: str, tensors: int, trainable: int, mflop: float) -> None:
    training, step = cct2_step(strategy)
    assert len(training.trainable) == tensors
    assert sum(step.type(n).size for n in training.trainable) == trainable
    assert step_flop(step) / 1e6 == pytest.approx(mflop, abs=0.005)
    assert len([n for n in step.nodes if n.op in ("SGD", "OuterSGD")]) == tensors


def test_inference_is_the_forward_pass() -> None:
    _, forward = cct2()
    step = inference_graph(forward)
    assert not step.state and step.outputs == ("logits",) and step_flop(step) == step_flop(forward)


def test_nothing_is_computed_below_the_deepest_trained_tensor() -> None:
    _, ft1 = cct2_step("ft1")
    gradients = [n for n in ft1.nodes if n.op.endswith("Grad") or any(".grad" in o for o in n.outputs)]
    sources = {ft1.source(n) for n in gradients}
    assert any(s.startswith("blocks.1") for s in sources)
    assert not any(s.startswith(("blocks.0", "tokenizer", "position")) for s in sources)
    assert "blocks.1.norm1.layer_norm" not in sources, "q, k and v are the deepest: no gradient passes them"
    _, lp = cct2_step("lp")
    assert not any(".grad" in o for n in lp.nodes if n.op == "MatMul" for o in n.outputs), "dW of fc is its update"


@pytest.mark.parametrize("pretrained", [False, True])
@pytest.mark.parametrize("strategy", ["lp", "ft1", "ft2", "full"])
def test_cct2_updates_are_torchs(strategy: str, pretrained: bool) -> None:
    """lr 1: at 0.01 an fp32 weight of 0.1 that moves by 1e-6 rounds its own update by 1e-3 of it."""
    model, _ = cct2(pretrained)
    training, step = cct2_step(strategy, pretrained, lr=1.0)
    digits = load("digits", 30)
    image, label = digits.train_images[1], int(digits.train_labels[1])
    feeds = {"input": image[None], "label": np.array([label], np.int32)}
    assert model.module is not None
    for dtype, torch_dtype, tolerance in ((np.float32, torch.float32, 1e-4), (np.float64, torch.float64, 1e-8)):
        loss, got = updates(step, feeds, dtype)
        model.module.to(torch_dtype)
        want_loss, want = reference.torch_step(model.module, training.trainable, image, label, 1.0, torch_dtype)
        model.module.float()
        assert loss == pytest.approx(want_loss, rel=1e-5)
        error = reference.compare_updates(got, want)
        assert all(t.within(tolerance) for t in error.tensors), error
        assert error.max_rel_error < tolerance and error.cosine > 0.999999


@pytest.mark.parametrize("function", ["mlp", "cnn_head"])
def test_own_models_train_like_torch(function: str) -> None:
    """Everything, convolutions, biases and LayerNorms included, at a batch of 2 or 4."""
    model, forward = own(function)
    assert model.module is not None and model.example is not None
    trainable = [n for n, _ in model.module.named_parameters()]
    step = training_graph(forward, trainable, lr=1.0)
    for optimise in STEP_PASSES:
        step = verify(optimise(step))
    x = model.example
    labels = torch.arange(len(x)) % 10
    module = model.module.eval()
    loss = torch.nn.functional.cross_entropy(module(x), labels)
    grads = torch.autograd.grad(loss, [module.get_parameter(n) for n in trainable])
    got_loss, got = updates(step, {"input": x.numpy(), "label": labels.numpy().astype(np.int32)}, np.float64)
    assert got_loss == pytest.approx(loss.item(), rel=1e-5)
    for name, grad in zip(trainable, grads, strict=True):
        np.testing.assert_allclose(got[name], -grad.numpy(), rtol=1e-3, atol=1e-6, err_msg=name)


def test_updates_come_as_early_as_they_may() -> None:
    """Right behind the gradient and the last reader of the old value: full gradients do not pile up."""
    _, step = cct2_step("ft2")
    producers = {o: i for i, n in enumerate(step.nodes) for o in n.outputs}
    waits = []
    for index, node in enumerate(step.nodes):
        if node.op == "SGD":
            waits.append(index - producers[node.inputs[1]])
    assert max(waits) <= 6


def test_a_shared_weight_accumulates_its_gradients() -> None:
    b = Builder()
    x = b.input("x", TensorType((2, 5)))
    rng = np.random.default_rng(0)
    w = b.constant("w", rng.normal(size=(5, 5)), source="w")
    b.outputs = [b.add1("MatMul", [b.add1("MatMul", [x, w]), w], name="logits")]
    step = training_graph(b.graph(), ["w"], lr=1.0)
    data, label = rng.normal(size=(2, 5)), np.array([1, 3])
    _, got = updates(step, {"x": data, "label": label.astype(np.int32)}, np.float64)
    wt = torch.tensor(step.state["w"], requires_grad=True)
    torch.nn.functional.cross_entropy(torch.tensor(data) @ wt @ wt, torch.tensor(label)).backward()
    assert wt.grad is not None
    np.testing.assert_allclose(got["w"], -wt.grad.numpy(), rtol=1e-6)
    assert any(n.op == "Add" for n in step.nodes)


def test_an_overflow_skips_only_that_tensor() -> None:
    model, forward = own("mlp")
    step = training_graph(forward, ["0.weight", "3.weight"], lr=1.0)
    assert model.example is not None
    x = model.example.numpy().copy()
    x[0, 0] = np.inf  # the first layer's gradient is x^T dy, the second's sees the ReLU of +-inf
    w = {"0.weight": np.abs(step.state["0.weight"]) * -1}
    with np.errstate(invalid="ignore"):
        values = evaluate(step, {"input": x, "label": np.zeros(4, np.int32), **w})
    np.testing.assert_array_equal(values["0.weight.master.new"], step.state["0.weight.master"])
    assert np.isfinite(values["3.weight.master.new"]).all()
    assert np.abs(values["3.weight.master.new"] - step.state["3.weight.master"]).max() > 0


def test_bias_gradients_are_summed_in_fp32() -> None:
    _, forward = own("mlp")
    step = training_graph(forward, ["0.bias", "3.bias"])
    gradients = [n.inputs[1] for n in step.nodes if n.op == "SGD"]
    assert [step.type(g).dtype for g in gradients] == ["f32", "f32"]


def test_what_cannot_be_trained_says_why() -> None:
    _, mlp = own("mlp")
    with pytest.raises(TdcoError, match=r"no parameter 'fc.weight' .it has: 0.weight, 0.bias"):
        training_graph(mlp, ["fc.weight"])
    with pytest.raises(TdcoError, match="loss 'hinge' is not supported"):
        training_graph(mlp, ["0.weight"], loss="hinge")
    with pytest.raises(TdcoError, match="no parameter is trained"):
        training_graph(mlp, [])


def test_a_parameter_the_loss_does_not_see() -> None:
    b = Builder(name="m")
    x = b.input("x", TensorType((1, 3)))
    w = b.constant("w", np.zeros((3, 2)), source="w")
    b.constant("unused", np.zeros(2), source="unused")
    b.outputs = [b.add1("MatMul", [x, w], name="logits")]
    with pytest.raises(TdcoError, match="parameter unused: the loss does not depend on it"):
        training_graph(b.graph(), ["unused"])


def test_a_weight_is_updated_behind_its_last_reader() -> None:
    """The gradient of ``w`` in ``w * h`` is there before the one of ``h``, which still reads the old ``w``."""
    b = Builder()
    x = b.input("x", TensorType((2, 3)))
    v = b.constant("v", np.ones((3, 4)), source="v")
    w = b.constant("w", np.full((2, 4), 2.0), source="w")
    b.outputs = [b.add1("Mul", [w, b.add1("MatMul", [x, v])], name="logits")]
    step = training_graph(b.graph(), ["v", "w"])
    sgd = next(i for i, n in enumerate(step.nodes) if "w.new" in n.outputs)
    readers = [i for i, n in enumerate(step.nodes) if "w" in n.inputs]
    gradient = next(i for i, n in enumerate(step.nodes) if step.nodes[sgd].inputs[1] in n.outputs)
    assert gradient < max(readers) < sgd
