"""Kernels build for a bare RV32 core with its floats in integer registers, and call nothing but each other: no libm, no
soft-float, no memcpy."""

import subprocess
import sys
from pathlib import Path

import pytest
from tdco_spec import get_config
from tdco_spec.emit import c_header

SW = Path(__file__).parents[2] / "sw"
ZIG = [sys.executable, "-m", "ziglang"]
TARGET = ["-target", "riscv32-freestanding-none", "-mcpu=generic_rv32+m+c+zicsr+zfinx+zhinx", "-mabi=ilp32"]
FLAGS = [
    "-std=gnu11",
    "-ffreestanding",
    "-O2",
    "-ffp-contract=off",
    "-fomit-frame-pointer",
    "-Wall",
    "-Wextra",
    "-Werror",
]


def link(sources: list[Path], folder: Path) -> subprocess.CompletedProcess[str]:
    """Compiles ``sources`` and links them alone; the linker names every symbol that is missing."""
    (folder / "tdco_hw.h").write_text(c_header(get_config("rm_12x4")))
    includes = [f"-I{folder}", *(f"-I{SW / part}" for part in ("port/soc", "runtime", "kernels"))]
    objects = []
    for source in sources:
        objects.append(str(folder / f"{source.stem}.o"))
        subprocess.run([*ZIG, "cc", *TARGET, *FLAGS, *includes, "-c", str(source), "-o", objects[-1]], check=True)
    command = [*ZIG, "ld.lld", *objects, "-e", "0x10000", "-o", str(folder / "kernels.elf")]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_kernels_need_no_library(tmp_path: Path) -> None:
    result = link(sorted((SW / "kernels").glob("*.c")), tmp_path)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("statement", "symbol"),
    [
        ("x[0] = (float)(x[0] + y * 0.1);", "__muldf3"),
        ("*(uint64_t *)x = *(uint64_t *)x / (uint32_t)y;", "__udivdi3"),
        ("x[0] = __builtin_expf(y);", "expf"),
    ],
)
def test_a_library_call_is_noticed(tmp_path: Path, statement: str, symbol: str) -> None:
    source = tmp_path / "bad.c"
    source.write_text(f'#include "kernel.h"\nvoid bad(float *x, float y) {{ {statement} }}\n')
    result = link([source], tmp_path)
    assert result.returncode and symbol in result.stderr
