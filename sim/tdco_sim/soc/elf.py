"""Reads what the simulator needs from a 32-bit little-endian ELF: segments, entry, symbols."""

import struct
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..errors import SimError

EXECUTABLE, WRITABLE = 1, 2  # p_flags
LOADED, NOT_LOADED = 1, 0x60000000  # p_type


@dataclass(frozen=True)
class Segment:
    """A loadable piece: ``data`` at ``addr``, zeros up to ``bytes``."""

    addr: int
    data: bytes
    bytes: int
    executable: bool
    writable: bool


@dataclass(frozen=True)
class Symbol:
    name: str
    addr: int
    bytes: int
    is_function: bool
    is_global: bool


@dataclass(frozen=True)
class Elf:
    """An executable for RV32. ``path`` is where it came from. ``notes``: what link.ld does not load."""

    path: Path
    entry: int
    segments: tuple[Segment, ...]
    notes: tuple[Segment, ...]
    symbols: tuple[Symbol, ...]

    @cached_property
    def addresses(self) -> dict[str, int]:
        return {symbol.name: symbol.addr for symbol in self.symbols}


def read_elf(path: Path) -> Elf:
    """The ELF at ``path``.

    Raises:
        SimError: if it is not a 32-bit little-endian RISC-V executable.
    """
    data = path.read_bytes()
    if data[:6] != b"\x7fELF\x01\x01" or struct.unpack_from("<H", data, 18)[0] != 243:
        raise SimError("not a 32-bit RISC-V ELF", str(path))
    entry, phoff, shoff = struct.unpack_from("<III", data, 24)
    phentsize, phnum, shentsize, shnum = struct.unpack_from("<HHHH", data, 42)
    segments: dict[int, list[Segment]] = {LOADED: [], NOT_LOADED: []}
    for i in range(phnum):
        kind, offset, addr, _, filesz, memsz, flags = struct.unpack_from("<IIIIIII", data, phoff + i * phentsize)
        if kind in segments and memsz:
            allowed = bool(flags & EXECUTABLE), bool(flags & WRITABLE)
            segments[kind].append(Segment(addr, data[offset : offset + filesz], memsz, *allowed))
    sections = [struct.unpack_from("<IIIIIIIIII", data, shoff + i * shentsize) for i in range(shnum)]
    return Elf(path, entry, tuple(segments[LOADED]), tuple(segments[NOT_LOADED]), tuple(_symbols(data, sections)))


def _symbols(data: bytes, sections: list[tuple[int, ...]]) -> list[Symbol]:
    symbols = []
    for section in sections:
        kind, offset, size, link = section[1], section[4], section[5], section[6]
        if kind != 2:  # SHT_SYMTAB
            continue
        names = sections[link][4]
        for at in range(offset, offset + size, 16):
            name, addr, symbol_bytes, info, _, index = struct.unpack_from("<IIIBBH", data, at)
            text = data[names + name : data.index(b"\0", names + name)].decode()
            if text and index:
                symbols.append(Symbol(text, addr, symbol_bytes, info & 15 == 2, info >> 4 == 1))
    return symbols
