"""The firmware from the command line: built by compile, read by other people's tools, run and stopped by run."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from elftools.elf.elffile import ELFFile
from tdco.cli import main
from tdco_sim.soc import firmware
from tdco_sim.soc.elf import read_elf
from tdco_sim.soc.lines import source_line

from .micro import build
from .riscv import assemble
from .test_soc import check_trace

MODEL = f"{Path(__file__).parents[1] / 'flow' / 'models.py'}:mlp"


def invoke(*arguments: str, code: int = 0) -> dict[str, Any]:
    """The JSON object of a command that ends with ``code``."""
    result = CliRunner().invoke(main, [*arguments, "--json"])
    assert result.exit_code == code, result.output + str(result.exception)
    return dict(json.loads(result.stdout))


def compile_mlp(out: Path, *options: str, code: int = 0) -> dict[str, Any]:
    return invoke("compile", MODEL, "-s", "train:*", "-c", "rm_12x4", "-o", str(out), *options, code=code)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("cli") / "out"
    return out, compile_mlp(out)


def test_compile_builds_the_firmware(compiled: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    out, result = compiled
    data = (out / "firmware.elf").read_bytes()
    assert result["firmware"]["bytes"] == len(data)
    assert result["firmware"]["sha256"] == hashlib.sha256(data).hexdigest()
    without = compile_mlp(tmp_path / "without", "--no-firmware")
    assert without["firmware"] is None
    assert not (tmp_path / "without" / "firmware.elf").exists()


@pytest.mark.skipif(not shutil.which("llvm-objdump"), reason="llvm-objdump is not installed")
def test_objdump_reads_the_firmware(compiled: tuple[Path, dict[str, Any]]) -> None:
    elf = compiled[0] / "firmware.elf"
    command = ["llvm-objdump", "-d", "-l", "--mattr=+m,+c", "--disassemble-symbols=tdco_run", elf]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "<tdco_run>:" in text
    assert "run.c:" in text
    assert "addi\tsp, sp" in text


GDB = shutil.which("gdb-multiarch") or shutil.which("gdb")


@pytest.mark.skipif(not GDB, reason="gdb is not installed")
def test_gdb_reads_the_firmware(compiled: tuple[Path, dict[str, Any]]) -> None:
    command = [str(GDB), "-batch", "-ex", "info line tdco_run", "-ex", "ptype tdco_prog"]
    command.append(str(compiled[0] / "firmware.elf"))
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "run.c" in text
    assert "uint32_t n_buffers;" in text


@pytest.mark.skipif(not shutil.which("readelf"), reason="binutils are not installed")
def test_binutils_read_the_firmware(compiled: tuple[Path, dict[str, Any]]) -> None:
    path = compiled[0] / "firmware.elf"
    command = ["readelf", "-W", "-h", "-l", "-s", path]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for part in (r"Machine:\s+RISC-V", r"LOAD .* R E ", r"FUNC +GLOBAL .* tdco_run$", r"OBJECT +GLOBAL .* tdco_prog$"):
        assert re.search(part, text, re.MULTILINE), part


@pytest.mark.skipif(not shutil.which("addr2line"), reason="binutils are not installed")
def test_source_lines_are_those_of_addr2line(compiled: tuple[Path, dict[str, Any]]) -> None:
    elf = read_elf(compiled[0] / "firmware.elf")
    functions = [s for s in elf.symbols if s.is_function and s.bytes]
    pcs = [s.addr + s.bytes * part // 10 & ~1 for s in functions[:: len(functions) // 12] for part in (0, 3, 6, 9)]
    command = ["addr2line", "-e", str(elf.path), *map(hex, pcs)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    want = [Path(line.split(" (")[0]).name for line in said]
    assert [source_line(elf.path, pc) for pc in pcs] == ["" if line.startswith("??") else line for line in want]


def test_elftools_reads_the_firmware(compiled: tuple[Path, dict[str, Any]]) -> None:
    with (compiled[0] / "firmware.elf").open("rb") as file:
        elf = ELFFile(file)
        assert elf.get_machine_arch() == "RISC-V"
        names = {Path(unit.get_top_DIE().get_full_path()).name for unit in elf.get_dwarf_info().iter_CUs()}
    assert {"run.c", "main.c", "program.c", "sgd.c"} <= names


def test_a_missing_compiler_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TDCO_CC", "/nowhere/clang")
    error = compile_mlp(tmp_path / "out", code=1)["error"]
    assert "/nowhere/clang" in error["where"]
    assert "ziglang" in error["hint"]
    monkeypatch.delenv("TDCO_CC")
    monkeypatch.setitem(sys.modules, "ziglang", None)  # as if it were not installed
    error = compile_mlp(tmp_path / "out", code=1)["error"]
    assert "no C compiler for RV32" in error["what"]
    assert (tmp_path / "out" / "program.c").exists()


CLANG = """#!/bin/sh
echo "$@" >>"$0.log"
[ "$1" = --version ] || {{ [ "$1 $2" = "{target}" ] && shift 2 && set -- {zig} "$@"; }} || exit 9
exec {python} -m ziglang cc "$@"
"""


@pytest.mark.parametrize("runs_zig", [True, False], ids=["zig", "clang"])
def test_the_compiler_can_be_chosen(runs_zig: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TDCO_CC is a command with arguments. As no clang need be installed, one that takes clang's flags is made."""
    python = shlex.quote(sys.executable)
    clang = tmp_path / "a clang"
    target, zig = (" ".join(flags) for flags in (firmware.CLANG_TARGET, firmware.ZIG_TARGET))
    clang.write_text(CLANG.format(target=target, zig=zig, python=python))
    clang.chmod(0o755)
    monkeypatch.setenv("TDCO_CC", f"{python} -m ziglang cc" if runs_zig else shlex.quote(str(clang)))
    monkeypatch.setenv("TDCO_CACHE", str(tmp_path / "cache"))
    elf = build("void tdco_start(uint32_t hart) { if (hart == 2) result[0] = hart * 1.5f; }", tmp_path)
    assert {"_start", "tdco_start", "tdco_printf"} <= elf.addresses.keys()
    (tmp_path / "one.S").write_text(
        ".option arch, +zfinx, +zhinx\n.globl _start\n_start: fadd.h a0, a1, a2\n mul a0, a0, a1\n"
    )
    assemble(tmp_path / "one.S", tmp_path / "one.elf")
    log = tmp_path / "a clang.log"
    assert runs_zig != log.exists()
    assert runs_zig or "one.S" in log.read_text()


def test_run_uses_the_firmware_and_reports(compiled: tuple[Path, dict[str, Any]]) -> None:
    out, made = compiled
    result = invoke("run", str(out), "--platform", "soc", "--profile")
    assert result["mismatches"] == 0
    assert result["words_compared"] > 0
    assert result["firmware_sha256"] == made["firmware"]["sha256"]
    assert result["profile"]["cycles"] == sum(result["profile"]["critical_path"].values()) == result["cycles"]
    energy = result["energy_uj"]
    parts = ("engine", "cores", "l2", "l3")
    assert energy["total"] == pytest.approx(sum(energy[part] for part in parts))
    assert energy["engine"] == pytest.approx(made["macs"] * 2 / 755e9 * 1e6)


def test_what_the_firmware_prints_is_reported(compiled: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(compiled[0], out)
    source = (out / "program.c").read_text()
    kernel = "tdco_nll_loss_f32"
    talks = f"""
        #ifdef __riscv
        #include "cluster.h"
        static const char words[] __attribute__((section(".l1.arguments"))) = "core %d of %d\\n";
        static void talks(const tdco_args *args, uint32_t core, uint32_t cores)
        {{
            {kernel}(args, core, cores);
            if (core == 3)
                tdco_printf(words, core, cores);
        }}
        #else /* on platform host */
        #define talks {kernel}
        #endif
    """
    head, calls = source.split("static const tdco_call calls[]")
    changed = f"{head}{talks}static const tdco_call calls[]{calls.replace(kernel, 'talks', 1)}"
    (out / "program.c").write_text(changed)
    for engine in ("golden", "model"):
        result = invoke("run", str(out), "--platform", "soc", "--engine", engine, "--steps", "2")
        assert result["output"] == 2 * "core 3 of 8\n"
        assert result["ok"]
    shown = CliRunner().invoke(main, ["run", str(out), "--platform", "soc"])
    assert shown.exit_code == 0 and "the firmware printed: core 3 of 8" in shown.stderr
    assert invoke("run", str(compiled[0]), "--platform", "soc")["output"] == ""


def test_a_step_on_the_cores_alone(compiled: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    made = compile_mlp(tmp_path / "out", "--no-engine")
    assert made["gemm_jobs"] == 0
    result = invoke("run", str(tmp_path / "out"), "--platform", "soc")
    assert result["mismatches"] == 0 and result["words_compared"] > 0
    assert result["busy"]["engine"] == 0
    assert result["loss"] == invoke("run", str(compiled[0]), "--platform", "soc")["loss"]


def test_rtl_runs_every_job_of_the_schedule(compiled: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    out, made = compiled
    trace = tmp_path / "t.json"
    ran = {
        engine: invoke("run", str(out), "--platform", "soc", "--engine", engine, "--trace", str(trace))
        for engine in ("golden", "model", "rtl")
    }
    for engine, result in ran.items():
        assert result["mismatches"] == 0 and result["words_compared"] > 0
        jobs, macs = (made["gemm_jobs"], made["macs"]) if engine == "rtl" else (0, 0)
        assert (result["rtl_jobs"], result["rtl_macs"]) == (jobs, macs)
    assert ran["model"]["cycles"] == ran["rtl"]["cycles"] >= ran["golden"]["cycles"]
    assert ran["golden"]["engine_timing"].startswith("ideal")
    slices, tracks = check_trace(trace)
    assert sum(tracks[e["tid"]] == "engine" for e in slices) == made["gemm_jobs"]


def test_waves_are_of_the_rtl(compiled: tuple[Path, dict[str, Any]]) -> None:
    for more in ([], ["--platform", "soc", "--engine", "model"]):
        assert invoke("run", str(compiled[0]), "--waves", "w.fst", *more, code=1)["error"]["where"] == "--waves"


def test_a_stale_firmware_never_runs(compiled: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """Whatever the files' times say."""
    out = tmp_path / "out"
    shutil.copytree(compiled[0], out)
    elf, source = out / "firmware.elf", out / "program.c"
    right = elf.read_bytes()
    elf.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
    result = invoke("run", str(out), "--platform", "soc")
    assert result["firmware_sha256"] == compiled[1]["firmware"]["sha256"]
    assert elf.read_bytes() == right
    text = source.read_text()
    source.write_text(text.replace("TDCO_CONFIG_HASH,", "TDCO_CONFIG_HASH + 1,"))
    assert source.read_text() != text
    os.utime(source, (0, 0))
    assert "was compiled for" in invoke("run", str(out), "--platform", "soc", code=1)["error"]["what"]


def test_faults_and_limits_end_a_run_with_code_1(compiled: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    run = ["run", str(compiled[0]), "--platform", "soc"]
    assert "not finished after 1000 cycles" in invoke(*run, "--max-cycles", "1000", code=1)["error"]["what"]
    assert invoke("run", str(compiled[0]), "--profile", code=1)["error"]["where"] == "--profile"
    broken = tmp_path / "broken"
    shutil.copytree(compiled[0], broken)
    source = (broken / "program.c").read_text()
    head, table = source.split("static const tdco_buffer buffers[]")
    (broken / "program.c").write_text(
        head + "static const tdco_buffer buffers[]" + table.replace(", 0, ", ", 9999, ", 1)
    )
    error = invoke("run", str(broken), "--platform", "soc", code=1)["error"]
    assert "outside the buffers of its command" in error["what"]
    assert "controller" in error["what"]


# what a change of the compiled program.c does: {name: (pattern, its replacement, messages)}
BROKEN: dict[str, tuple[str, str, list[str | tuple[str, str]]]] = {
    "a job that does not wait for the one before it": (
        # the first job waits for all copies of the second, which so comes right behind it, but without AFTER
        r"(1 Gemm 0\.linear \*/\n *\{\{3, )0x\w+, \{3, ((?:.*\n){1,2}.*3 Gemm 3\.linear \*/\n.*), 0x4A\},",
        r"\g<1>0, {5, \2, 0x0A},",
        [
            "engine job on bytes an earlier job uses, without the AFTER flag",
            "controller, pc",
            "in tdco_port_start, main.c:",
            "engine job 1 of 3 Gemm 3.linear",
            "the address is in 1.relu",
        ],
    ),
    "a kernel that does not wait for its jobs": (
        r"0x\w+, \{0, 0, 2, 0, 0\}\}, tdco_log_softmax_f16",
        "0, {0, 0, 0, 0, 0}}, tdco_log_softmax_f16",
        [
            ("load of bytes an engine job under way writes", "read by a core of bytes nobody wrote"),  # or not yet
            "core ",
            "in tdco_log_softmax_f16, cross_entropy.c:",
            "the address is in logits",
        ],
    ),
    "a kernel that leaves rows unwritten": (
        r"(tdco_log_softmax_f16, .*)\{4, 10\}",
        r"\1{3, 10}",
        [
            "read by a core of bytes nobody wrote",
            "core ",
            "in tdco_nll_loss_f32, cross_entropy.c:",
            "SoftmaxCrossEntropyLoss",
            "the address is in log_prob",
        ],
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_faults_of_a_compiled_program(name: str, compiled: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """The message names tensor, command, function and line; exit code 1, with cycle model and without."""
    pattern, replacement, messages = BROKEN[name]
    out = tmp_path / "out"
    shutil.copytree(compiled[0], out)
    text = (out / "program.c").read_text()
    changed, count = re.subn(pattern, replacement, text, count=1, flags=re.MULTILINE)
    assert count == 1 and changed != text
    (out / "program.c").write_text(changed)
    for engine in ("golden", "model"):
        what = invoke("run", str(out), "--platform", "soc", "--engine", engine, code=1)["error"]["what"]
        for message in messages:
            assert any(m in what for m in ([message] if isinstance(message, str) else message)), f"{message}: {what}"
        assert re.search(r"_\w+, \w+\.c:\d+;", what)
