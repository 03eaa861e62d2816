"""``tdco train``: resumed runs, evaluation, early stop, and one step on the soc."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from tdco import zoo
from tdco.cli.run import load_program
from tdco.cli.train import EVALUATION, Options, evaluator, train_program
from tdco.errors import TdcoError
from tdco.optimizer import parse_scale
from tdco.pipeline import compile_model
from tdco.training import journal as records
from tdco.training.evaluation import compile_evaluation
from tdco.training.loop import Device, Samples, Schedule, State, train
from tdco.training.order import held_out, sample_order, subset
from tdco_sim import host, tensors
from tdco_sim.golden import build
from tdco_spec import get_config

from .models import HERE, small_cnn

CFG = get_config("rm_8x4")
OPTIONS = Options("digits", steps=60, interval=20, test=100, seed=3)
TRAIN = [sys.executable, "-c", "from tdco.cli import main; main()", "train"]
FINE_TUNING, LORA = "train:3.*,5.*", "lora:r=2,alpha=4,targets=3.weight"


def compiled(out: Path, strategy: str) -> Path:
    compile_model(zoo.load(f"{HERE}:{small_cnn.__name__}"), strategy, CFG, out, lr=0.1)
    return out


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = compiled(tmp_path_factory.mktemp("train") / "program", FINE_TUNING)
    compile_evaluation(out, load_program(out), out / EVALUATION)
    return out


def test_the_loop_takes_the_samples_in_order(tmp_path: Path) -> None:
    """Interrupted in every way: each step has the samples that the order gives it, checks are at intervals."""
    seen: list[int] = []

    def run(inputs: dict[str, np.ndarray], state: State) -> tuple[dict[str, np.ndarray], State]:
        seen.extend(inputs["label"].reshape(-1).tolist())
        return {}, {"steps": state["steps"] + len(inputs["label"])}

    checked: list[int] = []

    def check(inputs: dict[str, np.ndarray], state: State) -> dict[str, int]:
        checked.append(int(state["steps"][0]))
        return {}

    device = Device(run, lambda _, labels: {"label": labels.reshape(-1, 2)}, None, check)
    samples = Samples(np.zeros((7, 1)), np.arange(7))
    journal = records.Journal({"batch": 2, "interval": 4}, {"steps": np.zeros(1)})
    for steps in (3, 5, 13):
        assert train(device, samples, Schedule(steps, 2, 4, 9, checks=3), journal, tmp_path) == "steps"
        assert journal.state["steps"] == journal.step == steps
        journal = records.load(tmp_path, journal.settings) or journal
    assert seen == sample_order(7, 9, 0, 26).tolist()
    assert set(checked) <= {0, 4, 8, 12} and len(checked) >= 3


def test_a_longer_run_forgets_where_a_shorter_one_ended(tmp_path: Path) -> None:
    """An evaluation in the middle of an interval is the shorter run's alone, were it the best."""
    accuracy = {0: 0.1, 4: 0.5, 6: 0.9, 8: 0.3, 12: 0.4}

    def run(inputs: dict[str, np.ndarray], state: State) -> tuple[dict[str, np.ndarray], State]:
        return {}, {"steps": state["steps"] + len(inputs["label"])}

    device = Device(run, lambda _, labels: {"label": labels}, lambda s: accuracy[int(s["steps"][0])], lambda _, __: {})
    samples, ends = Samples(np.zeros((7, 1)), np.arange(7)), []
    for lengths in ((6, 20), (20,)):
        journal = records.Journal({"batch": 1, "interval": 4, "patience": 2}, {"steps": np.zeros(1)})
        for steps in lengths:
            ended = train(device, samples, Schedule(steps, 1, 4, 9, patience=2), journal, tmp_path)
            if steps == 6:
                kept, state = journal.kept
                assert kept == journal.evaluations[-1] and kept["accuracy"] == 0.9 and state["steps"] == 6
        ends.append((ended, journal.step, journal.evaluations, journal.kept[0], journal.kept[1]["steps"].tolist()))
    assert ends[0] == ends[1] and ends[0][:2] == ("no better", 12) and ends[0][4] == [4]


def copy(program: Path, out: Path) -> Path:
    return Path(shutil.copytree(program, out, ignore=shutil.ignore_patterns("train.*", "trained.npz")))


def test_order() -> None:
    """Every epoch has every sample once, in another order, wherever one begins to look."""
    whole = sample_order(7, 5, 0, 28)
    assert all(Counter(part) == Counter(range(7)) for part in whole.reshape(4, 7).tolist())
    assert len({tuple(part) for part in whole.reshape(4, 7).tolist()}) == 4
    for first, wanted in ((0, 3), (5, 4), (7, 7), (13, 15)):
        assert sample_order(7, 5, first, wanted).tolist() == whole[first : first + wanted].tolist()
    assert sample_order(7, 6, 0, 28).tolist() != whole.tolist()
    assert len(set(subset(100, 10, 1))) == 10 and len(subset(5, 10, 1)) == 5
    assert held_out(100, 10).tolist() == held_out(100, 20).tolist()[:10]


@pytest.mark.parametrize("strategy", [FINE_TUNING, pytest.param(LORA, marks=pytest.mark.slow)])
def test_the_forward_pass_has_the_bits_of_the_step(program: Path, tmp_path: Path, strategy: str) -> None:
    """What evaluation compiles computes what the step itself computes before its update."""
    program = copy(program, tmp_path / "out") if strategy == FINE_TUNING else compiled(tmp_path / "out", strategy)
    document = load_program(program)
    image, label = document["inputs"]
    images = np.random.default_rng(0).normal(size=(1, *image["shape"])).astype(np.float16)
    labels = np.zeros((1, 4), np.int32)
    state = tensors.initial_state(program)
    moved = {n: a + np.float16(0.25) if a.dtype == np.float16 else a + np.float32(0.25) for n, a in state.items()}
    scores = next(o["name"] for o in document["outputs"] if o["name"] != "loss")
    inputs: dict[str, np.ndarray] = {image["name"]: images, label["name"]: labels}
    want = host.run(program, build(CFG), inputs=inputs, state=moved).outputs[scores]
    accuracy = evaluator(program, document, Samples(images[0], want[0].argmax(1)))
    assert accuracy(moved) == 1.0
    forward = load_program(program / EVALUATION)
    given = {s["name"]: moved[s["name"]] for s in forward["state"]}
    got = host.run(program / EVALUATION, build(CFG), inputs={forward["inputs"][0]["name"]: images}, state=given)
    np.testing.assert_array_equal(got.outputs[forward["outputs"][0]["name"]].view(np.uint16), want.view(np.uint16))


def test_a_killed_run_goes_on_to_the_same_bits(program: Path, tmp_path: Path) -> None:
    undisturbed, killed = copy(program, tmp_path / "undisturbed"), copy(program, tmp_path / "killed")
    train_program(undisturbed, OPTIONS)
    arguments = [str(killed), "--data", "digits", "--steps", "60", "--interval", "20", "--test", "100", "--seed", "3"]
    with subprocess.Popen([*TRAIN, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not (killed / records.FILE).exists():
            assert process.poll() is None, "it ended without a record"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert not (killed / records.TRAINED).exists()
    shutil.copy(killed / records.FILE, tmp_path / "left.npz")
    result = json.loads(subprocess.run([*TRAIN, *arguments, "--json"], capture_output=True, check=True).stdout)
    assert result["steps"] == 60 and result["ended"] == "steps"
    for name in (records.TRAINED, records.LOG):
        assert (killed / name).read_bytes() == (undisturbed / name).read_bytes(), name
    same = [json.loads((out / records.SUMMARY).read_text()) for out in (killed, undisturbed)]
    commands = [summary.pop("command") for summary in same]
    assert commands == [f"tdco train {killed} --data digits --steps 60 --test 100 --interval 20 --seed 3", ""]
    for summary in same:
        assert summary.pop("when") and summary["versions"]["torch"]
        assert summary.pop("seconds") and summary.pop("steps_per_second") and summary.pop("cpu_ms_per_step")
    assert same[0] == same[1]


def test_learning_is_seen_and_longer_runs_go_on(program: Path, tmp_path: Path) -> None:
    out = copy(program, tmp_path / "out")
    short = train_program(out, OPTIONS)
    longer = train_program(out, Options(**{**vars(OPTIONS), "steps": 300}))
    assert [e["step"] for e in short["evaluations"]] == [0, 20, 40, 60]
    assert longer["evaluations"][: len(short["evaluations"])] == short["evaluations"]
    assert longer["accuracy"] > longer["accuracy_before"] + 0.2
    rows = (out / records.LOG).read_text().splitlines()
    assert rows[0] == "step,samples,loss,loss_scale,skipped" and rows[-1].startswith("300,1200,")
    with np.load(out / records.TRAINED) as trained:
        assert set(trained.files) == set(load_program(out)["train"]["trainable"])
    with pytest.raises(TdcoError, match="seed 3, not 4"):
        train_program(out, Options(**{**vars(OPTIONS), "seed": 4}))
    assert train_program(out, Options(**{**vars(OPTIONS), "seed": 4}), restart=True)["steps"] == 60


def test_early_stop_keeps_the_best(program: Path, tmp_path: Path) -> None:
    out = copy(program, tmp_path / "out")
    result = train_program(out, Options("digits", steps=400, interval=5, test=50, patience=2))
    best = max(result["evaluations"], key=lambda e: e["accuracy"])
    assert result["ended"] == "no better" and result["steps"] < 400
    assert (result["kept_step"], result["accuracy"]) == (best["step"], best["accuracy"])
    assert len(result["evaluations"]) == result["evaluations"].index(best) + 1 + 2
    again = train_program(copy(program, tmp_path / "again"), Options("digits", steps=best["step"], interval=5, test=50))
    assert again["accuracy"] == best["accuracy"]
    with np.load(out / records.TRAINED) as kept, np.load(tmp_path / "again" / records.TRAINED) as trained:
        assert all((kept[name] == trained[name]).all() for name in trained.files)


def test_what_cannot_be_trained_is_said(program: Path, tmp_path: Path) -> None:
    out = copy(program, tmp_path / "damaged")
    (out / records.FILE).write_bytes(b"PK no zip")
    with pytest.raises(TdcoError, match="no journal"):
        train_program(out, OPTIONS)
    document = load_program(out)
    document["train"]["trainable"] = {}
    (out / "program.json").write_text(json.dumps(document))
    with pytest.raises(TdcoError, match="trains nothing"):
        train_program(out, OPTIONS)


@pytest.fixture(scope="module")
def scaled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps make an update; the loss scale begins where gradients of fp16 overflow."""
    out = tmp_path_factory.mktemp("scaled") / "program"
    model = zoo.load(f"{HERE}:{small_cnn.__name__}")
    compile_model(model, FINE_TUNING, CFG, out, lr=0.1, accumulate=2, loss_scale=f"dynamic={2**24}")
    return out


def test_dynamic_loss_scale(scaled: Path, tmp_path: Path) -> None:
    """It halves until nothing overflows, skipping the updates on the way, and doubles after 200 good ones."""
    out = copy(scaled, tmp_path / "out")
    result = train_program(out, Options("digits", steps=500, interval=500, test=0))
    rows = [line.split(",") for line in (out / records.LOG).read_text().splitlines()[1:]]
    scale = np.array([float(row[3]) for row in rows])
    skipped = np.array([int(row[4]) for row in rows])
    assert 0 < result["skipped"] == skipped.sum() < 20
    assert not skipped[::2].any()  # half of the steps have no update
    expected, good, want = 2.0**24, 0, []
    for step, skip in enumerate(skipped):
        want.append(expected)
        if step % 2:
            good = 0 if skip else good + 1
            expected = expected / 2 if skip else expected
            if good == 200:
                good, expected = 0, expected * 2
    assert scale.tolist() == want
    assert scale[300] < scale.max() and result["loss_last"] < result["loss_first"]


def test_the_loss_scale_is_no_matter_of_bits(scaled: Path, tmp_path: Path) -> None:
    """A power of two that neither overflows nor underflows: as state, begun elsewhere, or as a constant 512."""
    options = Options("digits", steps=20, interval=20, test=0, loss_scale=512.0)
    trained = [records.TRAINED, records.LOG]
    train_program(scaled, options, folder=tmp_path / "state")
    constant = tmp_path / "constant"
    compile_model(zoo.load(f"{HERE}:{small_cnn.__name__}"), FINE_TUNING, CFG, constant, lr=0.1, accumulate=2)
    train_program(constant, Options("digits", steps=20, interval=20, test=0))
    assert (tmp_path / "state" / trained[0]).read_bytes() == (constant / trained[0]).read_bytes()
    with pytest.raises(TdcoError, match="constant loss scale"):
        train_program(constant, options, restart=True)


@pytest.mark.parametrize("text", ["0", "3", "-512", "static", "dynamic=0.5", "1e9", "nan", "dynamic=x"])
def test_a_loss_scale_is_a_power_of_two(text: str) -> None:
    with pytest.raises(TdcoError, match="power of two"):
        parse_scale(text)


@pytest.mark.slow
@pytest.mark.parametrize("which", ["program", "scaled"])
def test_a_sampled_step_has_the_bits_of_the_soc(which: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    out = copy(request.getfixturevalue(which), tmp_path / "out")
    result = train_program(out, Options(**{**vars(OPTIONS), "checks": 2}))
    assert len(result["checks"]) == 2
    assert all(c["mismatches"] == 0 and c["words_compared"] > 5_000 for c in result["checks"])
