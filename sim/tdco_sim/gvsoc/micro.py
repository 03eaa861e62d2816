"""The microbenchmarks of micro.c, one ELF for every simulator of the cluster, and the table that compares them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tdco_spec import HwConfig

from ..errors import SimError
from ..soc import firmware
from ..soc.elf import Elf, read_elf
from ..soc.simulator import Simulator as Soc
from ..soc.simulator import describe
from .install import Gvsoc
from .simulator import Simulator

EXIT_CODE = 42
LIMIT_CYCLES = 50_000_000
ROOM = 128  # entries of `results` in micro.c
TOLERANCE = 0.05

Cycles = dict[str, int]


@dataclass(frozen=True)
class Comparison:
    """A microbenchmark on both simulators, in cycles."""

    name: str
    soc: int
    gvsoc: int

    @property
    def ratio(self) -> float:
        return self.soc / self.gvsoc

    @property
    def agrees(self) -> bool:
        return abs(self.ratio - 1) <= TOLERANCE


@cache
def build(cfg: HwConfig) -> Elf:
    """The program, with the kernels it times; the same ELF whoever asks.

    Raises:
        SimError: if it does not compile.
    """
    return read_elf(firmware.build([Path(__file__).parent / "micro.c"], cfg, kernels=True))


def _results(elf: Elf, read: Callable[[int, int], bytes]) -> Cycles:
    """Name and cycles of every microbenchmark in the memory that ``read`` (address, bytes) gives."""

    def text(addr: int) -> str:
        piece = read(addr, 80)
        return piece[: piece.index(0)].decode()

    words = read(elf.addresses["results"], 8 * ROOM)
    pairs = [(words[i : i + 4], words[i + 4 : i + 8]) for i in range(0, len(words), 8)]
    entries = [(int.from_bytes(name, "little"), int.from_bytes(cycles, "little")) for name, cycles in pairs]
    return {text(name): cycles for name, cycles in entries if name}


def on_soc(cfg: HwConfig, verilog: str | None = None) -> tuple[Cycles, str]:
    """Cycles and output on the cluster simulator. Entry "exit" is the whole program.

    Raises:
        SimError: if the program does not end as it should.
    """
    elf = build(cfg)
    with Soc(cfg, elf, verilog, engine="model") as sim:
        sim.start()
        stop = sim.run(LIMIT_CYCLES)
        if stop.exit_code != EXIT_CODE:
            raise SimError(describe(stop, elf, cfg.cores), "microbenchmarks on soc")
        return {**_results(elf, sim.read), "exit: the whole program": sim.stats["cycles"]}, sim.output


def on_gvsoc(gvsoc: Gvsoc, cfg: HwConfig, verilog: str | None = None) -> tuple[Cycles, str]:
    """The same on GVSoC.

    Raises:
        SimError: as :func:`on_soc`.
    """
    elf = build(cfg)
    run = Simulator(gvsoc, cfg, verilog).run(elf.path, limit_cycles=LIMIT_CYCLES)
    if run.exit_code != EXIT_CODE:
        raise SimError(f"exit code {run.exit_code} after {run.cycles} cycles", "microbenchmarks on gvsoc")
    return {**_results(elf, run.read), "exit: the whole program": run.cycles}, run.output


def compare(soc: Cycles, gvsoc: Cycles) -> list[Comparison]:
    """What ran on both, in the program's order.

    Raises:
        SimError: if they did not run the same.
    """
    if list(soc) != list(gvsoc):
        raise SimError(f"differ: {sorted(set(soc) ^ set(gvsoc))}", "microbenchmarks")
    return [Comparison(name, soc[name], gvsoc[name]) for name in soc]


def write_table(page: Path, rows: list[Comparison]) -> None:
    """Replaces the rows of the page's table of microbenchmarks, the one under "| microbenchmark |"."""
    lines = page.read_text().splitlines()
    begin = next(i for i, line in enumerate(lines) if line.startswith("| microbenchmark |")) + 2
    end = next((i for i in range(begin, len(lines)) if not lines[i].startswith("|")), len(lines))
    new = [f"| {r.name} | {r.soc:,} | {r.gvsoc:,} | {r.ratio:.3f} |" for r in rows]
    page.write_text("\n".join([*lines[:begin], *new, *lines[end:]]) + "\n")
