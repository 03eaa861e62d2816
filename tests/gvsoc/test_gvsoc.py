"""GVSoC beside the cluster simulator: the same ELF, the same output, and cycles that agree or are explained.

Needs an installation (TDCO_GVSOC); without one these tests skip, and with TDCO_REQUIRE_GVSOC=1 they fail.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from tdco.cli import main
from tdco_sim import golden, gvsoc, host
from tdco_sim.compare import command_cycles
from tdco_sim.errors import SimError
from tdco_sim.gvsoc import micro
from tdco_sim.gvsoc.run import run
from tdco_sim.soc import firmware
from tdco_sim.soc.elf import read_elf
from tdco_sim.soc.firmware import program_elf
from tdco_sim.soc.program import read_tables
from tdco_sim.soc.run import run as run_soc
from tdco_spec import MEMORY_MAP, get_config

from ..cosim import tiny

CFG = get_config("rm_12x4")
PAGE = Path(__file__).parents[2] / "docs" / "fidelity.md"


@pytest.fixture(scope="module")
def measured(installed: gvsoc.Gvsoc) -> list[micro.Comparison]:
    soc, soc_output = micro.on_soc(CFG)
    other, output = micro.on_gvsoc(installed, CFG)
    assert output == soc_output
    return micro.compare(soc, other)


def test_every_microbenchmark_agrees(measured: list[micro.Comparison]) -> None:
    assert [f"{r.name}: {r.soc} / {r.gvsoc}" for r in measured if not r.agrees] == []


def test_the_table_of_the_docs_is_what_is_measured(measured: list[micro.Comparison], tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text())
    micro.write_table(page, measured)
    figures = re.compile(r"^\| ([^|]+) \| ([\d,]+) \| ([\d,]+) \| [\d.]+ \|$", re.MULTILINE)
    now, written = figures.findall(page.read_text()), figures.findall(PAGE.read_text())
    assert [row[0] for row in now] == [row[0] for row in written]
    off = [
        (new, old)
        for new, old in zip(now, written, strict=True)
        for a, b in zip(new[1:], old[1:], strict=True)
        if abs(int(a.replace(",", "")) / int(b.replace(",", "")) - 1) > micro.TOLERANCE
    ]
    assert off == []


def test_steps_give_the_bits_of_the_host(installed: gvsoc.Gvsoc, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    out = tiny.write(tmp_path, CFG, rng.normal(size=(tiny.K, tiny.N)).astype(np.float16))
    inputs = {"x": rng.normal(size=(2, tiny.M, tiny.K)).astype(np.float16)}
    want = host.run(out, golden.build(CFG), inputs=inputs)
    result = run(installed, out, inputs=inputs)
    for name, wanted in want.outputs.items():
        np.testing.assert_array_equal(result.outputs[name].view(np.uint16), wanted.view(np.uint16))
    for name, wanted in want.state.items():
        np.testing.assert_array_equal(result.state[name].view(np.uint16), wanted.view(np.uint16))


def test_what_is_watched_on_gvsoc_is_what_soc_sees(installed: gvsoc.Gvsoc, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    out = tiny.write(tmp_path, CFG, rng.normal(size=(tiny.K, tiny.N)).astype(np.float16))
    inputs = {"x": rng.normal(size=(1, tiny.M, tiny.K)).astype(np.float16)}
    got = run(installed, out, inputs=inputs, with_profile=True).stats
    soc = run_soc(out, engine="model", inputs=inputs, with_profile=True).stats
    equal = ("jobs", "macs", "dma_bytes", "l1_peak_bytes", "l2_peak_bytes", "status_flags", "firmware_sha256")
    assert {key: got[key] for key in equal} == {key: soc[key] for key in equal}
    tables = read_tables(read_elf(program_elf(out, CFG)), out / "program.c")
    here, there = (command_cycles(stats["events"], tables, CFG) for stats in (got, soc))
    assert set(here) == set(there) == {(command.kind, command.index) for command in tables.commands}
    for command, cycles in there.items():
        assert here[command] == pytest.approx(cycles, abs=20)
    assert got["busy"]["engine"] == pytest.approx(soc["busy"]["engine"], abs=2)


def program(body: str, tmp_path: Path) -> Path:
    source = tmp_path / "test.c"
    source.write_text(
        f"""
        #include "cluster.h"
        extern volatile uint32_t result[4];
        volatile uint32_t result[4];
        void tdco_start(uint32_t hart)
        {{
            if (hart != TDCO_CORES)
                for (;;)
                    tdco_wait_event(TDCO_EVENT_WORK);
            {body}
        }}
        """
    )
    return firmware.build([source], CFG)


def test_l3_is_copied_both_ways_and_memory_is_read_and_left(installed: gvsoc.Gvsoc, tmp_path: Path) -> None:
    body = """
        tdco_l3_copy(TDCO_L2_BASE + 0x1000, TDCO_L3_BASE + 6, 10, 1);
        tdco_l3_copy(TDCO_L2_BASE + 2, TDCO_L3_BASE + 0x200, 64, 0);
        tdco_exit(0);
    """
    l2, l3 = bytes(range(256)), bytes(range(255, -1, -1))
    done = gvsoc.Simulator(installed, CFG).run(program(body, tmp_path), {"l2": l2, "l3": l3}, 100_000)
    assert done.exit_code == 0
    assert done.read(MEMORY_MAP["l2"].base + 0x1000, 10) == l3[6:16]
    assert done.read(MEMORY_MAP["l3"].base + 0x200, 64) == l2[2:66]


def test_a_runaway_and_a_deadlock_end_at_the_limit_of_cycles(installed: gvsoc.Gvsoc, tmp_path: Path) -> None:
    simulator = gvsoc.Simulator(installed, CFG)
    for body in ("for (;;) { }", "tdco_wait_event(0);"):
        done = simulator.run(program(body, tmp_path), limit_cycles=5000)
        assert done.exit_code is None
        assert done.cycles == 5000


def test_missing_installation_is_one_sentence_and_exit_code_2(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for prefix, said in ((None, "TDCO_GVSOC is not set"), (str(tmp_path), "is missing")):
        monkeypatch.delenv("TDCO_GVSOC", raising=False)
        if prefix:
            monkeypatch.setenv("TDCO_GVSOC", prefix)
        with pytest.raises(SimError, match=said):
            gvsoc.find()
        done = CliRunner().invoke(main, ["run", str(tmp_path), "--platform", "gvsoc"])
        assert done.exit_code == 2
        assert said in done.output
        assert done.output.count("\n") == 1
