"""Models by name and from files; CCT-2 is the published one."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from tdco import zoo
from tdco.autodiff import parameters
from tdco.data import load as load_data
from tdco.errors import TdcoError
from tdco.ir import evaluate
from tdco.reference import accuracy
from tdco.zoo import cct2_cifar10
from tdco.zoo.cct2 import PARAMETERS, checkpoint

from ..flow.models import HERE, cct2, own


def test_every_parameter_survives_export_of_a_fresh_model() -> None:
    """Fresh LayerNorms are all ones and zeros: the exporter's favourite tensors to merge."""
    model, graph = cct2()
    assert model.module is not None
    expected = {n: tuple(p.shape) for n, p in model.module.named_parameters()}
    own = {n: graph.values[n].as_user(graph.constants[n]) for n in parameters(graph)}
    assert {n: a.shape for n, a in own.items()} == expected
    assert sum(t.size for t in parameters(graph).values()) == PARAMETERS == 283_723
    for name, parameter in model.module.named_parameters():
        np.testing.assert_array_equal(own[name], parameter.detach().numpy())


@pytest.mark.parametrize("pretrained", [False, True])
def test_cct2_graph_computes_what_torch_computes(pretrained: bool) -> None:
    model, graph = cct2(pretrained)
    assert model.module is not None and model.example is not None
    got = evaluate(graph, {"input": model.example.numpy()}, np.float64)["logits"]
    want = model.module.double()(model.example.double()).detach().numpy()
    model.module.float()
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)


def test_fresh_weights_follow_the_seed() -> None:
    modules = [zoo.load("cct2", pretrained=False, seed=s).module for s in (3, 3, 4)]
    drawn = [m.get_parameter("fc.weight") for m in modules if m is not None]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


@pytest.mark.slow
@pytest.mark.skipif("TDCO_DATA" not in os.environ, reason="TDCO_DATA does not say where CIFAR-10 is")
def test_the_cifar10_checkpoint_is_as_good_as_it_says() -> None:
    arrays, meta = checkpoint(cct2_cifar10.CHECKPOINT)
    assert sum(a.size for a in arrays.values()) == PARAMETERS and {a.dtype for a in arrays.values()} == {np.dtype("f2")}
    data, model = load_data("cifar10"), zoo.load("zoo:cct2_cifar10").module
    assert model is not None
    if data.name == meta["data"]:
        found = accuracy(model, data.test_images.astype(np.float32), data.test_labels)
        assert found == pytest.approx(meta["accuracy"], abs=1e-3) and found > 0.78


def test_checkpoint_is_small_and_as_good_as_it_says() -> None:
    arrays, meta = checkpoint()
    assert sum(a.size for a in arrays.values()) == PARAMETERS and {a.dtype for a in arrays.values()} == {np.dtype("f2")}
    assert (Path(zoo.__file__).parent / "cct2_digits.npz").stat().st_size < 600_000
    data, model = load_data("digits"), zoo.load("zoo:cct2").module
    assert model is not None
    assert (
        meta["accuracy"] == pytest.approx(accuracy(model, data.test_images, data.test_labels))
        and meta["accuracy"] > 0.95
    )


def test_a_batch_can_be_asked_for() -> None:
    model, _ = own("mlp")
    assert zoo.forward_graph(model).type("input").shape == (4, 64)
    assert zoo.forward_graph(model, batch=3).type("logits").shape == (3, 10)


@pytest.mark.parametrize("function", ["mlp", "cnn_head"])
def test_a_users_own_module(function: str) -> None:
    model, graph = own(function)
    assert model.module is not None and model.example is not None
    got = evaluate(graph, {"input": model.example.numpy()})["logits"]
    np.testing.assert_allclose(got, model.module.eval()(model.example).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_a_users_own_onnx_file(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3)).eval()
    x = torch.randn(2, 6)
    torch.onnx.export(module, (x,), tmp_path / "net.onnx", dynamo=True, external_data=False, verbose=False)
    model = zoo.load(str(tmp_path / "net.onnx"))
    graph = zoo.forward_graph(model)
    assert model.name == "net" and set(parameters(graph)) == {n for n, _ in module.named_parameters()}
    got = evaluate(graph, {graph.inputs[0]: x.numpy()})[graph.outputs[0]]
    np.testing.assert_allclose(got, module(x).detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("zoo:cct9", "there is no model 'cct9' .it has: cct2, cct2_cifar10, cct6, deep_ae"),
        ("model.tflite", "not recognised .MODEL is zoo:NAME, file.py:function or model.onnx"),
        ("nowhere.onnx", "nowhere.onnx: no such file"),
        ("nowhere.py:f", "nowhere.py: no such Python file"),
        (f"{HERE}:missing", "has no function 'missing'"),
        (f"{HERE}:not_a_model", r"not_a_model\(\) returned int .return \(torch.nn.Module, example"),
    ],
)
def test_bad_models_are_named(spec: str, message: str) -> None:
    with pytest.raises(TdcoError, match=message):
        zoo.load(spec)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("wrong_shape", r"module Linear: raises RuntimeError: .* shapes cannot be multiplied .* on its example input"),
        ("branching", "module Branching: torch.onnx cannot export it: GuardOnDataDependentSymNode: Could not guard"),
    ],
)
def test_what_cannot_be_exported_says_why(function: str, message: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TdcoError, match=message) as e:
        zoo.forward_graph(zoo.load(f"{HERE}:{function}"))
    assert "\n" not in str(e.value) and "\x1b" not in str(e.value) and "Traceback" not in capfd.readouterr().err


def test_a_file_that_is_no_onnx_model(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_bytes(b"\xff\xfe nothing")
    with pytest.raises(TdcoError, match=r"text.onnx: is no readable ONNX model"):
        zoo.load(str(tmp_path / "text.onnx"))
    onnx.save(onnx.ModelProto(), tmp_path / "empty.onnx")
    with pytest.raises(TdcoError, match=r"empty.onnx: is no .* no outputs"):
        zoo.load(str(tmp_path / "empty.onnx"))


def test_unsupported_operator_names_itself_its_node_and_what_is_supported() -> None:
    with pytest.raises(
        TdcoError, match=r"Tanh node 1.tanh: operator Tanh is not supported \(supported: .*Softmax"
    ) as e:
        zoo.forward_graph(zoo.load(f"{HERE}:with_tanh"))
    assert "LayerNormalization" in e.value.hint


def test_digits_are_real_split_and_turned() -> None:
    upright, tilted = load_data("digits"), load_data("digits", 30)
    assert upright.train_images.shape == (1437, 3, 32, 32) and upright.test_images.shape == (360, 3, 32, 32)
    np.testing.assert_array_equal(upright.test_labels, tilted.test_labels)
    assert np.abs(upright.test_images - tilted.test_images).max() > 1
    assert np.abs(tilted.train_images).max() <= 1 and tilted.train_images.dtype == np.float32
    pixels = {image.tobytes() for image in upright.train_images}
    assert not pixels.intersection(image.tobytes() for image in upright.test_images)
    with pytest.raises(TdcoError, match="no data set 'imagenet'"):
        load_data("imagenet")
