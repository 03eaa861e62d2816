"""Builds RV32 test programs and runs them on the simulator and, where it is installed, on QEMU."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ISA_DIR = Path(__file__).parent / "isa"
QEMU = ("qemu-riscv32", "-cpu", "rv32,f=false,d=false,zfinx=true,zhinx=true")
MCPU = "generic_rv32+m+c+zicsr+zfinx+zhinx"


def has_qemu() -> bool:
    return shutil.which(QEMU[0]) is not None


def assemble(source: Path, output: Path, flags: tuple[str, ...] = ()) -> None:
    """Links one assembly or C file into an ELF at 0x400000, entry ``_start``."""
    command = [sys.executable, "-m", "ziglang", "cc", "--target=riscv32-freestanding-none", f"-mcpu={MCPU}"]
    command += ["-mabi=ilp32", "-nostdlib", "-static", f"-Wl,-T,{ISA_DIR / 'link.ld'}", f"-I{ISA_DIR}", *flags]
    if chosen := os.environ.get("TDCO_CC"):
        command[:6] = [chosen]
    done = subprocess.run([*command, str(source), "-o", str(output)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{source.name} does not assemble: {done.stderr[:500]}"


def run_qemu(elf: Path) -> tuple[int, bytes]:
    """Exit code and standard output under qemu-riscv32."""
    done = subprocess.run([*QEMU, str(elf)], capture_output=True, check=False, timeout=60)
    return done.returncode, done.stdout
