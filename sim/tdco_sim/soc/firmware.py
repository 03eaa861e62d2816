"""Builds firmware for the cluster: C and assembly for RV32 with clang, linked by our own script."""

import importlib.util
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from tdco_spec import MEMORY_MAP, HwConfig
from tdco_spec.emit import c_header

from ..build import cached, run_tool, sw_dir
from ..errors import SimError

FLAGS = (
    "-mabi=ilp32",
    "-std=gnu11",
    "-O2",
    "-g",
    "-ffp-contract=off",
    "-fomit-frame-pointer",
    "-fno-sanitize=all",
    "-ffreestanding",
    "-fno-jump-tables",  # they would lie in L2, where kernels load nothing
    "-fdata-sections",  # the linker script takes a table out
    "-Wall",
    "-Wextra",
)
CLANG_TARGET = ("--target=riscv32-unknown-elf", "-march=rv32imc_zicsr_zfinx_zhinx")
ZIG_TARGET = ("--target=riscv32-freestanding-none", "-mcpu=generic_rv32+m+c+zicsr+zfinx+zhinx")
HINT = "pip install ziglang, or name a clang for riscv32 in TDCO_CC"
ELF_NAME = "firmware.elf"


def compiler() -> list[str]:
    """clang for RV32 with Zfinx and Zhinx: $TDCO_CC, a command that may have arguments, else the ziglang wheel's.

    The target's flags are in it, clang's or, where the command runs Zig, Zig's.

    Raises:
        SimError: if there is neither.
    """
    command = shlex.split(own := os.environ.get("TDCO_CC", ""))
    if command and shutil.which(command[0]) is None:
        raise SimError("is no program that can be run", f"TDCO_CC={own}", HINT)
    if not command and importlib.util.find_spec("ziglang") is None:
        raise SimError("there is no C compiler for RV32", "firmware", HINT)
    command = command or [sys.executable, "-m", "ziglang", "cc"]
    is_zig = any(Path(word).name in ("zig", "ziglang") for word in command)
    return [*command, *(ZIG_TARGET if is_zig else CLANG_TARGET)]


def _version() -> str:
    """Of the compiler: what it compiles to may change with it."""
    if own := os.environ.get("TDCO_CC"):
        return run_tool([*shlex.split(own), "--version"], f"TDCO_CC={own}", HINT)
    return version("ziglang")


def linker_script(cfg: HwConfig) -> str:
    """sw/port/soc/link.ld with the addresses of ``cfg``."""
    stacks = cfg.stack_bytes * (cfg.cores + 1)
    values = {
        "L2_FIRMWARE": MEMORY_MAP["l2"].base + cfg.l2_bytes - cfg.l2_reserved_bytes,
        "L2_RESERVED_BYTES": cfg.l2_reserved_bytes,
        "L1_RUNTIME": MEMORY_MAP["l1"].base + stacks,
        "L1_RUNTIME_BYTES": cfg.l1_reserved_bytes - stacks,
    }
    text = (sw_dir() / "port" / "soc" / "link.ld").read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", f"0x{value:08X}")
    return text


def _objects(sources: Sequence[Path], prefix: str, cfg: HwConfig, includes: Sequence[Path]) -> list[Path]:
    """An object file for each source, named ``prefix`` and the source's stem; compiled once."""
    header = c_header(cfg)
    headers = [f for d in includes for f in sorted(d.glob("*.h"))]
    texts = [f"{f.name}\n{f.read_text()}" for f in [*sources, *headers]]
    key = [*compiler(), _version(), *FLAGS, prefix, header, *texts]

    def make(directory: Path) -> None:
        (directory / "tdco_hw.h").write_text(header)
        for source in sources:
            output = directory / f"{prefix}{source.stem}.o"
            include_flags = [f"-I{d}" for d in (directory, *includes)]
            run_tool([*compiler(), *FLAGS, *include_flags, "-c", source, "-o", output], source.name, HINT)

    directory = cached("firmware", key, make)
    return [directory / f"{prefix}{source.stem}.o" for source in sources]


def kernel_objects(cfg: HwConfig) -> list[Path]:
    """An object file for each file of sw/kernels; the linker script keeps their constants in L1.

    Raises:
        SimError: if one does not compile.
    """
    sw = sw_dir()
    return _objects(sorted((sw / "kernels").glob("*.c")), "kernel_", cfg, _include_dirs())


def _include_dirs() -> list[Path]:
    return [sw_dir() / folder for folder in ("runtime", "kernels", "port/soc")]


def build(sources: Sequence[Path], cfg: HwConfig, kernels: bool = False, includes: Sequence[Path] = ()) -> Path:
    """The ELF of C or assembly ``sources`` with start-up code and drivers, and with all ``kernels`` or none.

    Raises:
        SimError: if something does not compile or does not fit; the compiler's message is in it.
    """
    port, common = sw_dir() / "port" / "soc", _include_dirs()
    objects = _objects([port / "crt0.S", port / "cluster.c"], "", cfg, common)
    objects += kernel_objects(cfg) if kernels else []
    objects += _objects(sources, "", cfg, [*common, *includes])
    script = linker_script(cfg)

    def make(directory: Path) -> None:
        (directory / "link.ld").write_text(script)
        flags = ["-nostdlib", "-static", f"-Wl,-T,{directory / 'link.ld'}"]
        output = directory / ELF_NAME
        run_tool([*compiler(), "-mabi=ilp32", *flags, *objects, "-o", output], "linking the firmware", HINT)

    return cached("elf", [script, *map(str, objects)], make) / ELF_NAME


def build_program(out_dir: Path, cfg: HwConfig) -> Path:
    """The ELF of the compiled program in ``out_dir``.

    Raises:
        SimError: if there is no program, or it does not compile or fit.
    """
    program = out_dir / "program.c"
    if not program.exists():
        raise SimError("there is no program.c", str(out_dir), "run `tdco compile MODEL ... -o OUT` first")
    sw = sw_dir()
    return build([program, sw / "runtime" / "run.c", sw / "port" / "soc" / "main.c"], cfg, kernels=True)


def program_elf(out_dir: Path, cfg: HwConfig) -> Path:
    """The ELF of the compiled program in ``out_dir``, beside it: what its sources, flags and ``cfg`` give now.

    Nothing is compiled that the cache has; an ELF that differs is replaced.

    Raises:
        SimError: as :func:`build_program`.
    """
    built, elf = build_program(out_dir, cfg), out_dir / ELF_NAME
    if not elf.exists() or elf.read_bytes() != built.read_bytes():
        shutil.copyfile(built, elf)
    return elf
