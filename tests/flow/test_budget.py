"""A step within a smaller L2: the same bits, no L3 while recomputing suffices, and a firmware that has room."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tdco.budget import CODE_BYTES, ENTRY_BYTES
from tdco.cli._engines import engine_library
from tdco.cli.compile import show_choices
from tdco.cli.run import hw_of, load_program, step_inputs
from tdco.errors import TdcoError
from tdco.order import CALL, GEMM, IN, OUT
from tdco.pipeline import CHOICES, compile_model
from tdco.zoo import load
from tdco_sim import host
from tdco_sim.errors import SimError
from tdco_sim.soc import firmware
from tdco_sim.soc.elf import read_elf
from tdco_spec import get_config

from .models import HERE

CFG = get_config("rm_12x4")


@pytest.fixture(scope="module")
def roomy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("roomy") / "out"
    compile_model(load(f"{HERE}:deep_gelu"), "full", CFG, out)
    return out


@pytest.fixture(scope="module")
def tight(roomy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same step in an L2 that is about 20 KB too small for it and its firmware."""
    stats = load_program(roomy)["stats"]
    tables = stats["copies"] * ENTRY_BYTES[IN] + stats["gemm_jobs"] * ENTRY_BYTES[GEMM]
    firmware_bytes = CODE_BYTES + tables + stats["kernels"] * ENTRY_BYTES[CALL]
    out = tmp_path_factory.mktemp("tight") / "out"
    l2_bytes = (stats["l2_peak_bytes"] + firmware_bytes - (20 << 10)) // 4 * 4
    compile_model(load(f"{HERE}:deep_gelu"), "full", CFG, out, l2_bytes=l2_bytes)
    return out


def test_a_smaller_l2_is_kept_by_recomputing(roomy: Path, tight: Path) -> None:
    plain, document = load_program(roomy), load_program(tight)
    stats, train, hw = document["stats"], document["train"], hw_of(document)
    assert hw.l2_bytes < plain["stats"]["l2_peak_bytes"] + hw.l2_reserved_bytes
    assert stats["l2_peak_bytes"] <= hw.l2_bytes - hw.l2_reserved_bytes
    assert stats["dma_bytes"].get("l3_l2", 0) == 0
    assert train["recomputed"] and train["recomputed_cycles"] > 0
    assert stats["flop"] == plain["stats"]["flop"], "what is computed again is no useful work"
    again = {name for r in train["recomputed"] for name in r["nodes"]}
    assert {n["name"] for n in json.loads((tight / CHOICES).read_text())["nodes"] if n["again"]} == again


def test_an_l2_smaller_than_the_usual_share_of_the_firmware(tmp_path: Path) -> None:
    model, l2_bytes = load(f"{HERE}:mlp"), 96 << 10
    assert l2_bytes < CFG.l2_reserved_bytes
    hw = hw_of(compile_model(model, "full", CFG, tmp_path, l2_bytes=l2_bytes))
    assert hw.l2_bytes == l2_bytes and CODE_BYTES < hw.l2_reserved_bytes < l2_bytes
    with pytest.raises(TdcoError, match=r"firmware alone takes .* bytes of 30,000 of L2.*a larger --l2-bytes"):
        compile_model(model, "full", CFG, tmp_path, l2_bytes=30_000)
    with pytest.raises(TdcoError, match=r"--l2-bytes 99999: .* multiple of 4"):
        compile_model(model, "full", CFG, tmp_path, l2_bytes=99_999)


@pytest.mark.slow
def test_a_smaller_l2_brings_the_same_bits(roomy: Path, tight: Path) -> None:
    inputs = step_inputs(load_program(roomy), "random", 2, 0.0, 0)
    wanted, got = (
        host.run(out, engine_library("golden", hw_of(load_program(out))), inputs=inputs) for out in (roomy, tight)
    )
    assert wanted.state and wanted.state.keys() == got.state.keys()
    for name in wanted.state:
        np.testing.assert_array_equal(got.state[name], wanted.state[name])
    np.testing.assert_array_equal(got.outputs["loss"], wanted.outputs["loss"])


def test_the_firmware_takes_what_the_budget_says(roomy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elf = read_elf(firmware.build_program(roomy, CFG))
    program = load_program(roomy)["stats"]
    sizes = {symbol.name: symbol.bytes for symbol in elf.symbols}
    assert sizes["jobs"] == ENTRY_BYTES[GEMM] * program["gemm_jobs"]
    assert sizes["calls"] == ENTRY_BYTES[CALL] * program["kernels"]
    assert ENTRY_BYTES[IN] == ENTRY_BYTES[OUT]
    assert sizes["ins"] + sizes["outs"] == ENTRY_BYTES[IN] * program["copies"]
    l2_bytes = sum(s.bytes for s in elf.segments if s.addr >= firmware.MEMORY_MAP["l2"].base)
    code_bytes = l2_bytes - sum(sizes[name] for name in ("ins", "outs", "jobs", "calls"))
    assert 0.75 * CODE_BYTES < code_bytes <= CODE_BYTES, "CODE_BYTES is too small, or far too large"
    script = firmware.linker_script(CFG).replace(f"0x{CFG.l2_reserved_bytes:08X}", f"0x{CODE_BYTES:08X}")
    monkeypatch.setattr(firmware, "linker_script", lambda cfg: script)
    with pytest.raises(SimError, match="will not fit in region 'l2'"):
        firmware.build_program(roomy, CFG)


def test_choices_are_told_in_words(tight: Path, capsys: pytest.CaptureFixture[str]) -> None:
    choices, train = json.loads((tight / CHOICES).read_text()), load_program(tight)["train"]
    show_choices(choices, train["recomputed"], train["recomputed_cycles"])
    told, printed = capsys.readouterr()[::-1]
    assert not printed, "stdout is for results"
    for n in choices["nodes"]:
        assert f"{n['node']} {n['op']} {n['name']}" in told
    assert "X on rows" in told and all(name in told for r in train["recomputed"] for name in r["nodes"])
    assert f"the step takes {train['recomputed_cycles']:,} modelled cycles more" in told
    assert all(f"{cycles:,}" in told for cycles in choices["tried"].values())
    assert f"bound by: {choices['bound']}" in told


def test_choices_add_up(roomy: Path) -> None:
    choices = json.loads((roomy / CHOICES).read_text())
    stats = load_program(roomy)["stats"]
    nodes = choices["nodes"]
    assert sum(n["fetched"] for n in nodes) == stats["dma_bytes"]["l2_l1"]
    assert sum(n["sent"] for n in nodes) == stats["dma_bytes"]["l1_l2"]
    assert choices["cycles"] == stats["modelled_cycles"]
    assert choices["busy"][choices["bound"]] == max(choices["busy"].values()) <= choices["cycles"]
    assert sum(n["cores_cycles"] for n in nodes) == choices["busy"]["cores"]
    assert 0.9 <= sum(n["engine_cycles"] for n in nodes) / choices["busy"]["engine"] <= 1, "but for waits for jobs"
    products = [n for n in nodes if n["engine_cycles"]]
    assert products and all(n["rows"] in ("X", "W", "W and X") and n["tile"] for n in products)
    assert {n["home"] for n in nodes} == {"l1", "l2"} and not any(n["again"] for n in nodes)
