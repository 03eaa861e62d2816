"""What ``tdco compare`` makes of two runs, without GVSoC."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tdco.cli import main
from tdco_sim import compare
from tdco_sim.errors import SimError
from tdco_sim.soc.program import CALL, GEMM, IN, OUT, Call, Command, Tables
from tdco_sim.soc.simulator import TraceEvent
from tdco_spec import get_config

CFG = get_config("rm_12x4")
ENGINE, TO_L1, FROM_L1 = 18, 19, 20
WAIT = (0, 0, 0, 0)
TABLES = Tables(
    commands=(Command(IN, 0, WAIT), Command(GEMM, 0, WAIT), Command(CALL, 0, WAIT), Command(OUT, 0, WAIT)),
    calls=(Call("tdco_relu_f16", 0x1C000100, (), (), 2),),
    jobs=((5, 7, 9),),
    copies=((90,), (70,)),
    buffers=(),
    nodes=(("1 MatMul m",), ("2 Relu r",), ("1 MatMul m",), ("2 Relu r",)),
)


def stats(cycles: int, copy: int, job: int, relu: int, firmware: str = "f") -> dict[str, Any]:
    """Of a run whose commands took so long; the last core enters and leaves the kernel 3 cycles after the first."""
    events = [
        TraceEvent(TO_L1, 0, 10, 10 + copy, 0, 0),
        TraceEvent(ENGINE, 0, 200, 200 + job, 0, 0),
        *(TraceEvent(core, 0, 1000 + core // 7 * 3, 1000 + relu - 3 + core // 7 * 3, 0, 0) for core in range(8)),
        TraceEvent(FROM_L1, 0, 2000, 2050, 0, 0),
        TraceEvent(9, 0, 0, 999, 0, 0),
    ]
    busy = {"engine": job, "cores": relu, "dma": copy + 50}
    return {"cycles": cycles, "events": events, "busy": busy, "firmware_sha256": firmware}


def test_cycles_are_summed_by_kernel_shape_and_direction() -> None:
    made = compare.compare(stats(3000, 100, 300, 500), stats(3000, 90, 306, 480), TABLES, CFG)
    assert made.kernels == [compare.Row("relu_f16", 1, 500, 480)]
    assert made.jobs == [compare.Row("5x7x9", 1, 300, 306)]
    assert made.copies == [compare.Row("to L1", 1, 100, 90), compare.Row("from L1", 1, 50, 50)]
    assert [row.name for row in made.commands] == [
        *("kernel call 0 of 2 Relu r", "copy to L1 0 of 1 MatMul m", "engine job 0 of 1 MatMul m"),
        "copy from L1 0 of 2 Relu r",
    ]
    assert made.disagreements == []


@pytest.mark.parametrize(
    ("cycles", "relu", "names"),
    [(3000, 500, []), (3160, 500, ["step"]), (3000, 560, ["relu_f16"]), (2840, 440, ["step", "relu_f16"])],
)
def test_the_step_and_large_kernels_have_to_agree(cycles: int, relu: int, names: list[str]) -> None:
    run, other = stats(cycles, 100, 300, relu), stats(3000, 100, 300, 500)
    assert [row.name for row in compare.compare(run, other, TABLES, CFG).disagreements] == names


def test_rows_without_cycles_agree() -> None:
    row = compare.Row("engine", 1, 0, 0)
    assert row.ratio == 1
    assert row.agrees(0)


def test_small_kernels_may_differ() -> None:
    run = stats(3000, 100, 300, 20)
    made = compare.compare(run, stats(3000, 100, 300, 29), TABLES, CFG)
    assert made.disagreements == []


def test_runs_of_other_firmware_or_without_all_commands_are_refused() -> None:
    run = stats(3000, 100, 300, 500)
    with pytest.raises(SimError, match="ran g"):
        compare.compare(run, stats(3000, 100, 300, 500, "g"), TABLES, CFG)
    short = run | {"events": run["events"][1:]}
    with pytest.raises(SimError, match="1 commands were not seen"):
        compare.compare(run, short, TABLES, CFG)


def test_a_page_keeps_what_stands_around_the_table(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- compare cct2 lp -->\nold\n<!-- end -->\nafter\n")
    made = compare.compare(stats(3000, 100, 300, 500), stats(3000, 90, 306, 480), TABLES, CFG)
    for _ in range(2):
        compare.write_markdown(page, "cct2 lp", compare.markdown(made, "facts"))
    text = page.read_text()
    assert text.startswith("before\n<!-- compare cct2 lp -->\nfacts\n")
    assert text.endswith("<!-- end -->\nafter\n")
    assert "old" not in text
    assert "| relu_f16 | 1 | 500 | 480 | 1.042 |" in text
    with pytest.raises(SimError, match="has no lines"):
        compare.write_markdown(page, "cct2 ft2", [])


def test_comparing_needs_gvsoc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TDCO_GVSOC", raising=False)
    done = CliRunner().invoke(main, ["compare", str(tmp_path)])
    assert done.exit_code == 2
    assert "TDCO_GVSOC is not set" in done.output
