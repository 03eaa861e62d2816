"""Whole training steps: compiled, run on the host with the golden engine, compared with PyTorch fp32."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tdco import data, zoo
from tdco.cli._engines import job_predictor
from tdco.pipeline import compile_model
from tdco.reference import UpdateError, compare_updates, reference_steps
from tdco_sim import golden, host, tensors
from tdco_sim.result import RunResult
from tdco_spec import JOB_FLAGS, get_config

CFG = get_config("rm_12x4")
MODELS = Path(__file__).parent / "models.py"


def document(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "program.json").read_text()))


def digit_inputs(out: Path, steps: int = 1) -> dict[str, np.ndarray]:
    """Tilted digits as the inputs of a CCT-2 step."""
    digits = data.load("digits", 30)
    image, label = document(out)["inputs"]
    return {image["name"]: digits.train_images[:steps, None], label["name"]: digits.train_labels[:steps, None]}


def noise_inputs(out: Path, steps: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    inputs: dict[str, np.ndarray] = {}
    for spec in document(out)["inputs"]:
        shape = (steps, *spec["shape"])
        labels = spec["dtype"] == "i32"
        inputs[spec["name"]] = (
            rng.integers(0, 10, shape).astype(np.int32) if labels else rng.standard_normal(shape).astype(np.float16)
        )
    return inputs


def run(out: Path, inputs: dict[str, np.ndarray]) -> RunResult:
    return host.run(out, golden.build(CFG), inputs=inputs)


def update_error(out: Path, inputs: dict[str, np.ndarray], result: RunResult) -> UpdateError:
    before = tensors.initial_state(out)
    masters = [s for s in document(out)["state"] if s["name"].endswith(".master")]
    got = {s["source"]: result.state[s["name"]] - before[s["name"]] for s in masters}
    return compare_updates(got, reference_steps(out, document(out)["train"], inputs)[1])


@pytest.fixture(scope="module")
def lp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CCT-2 linear probing, compiled."""
    out = tmp_path_factory.mktemp("lp") / "out"
    compile_model(zoo.load("zoo:cct2"), "lp", CFG, out)
    return out


@pytest.fixture(scope="module")
def ft2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CCT-2 fine-tuning of both blocks, compiled."""
    out = tmp_path_factory.mktemp("ft2") / "out"
    compile_model(zoo.load("zoo:cct2"), "ft2", CFG, out, predict=job_predictor(CFG))
    return out


@pytest.mark.parametrize("pretrained", [True, False], ids=["pretrained", "fresh"])
@pytest.mark.parametrize(
    ("strategy", "trainable", "mflop"), [("lp", 1_290, 70.69), ("ft1", 99_723, 93.82), ("ft2", 198_027, 123.18)]
)
def test_update_is_torchs_within_fp16(
    tmp_path: Path, strategy: str, trainable: int, mflop: float, pretrained: bool
) -> None:
    out = tmp_path / "out"
    doc = compile_model(zoo.load("zoo:cct2", pretrained), strategy, CFG, out)
    assert sum(doc["train"]["trainable"].values()) == trainable
    assert doc["stats"]["flop"] == pytest.approx(mflop * 1e6, abs=5e3)
    assert 0.95 * doc["stats"]["flop"] < 2 * doc["stats"]["macs"] <= doc["stats"]["flop"], "padding is not multiplied"
    assert doc["stats"]["l1_peak_bytes"] <= CFG.l1_bytes and doc["stats"]["l2_peak_bytes"] <= CFG.l2_bytes
    assert not doc["train"]["copies_inserted"]
    assert doc["stats"]["c_lines"] <= 4000 and doc["stats"]["c_bytes"] <= 300_000
    assert max(map(len, (out / "program.c").read_text().splitlines())) <= 120
    inputs = digit_inputs(out)
    result = run(out, inputs)
    assert result.stats["macs"] == doc["stats"]["macs"] and result.stats["jobs"] == doc["stats"]["gemm_jobs"]
    error = update_error(out, inputs, result)
    assert error.max_rel_error <= 0.02 and error.cosine >= 0.999
    assert all(tensor.within(0.10) for tensor in error.tensors), error.tensors


@pytest.mark.parametrize(("strategy", "trainable", "mflop"), [("lora1", 7_563, 83.40), ("lora2", 13_707, 102.54)])
def test_three_lora_steps_are_torchs_within_fp16(tmp_path: Path, strategy: str, trainable: int, mflop: float) -> None:
    """At the first step B is zero and only B moves, so there are three."""
    out = tmp_path / "out"
    doc = compile_model(zoo.load("zoo:cct2"), strategy, CFG, out)
    assert sum(doc["train"]["trainable"].values()) == trainable and doc["train"]["parameters"] == 283_723
    assert doc["stats"]["flop"] == pytest.approx(mflop * 1e6, abs=5e3)
    assert 0.95 * doc["stats"]["flop"] < 2 * doc["stats"]["macs"] <= doc["stats"]["flop"], "padding is not multiplied"
    assert not doc["train"]["copies_inserted"] and doc["stats"]["l2_peak_bytes"] <= CFG.l2_bytes
    inputs = digit_inputs(out, 3)
    error = update_error(out, inputs, run(out, inputs))
    assert error.max_rel_error <= 0.02 and error.cosine >= 0.999
    moved = [t for t in error.tensors if t.name.endswith(".lora_a")]
    assert moved and all(t.relative <= 0.10 or t.small for t in error.tensors), error.tensors


@pytest.mark.parametrize("optimizer", ["momentum=0.9", "adamw"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_optimizers_on_the_device(tmp_path: Path, optimizer: str, accumulate: int) -> None:
    out = tmp_path / "out"
    compile_model(zoo.load(f"{MODELS}:smooth_mlp"), "full", CFG, out, optimizer=optimizer, accumulate=accumulate)
    inputs = noise_inputs(out, 4)
    error = update_error(out, inputs, run(out, inputs))
    assert error.max_rel_error <= 0.02 and error.cosine >= 0.999


@pytest.mark.parametrize("function", ["mlp", "cnn_head"])
def test_the_cores_alone_give_the_engines_bits(tmp_path: Path, function: str) -> None:
    results = []
    for engine in (True, False):
        out = tmp_path / str(engine)
        doc = compile_model(zoo.load(f"{MODELS}:{function}"), "full", CFG, out, engine=engine)
        assert bool(doc["stats"]["gemm_jobs"]) == engine
        results.append(run(out, noise_inputs(out, 2)))
    with_engine, without = results
    assert without.stats["jobs"] == 0
    for name, array in {**with_engine.outputs, **with_engine.state}.items():
        other = without.outputs.get(name, without.state.get(name))
        assert other is not None and other.tobytes() == array.tobytes(), name


@pytest.mark.parametrize("loss", ["mse", "reconstruction"])
def test_other_losses_on_the_device(tmp_path: Path, loss: str) -> None:
    out = tmp_path / "out"
    compile_model(zoo.load(f"{MODELS}:autoencoder"), "full", CFG, out, loss=loss)
    inputs = noise_inputs(out)
    error = update_error(out, inputs, run(out, inputs))
    assert error.max_rel_error <= 0.02 and error.cosine >= 0.999


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "strategy", "limit"),
    [
        ("resnet8", "full", 0.10),
        ("resnet8", "train:fc.*,stacks.2.norm2.*", 0.02),
        ("mobilenet_v1_025", "train:blocks.12.*,fc.*", 0.20),
        ("deep_ae", "train:layers.9.*", 0.02),
    ],
)
def test_models_of_the_zoo(tmp_path: Path, model: str, strategy: str, limit: float) -> None:
    """The limits are wide where many ReLUs decide in fp16; in exact arithmetic the same steps are torch's to 1e-6."""
    out, cfg = tmp_path / "out", replace(CFG, l2_bytes=8 << 20)
    doc = compile_model(zoo.load(f"zoo:{model}"), strategy, cfg, out)
    assert not doc["train"]["copies_inserted"]
    inputs = noise_inputs(out)
    inputs |= {n: a % 2 for n, a in inputs.items() if a.dtype == np.int32}
    error = update_error(out, inputs, host.run(out, golden.build(cfg), inputs=inputs))
    assert error.max_rel_error <= limit and error.cosine >= 1 - limit**2


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["lp", "ft1", "ft2", "lora1", "lora2"])
def test_batches_of_cct2(tmp_path: Path, strategy: str) -> None:
    out, cfg = tmp_path / "out", replace(CFG, l2_bytes=4 << 20)
    compile_model(zoo.load("zoo:cct2"), strategy, cfg, out, batch=3)
    digits = data.load("digits", 30)
    image, label = document(out)["inputs"]
    inputs = {image["name"]: digits.train_images[None, :3], label["name"]: digits.train_labels[None, :3]}
    error = update_error(out, inputs, host.run(out, golden.build(cfg), inputs=inputs))
    assert error.max_rel_error <= 0.02 and error.cosine >= 0.999


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 2])
def test_all_parameters_of_cct2(tmp_path: Path, batch: int) -> None:
    """On noise: in flat parts of a digit fp16 decides otherwise than fp32 which of nearly equal pixels is the largest,
    and max pooling sends the whole gradient there."""
    out, cfg = tmp_path / "out", replace(CFG, l2_bytes=8 << 20)
    doc = compile_model(zoo.load("zoo:cct2"), "full", cfg, out, batch)
    assert sum(doc["train"]["trainable"].values()) == doc["train"]["parameters"] == 283_723
    inputs = noise_inputs(out)
    result = host.run(out, golden.build(cfg), inputs=inputs)
    error = update_error(out, inputs, result)
    assert error.max_rel_error <= 0.02 and error.cosine >= 0.999
    assert all(tensor.within(0.10) for tensor in error.tensors), error.tensors


def test_the_engine_rectifies(lp: Path) -> None:
    """CCT-2's two ReLUs are bits of their convolutions' last jobs, and no kernels."""
    text = (lp / "program.c").read_text()
    flags = [int(found, 16) for found in re.findall(r",\s+0x([0-9A-F]{2,4})}", text)]
    rectifying = re.findall(r" gemm  .* relu(?:  after .*)?$", (lp / "dump/schedule.txt").read_text(), re.MULTILINE)
    assert len(flags) == document(lp)["stats"]["gemm_jobs"]
    assert sum(bool(f & JOB_FLAGS["RELU"]) for f in flags) == len(rectifying) > 2
    assert "tdco_relu" not in text


@pytest.mark.parametrize("engine", [True, False], ids=["engine", "cores"])
def test_an_overflow_skips_its_step_alone(tmp_path: Path, engine: bool) -> None:
    """The engine's sticky flag says so, or the cores' own look; the step after it knows nothing of it."""
    out = tmp_path / "out"
    compile_model(zoo.load(f"{MODELS}:mlp"), "train:*weight", CFG, out, engine=engine)
    good, bad = noise_inputs(out), noise_inputs(out)
    image = document(out)["inputs"][0]["name"]
    bad[image][0, 0, 0] = np.inf
    before, once = tensors.initial_state(out), run(out, good).state
    skipped = run(out, bad).state
    both = run(out, {n: np.concatenate([bad[n], good[n]]) for n in good}).state
    for name, old in before.items():
        np.testing.assert_array_equal(skipped[name], old)
        np.testing.assert_array_equal(both[name], once[name])
    assert all((once[n] != old).any() for n, old in before.items())


def test_compiling_twice_gives_the_same_bytes(ft2: Path, tmp_path: Path) -> None:
    """Once here and once in a process of its own with another order of sets."""
    again = tmp_path / "again"
    command = [sys.executable, "-c", "from tdco.cli import main; main()", "compile", "zoo:cct2"]
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    subprocess.run([*command, "-s", "ft2", "-c", CFG.name, "-o", again], env=environment, check=True)
    names = sorted(p.relative_to(ft2) for p in ft2.rglob("*") if p.is_file() and p.suffix != ".pt2")
    assert Path("program.c") in names and Path("l2.bin") in names
    for name in names:
        assert (ft2 / name).read_bytes() == (again / name).read_bytes(), name


def test_only_the_compiled_program_computes(lp: Path, tmp_path: Path) -> None:
    """A changed constant in the generated C changes the result."""
    inputs = digit_inputs(lp)
    right = run(lp, inputs)
    text = (lp / "program.c").read_text()
    match = re.search(r"tdco_sgd_f16, \{[^}]*\},\s*\{10\},\s*\{([0-9.e-]+)f\}\},", text)
    assert match, "no learning rate in the SGD call"
    corrupted = tmp_path / "corrupted"
    corrupted.mkdir()
    for file in lp.iterdir():
        if file.is_file():
            (corrupted / file.name).write_bytes(file.read_bytes())
    (corrupted / "program.c").write_text(text[: match.start(1)] + "0.5" + text[match.end(1) :])
    wrong = run(corrupted, inputs)
    changed = {name for name in right.state if not np.array_equal(right.state[name], wrong.state[name])}
    assert changed == {"fc.bias", "fc.bias.master"}


def test_steps_learn(lp: Path) -> None:
    """The same digit ten times: the loss falls at every step."""
    inputs = {name: np.repeat(array, 10, axis=0) for name, array in digit_inputs(lp).items()}
    losses = run(lp, inputs).outputs["loss"].ravel()
    assert (np.diff(losses) < 0).all()


@pytest.mark.parametrize("function", ["mlp", "cnn_head", "with_buffer"])
def test_a_users_python_model(tmp_path: Path, function: str) -> None:
    out = tmp_path / "out"
    compile_model(zoo.load(f"{MODELS}:{function}"), "train:*", CFG, out)
    inputs = noise_inputs(out)
    error = update_error(out, inputs, run(out, inputs))
    assert error.max_rel_error <= 0.02 and error.cosine >= 0.999


def test_a_users_onnx_model(tmp_path: Path) -> None:
    import torch

    module, example = zoo.load(f"{MODELS}:mlp").module, zoo.load(f"{MODELS}:mlp").example
    assert module is not None and example is not None
    file = tmp_path / "model.onnx"
    torch.onnx.export(module.eval(), (example,), file, dynamo=True, verbose=False, external_data=False)
    out = tmp_path / "out"
    compile_model(zoo.load(str(file)), "train:3*", CFG, out, batch=4)
    inputs = noise_inputs(out)
    error = update_error(out, inputs, run(out, inputs))
    assert error.max_rel_error <= 0.02 and error.cosine >= 0.999


def test_a_step_stays_inside_its_plan(ft2: Path) -> None:
    """Under ASan and UBSan every access of the step lies in a buffer that its command names and that is live."""
    inputs = digit_inputs(ft2)
    strict = host.run(ft2, golden.build(CFG), inputs=inputs, sanitize=True)
    for name, array in run(ft2, inputs).state.items():
        np.testing.assert_array_equal(strict.state[name], array)
