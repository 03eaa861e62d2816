"""Waves as FST, which GTKWave and Surfer open: made from Verilator's VCD, because its own FST writer needs lz4.h.

The format's own library (that of GTKWave) comes with the package ``pylibfst``.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .errors import SimError

SCOPE, WIRE, IMPLICIT, LZ4 = 0, 16, 0, 2  # FST_ST_VCD_MODULE, FST_VT_VCD_WIRE, FST_VD_IMPLICIT, FST_WR_PT_LZ4


@contextmanager
def recorded(waves: Path | None) -> Iterator[None]:
    """What an engine built with waves does in the block, as file ``waves``: FST, or VCD if its name ends with .vcd.

    Raises:
        SimError: if FST is asked for and cannot be written.
    """
    if waves is None:
        yield
        return
    as_vcd = waves.suffix == ".vcd"
    if not as_vcd and find_spec("pylibfst") is None:
        raise SimError("FST needs the package pylibfst", str(waves), "pip install pylibfst, or ask for a .vcd file")
    before = os.environ.get("TDCO_WAVES")
    with tempfile.TemporaryDirectory(prefix="tdco-") as folder:
        vcd = waves if as_vcd else Path(folder) / "engine.vcd"
        os.environ["TDCO_WAVES"] = str(vcd)
        try:
            yield
        finally:
            if before is None:
                del os.environ["TDCO_WAVES"]
            else:
                os.environ["TDCO_WAVES"] = before
            if not as_vcd and vcd.exists():
                vcd_to_fst(vcd, waves)


def vcd_to_fst(vcd: Path, fst: Path) -> None:
    """Write the waves of file ``vcd`` into file ``fst``."""
    from pylibfst import lib

    writer = lib.fstWriterCreate(str(fst).encode(), 1)
    if not writer:
        raise OSError(f"cannot write {fst}")
    lib.fstWriterSetPackType(writer, LZ4)
    with vcd.open() as lines:
        handles = _declare(lib, writer, lines)
        for line in lines:
            first, rest = line[0], line[1:].rstrip()
            if first == "#":
                lib.fstWriterEmitTimeChange(writer, int(rest))
            elif first == "b":
                value, code = rest.split()
                handle, width = handles[code]
                lib.fstWriterEmitValueChange(writer, handle, value.rjust(width, "0").encode())
            elif first in "01xz":
                lib.fstWriterEmitValueChange(writer, handles[rest][0], first.encode())
    lib.fstWriterClose(writer)


def _declare(lib: Any, writer: Any, lines: Iterator[str]) -> dict[str, tuple[int, int]]:
    """Copy the header up to the values: handle and width of every code."""
    handles: dict[str, tuple[int, int]] = {}
    for line in lines:
        words = line.split()
        if not words:
            continue
        if words[0] == "$timescale":
            lib.fstWriterSetTimescaleFromString(writer, "".join(words[1:-1]).encode())
        elif words[0] == "$scope":
            from pylibfst import ffi

            lib.fstWriterSetScope(writer, SCOPE, words[2].encode(), ffi.NULL)
        elif words[0] == "$upscope":
            lib.fstWriterSetUpscope(writer)
        elif words[0] == "$var":
            width, code, name = int(words[2]), words[3], " ".join(words[4:-1])
            alias = handles.get(code, (0, 0))[0]
            handle = lib.fstWriterCreateVar(writer, WIRE, IMPLICIT, width, name.encode(), alias)
            handles.setdefault(code, (handle, width))
        elif words[0] == "$enddefinitions":
            return handles
    raise ValueError("a VCD file without $enddefinitions")
