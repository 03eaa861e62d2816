"""Small C programs on the cluster: built with micro.h, run, and what stopped them in words."""

from __future__ import annotations

import struct
from functools import cache
from pathlib import Path

from tdco.cli._engines import engine_verilog, tcdm_verilog
from tdco_sim.soc import firmware
from tdco_sim.soc.elf import Elf, read_elf
from tdco_sim.soc.simulator import Simulator, Stop, describe
from tdco_spec import get_config

CFG = get_config("rm_12x4")
HERE = Path(__file__).parent


def build(text: str, tmp_path: Path) -> Elf:
    source = tmp_path / "test.c"
    source.write_text('#include "micro.h"\n' + text)
    return read_elf(firmware.build([source], CFG, includes=[HERE]))


def engine_of(name: str) -> dict[str, str]:
    """Engine "golden", "model" or "rtl" (on L1 as RTL), as arguments of ``Simulator``."""
    return circuits() if name == "rtl" else {"engine": name}


@cache
def circuits() -> dict[str, str]:
    """Engine and L1 as RTL, as arguments of ``Simulator``."""
    return {"verilog": engine_verilog(CFG), "tcdm": tcdm_verilog(CFG)}


def run(
    text: str, tmp_path: Path, limit_cycles: int = 1_000_000, engine: str = "golden"
) -> tuple[Stop, str, list[int]]:
    """Why it stopped, in words, and the array ``result``; ``engine`` is "golden", "model" or "rtl"."""
    elf = build(text, tmp_path)
    with Simulator(CFG, elf, **engine_of(engine)) as sim:
        sim.start()
        stop = sim.run(limit_cycles)
        result = list(struct.unpack("<32I", sim.read(elf.addresses["result"], 128)))
        return stop, describe(stop, elf, CFG.cores), result
