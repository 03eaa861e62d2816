"""A compiled program's tables, read back from its firmware: commands, kernel calls, buffers."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .elf import Elf

IN, OUT, GEMM, CALL, L3 = KINDS = range(5)
KIND_NAMES = ("copy to L1", "copy from L1", "engine job", "kernel call", "L3 transfer")
MAX_PTRS, MAX_INTS = 8, 12
WHEN_LAYOUT = "H2x5H2x"  # tdco_when without what its waits say once more
TABLES = ("ins", "outs", "jobs", "calls", "moves")


@dataclass(frozen=True)
class Buffer:
    """A planned buffer, live from command ``first`` to ``last``."""

    addr: int
    bytes: int
    first: int
    last: int
    name: str


@dataclass(frozen=True)
class Call:
    """A kernel call: the kernel's symbol and entry, its pointers and integers, and the command that starts it."""

    symbol: str
    kernel: int
    pointers: tuple[int, ...]
    ints: tuple[int, ...]
    command: int


@dataclass(frozen=True)
class Command:
    """What is issued: the ``index``-th of a kind, once ``wait[kind]`` commands of each kind have finished."""

    kind: int
    index: int
    wait: tuple[int, ...]


@dataclass(frozen=True)
class Tables:
    """``commands`` by number. ``copies``: bytes of each copy to L1, of each from L1, and of each L3 transfer, by kind.
    ``nodes``: for every kind the graph node of each command ("7 Relu relu"), empty where it is not known."""

    commands: tuple[Command, ...]
    calls: tuple[Call, ...]
    jobs: tuple[tuple[int, int, int], ...]
    copies: Mapping[int, tuple[int, ...]]
    buffers: tuple[Buffer, ...]
    nodes: tuple[tuple[str, ...], ...]

    def node(self, kind: int, index: int) -> str:
        """The graph node of the ``index``-th command of a kind; empty where it is not known."""
        return self.nodes[kind][index] if index < len(self.nodes[kind]) else ""

    def describe(self, command: int) -> str:
        """What command number ``command`` is, and of which graph node."""
        issued = self.commands[command]
        node = self.node(issued.kind, issued.index)
        what = f"{KIND_NAMES[issued.kind]} {issued.index}"
        return f"{what} of {node}" if node else what

    def buffers_of(self, call: Call) -> list[Buffer]:
        """The buffers live at the call that its pointers lie in."""
        live = [b for b in self.buffers if b.first <= call.command <= b.last]
        held = [next((b for b in live if b.addr <= p < b.addr + b.bytes), None) for p in call.pointers if p]
        return [b for b in held if b]

    def elements(self, call: Call) -> int:
        """Elements of the call's largest buffer, of the type its symbol ends with."""
        item_bytes = 4 if call.symbol.endswith(("f32", "b32")) else 2
        return max((b.bytes for b in self.buffers_of(call)), default=item_bytes) // item_bytes

    def buffer_at(self, addr: int, command: int) -> str:
        """The name of the buffer at ``addr`` around ``command``; empty if there is none."""
        holding = [b for b in self.buffers if b.addr <= addr < b.addr + b.bytes]
        live = [b for b in holding if b.first <= command <= b.last]
        return (live or holding)[-1].name if holding else ""


def read_tables(elf: Elf, source: Path) -> Tables:
    """The tables of ``tdco_prog`` in ``elf``; ``source`` is the program.c they were compiled from."""

    def read(addr: int, size: int) -> bytes:
        for segment in (*elf.segments, *elf.notes):
            if segment.addr <= addr < segment.addr + segment.bytes:
                data = segment.data + bytes(segment.bytes - len(segment.data))
                return data[addr - segment.addr : addr - segment.addr + size]
        raise ValueError(f"0x{addr:08X} is in no segment of {elf.path}")

    def rows(addr: int, count: int, layout: str) -> list[tuple[int, ...]]:
        if not count:  # then there may be no table at all
            return []
        return list(struct.iter_unpack("<" + layout, read(addr, count * struct.calcsize("<" + layout))))

    def text(addr: int) -> str:
        return read(addr, 256).split(b"\0")[0].decode()

    head = struct.unpack("<13I", read(elf.addresses["tdco_prog"], 52))
    tables, buffers, counts, n_buffers = head[:5], head[5], head[6:11], head[11]
    layouts = ("2I2Ii", "2I2Ii", "8I4H", f"I{MAX_PTRS}I{MAX_INTS}i16x", "4I")
    entries = [rows(at, n, WHEN_LAYOUT + layout) for at, n, layout in zip(tables, counts, layouts, strict=True)]
    numbered = {row[0]: Command(kind, i, row[1:6]) for kind in KINDS for i, row in enumerate(entries[kind])}
    names = {symbol.addr: symbol.name for symbol in elf.symbols if symbol.is_function}
    copies = {kind: tuple(row[8] * row[9] for row in entries[kind]) for kind in (IN, OUT)}
    return Tables(
        commands=tuple(numbered[i] for i in range(len(numbered))),
        calls=tuple(
            Call(names.get(row[6], hex(row[6])), row[6], row[7:-MAX_INTS], row[-MAX_INTS:], row[0])
            for row in entries[CALL]
        ),
        jobs=tuple((m, n, k) for *_, m, n, k, _ in entries[GEMM]),
        copies={**copies, L3: tuple(row[8] for row in entries[L3])},
        buffers=tuple(Buffer(at, size, a, z, text(name)) for at, size, a, z, name in rows(buffers, n_buffers, "IIHHI")),
        nodes=tuple(_nodes(source, table) for table in TABLES),
    )


def _nodes(source: Path, table: str) -> tuple[str, ...]:
    """The node of each entry of a table in program.c, where a comment line names it above its entries."""
    node, nodes, inside = "", [], False
    for line in source.read_text().splitlines():
        if re.match(rf"static const \w+ {table}\[", line):
            inside = True
        elif inside and line.startswith("};"):
            break
        elif inside and (comment := re.match(r"\s*/\* (.*) \*/$", line)):
            node = comment[1]
        elif inside and re.match(r" {4}\{", line):  # a long entry goes on in lines further in
            nodes.append(node)
    return tuple(nodes)
