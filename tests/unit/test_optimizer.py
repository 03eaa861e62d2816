"""Optimizers and gradient accumulation: torch's weights after several steps, and what an overflow leaves alone."""

from __future__ import annotations

import numpy as np
import pytest
from tdco import reference
from tdco.autodiff import training_graph
from tdco.errors import TdcoError
from tdco.ir import Graph, evaluate, verify
from tdco.optimizer import parse
from tdco.pipeline import STEP_PASSES

from ..flow.models import own

STEPS = 6
SPECS = ("sgd", "momentum=0.9", "adamw", "adamw=0.1")
WITHOUT_MASTERS = ("sgd,update=fp16", "sgd,update=kahan", "sgd,update=stochastic")


def mlp_step(optimizer: str, accumulate: int, lr: float) -> Graph:
    _, forward = own("mlp")
    names = ("0.weight", "0.bias", "3.weight", "3.bias")
    step = training_graph(forward, names, lr=lr, optimizer=optimizer, accumulate=accumulate)
    for optimise in STEP_PASSES:
        step = verify(optimise(step))
    return step


def samples() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(STEPS, 4, 64)).astype(np.float32)
    return {"input": images, "label": rng.integers(0, 10, (STEPS, 4)).astype(np.int32)}


@pytest.mark.parametrize("optimizer", SPECS + WITHOUT_MASTERS)
@pytest.mark.parametrize("accumulate", [1, 3])
def test_steps_are_torchs(optimizer: str, accumulate: int) -> None:
    model, _ = own("mlp")
    lr = 0.001 if parse(optimizer).kind == "adamw" else 0.1
    step, inputs = mlp_step(optimizer, accumulate, lr), samples()
    assert model.module is not None
    losses, got = reference.graph_steps(step, inputs)
    want_losses, want = reference.torch_steps(
        model.module.eval(), list(got), *inputs.values(), lr, optimizer=optimizer, accumulate=accumulate
    )
    np.testing.assert_allclose(losses, want_losses, rtol=1e-5)
    for name, tensor in want.items():
        start = model.module.get_parameter(name).detach().numpy()
        moved = np.abs(tensor - start).max()
        assert moved > 0
        np.testing.assert_allclose(got[name], tensor, rtol=0, atol=2e-3 * moved, err_msg=name)


def test_weights_rest_between_accumulated_updates() -> None:
    step, inputs = mlp_step("sgd", 3, 0.1), samples()
    state = {n: np.asarray(v) for n, v in step.state.items()}
    changed = []
    for image, label in zip(*inputs.values(), strict=True):
        env = evaluate(step, {**state, "input": image, "label": label})
        new = {n: env[v] for n, v in step.updates.items()}
        changed.append(bool((new["0.weight.master"] != state["0.weight.master"]).any()))
        state = new
    assert changed == [False, False, True] * 2
    assert not state["0.weight.sum"].any(), "a sum begins anew behind its update"


@pytest.mark.parametrize("optimizer", SPECS)
def test_an_overflow_leaves_weight_and_slots_alone(optimizer: str) -> None:
    """One bad gradient of three: that update is skipped, the sum is cleared, the next update happens."""
    step, inputs = mlp_step(optimizer, 3, 0.1), samples()
    inputs["input"][1, 0, 0] = np.inf
    state = {n: np.asarray(v) for n, v in step.state.items()}
    with np.errstate(invalid="ignore"):
        for index, (image, label) in enumerate(zip(*inputs.values(), strict=True)):
            env = evaluate(step, {**state, "input": image, "label": label})
            new = {n: env[v] for n, v in step.updates.items()}
            for slot in (".master", ".velocity", ".moments"):
                if index == 2 and f"0.weight{slot}" in new:
                    np.testing.assert_array_equal(new[f"0.weight{slot}"], state[f"0.weight{slot}"])
            state = new
    assert np.isfinite(state["0.weight.master"]).all()
    assert (state["0.weight.master"] != step.state["0.weight.master"]).any()


def test_what_is_no_optimizer_says_so() -> None:
    for text in ("rmsprop", "momentum", "momentum=1", "momentum=x", "adamw=-1", "sgd=1", ""):
        with pytest.raises(TdcoError, match=r"is not supported .supported: sgd, momentum=0.9 or adamw"):
            parse(text)
    with pytest.raises(TdcoError, match="cannot accumulate 0 gradients"):
        mlp_step("sgd", 0, 0.1)


@pytest.mark.parametrize("loss", ["mse", "reconstruction"])
def test_other_losses_are_torchs(loss: str) -> None:
    model, forward = own("autoencoder")
    step = training_graph(forward, ["0.weight", "2.bias"], loss, lr=1.0)
    rng = np.random.default_rng(0)
    inputs = {"input": rng.normal(size=(2, 3, 16)).astype(np.float32)}
    if loss == "mse":
        inputs["target"] = rng.normal(size=(2, 3, 16)).astype(np.float32)
    assert step.inputs == tuple(inputs) and model.module is not None
    losses, got = reference.graph_steps(step, inputs)
    images, *targets = inputs.values()
    want_losses, want = reference.torch_steps(
        model.module, list(got), images, targets[0] if targets else images, 1.0, loss=loss
    )
    np.testing.assert_allclose(losses, want_losses, rtol=1e-5)
    for name in want:
        np.testing.assert_allclose(got[name], want[name], rtol=1e-4, atol=1e-6)


def test_a_reconstruction_needs_an_output_like_its_input() -> None:
    _, forward = own("mlp")
    with pytest.raises(TdcoError, match=r"its output is f16.4,10., its input f16.4,64."):
        training_graph(forward, ["0.weight"], "reconstruction")


def test_there_are_masters_for_fp32_updates_alone() -> None:
    slots = {"fp32": {".master"}, "fp16": set(), "kahan": {".carry"}, "stochastic": set()}
    for update, want in slots.items():
        state = mlp_step(f"sgd,update={update}", 1, 0.1).state
        assert {n.removeprefix("3.weight") for n in state if n.startswith("3.weight.")} == want
        assert ("stochastic.steps" in state) == (update == "stochastic")


@pytest.mark.parametrize("text", ["sgd,update=bf16", "momentum=0.9,update=kahan", "sgd,fp16", "sgd,"])
def test_updates_that_do_not_exist_are_named(text: str) -> None:
    with pytest.raises(TdcoError, match="is not supported"):
        parse(text)
