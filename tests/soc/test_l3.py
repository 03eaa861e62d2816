"""Steps that do not fit L2: the bits of a step that does, on host and cluster, with what is too much in L3."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tdco import zoo
from tdco.cli._engines import job_predictor
from tdco.cli.run import hw_of, load_program, step_inputs
from tdco.pipeline import compile_model
from tdco_sim import golden, host
from tdco_sim.errors import SimError
from tdco_sim.result import RunResult
from tdco_sim.soc.run import run
from tdco_spec import HwConfig, get_config

CFG = get_config("rm_12x4")
MOVES = "static const tdco_move moves[]"
MODELS = Path(__file__).parents[1] / "flow" / "models.py"


def compiled(model: str, strategy: str, cfg: HwConfig, out: Path, optimizer: str) -> dict[str, Any]:
    """Its ``stats``."""
    return compile_model(zoo.load(model), strategy, cfg, out, optimizer=optimizer, predict=job_predictor(cfg))["stats"]


def same_bits(want: RunResult, got: RunResult) -> None:
    assert want.state and want.state.keys() == got.state.keys()
    for name, array in {**want.outputs, **want.state}.items():
        other = got.outputs[name] if name in want.outputs else got.state[name]
        assert array.tobytes() == other.tobytes(), name


@pytest.fixture(scope="module")
def outs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A small step in an L2 with room, and in two thirds of what it takes of it."""
    roomy, tight = (tmp_path_factory.mktemp(name) / "out" for name in ("roomy", "tight"))
    l2_bytes = compiled(f"{MODELS}:mlp", "full", CFG, roomy, "adamw")["l2_peak_bytes"]
    cfg = replace(CFG, l2_bytes=CFG.l2_reserved_bytes + l2_bytes * 2 // 3 // 16 * 16)
    compiled(f"{MODELS}:mlp", "full", cfg, tight, "adamw")
    return roomy, tight


def host_run(out: Path, inputs: dict[str, np.ndarray], state: dict[str, np.ndarray] | None = None) -> RunResult:
    return host.run(out, golden.build(hw_of(load_program(out))), inputs=inputs, state=state)


def test_a_small_step_with_its_state_in_l3(outs: tuple[Path, Path]) -> None:
    roomy, tight = (load_program(out)["stats"] for out in outs)
    assert roomy["l3_bytes"] == roomy["l3_transfers"] == roomy["dma_bytes"]["l3_l2"] == 0
    assert "l3" not in load_program(outs[0])["images"]
    assert tight["l3_bytes"] >= roomy["l2_peak_bytes"] // 3 - 16 and tight["modelled_cycles"] > roomy["modelled_cycles"]
    inputs = step_inputs(load_program(outs[1]), "random", 2, 0.0, 0)
    want, got = (host_run(out, inputs) for out in outs)
    same_bits(want, got)
    assert got.stats["dma_bytes"]["l3_l2"] == 2 * tight["dma_bytes"]["l3_l2"] > 0
    assert got.stats["l3_peak_bytes"] == tight["l3_bytes"] and got.stats["l2_peak_bytes"] == tight["l2_peak_bytes"]


def test_a_state_in_l3_is_replaced_and_read_back(outs: tuple[Path, Path]) -> None:
    inputs = step_inputs(load_program(outs[1]), "random", 2, 0.0, 0)
    first = host_run(outs[1], {n: a[:1] for n, a in inputs.items()})
    second = host_run(outs[1], {n: a[1:] for n, a in inputs.items()}, first.state)
    for name, array in host_run(outs[1], inputs).state.items():
        np.testing.assert_array_equal(second.state[name], array)


@pytest.mark.parametrize(
    ("change", "tensor"),
    [(r"\1L2(\2), L3(\3), \4 + 16,", "0.weight.moments~"), (r"\1L2(\2), L3(\3 + 16), \4,", "0.weight.moments")],
)
def test_a_move_outside_its_buffers(change: str, tensor: str, outs: tuple[Path, Path], tmp_path: Path) -> None:
    """In L2, and in L3 alone: what, whose command, and where."""
    out = tmp_path / "out"
    shutil.copytree(outs[1], out)
    head, table = (out / "program.c").read_text().split(MOVES)
    changed, count = re.subn(r"(\{\{.*\}, )L2\((\w+)\), L3\((\w+)\), (\d{5}),(?= 1)", change, table, count=1)
    assert count == 1
    (out / "program.c").write_text(head + MOVES + changed)
    with pytest.raises(SimError) as error:
        run(out, inputs=step_inputs(load_program(out), "random", 1, 0.0, 0))
    found = str(error.value)
    assert "L3 DMA transfer outside the buffers of its command" in found
    assert re.search(rf"L3 transfer \d+ of \d+ AdamW 0.weight; the address is in {re.escape(tensor)}\d*$", found), found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "strategy", "optimizer"),
    [
        ("zoo:cct2", "full", "sgd"),
        ("zoo:cct2", "ft2", "adamw"),
        ("zoo:cct6", "lora:r=4,targets=blocks.5.q.weight+blocks.5.v.weight", "sgd"),
    ],
)
def test_what_is_larger_than_l2_runs_from_l3(model: str, strategy: str, optimizer: str, tmp_path: Path) -> None:
    stats = compiled(model, strategy, CFG, tmp_path / "out", optimizer)
    assert stats["l3_bytes"] > 0
    inputs = step_inputs(load_program(tmp_path / "out"), "random", 2, 0.0, 0)
    want = host_run(tmp_path / "out", inputs)
    got = run(tmp_path / "out", None, None, "model", inputs=inputs)
    same_bits(want, got)
    assert got.stats["dma_bytes"]["l3_l2"] == 2 * stats["dma_bytes"]["l3_l2"]
    assert stats["modelled_cycles"] == pytest.approx(got.stats["cycles"] / 2, rel=0.05)
    roomy = replace(CFG, l2_bytes=8 << 20)
    assert compiled(model, strategy, roomy, tmp_path / "roomy", optimizer)["l3_bytes"] == 0
    same_bits(host_run(tmp_path / "roomy", inputs), want)
