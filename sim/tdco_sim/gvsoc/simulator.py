"""Runs an ELF for the cluster on GVSoC: our target for a configuration, its components, one process per run."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tdco_spec import MEMORY_MAP, HwConfig, get_config
from tdco_spec.emit import c_header, config_json, region_sizes

from ..build import cached, compile_objects, linker, run_tool
from ..errors import SimError
from ..soc import firmware
from ..soc.simulator import TraceEvent
from ..verilator import verilate, wrapper_flags
from .install import Gvsoc

HERE = Path(__file__).parent
SIM = HERE.parent
TARGET = HERE / "target"
ENGINE_MODEL = [SIM / "model" / "engine.cpp", SIM / "model" / "model.cpp"]
OTHERS = ("control", "l3_dma", "watch", "wide")
MEMORIES = ("l1", "l2", "l3")
LIMIT_CYCLES = 2_000_000_000
FLAGS = ("-std=gnu++20", "-O3", "-march=native", "-ffp-contract=off", "-fno-stack-protector", "-D__GVSOC__", "-w")
STALL_SECONDS = 3600


@dataclass(frozen=True)
class Run:
    """How a run ended. ``exit_code`` is None after the limit of cycles. ``cycles`` count from the cores' start, as do
    those of ``events``. ``counts`` are what the components beside tdco_soc.py counted."""

    exit_code: int | None
    cycles: int
    output: str
    memories: Mapping[str, bytes]
    events: list[TraceEvent]
    counts: dict[str, int]

    def read(self, addr: int, count: int) -> bytes:
        """Bytes of L1, L2 or L3 as the run left them.

        Raises:
            SimError: if they are in no memory.
        """
        for name, data in self.memories.items():
            at = addr - MEMORY_MAP[name].base
            if at >= 0 and at + count <= len(data):
                return data[at : at + count]
        raise SimError(f"{count} bytes at 0x{addr:08X} are in no memory", "platform gvsoc")

    def read_words(self, addr: int, count: int) -> list[int]:
        return list(struct.unpack(f"<{count}I", self.read(addr, 4 * count)))


def _components(gvsoc: Gvsoc, cfg: HwConfig, verilog: str | None) -> Path:
    """The directory with our components, compiled for this GVSoC, as tdco/NAME.so."""
    headers = {"tdco_hw.h": c_header(cfg)}
    includes = [gvsoc.headers, SIM, SIM / "model", SIM / "golden", SIM / "rtl"]
    flags = (*FLAGS, "-fPIC", f"-DTDCO_GVSOC_VERSION={gvsoc.version}")
    if verilog is None:
        engine = compile_objects("gvsoc-engine", [TARGET / "engine.cpp"], flags, includes, headers)
        engine += compile_objects("gvsoc-model", ENGINE_MODEL, flags, includes, headers)
    else:
        model, include = verilate(verilog, "redmule")
        flags_rtl = (*flags, *wrapper_flags(model, include, False))
        engine = compile_objects("gvsoc-engine", [TARGET / "engine.cpp"], flags, includes, headers)
        engine += compile_objects("gvsoc-rtl", [SIM / "rtl" / "engine.cpp"], flags_rtl, includes, headers)
        engine += [model / "libVredmule.a", model / "libverilated.a"]
    others = compile_objects("gvsoc", [TARGET / f"{name}.cpp" for name in OTHERS], flags, includes, headers)
    parts = {"engine": engine} | {name: [file] for name, file in zip(OTHERS, others, strict=True)}

    def make(directory: Path) -> None:
        (directory / "tdco").mkdir()
        for name, objects in parts.items():
            library = [f"-L{gvsoc.prefix / 'lib'}", "-lpulpvp", "-lpthread"]
            run_tool([linker(), "-shared", *objects, *library, "-o", directory / "tdco" / f"{name}.so"], name)

    return cached("gvsoc-components", [str(o) for objects in parts.values() for o in objects], make)


def _config(gvsoc: Gvsoc, cfg: HwConfig, components: Path, light_redmule: bool) -> Path:
    """What GVSoC's generators make of our target: the file its launcher takes."""
    generator = TARGET / "tdco_soc.py"
    spec = json.dumps(json.loads(config_json(cfg)) | {"light_redmule": light_redmule})
    key = [str(gvsoc.prefix), gvsoc.version, str(components), generator.read_text(), spec]

    def make(directory: Path) -> None:
        (directory / "hw.json").write_text(spec)
        for name in (*(f"{m}.in" for m in MEMORIES), "firmware.elf"):
            (directory / name).touch()
        command: list[str | Path] = [
            *(gvsoc.python, gvsoc.prefix / "bin" / "gapy", "--platform=gvsoc", "--target=tdco_soc"),
            *(f"--target-dir={TARGET}", f"--target-dir={gvsoc.prefix / 'generators'}"),
            *(f"--model-dir={components}", f"--model-dir={gvsoc.models}"),
            *(f"--work-dir={directory}", "prepare"),
        ]
        path = {"PATH": f"{gvsoc.prefix / 'bin'}:{os.environ['PATH']}"}
        env = os.environ | path | {"TDCO_GVSOC_CONFIG": str(directory / "hw.json")}
        env["PYTHONPATH"] = str(gvsoc.prefix / "python")
        run_tool(command, "GVSoC's generators", "TDCO_GVSOC_PYTHON must have the packages GVSoC asks for", env)
        if not (directory / "gvsoc_config.json").exists():
            raise SimError("wrote no gvsoc_config.json", "GVSoC's generators")

    return cached("gvsoc-target", key, make) / "gvsoc_config.json"


class Simulator:
    """GVSoC with our target for ``cfg``; built on first use. The engine is its cycle model, or that of ``verilog``, or,
    with ``light_redmule``, GVSoC's light RedMulE, which has other registers.

    Raises:
        SimError: if the components do not compile, or GVSoC's generators fail.
    """

    def __init__(self, gvsoc: Gvsoc, cfg: HwConfig, verilog: str | None = None, light_redmule: bool = False) -> None:
        self.gvsoc, self.cfg = gvsoc, cfg
        self.config = _config(gvsoc, cfg, _components(gvsoc, cfg, verilog), light_redmule)

    def run(
        self,
        elf: Path,
        memories: Mapping[str, bytes] | None = None,
        limit_cycles: int = LIMIT_CYCLES,
        calls: Sequence[int] = (),
    ) -> Run:
        """Runs ``elf`` once. ``memories`` are bytes of l2 and l3 from their start, before the program is loaded.
        ``calls``: the entries of its kernel calls, which the events are to tell of.

        Raises:
            SimError: if GVSoC fails, or gives up.
        """
        sizes = region_sizes(self.cfg)
        with tempfile.TemporaryDirectory(prefix="tdco-gvsoc-") as folder:
            work = Path(folder)
            (work / "firmware.elf").write_bytes(elf.read_bytes())
            for name in ("l2", "l3"):
                (work / f"{name}.in").write_bytes((memories or {}).get(name) or bytes(1))
            (work / "calls.in").write_text("".join(f"{entry:x}\n" for entry in calls))
            env = os.environ | {"LD_LIBRARY_PATH": str(self.gvsoc.prefix / "lib")}
            env["TDCO_GVSOC_LIMIT_CYCLES"] = str(limit_cycles)
            command: list[str | Path] = [self.gvsoc.launcher, f"--config={self.config}"]
            try:
                done = subprocess.run(
                    command, cwd=work, env=env, capture_output=True, timeout=STALL_SECONDS, check=False
                )
            except subprocess.TimeoutExpired as error:
                raise SimError(f"no end after {STALL_SECONDS} s", "GVSoC") from error
            output = done.stdout.decode(errors="replace")
            if not (work / "stop").exists():
                said = (output + done.stderr.decode(errors="replace")).strip().splitlines()[-20:]
                raise SimError(f"ended with code {done.returncode} before the program:\n" + "\n".join(said), "GVSoC")
            how, cycles, start = (work / "stop").read_text().split()
            events, counts = _seen((work / "seen.out").read_text(), int(start))
            left = {name: (work / f"{name}.out").read_bytes() for name in MEMORIES}
            assert all(len(left[name]) == sizes[name] for name in MEMORIES)
            return Run(None if how == "limit" else int(how), int(cycles), output, left, events, counts)


def _seen(text: str, start: int) -> tuple[list[TraceEvent], dict[str, int]]:
    """Events, in cycles since ``start``, and counts, of the lines that report.hpp describes."""
    events, counts = [], {}
    for line in text.splitlines():
        kind, *fields = line.split()
        if kind == "count":
            counts[fields[0]] = int(fields[1])
        else:
            track, index, begin, end, refused = map(int, fields)
            events.append(TraceEvent(track, index, begin - start, end - start, refused, 0))
    return events, counts


def try_out(gvsoc: Gvsoc) -> None:
    """Runs a program that prints and exits.

    Raises:
        SimError: if that does not work.
    """
    text = """
        #include "cluster.h"
        void tdco_start(uint32_t hart)
        {
            if (hart == TDCO_CORES) {
                tdco_printf("%d cores", TDCO_CORES);
                tdco_exit(7);
            }
            for (;;)
                tdco_wait_event(TDCO_EVENT_WORK);
        }
    """
    cfg = get_config("rm_12x4")
    with tempfile.TemporaryDirectory(prefix="tdco-gvsoc-") as folder:
        source = Path(folder) / "hello.c"
        source.write_text(text)
        run = Simulator(gvsoc, cfg).run(firmware.build([source], cfg), limit_cycles=100_000)
    if run.exit_code != 7 or run.output != f"{cfg.cores} cores":
        raise SimError(f"a program that prints and exits gave {run.exit_code}, {run.output!r}", "GVSoC")
