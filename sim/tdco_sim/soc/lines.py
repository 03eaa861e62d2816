"""Source lines of code addresses, from an ELF's DWARF 4 or 5 line table."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


def source_line(path: Path, pc: int) -> str:
    """``file:line`` of ``pc`` in the ELF at ``path``; empty where the ELF does not say."""
    data = path.read_bytes()
    sections = _sections(data)
    found = ""
    for start, end, text in _ranges(sections):
        if start <= pc < end:
            found = text
    return found


def _sections(data: bytes) -> dict[str, bytes]:
    shoff = struct.unpack_from("<I", data, 32)[0]
    size, count, names = struct.unpack_from("<HHH", data, 46)
    headers = [struct.unpack_from("<IIIIII", data, shoff + i * size) for i in range(count)]
    base = headers[names][4]
    named = {}
    for name, _, _, _, offset, length in headers:
        text = data[base + name : data.index(b"\0", base + name)].decode()
        named[text] = data[offset : offset + length]
    return named


@dataclass
class _Reader:
    data: bytes
    at: int = 0

    def fixed(self, code: str) -> int:
        value = struct.unpack_from("<" + code, self.data, self.at)[0]
        self.at += struct.calcsize("<" + code)
        return int(value)

    def unsigned(self) -> int:
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value

    def signed(self) -> int:
        start = self.at
        value = self.unsigned()
        bits = 7 * (self.at - start)
        return value - (1 << bits) if self.data[self.at - 1] & 0x40 else value

    def text(self) -> str:
        end = self.data.index(b"\0", self.at)
        value = self.data[self.at : end].decode(errors="replace")
        self.at = end + 1
        return value


def _form(reader: _Reader, form: int, sections: dict[str, bytes]) -> str | int:
    if form == 0x08:
        return reader.text()
    if form in (0x1F, 0x0E):  # line_strp, strp
        offset = reader.fixed("I")
        return _Reader(sections[".debug_line_str" if form == 0x1F else ".debug_str"], offset).text()
    if form == 0x1E:  # data16
        reader.at += 16
        return 0
    return reader.unsigned() if form == 0x0F else reader.fixed({0x0B: "B", 0x05: "H", 0x06: "I"}[form])


def _entries(reader: _Reader, sections: dict[str, bytes]) -> list[str]:
    """A DWARF 5 directory or file table: the path of each entry."""
    formats = [(reader.unsigned(), reader.unsigned()) for _ in range(reader.fixed("B"))]
    paths = []
    for _ in range(reader.unsigned()):
        values = {kind: _form(reader, form, sections) for kind, form in formats}
        paths.append(str(values.get(1, "")))
    return paths


def _old_entries(reader: _Reader) -> list[str]:
    """A DWARF 4 table of files."""
    paths = [""]
    while name := reader.text():
        paths.append(name)
        for _ in range(3):
            reader.unsigned()
    return paths


_REGISTERS, _ROW, _END = range(3)  # what a line-program instruction did


@dataclass
class _Row:
    address: int = 0
    file: int = 1
    line: int = 1
    files: list[str] = field(default_factory=list)

    def text(self) -> str:
        """``file:line``; of code that belongs to no line, ``file:?``."""
        return f"{Path(self.files[self.file]).name}:{self.line or '?'}" if self.file < len(self.files) else ""


def _ranges(sections: dict[str, bytes]) -> Iterator[tuple[int, int, str]]:
    """(first address, end, file:line) for every row of every unit's line program."""
    reader = _Reader(sections.get(".debug_line", b""))
    while reader.at < len(reader.data):
        length = reader.fixed("I")
        end = reader.at + length
        yield from _unit(reader, end, sections)
        reader.at = end


def _unit(reader: _Reader, end: int, sections: dict[str, bytes]) -> Iterator[tuple[int, int, str]]:
    version = reader.fixed("H")
    if version >= 5:
        reader.at += 2  # address size, segment selector size
    header_end = reader.fixed("I")
    header_end += reader.at
    instruction_bytes = reader.fixed("B")
    reader.at += 2  # operations per instruction, default is_stmt
    line_base, line_range, opcode_base = reader.fixed("b"), reader.fixed("B"), reader.fixed("B")
    operands = [reader.fixed("B") for _ in range(opcode_base - 1)]
    if version >= 5:
        _entries(reader, sections)
        files = _entries(reader, sections)
    else:
        while reader.text():
            pass
        files = _old_entries(reader)
    reader.at = header_end
    row, last = _Row(files=files), (0, "")
    while reader.at < end:
        done = _step(reader, row, line_base, line_range, opcode_base, operands, instruction_bytes)
        if done == _REGISTERS:
            continue
        if row.address > last[0] > 0:
            yield last[0], row.address, last[1]
        row, last = (_Row(files=files), (0, "")) if done == _END else (row, (row.address, row.text()))


def _step(
    reader: _Reader, row: _Row, line_base: int, line_range: int, opcode_base: int, operands: list[int], unit: int
) -> int:
    """Executes one line-program instruction on ``row``: it changed registers, added a row, or ended the sequence."""
    opcode = reader.fixed("B")
    if opcode >= opcode_base:
        row.address += (opcode - opcode_base) // line_range * unit
        row.line += line_base + (opcode - opcode_base) % line_range
        return _ROW
    elif opcode == 0:
        length = reader.unsigned()
        next_at = reader.at + length
        extended = reader.fixed("B")
        if extended == 2:
            row.address = reader.fixed("I")
        reader.at = next_at
        return _END if extended == 1 else _REGISTERS
    elif opcode == 1:
        return _ROW
    elif opcode == 2:
        row.address += reader.unsigned() * unit
    elif opcode == 3:
        row.line += reader.signed()
    elif opcode == 4:
        row.file = reader.unsigned()
    elif opcode == 8:
        row.address += (255 - opcode_base) // line_range * unit
    elif opcode == 9:
        row.address += reader.fixed("H")
    else:
        for _ in range(operands[opcode - 1]):
            reader.unsigned()
    return _REGISTERS
