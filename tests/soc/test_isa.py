"""The instruction set against expected values recorded from qemu-riscv32, and against it directly where installed: on
the bare core, and on the cluster, where fetch, loads and stores take the way they take in a training step.

``--seed`` chooses the fresh random programs.
"""

import json
from pathlib import Path

import pytest
from tdco_sim.soc.elf import read_elf
from tdco_sim.soc.iss import run

from .isa_programs import (
    EXPECTED,
    correct_half_sign_injections,
    fence_program,
    fp_program,
    integer_program,
    misaligned_program,
    programs,
    words_of,
)
from .micro import CFG
from .riscv import assemble, assemble_for_cluster, has_qemu, run_cluster, run_qemu

PROGRAMS = programs()
HARTS = CFG.cores + 1
needs_qemu = pytest.mark.skipif(not has_qemu(), reason="qemu-riscv32 is not installed")


def on_core(text: str, folder: Path) -> bytes:
    """What the program prints on the bare core."""
    source, elf = folder / "test.S", folder / "test.elf"
    source.write_text(text)
    assemble(source, elf)
    result = run(read_elf(elf))
    assert result.exit_code == 0, result.error
    return result.output


def on_cluster(text: str, folder: Path, hart: int, engine: str = "golden", data_in_l1: bool = True) -> bytes:
    """What the program leaves behind on a hart of the cluster."""
    source, elf = folder / "cluster.S", folder / "cluster.elf"
    source.write_text(text)
    assemble_for_cluster(source, elf, hart, data_in_l1=data_in_l1)
    code, why, words = run_cluster(read_elf(elf), "results", "results_end", engine)
    assert code == 0, why
    return words


def wrong(name: str, output: bytes) -> list[str]:
    expected = [int(word, 16) for word in json.loads(EXPECTED.read_text())[name].split()]
    return [label for label, a, b in zip(PROGRAMS[name][1], words_of(output), expected, strict=True) if a != b]


@pytest.mark.parametrize("name", PROGRAMS)
def test_program_prints_what_qemu_printed(name: str, tmp_path: Path) -> None:
    assert wrong(name, on_core(PROGRAMS[name][0], tmp_path)) == []


@pytest.mark.parametrize("name", PROGRAMS)
def test_program_on_the_cluster(name: str, tmp_path: Path) -> None:
    hart = list(PROGRAMS).index(name)
    assert wrong(name, on_cluster(PROGRAMS[name][0], tmp_path, hart)) == []


@pytest.mark.parametrize(("name", "engine", "data_in_l1"), [("random0", "rtl", True), ("random1", "golden", False)])
def test_program_on_the_cluster_with_data_elsewhere(name: str, engine: str, data_in_l1: bool, tmp_path: Path) -> None:
    """In the banks' RTL, in L2; on the controller."""
    assert wrong(name, on_cluster(PROGRAMS[name][0], tmp_path, CFG.cores, engine, data_in_l1)) == []


@needs_qemu
@pytest.mark.parametrize("count", [1, pytest.param(200, marks=pytest.mark.slow)])
def test_fresh_random_programs_agree_with_qemu(count: int, seed: int, tmp_path: Path) -> None:
    """The same registers, flags and memory."""
    for one in range(1000 * seed, 1000 * seed + count):
        text = integer_program(one)
        printed = on_core(text, tmp_path)
        assert (0, printed) == run_qemu(tmp_path / "test.elf"), f"program {one}"
        assert printed == on_cluster(text, tmp_path, one % HARTS), f"program {one}"


@needs_qemu
@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["s", "h"])
def test_fresh_operands_agree_with_qemu(suffix: str, seed: int, tmp_path: Path) -> None:
    text, labels = fp_program(suffix, f" {seed}")
    printed = on_core(text, tmp_path)
    code, output = run_qemu(tmp_path / "test.elf")
    want = words_of(output)
    if suffix == "h":
        correct_half_sign_injections(want, labels, f" {seed}")
    assert code == 0
    assert [label for label, a, b in zip(labels, words_of(printed), want, strict=True) if a != b] == []


def test_fences_order_stores_and_fetches(tmp_path: Path) -> None:
    """On the bare core; on the cluster with a worker and the controller; on QEMU."""
    text, want = fence_program(), [11, 22]
    assert words_of(on_core(text, tmp_path)) == want
    for hart in (3, CFG.cores):
        assert words_of(on_cluster(text, tmp_path, hart)) == want
    if has_qemu():
        assert run_qemu(tmp_path / "test.elf")[1] == on_core(text, tmp_path)


@pytest.mark.parametrize(("size", "offset"), [(2, 1), (2, 3), (4, 1), (4, 2), (4, 3)])
def test_misaligned_accesses(size: int, offset: int, tmp_path: Path) -> None:
    """The bare core does them; the cluster stops."""
    text, want = misaligned_program(size, offset)
    assert on_core(text, tmp_path) == want
    if has_qemu():
        assert run_qemu(tmp_path / "test.elf") == (0, want)
    with pytest.raises(AssertionError, match="misaligned load"):
        on_cluster(text, tmp_path, 0)


CSR_PROGRAM = """
#include "tdco_cluster.h"
.option arch, +zicsr, +zfinx, +zhinx
.section .text.init
.globl _start
_start:
    TDCO_BOOT
    la t0, handler
    csrw mtvec, t0
    li s1, 0
    csrr s5, mhartid
    csrr s2, minstret
    nop
    csrr s3, minstret
    sub s2, s3, s2
    csrwi mstatus, 8
    .word 0xFFFFFFFF
    csrr a1, 0x7C0
    csrwi frm, 5
    fadd.s a1, a1, a1, dyn
    csrwi frm, 0
    csrw mhartid, a1
    .word 0x00100073        # ebreak
    c.ebreak
#ifndef TDCO_HART           # there the run stops
    lw a1, 0(zero)
#endif
    csrr s4, mstatus
    csrw mtvec, zero
    la a1, results
    sw s1, 0(a1)
    sw s2, 4(a1)
    sw s4, 8(a1)
    sw s5, 12(a1)
    li a0, 0
    TDCO_END
.align 2
handler:
    csrr t1, mcause
    slli s1, s1, 4
    or s1, s1, t1
    csrr t1, mepc
    lhu t2, 0(t1)
    andi t2, t2, 3
    addi t1, t1, 2
    addi t2, t2, -3
    bnez t2, 1f             # the instruction is compressed
    addi t1, t1, 2
1:  csrw mepc, t1
    mret
.data
.align 4
results: .space 16
results_end:
"""
CAUSES = (
    2,
    2,
    2,
    2,
    3,
    3,
    5,
)  # illegal word, unknown CSR, reserved rounding, read-only CSR, two breakpoints, load fault


def test_traps_and_counters(tmp_path: Path) -> None:
    source, elf = tmp_path / "csr.S", tmp_path / "csr.elf"
    source.write_text(CSR_PROGRAM)
    assemble(source, elf)
    result = run(read_elf(elf))
    assert result.error == ""
    assert result.exit_code == 0
    causes = "".join(f"{cause:x}" for cause in CAUSES)
    # causes; instructions between two reads of minstret; mstatus: machine mode, MIE back from MPIE, MPIE set
    assert [result.registers[n] for n in (9, 18, 20)] == [int(causes, 16), 2, 0x1888]
    words = words_of(on_cluster(CSR_PROGRAM, tmp_path, hart=6))
    assert words == [int(causes[:-1], 16), 2, 0x1888, 6]


def test_illegal_instruction_without_handler_stops(tmp_path: Path) -> None:
    source, elf = tmp_path / "bad.S", tmp_path / "bad.elf"
    source.write_text(".section .text.init\n.globl _start\n_start: .word 0\n")
    assemble(source, elf)
    result = run(read_elf(elf))
    assert result.exit_code is None
    assert "cause 2" in result.error
