"""The zoo's models beside CCT-2: their sizes, and that a step in exact arithmetic is torch's, of all parameters."""

from __future__ import annotations

from collections import Counter
from functools import cache

import numpy as np
import pytest
import torch
from tdco import zoo
from tdco.autodiff import parameters
from tdco.ir import Graph, evaluate, verify
from tdco.ops import get_op
from tdco.pipeline import FORWARD_PASSES, STEP_PASSES, build_step
from tdco.reference import torch_steps
from tdco.strategies import Training, prepare, resolve
from tdco.zoo import Model

SIZES = {"cct6": 3_233_803, "deep_ae": 265_864, "mlp": 98_666, "mobilenet_v1_025": 213_586, "resnet8": 78_186}


@cache
def loaded(name: str) -> tuple[Model, Graph]:
    model = zoo.load(f"zoo:{name}")
    graph = zoo.forward_graph(model)
    for optimise in FORWARD_PASSES:
        graph = verify(optimise(graph))
    return model, graph


def step_of(name: str, strategy: str) -> tuple[Training, Graph]:
    model, graph = loaded(name)
    training = resolve(strategy, graph, lr=1.0, loss=model.loss)
    step = build_step(prepare(graph, training), training)
    for optimise in STEP_PASSES:
        step = verify(optimise(step))
    return training, step


def ops(graph: Graph) -> Counter[str]:
    return Counter(n.op for n in graph.nodes)


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n == "cct6" else ()) for n in SIZES])
def test_every_parameter_survives_the_import(name: str) -> None:
    model, graph = loaded(name)
    assert model.module is not None
    assert sum(t.size for t in parameters(graph).values()) == SIZES[name]
    assert set(parameters(graph)) == {n for n, _ in model.module.named_parameters()}


@pytest.mark.parametrize(
    ("name", "strategy"),
    [
        ("deep_ae", "full"),
        ("resnet8", "full"),
        ("resnet8", "train:stacks.2.conv?.*,fc.*"),
        ("mobilenet_v1_025", "full"),
        ("mobilenet_v1_025", "train:blocks.1?.*"),
        pytest.param("cct6", "lora:r=4,targets=blocks.5.q.weight+blocks.5.fc?.weight", marks=pytest.mark.slow),
    ],
)
def test_updates_are_torchs(name: str, strategy: str) -> None:
    model, _ = loaded(name)
    training, step = step_of(name, strategy)
    assert model.module is not None and model.example is not None
    x, label = model.example.numpy(), np.array([1], np.int32)
    values = evaluate(step, dict(zip(step.inputs, (x, label), strict=False)), np.float64)
    losses, new = torch_steps(
        model.module, training.trainable, x[None], label[None], 1.0, torch.float64,
        adapters=training.adapters, loss=training.loss,
    )  # fmt: skip
    assert values["loss"].item() == pytest.approx(losses[0], rel=1e-6)
    largest = max(np.abs(new[n] - step.values[n].as_user(np.asarray(step.state[n]))).max() for n in training.trainable)
    for tensor in training.trainable:
        got = step.values[tensor].as_user(values[step.updates[f"{tensor}.master"]])
        np.testing.assert_allclose(got, new[tensor], rtol=0, atol=1e-6 * max(1.0, largest), err_msg=tensor)


def test_frozen_normalisations_are_folded_and_trained_ones_stay() -> None:
    _, whole = step_of("resnet8", "full")
    assert ops(whole)["BatchNormalization"] == ops(whole)["BatchNormalizationParamGrad"] == 7
    _, head = step_of("resnet8", "train:fc.*")
    assert ops(head)["BatchNormalization"] == 0 and ops(head)["Conv"] == 9
    _, scales = step_of("resnet8", "train:stacks.2.norm2.*,fc.*")
    assert ops(scales)["BatchNormalization"] == 1, "its convolution is frozen, its scale is not"
    _, filters = step_of("resnet8", "train:stacks.2.conv2.*,fc.*")
    assert ops(filters)["BatchNormalization"] == ops(filters)["BatchNormalizationGrad"] == 1


@pytest.mark.parametrize("name", ["resnet8", "mobilenet_v1_025"])
def test_folding_keeps_the_logits(name: str) -> None:
    model, graph = loaded(name)
    assert model.example is not None
    training = resolve("train:fc.*", graph)
    feeds = {graph.inputs[0]: model.example.numpy()}
    folded = prepare(graph, training)
    assert ops(folded)["BatchNormalization"] == 0 and ops(folded)["Transpose"] == 2, "of the input and of fc's matrix"
    want, got = (evaluate(g, feeds, np.float64)[g.outputs[0]] for g in (graph, folded))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_depthwise_convolutions_stay_off_the_engine() -> None:
    _, step = step_of("mobilenet_v1_025", "full")
    count = ops(step)
    assert count["DepthwiseConv"] == count["DepthwiseConvInputGrad"] == count["DepthwiseConvWeightGrad"] == 13
    flop = get_op("DepthwiseConv").flop
    assert flop


def test_deep_ae_has_the_published_work() -> None:
    """1.42 MFLOP at 2 FLOP per MAC: three products per weight, but no gradient of the input."""
    _, step = step_of("deep_ae", "full")
    total = 0
    for node in step.nodes:
        if flop := get_op(node.op).flop:
            total += flop([step.type(i) for i in node.inputs], [step.type(node.outputs[0])], node.attrs)
    assert total == 2 * (3 * 264_192 - 640 * 128)
    assert step.inputs == ("input",), "it reproduces its input"
