"""Generates the instruction test programs: each leaves words between `results` and `results_end`,
and where Linux is asked writes them to standard output.

``python -m tests.soc.isa_programs`` records what qemu-riscv32 prints for them in expected_isa.json.
"""

from __future__ import annotations

import json
import random
import struct
import tempfile
from pathlib import Path

EXPECTED = Path(__file__).parent / "expected_isa.json"
VECTORS = 1500
ROUNDINGS = ("rne", "rtz", "rdn", "rup", "rmm", "dyn")
ARITHMETIC = {"fadd": 2, "fsub": 2, "fmul": 2, "fdiv": 2, "fsqrt": 1, "fmadd": 3, "fmsub": 3, "fnmsub": 3, "fnmadd": 3}
UNROUNDED = {"fsgnj": 2, "fsgnjn": 2, "fsgnjx": 2, "fmin": 2, "fmax": 2, "feq": 2, "flt": 2, "fle": 2, "fclass": 1}
PROLOGUE = """#include "tdco_cluster.h"
.option arch, +zicsr, +zfinx, +zhinx
.section .text.init
.globl _start
_start:
    TDCO_BOOT
"""
EPILOGUE = """
#ifndef TDCO_HART
    li a0, 1
    la a1, results
    la a2, results_end
    sub a2, a2, a1
    li a7, 64
    ecall
#endif
    li a0, 0
    TDCO_END
"""


def fp_operations(suffix: str) -> dict[str, tuple[int, bool]]:
    """Instruction -> (operands, takes a rounding mode) of Zfinx ("s") or Zhinx ("h")."""
    other = "h" if suffix == "s" else "s"
    converts = (f"fcvt.w.{suffix}", f"fcvt.wu.{suffix}", f"fcvt.{suffix}.w", f"fcvt.{suffix}.wu")
    return {
        **{f"{op}.{suffix}": (n, True) for op, n in ARITHMETIC.items()},
        **{f"{op}.{suffix}": (n, False) for op, n in UNROUNDED.items()},
        **dict.fromkeys(converts, (1, True)),
        # widening is exact and the assembler gives it no rounding mode
        f"fcvt.{suffix}.{other}": (1, suffix == "h"),
    }


def _operand(rng: random.Random, exponent_bits: int, fraction_bits: int) -> int:
    top, ones = (1 << exponent_bits) - 1, (1 << fraction_bits) - 1
    bias = top >> 1
    exponent = rng.choice([0, 0, 1, 2, top - 1, top, bias, rng.randrange(top), bias + rng.randrange(-3, 4)])
    fraction = rng.choice([0, 1, ones, ones - 1, ones >> 1, (ones >> 1) + 1, 1 << rng.randrange(fraction_bits)])
    if rng.random() < 0.5:
        fraction = rng.getrandbits(fraction_bits)
    return rng.getrandbits(1) << (exponent_bits + fraction_bits) | exponent << fraction_bits | fraction


def fp_operands(suffix: str, seed: str = "") -> list[int]:
    """VECTORS operand triples, one after the other: special and random values, some of them integers."""
    rng = random.Random(f"fp {suffix}{seed}")
    widths = (8, 23) if suffix == "s" else (5, 10)
    words = []
    for _ in range(3 * VECTORS):
        if rng.random() < 0.9:
            value = _operand(rng, *widths) | (0 if suffix == "s" else rng.getrandbits(16) << 16)
        else:
            value = rng.getrandbits(rng.choice([8, 24, 31, 32])) * rng.choice([1, -1])
        words.append(value & 0xFFFFFFFF)
    return words


def half_sign_injections(seed: str = "") -> dict[str, int]:
    """The words fp_program("h") prints for fsgnjn.h and fsgnjx.h; QEMU 7.2 writes 0 for every operand of these two."""
    words, hashes = fp_operands("h", seed), {}
    for op, flip in (
        ("fsgnjn.h", lambda a, b: (a & 0x7FFF) | (~b & 0x8000)),
        ("fsgnjx.h", lambda a, b: a ^ b & 0x8000),
    ):
        hashed = 0
        for a, b in zip(words[::3], words[1::3], strict=True):
            half = flip(a, b) & 0xFFFF
            result = half | (0xFFFF0000 if half & 0x8000 else 0)
            hashed = ((hashed << 5 | hashed >> 27) & 0xFFFFFFFF ^ result) * 0x9E3779B1 & 0xFFFFFFFF
        hashes[op] = hashed
    return hashes


def fp_program(suffix: str, seed: str = "") -> tuple[str, list[str]]:
    """Assembly, and for each word it prints what the word is the hash of: an instruction and rounding mode.

    The hash runs over the results and flags of all operand triples.
    """
    words = fp_operands(suffix, seed)
    text, labels = [PROLOGUE, "    la s1, results\n    li s4, 0x9E3779B1\n"], []
    for op, (operands, rounds) in fp_operations(suffix).items():
        sources = "a0, a1, a2"[: 4 * operands - 2]
        for mode in ROUNDINGS if rounds else ("",):
            frm = 3 if mode == "dyn" else 1 if mode == "rne" else 0
            labels.append(f"{op} {mode}".strip())
            text.append(f"""
    csrwi frm, {frm}
    la s0, operands
    li s2, {VECTORS}
    li s3, 0
1:  lw a0, 0(s0)
    lw a1, 4(s0)
    lw a2, 8(s0)
    addi s0, s0, 12
    csrwi fflags, 0
    {op} a3, {sources}{", " + mode if mode else ""}
    csrr a4, fflags
    slli a5, s3, 5
    srli s3, s3, 27
    or s3, s3, a5
    xor s3, s3, a3
    mul s3, s3, s4
    add s3, s3, a4
    addi s2, s2, -1
    bnez s2, 1b
    sw s3, 0(s1)
    addi s1, s1, 4
""")
    data = [".data", ".align 4", "operands:", *(f".word {w}" for w in words)]
    data += ["results:", f".space {4 * len(labels)}", "results_end:", ""]
    return "".join(text) + EPILOGUE + "\n".join(data), labels


REGISTERS = [f"x{i}" for i in (1, 3, 4, 6, 7, 8, 10, 11, 12, 13, 14, 15, 16, 28, 30, 31)]  # x2, x5, x9 are bases
REG_OPS = ("add", "sub", "sll", "slt", "sltu", "xor", "srl", "sra", "or", "and")
MUL_OPS = ("mul", "mulh", "mulhsu", "mulhu", "div", "divu", "rem", "remu")
IMM_OPS = ("addi", "slti", "sltiu", "xori", "ori", "andi")
SHIFT_OPS = ("slli", "srli", "srai")
LOADS = {"lb": 1, "lbu": 1, "lh": 2, "lhu": 2, "lw": 4}
STORES = {"sb": 1, "sh": 2, "sw": 4}
BRANCHES = ("beq", "bne", "blt", "bge", "bltu", "bgeu")
FP_MIX = ("fadd.s", "fmul.s", "fsub.h", "fmul.h", "fmin.s", "fmax.h", "fle.s", "feq.h", "fsgnjx.s", "fdiv.s")


def _instruction(rng: random.Random, index: int) -> str:
    reg = rng.choice
    d, a, b = reg(REGISTERS), reg(REGISTERS), reg(REGISTERS)
    if rng.random() < 0.4:
        a = d  # the two-address forms compress
    base, offset = rng.choice([("x2", rng.randrange(64)), ("x9", rng.randrange(32)), ("x5", rng.randrange(-64, 64))])
    kind = rng.randrange(13)
    if kind < 4:
        return f"{rng.choice(REG_OPS + MUL_OPS)} {d}, {a}, {b}"
    if kind < 6:
        return f"{rng.choice(IMM_OPS)} {d}, {a}, {rng.choice([rng.randrange(-32, 32), rng.randrange(-2048, 2048)])}"
    if kind == 6:
        return f"{rng.choice(SHIFT_OPS)} {d}, {a}, {rng.randrange(32)}"
    if kind == 7:
        op, size = rng.choice(list(LOADS.items()))
        return f"{op} {d}, {offset * size}({base})"
    if kind == 8:
        op, size = rng.choice(list(STORES.items()))
        return f"{op} {d}, {offset * size}({base})"
    if kind == 9:
        other = rng.choice([b, "x0"])  # comparisons with zero compress
        return f"{rng.choice(BRANCHES)} {d}, {other}, {index}f\n    addi {d}, {d}, {index % 31}\n{index}:"
    if kind == 10:
        return rng.choice([f"lui {d}, {rng.getrandbits(20)}", f"jal {d}, {index}f\n    nop\n{index}:\n    li {d}, 5"])
    if kind == 11:
        jump = rng.choice([f"jr {d}", f"jalr {d}"])
        return rng.choice(
            [
                f"la {d}, {index}f\n    {jump}\n    addi {d}, {d}, 9\n{index}:\n    li x1, 7\n    li {d}, {index % 31}",
                f"lui {d}, {rng.randrange(1, 32)}",
                f"mv {d}, {b}",
                f"addi {d}, x2, {4 * rng.randrange(1, 256)}\n    sub {d}, {d}, x2",
                f"j {index}f\n    li {d}, 3\n{index}:",
            ]
        )
    op = rng.choice(FP_MIX)
    return f"{op} {d}, {a}, {b}"


def stack_program() -> tuple[str, list[str]]:
    """c.addi16sp, which random programs leave out because x2 is a base of theirs, with every immediate."""
    immediates = [16 * i for i in range(-32, 32) if i]
    lines = [
        f"    li sp, 0x7FFFFF80\n    c.addi16sp sp, {imm}\n    sw sp, {4 * i}(s1)" for i, imm in enumerate(immediates)
    ]
    data = f"\n.data\n.align 4\nresults:\n.space {4 * len(immediates)}\nresults_end:\n"
    return "\n".join([PROLOGUE, "    la s1, results", *lines]) + EPILOGUE + data, [f"sp {imm:+}" for imm in immediates]


def fence_program() -> str:
    """Code that overwrites the first instruction of a function, and calls it before and after fence.i."""
    return (
        PROLOGUE
        + """
    la s1, results
    fence
    fence rw, w
    jal changed
    sw a0, 0(s1)
    la t0, changed
    la t1, instead
    lw t1, 0(t1)
    sw t1, 0(t0)
    fence.i
    jal changed
    sw a0, 4(s1)
"""
        + EPILOGUE
        + """
.option norvc
.align 2
changed: li a0, 11
    ret
instead: li a0, 22
.data
.align 4
results: .space 8
results_end:
"""
    )


def misaligned_program(size: int, offset: int) -> tuple[str, bytes]:
    """A load and a store of ``size`` bytes, ``offset`` behind an aligned address: assembly, and what it leaves."""
    held = bytes(range(0x91, 0x99))
    load, store = {2: ("lhu", "sh"), 4: ("lw", "sw")}[size]
    text = PROLOGUE + f"    la s1, results\n    {load} a0, {offset}(s1)\n    sw a0, 8(s1)\n    li a1, 0x44332211\n"
    text += f"    {store} a1, {16 + offset}(s1)\n" + EPILOGUE
    words = ", ".join(str(byte) for byte in held)
    text += f".data\n.align 4\nresults: .byte {words}\n.space 16\nresults_end:\n"
    stored = bytearray(8)
    stored[offset : offset + size] = bytes([0x11, 0x22, 0x33, 0x44])[:size]
    return text, held + held[offset : offset + size].ljust(8, b"\0") + stored


def integer_program(seed: int) -> str:
    """A random program of 4,000 instructions on random registers; prints its scratch memory, registers and fcsr."""
    rng = random.Random(seed)
    lines = [PROLOGUE, "    la x2, scratch", "    la x5, scratch + 512", "    la x9, scratch + 256"]
    lines += [f"    li {r}, {rng.getrandbits(32)}" for r in REGISTERS]
    lines += [f"    {_instruction(rng, index)}" for index in range(1, 4001)]
    lines += [f"    sw {r}, {4 * i}(x2)" for i, r in enumerate(REGISTERS)]
    lines += ["    csrr x1, fcsr", f"    sw x1, {4 * len(REGISTERS)}(x2)"]
    words = "\n".join(f".word {rng.getrandbits(32)}" for _ in range(256))
    return "\n".join(lines) + EPILOGUE + f".data\n.align 4\nresults:\nscratch:\n{words}\nresults_end:\n"


INTEGER_SEEDS = range(4)


def programs() -> dict[str, tuple[str, list[str]]]:
    """Name -> assembly and the meaning of each printed word."""
    cases = {"zfinx": fp_program("s"), "zhinx": fp_program("h"), "stack": stack_program()}
    for seed in INTEGER_SEEDS:
        cases[f"random{seed}"] = integer_program(seed), [f"word {i}" for i in range(256)]
    return cases


def correct_half_sign_injections(words: list[int], labels: list[str], seed: str = "") -> None:
    for op, word in half_sign_injections(seed).items():
        words[labels.index(op)] = word


def words_of(output: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(output) // 4}I", output))


def record() -> None:
    from .riscv import assemble, run_qemu

    expected = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (text, labels) in programs().items():
            source, elf = Path(folder) / f"{name}.S", Path(folder) / f"{name}.elf"
            source.write_text(text)
            assemble(source, elf)
            code, output = run_qemu(elf)
            assert code == 0 and len(output) == 4 * len(labels), name
            words = words_of(output)
            if name == "zhinx":
                correct_half_sign_injections(words, labels)
            expected[name] = " ".join(f"{w:08x}" for w in words)
    EXPECTED.write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    record()
