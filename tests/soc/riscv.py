"""Builds RV32 test programs and runs them on the bare core, on the whole cluster and, where installed, on QEMU."""

import shutil
import subprocess
from pathlib import Path

from tdco_sim.soc import firmware
from tdco_sim.soc.elf import Elf
from tdco_sim.soc.simulator import Simulator, describe
from tdco_spec import MEMORY_MAP
from tdco_spec.cluster import ICACHE, SOC_CONTROL

from .micro import CFG, engine_of

ISA_DIR = Path(__file__).parent / "isa"
QEMU = ("qemu-riscv32", "-cpu", "rv32,f=false,d=false,zfinx=true,zhinx=true")
CODE, DATA = MEMORY_MAP["l2"].base, MEMORY_MAP["l1"].base + CFG.l1_reserved_bytes
EXIT = MEMORY_MAP["soc_control"].base + SOC_CONTROL["EXIT"]
ICACHE_ENABLE = MEMORY_MAP["icache"].base + ICACHE["ENABLE"]


def has_qemu() -> bool:
    return shutil.which(QEMU[0]) is not None


def assemble(source: Path, output: Path, flags: tuple[str, ...] = ()) -> None:
    """Links one assembly or C file into an ELF, entry ``_start``, at 0x400000, for the bare core and QEMU."""
    _link(source, output, flags, {"CODE": "0x400000", "DATA": ": ALIGN(16)", "SEGMENT": "code", "MORE": ""})


def assemble_for_cluster(
    source: Path, output: Path, hart: int, flags: tuple[str, ...] = (), data_in_l1: bool = True
) -> None:
    """The same, for hart ``hart`` of the cluster: code in L2, data in L1 or behind the code."""
    registers = (f"-DTDCO_HART={hart}", f"-DTDCO_EXIT=0x{EXIT:X}", f"-DTDCO_ICACHE=0x{ICACHE_ENABLE:X}")
    place = {"CODE": f"0x{CODE:X}", "DATA": ": ALIGN(16)", "SEGMENT": "code", "MORE": ""}
    if data_in_l1:
        place |= {"DATA": f"0x{DATA:X} :", "SEGMENT": "data", "MORE": "data PT_LOAD FLAGS(6);"}
    _link(source, output, (*registers, *flags), place)


def _link(source: Path, output: Path, flags: tuple[str, ...], place: dict[str, str]) -> None:
    script, text = output.with_suffix(".ld"), (ISA_DIR / "link.ld").read_text()
    for name, value in place.items():
        text = text.replace(f"@{name}@", value)
    script.write_text(text)
    command = [*firmware.compiler(), "-mabi=ilp32", "-nostdlib", "-static", f"-Wl,-T,{script}", f"-I{ISA_DIR}", *flags]
    done = subprocess.run([*command, str(source), "-o", str(output)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{source.name} does not assemble: {done.stderr[:500]}"


def run_qemu(elf: Path) -> tuple[int, bytes]:
    """Exit code and standard output under qemu-riscv32."""
    done = subprocess.run([*QEMU, str(elf)], capture_output=True, check=False, timeout=60)
    return done.returncode, done.stdout


def run_cluster(elf: Elf, first: str = "", end: str = "", engine: str = "golden") -> tuple[int | None, str, bytes]:
    """Exit code, what stopped it in words, and the bytes between two symbols."""
    with Simulator(CFG, elf, **engine_of(engine)) as sim:
        sim.start()
        stop = sim.run(200_000_000)
        at = elf.addresses[first] if first else 0
        printed = sim.read(at, elf.addresses[end] - at) if first else b""
        return stop.exit_code, describe(stop, elf, CFG.cores), printed
