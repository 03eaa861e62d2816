"""The instruction-set simulator from Python: one core, flat memory, no timing. The instruction tests run on it."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..build import shared_library
from .elf import Elf

SOURCES = ("iss.cpp", "core.cpp", "decode.cpp")
FLAGS = ("-std=c++20", "-O2", "-Wall", "-Wextra", "-Wno-missing-field-initializers")


@dataclass(frozen=True)
class IssResult:
    """How a program ended. ``exit_code`` is None where it did not: ``error`` says why."""

    exit_code: int | None
    output: bytes
    error: str
    instructions: int
    registers: Sequence[int]


def library() -> ctypes.CDLL:
    here = Path(__file__).parent
    iss = ctypes.CDLL(str(shared_library("iss", [here / name for name in SOURCES], FLAGS, [here], {})))
    iss.tdco_iss_open.restype = ctypes.c_void_p
    iss.tdco_iss_memory.restype = ctypes.POINTER(ctypes.c_uint8)
    iss.tdco_iss_registers.restype = ctypes.POINTER(ctypes.c_uint32)
    iss.tdco_iss_run.restype = ctypes.c_uint64
    iss.tdco_iss_error.restype = ctypes.c_char_p
    iss.tdco_iss_output.restype = ctypes.c_void_p
    return iss


def run(elf: Elf, limit: int = 100_000_000, extra_bytes: int = 4096) -> IssResult:
    """Runs ``elf`` until it exits (Linux system call 93), traps, or ``limit`` instructions have run.

    Memory spans the loaded segments and ``extra_bytes`` behind them.
    """
    iss = library()
    base = min(segment.addr for segment in elf.segments)
    size = max(segment.addr + segment.bytes for segment in elf.segments) - base + extra_bytes
    handle = ctypes.c_void_p(iss.tdco_iss_open(base, size))
    try:
        memory = iss.tdco_iss_memory(handle)
        for segment in elf.segments:
            ctypes.memmove(ctypes.addressof(memory.contents) + segment.addr - base, segment.data, len(segment.data))
        instructions = iss.tdco_iss_run(handle, elf.entry, ctypes.c_uint64(limit))
        error = iss.tdco_iss_error(handle).decode()
        output_bytes = ctypes.c_uint64()
        start = iss.tdco_iss_output(handle, ctypes.byref(output_bytes))
        output = ctypes.string_at(start, output_bytes.value) if output_bytes.value else b""
        registers = tuple(iss.tdco_iss_registers(handle)[:32])
        return IssResult(None if error else registers[10], output, error, instructions, registers)
    finally:
        iss.tdco_iss_close(handle)
