"""Low-rank adapters: the published sizes, torch's gradients with adapters as modules of their own, and rejections."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from tdco import reference
from tdco.autodiff import training_graph
from tdco.errors import TdcoError
from tdco.ir import Graph, evaluate, verify
from tdco.ops import get_op
from tdco.pipeline import STEP_PASSES
from tdco.strategies import Training, from_document, prepare, resolve
from torch import Tensor, nn

from ..flow.models import cct2, own

MATRICES = ("q", "k", "v", "proj", "fc1", "fc2")


class AdaptedLinear(nn.Module):
    """A frozen linear layer and its adapter, as one would write it in torch."""

    def __init__(self, base: nn.Linear, a: np.ndarray, b: np.ndarray, scale: float) -> None:
        super().__init__()
        self.base, self.scale = base, scale
        self.a, self.b = nn.Parameter(torch.tensor(a)), nn.Parameter(torch.tensor(b))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.scale * (x @ self.a.T) @ self.b.T


def step_of(forward: Graph, training: Training, lr: float = 0.01) -> Graph:
    step = training_graph(prepare(forward, training), training.trainable, lr=lr)
    for optimise in STEP_PASSES:
        step = verify(optimise(step))
    return step


def with_random_b(step: Graph, training: Training) -> dict[str, np.ndarray]:
    """State in which B is not zero: at zero, A has no gradient."""
    rng = np.random.default_rng(0)
    names = [n for adapter in training.adapters for n in adapter.b]
    drawn = {n: rng.normal(0, 0.1, step.type(n).shape) for n in names}
    return drawn | {f"{n}.master": v for n, v in drawn.items()}


def adapted(module: nn.Module, training: Training, tensors: Mapping[str, np.ndarray]) -> nn.Module:
    """``module`` whose targets are ``AdaptedLinear`` layers."""
    module = copy.deepcopy(module)
    for adapter in training.adapters:
        for i, target in enumerate(adapter.targets):
            parent, _, layer = target.removesuffix(".weight").rpartition(".")
            base = module.get_submodule(f"{parent}.{layer}" if parent else layer)
            assert isinstance(base, nn.Linear)
            new = AdaptedLinear(base, tensors[adapter.a][adapter.share(i)], tensors[adapter.b[i]], adapter.scale)
            setattr(module.get_submodule(parent), layer, new)
    return module.double()


@pytest.mark.parametrize(
    ("strategy", "tensors", "trainable", "mflop"), [("lora1", 14, 7_563, 83.40), ("lora2", 24, 13_707, 102.54)]
)
def test_cct2_strategies_have_the_published_size(strategy: str, tensors: int, trainable: int, mflop: float) -> None:
    """16 and 28 published tensors: q, k and v of a block have one A here."""
    _, forward = cct2()
    training = resolve(strategy, forward)
    step = step_of(forward, training)
    assert len(training.trainable) == tensors
    assert sum(step.type(n).size for n in training.trainable) == trainable
    flop = 0
    for node in step.nodes:
        if of := get_op(node.op).flop:
            flop += of([step.type(i) if i else None for i in node.inputs], [step.type(node.outputs[0])], node.attrs)
    assert flop / 1e6 == pytest.approx(mflop, abs=0.005)


def test_q_k_and_v_share_one_product() -> None:
    _, forward = cct2()
    training = resolve("lora1", forward)
    (shared,) = [a for a in training.adapters if len(a.targets) > 1]
    assert shared.targets == tuple(f"blocks.1.{m}.weight" for m in "qkv") and shared.a == "blocks.1.q+k+v.weight.lora_a"
    step = step_of(forward, training)
    readers = [n.op for n in step.nodes if f"{shared.a}.t" in n.inputs]
    assert readers == ["MatMul"], "one product x . A^T (no gradient below block 1)"
    assert Counter(n.op for n in step.nodes)["Concat"] == 1 and not any(n.op == "SliceGrad" for n in step.nodes)


def test_the_adapted_model_is_the_base_model_at_first() -> None:
    _, forward = cct2()
    x = {forward.inputs[0]: np.random.default_rng(0).normal(size=(1, 3, 32, 32))}
    grown = prepare(forward, resolve("lora2", forward))
    base, first = (evaluate(g, x, np.float64)[forward.outputs[0]] for g in (forward, grown))
    np.testing.assert_array_equal(base, first)


@pytest.mark.parametrize("strategy", ["lora2", "lora:r=3,alpha=6,targets=blocks.1.fc?.weight+blocks.0.[qk].weight"])
def test_updates_are_those_of_lora_modules_in_torch(strategy: str) -> None:
    model, forward = cct2(pretrained=True)
    assert model.module is not None and model.example is not None
    training = resolve(strategy, forward)
    step = step_of(forward, training, lr=1.0)
    start = with_random_b(step, training)
    feeds = {**start, step.inputs[0]: model.example.numpy(), "label": np.array([3], np.int32)}
    values = evaluate(step, feeds, np.float64)
    tensors = {n: np.asarray(start.get(n, step.state[n]), np.float64) for n in training.trainable}
    module = adapted(model.module, training, tensors)
    loss = nn.functional.cross_entropy(module(model.example.double()), torch.tensor([3]))
    loss.backward()
    assert values["loss"][0] == pytest.approx(loss.item(), rel=1e-9)
    got = {n: values[f"{n}.master.new"] - tensors[n] for n in training.trainable}
    want = {}
    for adapter in training.adapters:
        layers = [module.get_submodule(t.removesuffix(".weight")) for t in adapter.targets]
        want[adapter.a] = -torch.cat([layer.a.grad for layer in layers]).numpy()
        want |= {name: -layer.b.grad.numpy() for name, layer in zip(adapter.b, layers, strict=True)}
    want |= {n: -module.get_parameter(n).grad.numpy() for n in training.trainable if n not in want}  # type: ignore[union-attr]
    for name, expected in want.items():
        np.testing.assert_allclose(got[name], expected, rtol=1e-6, atol=1e-9, err_msg=name)


def test_the_reference_of_runs_agrees_with_lora_modules() -> None:
    """``torch_steps`` adds B . A to the weight; the modules multiply one after the other."""
    model, forward = cct2()
    assert model.module is not None and model.example is not None
    training = resolve("lora:r=2,alpha=3,targets=blocks.1.*c?.weight", forward)
    rng = np.random.default_rng(1)
    start = reference.adapter_start(model.module, training.adapters)
    start |= {n: rng.normal(0, 0.1, start[n].shape).astype(np.float32) for a in training.adapters for n in a.b}
    x = model.example.numpy()[None]
    losses, new = reference.torch_steps(
        model.module, training.trainable, x, np.array([[3]]), 1.0, torch.float64,
        adapters=training.adapters, start=start,
    )  # fmt: skip
    module = adapted(model.module, training, {n: v.astype(np.float64) for n, v in start.items()})
    loss = nn.functional.cross_entropy(module(model.example.double()), torch.tensor([3]))
    loss.backward()
    assert losses[0] == pytest.approx(loss.item(), rel=1e-9)
    for adapter in training.adapters:
        for i, target in enumerate(adapter.targets):
            layer = module.get_submodule(target.removesuffix(".weight"))
            moved = new[adapter.a][adapter.share(i)] - start[adapter.a][adapter.share(i)]
            np.testing.assert_allclose(moved, -layer.a.grad.numpy(), rtol=1e-6, atol=1e-9)


def test_a_weight_stored_as_it_multiplies() -> None:
    """An ONNX model may keep [inputs, outputs]; A and B keep torch's order."""
    _, forward = own("plain_matrix")
    training = resolve("lora:r=2,targets=w", forward)
    (adapter,) = training.adapters
    grown = prepare(forward, training)
    assert adapter.transposed == (False,)
    assert (grown.type("w.lora_a").shape, grown.type("w.lora_b").shape) == ((2, 6), (10, 2))


def test_a_training_survives_its_document() -> None:
    from dataclasses import asdict
    from json import dumps, loads

    _, forward = cct2()
    training = resolve("lora2", forward)
    document = loads(dumps({**asdict(training), "trainable": dict.fromkeys(training.trainable, 1), "model": "cct2"}))
    assert from_document(document) == training


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ("lora:", "names no targets .for example lora:r=4,alpha=8,targets="),
        ("lora:targets=nothing", "no parameter matches 'nothing'"),
        ("lora:rank=4,targets=*", "does not know 'rank=4'"),
        ("lora:r=x,targets=0.weight", "are no numbers"),
        ("lora:r=0,targets=0.weight", "must be positive"),
        ("lora:r=4,alpha=-1,targets=0.weight", "must be positive"),
        ("lora:r=64,targets=0.weight", "rank 64 is above the smaller side of 0.weight"),
        ("lora:targets=0.bias", "0.bias f16.32. has no adapter: 0 matrix products use it"),
        ("lora1", "no parameter matches 'blocks.0.q.weight'"),
    ],
)
def test_what_does_not_fit_says_so(strategy: str, message: str) -> None:
    _, graph = own("mlp")
    with pytest.raises(TdcoError, match=message):
        resolve(strategy, graph)
