"""C++ files of this folder with Verilated modules inside."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from pathlib import Path

from tdco_sim.build import cached, compile_objects, linker, run_tool
from tdco_sim.verilator import verilate, wrapper_flags
from tdco_spec import HwConfig
from tdco_spec.emit import c_header

HERE = Path(__file__).parent


def library(
    cfg: HwConfig, sources: Sequence[Path], modules: Mapping[str, str], includes: Sequence[Path] = ()
) -> ctypes.CDLL:
    """``sources``, compiled with the header of ``cfg`` and linked with Verilated ``modules`` (top: Verilog)."""
    models = [verilate(text, top) for top, text in modules.items()]
    flags = [*wrapper_flags(*models[0], False), *(f"-I{model}" for model, _ in models[1:])]
    objects = compile_objects("test", sources, flags, includes, {"tdco_hw.h": c_header(cfg)})
    files = [file for model, _ in models for file in sorted(model.glob("libV*.a"))]

    def make(directory: Path) -> None:
        command: list[str | Path] = [linker(), "-shared", *objects, *files, models[0][0] / "libverilated.a"]
        run_tool([*command, "-lpthread", "-o", directory / "test.so"], sources[0].name)

    return ctypes.CDLL(str(cached("test", ["link", *map(str, [*files, *objects])], make) / "test.so"))
