"""The cluster simulator's shared library from Python: load, run, look."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tdco_spec import HwConfig
from tdco_spec.emit import c_header

from ..build import cached, compile_objects, linker, run_tool, shared_library
from ..errors import SimError
from ..verilator import verilate, wrapper_flags
from .elf import Elf, Symbol
from .lines import source_line

HERE = Path(__file__).parent
SOURCES = ("api", "cluster", "core", "decode", "memory", "dma", "event_unit", "watch")
FLAGS = (
    "-std=gnu++20",
    "-O3",
    "-march=native",
    "-ffp-contract=off",
    "-Wall",
    "-Wextra",
    "-Wno-missing-field-initializers",
)
STATS = (  # api.cpp's SocStats
    *("cycles", "jobs", "macs", "engine_busy", "status_flags"),
    *("l2_l1_bytes", "l1_l2_bytes", "l3_bytes", "dma_busy", "l1_peak_bytes", "l2_peak_bytes"),
    *("l1_granted", "l1_refused", "engine_refused"),
)
HART_CYCLES = ("instructions", "multicycle", "load_use", "fetch", "l1", "remote", "asleep")
SLICE_CYCLES = 2_000_000  # between two looks at the keyboard and the progress
NO_HART = 0xFFFFFFFF


def build(
    cfg: HwConfig,
    verilog: str | None = None,
    tcdm: str | None = None,
    engine: str = "golden",
    waves: bool = False,
) -> Path:
    """The simulator of ``cfg``, compiled on first use.

    ``verilog`` is the engine (top module redmule); without it, ``engine``: "model", the cycle model, or "golden", with
    the array's own cycles. ``tcdm`` is L1, interconnect and banks (top module tcdm); without it, the same in C++.
    With ``waves``, the engine as RTL writes them as VCD into the file that TDCO_WAVES names.

    Raises:
        SimError: if Verilator or the C++ compiler fails.
        ValueError: if there is a ``tcdm`` beside an engine that does not work with it.
    """
    headers = {"tdco_hw.h": c_header(cfg)}
    sources = [HERE / f"{name}.cpp" for name in SOURCES]
    sources.append(HERE / f"banks_{'rtl' if tcdm else 'model'}.cpp")
    includes = [HERE, HERE.parent, HERE.parent / "golden"]
    if verilog is None and tcdm:
        raise ValueError("L1 as RTL needs the engine as RTL")
    if verilog is None and engine == "model":
        sources += [HERE / "engine_model.cpp", HERE.parent / "model" / "model.cpp"]
        return shared_library("soc-model", sources, FLAGS, [*includes, HERE.parent / "model"], headers)
    if verilog is None:
        sources += [HERE / "engine_golden.cpp", HERE.parent / "golden" / "engine.cpp"]
        return shared_library("soc-golden", sources, FLAGS, includes, headers)
    models = [verilate(verilog, "redmule", waves), *([verilate(tcdm, "tcdm")] if tcdm else [])]
    flags = [*FLAGS, "-fPIC", *wrapper_flags(*models[0], waves), *(f"-I{model}" for model, _ in models[1:])]
    includes.append(HERE.parent / "rtl")
    objects = compile_objects("soc-rtl", [*sources, HERE / "engine_rtl.cpp"], flags, includes, headers)
    libraries = [file for model, _ in models for file in sorted(model.glob("libV*.a"))]

    def make(directory: Path) -> None:
        runtime = models[0][0] / "libverilated.a"
        command: list[str | Path] = [
            linker(),
            "-shared",
            *objects,
            *libraries,
            runtime,
            "-lpthread",
            *(["-lz"] if waves else []),
        ]
        run_tool([*command, "-o", directory / "soc.so"], "linking the simulator")

    return cached("soc-rtl", ["link", *map(str, [*libraries, *objects])], make) / "soc.so"


@dataclass(frozen=True)
class Stop:
    """Why a run ended: its exit code, or None and what went wrong.

    ``hart`` and ``pc`` did it, or, where ``issued``, started the transfer or job that did. Where it was nobody,
    ``places`` are the pcs of the instructions the harts are at, or wait in.
    """

    exit_code: int | None
    what: str = ""
    hart: int | None = None
    pc: int = 0
    addr: int = 0
    issued: bool = False
    places: tuple[int, ...] = ()


@dataclass(frozen=True)
class TraceEvent:
    """The ``index``-th happening on a track (watch.hpp), from cycle ``start`` to ``end``.

    ``refused``: cycles without a grant of L1, of a kernel on one core or an engine job; ``fetch``: cycles a kernel
    waited for instructions; ``flop`` and ``l1_bytes``: what a kernel did on one core, counted by the cluster simulator
    (isa.hpp's ``flop_of``; bytes loaded from and stored to L1).
    """

    track: int
    index: int
    start: int
    end: int
    refused: int
    fetch: int
    flop: int = 0
    l1_bytes: int = 0


class Simulator:
    """A cluster with ``elf`` loaded; the other arguments are those of `build`.

    Memories keep their contents from one start to the next.
    """

    def __init__(
        self,
        cfg: HwConfig,
        elf: Elf,
        verilog: str | None = None,
        tcdm: str | None = None,
        engine: str = "golden",
        waves: bool = False,
    ) -> None:
        self.cfg, self.elf = cfg, elf
        self.library = ctypes.CDLL(str(build(cfg, verilog, tcdm, engine, waves)))
        for name in ("output", "fault"):
            getattr(self.library, f"tdco_soc_{name}").restype = ctypes.c_char_p
        self.library.tdco_soc_open.restype = ctypes.c_void_p
        self.library.tdco_soc_trace_events.restype = ctypes.c_void_p
        self.library.tdco_soc_exit_code.restype = ctypes.c_uint32
        self.handle = ctypes.c_void_p(self.library.tdco_soc_open())
        for segment in elf.segments:
            if segment.executable:
                self.library.tdco_soc_set_code(self.handle, segment.addr, segment.bytes)
            if not segment.writable:
                self.library.tdco_soc_protect(self.handle, segment.addr, segment.bytes)

    def __enter__(self) -> Simulator:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self.library.tdco_soc_close(self.handle)

    def write(self, addr: int, data: bytes) -> None:
        if data and not self.library.tdco_soc_write(self.handle, addr, data, len(data)):
            raise SimError(f"{len(data)} bytes at 0x{addr:08X} are in no memory", str(self.elf.path))

    def read(self, addr: int, count: int) -> bytes:
        data = ctypes.create_string_buffer(count)
        if not self.library.tdco_soc_read(self.handle, addr, data, count):
            raise SimError(f"{count} bytes at 0x{addr:08X} are in no memory", str(self.elf.path))
        return data.raw

    def read_word(self, symbol: str) -> int:
        return int.from_bytes(self.read(self.elf.addresses[symbol], 4), "little")

    def start(self) -> None:
        """Loads the ELF's segments and puts every hart at its entry."""
        for segment in self.elf.segments:
            self.write(segment.addr, segment.data + bytes(segment.bytes - len(segment.data)))
        self.library.tdco_soc_start(self.handle, self.elf.entry)

    def run(self, limit_cycles: int, on_progress: Callable[[], None] | None = None) -> Stop:
        """Runs until the program exits or something is wrong; ``limit_cycles`` counts from now."""
        end = self.stats["cycles"] + limit_cycles
        while True:
            now = self.stats["cycles"]
            state = self.library.tdco_soc_run(self.handle, ctypes.c_uint64(min(now + SLICE_CYCLES, end)))
            if on_progress:
                on_progress()
            if state == 1:
                return Stop(self.library.tdco_soc_exit_code(self.handle))
            if state == 2:
                return self._fault()
            if self.stats["cycles"] >= end:
                return Stop(None, f"not finished after {limit_cycles} cycles", places=self._places())

    def _fault(self) -> Stop:
        place = (ctypes.c_uint32 * 4)()
        self.library.tdco_soc_fault_place(self.handle, place)
        what = self.library.tdco_soc_fault(self.handle).decode()
        if place[0] == NO_HART:
            return Stop(None, what, None, 0, place[2], places=self._places())
        return Stop(None, what, place[0], place[1], place[2], bool(place[3]))

    def _places(self) -> tuple[int, ...]:
        pcs = (ctypes.c_uint32 * (self.cfg.cores + 1))()
        self.library.tdco_soc_places(self.handle, pcs)
        return tuple(pcs)

    def watch_calls(self, calls: Sequence[tuple[int, Sequence[tuple[int, int, bool]]]]) -> None:
        """Follows the cores through the program's kernel calls: entry and buffers of each.

        A buffer is (address, bytes, whether the call is its first user). In L1 and L2, a call may touch nothing else
        but its core's stack, and load its arguments and the kernels' constants.
        """
        records = bytearray()
        for kernel, ranges in calls:
            flat = [value for buffer in ranges for value in buffer]
            records += struct.pack("<26I", kernel, len(ranges), *flat, *([0] * (24 - len(flat))))
        first, end = (self.elf.addresses[name] for name in ("tdco_kernel_data", "tdco_kernel_data_end"))
        self.library.tdco_soc_watch_calls(self.handle, bytes(records), len(calls), first, end - first)

    def watch_buffers(self, buffers: Sequence[tuple[int, int, int, int]], command_symbol: str) -> None:
        """Lets transfers and jobs touch only the buffers of the command being issued.

        A buffer is (address, bytes, first command, last command); the controller stores the command's number at
        ``command_symbol``.
        """
        records = b"".join(struct.pack("<4I", *buffer) for buffer in buffers)
        self.library.tdco_soc_watch_buffers(self.handle, records, len(buffers), self.elf.addresses[command_symbol])

    def forget(self, addr: int, count: int) -> None:
        """The bytes count as never written."""
        self.library.tdco_soc_forget(self.handle, addr, count)

    def trace(self) -> None:
        """From now on records what happens; see :attr:`events`."""
        self.library.tdco_soc_trace(self.handle, 1)

    @property
    def events(self) -> list[TraceEvent]:
        count = ctypes.c_uint64()
        start = self.library.tdco_soc_trace_events(self.handle, ctypes.byref(count))
        layout = struct.Struct("<IIQQ4I")
        data = ctypes.string_at(start, layout.size * count.value) if count.value else b""
        return [TraceEvent(*row) for row in layout.iter_unpack(data)]

    @property
    def output(self) -> str:
        return str(self.library.tdco_soc_output(self.handle).decode(errors="replace"))

    @property
    def stats(self) -> dict[str, int]:
        values = (ctypes.c_uint64 * len(STATS))()
        self.library.tdco_soc_stats(self.handle, values)
        return dict(zip(STATS, values, strict=True))

    @property
    def hart_cycles(self) -> list[dict[str, int]]:
        """For each hart, its instructions and the cycles it lost, by cause."""
        values = (ctypes.c_uint64 * (len(HART_CYCLES) * (self.cfg.cores + 1)))()
        self.library.tdco_soc_hart_cycles(self.handle, values)
        n = len(HART_CYCLES)
        return [dict(zip(HART_CYCLES, values[n * h : n * h + n], strict=True)) for h in range(self.cfg.cores + 1)]


def describe(stop: Stop, elf: Elf, cores: int) -> str:
    """What stopped the run and where: core, pc, function, source line, address."""
    parts = [stop.what]
    if stop.addr:
        parts.append(f"address 0x{stop.addr:08X}")
    if stop.hart is not None:
        who = "controller" if stop.hart == cores else f"core {stop.hart}"
        parts.append(f"{'issued by ' if stop.issued else ''}{who}, {_place(elf, stop.pc)}")
    for pc in dict.fromkeys(stop.places):
        there = [h for h, place in enumerate(stop.places) if place == pc]
        workers = ", ".join(str(h) for h in there if h != cores)
        names = [f"core{'s' if ',' in workers else ''} {workers}"] if workers else []
        names += ["controller"] if cores in there else []
        parts.append(f"{' and '.join(names)} at {_place(elf, pc)}")
    return ", ".join(parts)


def _place(elf: Elf, pc: int) -> str:
    function, line = function_at(elf, pc), source_line(elf.path, pc)
    return f"pc 0x{pc:08X}" + (f" in {function.name}" if function else "") + (f", {line}" if line else "")


def function_at(elf: Elf, pc: int) -> Symbol | None:
    """The function whose code holds ``pc``."""
    return next((s for s in elf.symbols if s.is_function and s.addr <= pc < s.addr + max(s.bytes, 1)), None)
