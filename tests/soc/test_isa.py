"""The instruction set against expected values recorded from qemu-riscv32, and against it directly where installed."""

import json
from pathlib import Path

import pytest
from tdco_sim.soc.elf import read_elf
from tdco_sim.soc.iss import run

from .isa_programs import EXPECTED, integer_program, programs, words_of
from .riscv import assemble, has_qemu, run_qemu

PROGRAMS = programs()


@pytest.mark.parametrize("name", PROGRAMS)
def test_program_prints_what_qemu_printed(name: str, tmp_path: Path) -> None:
    text, labels = PROGRAMS[name]
    source, elf = tmp_path / "test.S", tmp_path / "test.elf"
    source.write_text(text)
    assemble(source, elf)
    result = run(read_elf(elf))
    assert result.exit_code == 0, result.error
    expected = [int(word, 16) for word in json.loads(EXPECTED.read_text())[name].split()]
    wrong = [label for label, a, b in zip(labels, words_of(result.output), expected, strict=True) if a != b]
    assert wrong == []


@pytest.mark.skipif(not has_qemu(), reason="qemu-riscv32 is not installed")
@pytest.mark.parametrize("seed", [1000, pytest.param(range(1001, 1200), marks=pytest.mark.slow)])
def test_fresh_random_programs_agree_with_qemu(seed: int | range, tmp_path: Path) -> None:
    for one in [seed] if isinstance(seed, int) else seed:
        source, elf = tmp_path / "test.S", tmp_path / "test.elf"
        source.write_text(integer_program(one))
        assemble(source, elf)
        result = run(read_elf(elf))
        assert (0, result.output) == run_qemu(elf), f"seed {one}: {result.error}"


CSR_PROGRAM = """
.option arch, +zicsr, +zfinx, +zhinx
.section .text.init
.globl _start
_start:
    la t0, handler
    csrw mtvec, t0
    li s1, 0
    csrr a0, mhartid
    csrr s2, minstret
    nop
    csrr s3, minstret
    sub s2, s3, s2
    csrwi mstatus, 8
illegal_at:
    .word 0xFFFFFFFF
    csrr a1, 0x7C0
    csrwi frm, 5
    fadd.s a1, a1, a1, dyn
    csrwi frm, 0
    csrw mhartid, a1
    ebreak
    lw a1, 0(zero)
    csrr s4, mstatus
    csrw mtvec, zero
    mv a0, s1
    li a7, 93
    ecall
.align 2
handler:
    csrr t1, mcause
    slli s1, s1, 4
    or s1, s1, t1
    csrr t1, mepc
    addi t1, t1, 4
    csrw mepc, t1
    mret
"""


def test_traps_and_counters(tmp_path: Path) -> None:
    source, elf = tmp_path / "csr.S", tmp_path / "csr.elf"
    source.write_text(CSR_PROGRAM.replace("ebreak", ".option push\n.option norvc\n    ebreak\n.option pop"))
    assemble(source, elf)
    result = run(read_elf(elf))
    assert result.error == ""
    # causes in order: illegal word, unknown CSR, reserved rounding, read-only CSR, breakpoint, load fault
    assert result.exit_code == 0x222235
    assert result.registers[18] == 2  # instructions between two reads of minstret
    assert result.registers[20] == 0x1888  # machine mode, MIE back from MPIE, MPIE set


def test_illegal_instruction_without_handler_stops(tmp_path: Path) -> None:
    source, elf = tmp_path / "bad.S", tmp_path / "bad.elf"
    source.write_text(".section .text.init\n.globl _start\n_start: .word 0\n")
    assemble(source, elf)
    result = run(read_elf(elf))
    assert result.exit_code is None
    assert "cause 2" in result.error
