"""The torch reference and the measures that results are judged by."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tdco import zoo
from tdco.cli.run import run_steps, step_inputs, summary
from tdco.data import load
from tdco.pipeline import compile_model
from tdco.reference import accuracy, compare_updates, graph_updates, torch_step, torch_steps
from tdco.strategies import resolve
from tdco.zoo.pretrain import TILT_DEGREES, adapt
from tdco_spec import get_config

from .models import HERE, cct2, smooth_mlp


def test_a_step_is_what_torchs_own_optimizer_does() -> None:
    model, graph = cct2(pretrained=True)
    module, digits = model.module, load("digits", TILT_DEGREES)
    assert module is not None
    trainable = resolve("ft1", graph).trainable
    before = {n: p.detach().clone() for n, p in module.named_parameters()}
    losses, new = torch_steps(module, trainable, digits.train_images[:3], digits.train_labels[:3], lr=0.01)
    assert all(torch.equal(before[n], p) for n, p in module.named_parameters()), "the module must stay as it was"
    optimizer = torch.optim.SGD([module.get_parameter(n) for n in trainable], lr=0.01)
    try:
        for image, label, loss in zip(digits.train_images, digits.train_labels, losses, strict=False):
            optimizer.zero_grad()
            value = torch.nn.functional.cross_entropy(module(torch.tensor(image)[None]), torch.tensor([int(label)]))
            value.backward()
            optimizer.step()
            assert loss == pytest.approx(value.item(), rel=1e-4)
        for name in trainable:
            np.testing.assert_allclose(new[name], module.get_parameter(name).detach().numpy(), atol=1e-6)
    finally:
        module.load_state_dict(before)


def test_the_update_of_one_step() -> None:
    model, _ = cct2()
    assert model.module is not None and model.example is not None
    _, update = torch_step(model.module, ["fc.bias"], model.example[0].numpy(), 3, lr=0.5)
    logits = model.module(model.example)[0].detach()
    expected = -0.5 * (torch.softmax(logits, 0) - torch.eye(10)[3])
    np.testing.assert_allclose(update["fc.bias"], expected.numpy(), atol=1e-6)


def test_accuracy_uses_the_tensors_given() -> None:
    model, _ = cct2(pretrained=True)
    digits = load("digits")
    assert model.module is not None
    always_seven = {"fc.weight": np.zeros((10, 128), np.float32), "fc.bias": np.eye(10, dtype=np.float32)[7]}
    share = float((digits.test_labels[:40] == 7).mean())
    assert accuracy(model.module, digits.test_images[:40], digits.test_labels[:40], always_seven) == share


def test_a_fine_tuned_model_reads_tilted_digits_better() -> None:
    """The story of the demo in fp32: 60 of its 200 steps already give a good part of the rise."""
    model, _ = cct2(pretrained=True)
    before, after = adapt(model.module, load("digits", TILT_DEGREES), steps=60, seed=0, lr=0.01)  # type: ignore[arg-type]
    assert before < 0.65 and after > before + 0.10


def test_equal_updates_have_no_error() -> None:
    update = {"a": np.array([1.0, -2.0]), "b": np.array([[1e-9]])}
    error = compare_updates(update, update)
    assert error.max_rel_error == 0 and error.cosine == pytest.approx(1)
    assert [t.small for t in error.tensors] == [False, True] and all(t.within(0) for t in error.tensors)


def test_the_error_is_that_of_the_whole_vector() -> None:
    want = {"a": np.array([3.0, 0.0]), "b": np.array([4.0])}
    error = compare_updates({"a": np.array([3.0, 0.5]), "b": np.array([4.0])}, want)
    assert error.max_rel_error == pytest.approx(0.1)
    assert [t.relative for t in error.tensors] == pytest.approx([0.5 / 3, 0])
    assert not error.tensors[0].within(0.1) and error.tensors[1].within(0)


def test_tiny_updates_are_judged_against_the_floor() -> None:
    """The sequence-pool bias has a mathematically zero gradient: only noise, but it must stay noise."""
    want = {"w": np.array([1.0]), "bias": np.array([1e-9])}
    noise, wrong = ({"w": np.array([1.0]), "bias": np.array([value])} for value in (-5e-4, 2e-3))
    assert all(t.within(0.1) for t in compare_updates(noise, want).tensors)
    assert not all(t.within(0.1) for t in compare_updates(wrong, want).tensors)


def test_an_absent_or_opposite_update_is_far_off() -> None:
    want = {"w": np.array([1.0, 2.0])}
    assert compare_updates({"w": np.zeros(2)}, want).max_rel_error == 1
    assert compare_updates({"w": -want["w"]}, want).cosine == pytest.approx(-1)
    with pytest.raises(AssertionError, match="tensors differ"):
        compare_updates({"v": np.zeros(2)}, want)


def test_updates_are_those_of_the_masters() -> None:
    old = {"w": np.zeros(2), "w.master": np.array([1.0, 2.0])}
    new = {"w": np.ones(2), "w.master": np.array([1.5, 2.0])}
    np.testing.assert_array_equal(graph_updates(old, new)["w"], [0.5, 0.0])


def test_a_runs_outputs_are_compared_where_nothing_is_trained(tmp_path: Path) -> None:
    document = compile_model(zoo.load(f"{HERE}:{smooth_mlp.__name__}"), "infer", get_config("rm_8x4"), tmp_path)
    inputs = step_inputs(document, "random", 3, 0.0, 0)
    result, seconds = run_steps(tmp_path, "golden", inputs)
    said = summary(document, tmp_path, "golden", result, inputs, seconds)
    assert said["max_rel_error"] is None and 0 < said["output_rel_error"] < 0.002
    (name,) = result.outputs
    lost = result.outputs[name] * np.float16([1, 1, 0])[:, None, None]  # a step of three
    said = summary(document, tmp_path, "golden", replace(result, outputs={name: lost}), inputs, seconds)
    assert 0.3 < said["output_rel_error"] < 0.9
