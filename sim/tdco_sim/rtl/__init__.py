"""The engine's RTL, Verilated, behind engine.h; and its multiply-adder alone."""

import ctypes
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tdco_spec import HwConfig
from tdco_spec.emit import c_header

from ..build import cached, compile_objects, linker, run_tool
from ..verilator import verilate, wrapper_flags

__all__ = ["build", "build_fma", "build_fma_array", "build_on_tcdm", "fma", "library", "run_fma_array"]

HERE = Path(__file__).parent


def build(verilog: str, cfg: HwConfig, waves: bool = False) -> Path:
    """The shared library of the engine whose Verilog is ``verilog`` (top module redmule), built on first use.

    With ``waves`` it writes a VCD trace to $TDCO_WAVES (engine.vcd), and is several times slower.

    Raises:
        SimError: if Verilator or the C++ compiler fails.
    """
    return library("engine", "redmule", verilog, cfg, waves)


def build_on_tcdm(verilog: str, tcdm: str, cfg: HwConfig) -> Path:
    """As `build` without waves, on L1 as RTL: ``tcdm`` (top module tcdm). Such an engine may have traffic beside it."""
    return library("contention", "redmule", verilog, cfg, more={"tcdm": tcdm})


def build_fma(verilog: str, cfg: HwConfig) -> Path:
    """The shared library of the multiply-adder whose Verilog is ``verilog`` (top module redmule_fma)."""
    return library("fma", "redmule_fma", verilog, cfg)


def build_fma_array(verilog: str, cfg: HwConfig) -> Path:
    """The shared library of multiply-adders alone, whose Verilog is ``verilog`` (top module fma_array)."""
    return library("fma_array", "fma_array", verilog, cfg)


def library(
    wrapper: str, top: str, verilog: str, cfg: HwConfig, waves: bool = False, more: Mapping[str, str] | None = None
) -> Path:
    """The shared library of ``wrapper``.cpp around the Verilated module ``top``, built on first use.

    ``more``: further modules for it, top to Verilog.
    """
    (model, include), *others = [verilate(text, name, waves) for name, text in {top: verilog, **(more or {})}.items()]
    flags = [*wrapper_flags(model, include, waves), *(f"-I{other}" for other, _ in others)]
    headers = {"tdco_hw.h": c_header(cfg)}
    driver = [HERE.parent / "driver.cpp"] if wrapper in ("engine", "contention") else []
    objects = compile_objects(f"rtl-{wrapper}", [HERE / f"{wrapper}.cpp", *driver], flags, [HERE, HERE.parent], headers)
    archives = [model / f"libV{top}.a", *(file for other, _ in others for file in sorted(other.glob("libV*.a")))]

    def make(directory: Path) -> None:
        libraries: list[str | Path] = [
            *archives,
            model / "libverilated.a",
            "-lpthread",
            *(["-lz"] if waves else []),
        ]
        run_tool([linker(), "-shared", *objects, *libraries, "-o", directory / "rtl.so"], f"RTL of {top}")

    return cached(f"rtl-{wrapper}", ["link", *map(str, [*archives, *objects])], make) / "rtl.so"


def run_fma_array(library: Path, cycles: int, seed: int = 0) -> None:
    """Lets the multiply-adders in ``library`` work on random bits."""
    ctypes.CDLL(str(library)).tdco_rtl_fma_array(ctypes.c_uint64(cycles), ctypes.c_uint32(seed))


def fma(
    library: Path, a: NDArray[np.uint16], b: NDArray[np.uint16], c: NDArray[Any], latency: int
) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Bits and STATUS_FLAGS of a * b + c, elementwise, from the circuit in ``library`` with ``latency`` cycles.

    c and the result are bits of the accumulator's format: uint16 or, for acc = "fp32", uint32.
    """
    a, b, c = np.ascontiguousarray(a, np.uint16), np.ascontiguousarray(b, np.uint16), np.ascontiguousarray(c)
    z, flags = np.empty(a.shape, c.dtype), np.empty(a.shape, np.uint8)
    arrays: tuple[NDArray[Any], ...] = (a, b, c, z, flags)
    pointers = [ctypes.c_void_p(x.ctypes.data) for x in arrays]
    ctypes.CDLL(str(library)).tdco_rtl_fma(*pointers, ctypes.c_uint64(z.size), ctypes.c_uint32(latency))
    return z, flags
