"""Every fault the cluster simulator can raise, provoked: what it says, and where it says it happened."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest
from tdco_sim.soc.elf import Elf
from tdco_sim.soc.simulator import Simulator, Stop, describe
from tdco_spec import MEMORY_MAP

from .micro import CFG, build, engine_of, run

L1, L2, L3 = (MEMORY_MAP[name].base for name in ("l1", "l2", "l3"))
TENSORS = L1 + CFG.l1_reserved_bytes
ENGINES = ("golden", "model", "rtl")
PROGRAM = """
    #define l1 ((volatile uint32_t *)(TDCO_L1_BASE + TDCO_L1_RESERVED_BYTES))
    #define l2 ((volatile uint32_t *)TDCO_L2_BASE)
    #define TENSORS (TDCO_L1_BASE + TDCO_L1_RESERVED_BYTES)
    #define LENGTH(bytes) ((bytes) | TDCO_DMA_COMMAND_INCREMENT)
    #define IN(at, from, bytes) tdco_dma_start(TENSORS + at, TDCO_L2_BASE + from, bytes, 1, 0, 1)
    #define OUT(at, to, bytes) tdco_dma_start(TENSORS + at, TDCO_L2_BASE + to, bytes, 1, 0, 0)
    #define IN2(at, from, rows) tdco_dma_start(TENSORS + at, TDCO_L2_BASE + from, 8, rows, 16, 1)
    #define OUT2(at, to, rows) tdco_dma_start(TENSORS + at, TDCO_L2_BASE + to, 8, rows, 16, 0)
    #define FROM_L3(at, bytes) l3_start(TDCO_L2_BASE + at, TDCO_L3_BASE, bytes, 1)
    #define TO_L3(at, bytes) l3_start(TDCO_L2_BASE + at, TDCO_L3_BASE + 0x1000, bytes, 0)
    volatile uint32_t which, hart_of_case;
    static uint32_t m = 8, k = 8, l3_started;
    __attribute__((noinline)) static void job(uint32_t x, uint32_t z, uint32_t flags)
    {
        const uint32_t words[TDCO_JOB_WORDS]
            = {TENSORS + x, TENSORS + 0x200, 0, TENSORS + z, 16, 16, 0, 16, 8 << 16 | m, flags << 16 | k};
        for (uint32_t i = 0; i < TDCO_JOB_WORDS; i++)
            *tdco_reg(TDCO_ENGINE_BASE + TDCO_REG_X_ADDR + 4 * i) = words[i];
        *tdco_reg(TDCO_ENGINE_BASE + TDCO_REG_TRIGGER) = 0;
    }
    __attribute__((noinline)) static void l3_start(uint32_t at, uint32_t l3, uint32_t bytes, uint32_t to_l2)
    {
        l3_started++;
        *tdco_reg(TDCO_L3_DMA_BASE + TDCO_L3_DMA_L2_ADDR) = at;
        *tdco_reg(TDCO_L3_DMA_BASE + TDCO_L3_DMA_L3_ADDR) = l3;
        *tdco_reg(TDCO_L3_DMA_BASE + TDCO_L3_DMA_LENGTH) = bytes;
        *tdco_reg(TDCO_L3_DMA_BASE + TDCO_L3_DMA_START) = to_l2;
    }
    __attribute__((noinline)) static void counter(void) { (void)*tdco_reg(TDCO_DMA_BASE + TDCO_DMA_COMMAND); }
    __attribute__((noinline)) static void command(uint32_t word, uint32_t at, uint32_t from)
    {
        volatile uint32_t *const to = tdco_reg(TDCO_DMA_BASE + TDCO_DMA_COMMAND);
        *to = word;
        *to = at;
        *to = from;
    }
    volatile const uint32_t constant = 1;
    static void wait(uint32_t cycles)
    {
        for (uint32_t start = tdco_cycles(); tdco_cycles() - start < cycles;) {
        }
    }
@CASES@
    static void (*const cases[])(void) = {@NAMES@};
    void tdco_start(uint32_t hart)
    {
        if (hart == TDCO_CORES && hart_of_case == TDCO_CORES) {
            cache_on();
            for (uint32_t i = 0; i < 0x1000 / 4; i++)
                l1[i] = l2[i] = 0x3C003C00;
            l3_start(TDCO_L2_BASE, TDCO_L3_BASE, 0x400, 0);
            tdco_wait_event(TDCO_EVENT_L3_DMA);
        }
        if (hart == hart_of_case)
            cases[which]();
        if (hart == TDCO_CORES && hart_of_case == TDCO_CORES) {
            while (*tdco_reg(TDCO_ENGINE_BASE + TDCO_REG_STATUS))
                tdco_wait_event(TDCO_EVENT_ENGINE);
            while (*tdco_reg(TDCO_DMA_BASE + TDCO_DMA_STATUS) & 0xFFFF)
                tdco_wait_event(TDCO_EVENT_DMA);
            while (*tdco_reg(TDCO_L3_DMA_BASE + TDCO_L3_DMA_FINISHED) != l3_started)
                tdco_wait_event(TDCO_EVENT_L3_DMA);
            result[0] = l1[0x100 / 4];
            result[1] = l1[0x300 / 4];
            tdco_exit(0);
        }
        for (;;)
            tdco_wait_event(TDCO_EVENT_WORK);
    }
"""


def program(folder: Path) -> Elf:
    """All cases in one program: each a function of one line, called on one hart."""
    cases = [f"    __attribute__((noinline)) void case_{i}(void) {{ {body} }}" for i, body in enumerate(BODIES)]
    names = ", ".join(f"case_{i}" for i in range(len(BODIES)))
    return build(PROGRAM.replace("@CASES@", "\n".join(cases)).replace("@NAMES@", names), folder)


@pytest.fixture(scope="module")
def elf(tmp_path_factory: pytest.TempPathFactory) -> Elf:
    return program(tmp_path_factory.mktemp("faults"))


def stop_of(elf: Elf, body: str, hart: int = CFG.cores, engine: str = "golden") -> tuple[Stop, str, list[int]]:
    """How a case ended on ``hart``: why, in words, and the first words of ``result``."""
    with Simulator(CFG, elf, **engine_of(engine)) as sim:
        sim.start()
        sim.write(elf.addresses["which"], BODIES.index(body).to_bytes(4, "little"))
        sim.write(elf.addresses["hart_of_case"], hart.to_bytes(4, "little"))
        stop = sim.run(100_000)
        words = struct.unpack("<2I", sim.read(elf.addresses["result"], 8))
        return stop, describe(stop, elf, CFG.cores), list(words)


def place_of(body: str) -> str:
    """The function and line of a case, as a fault names them."""
    index = BODIES.index(body)
    return f"in case_{index}, test.c:{PROGRAM[: PROGRAM.index('@CASES@')].count(chr(10)) + 2 + index}"


def check(stop: Stop, why: str, message: str, *where: str) -> None:
    assert stop.exit_code is None, f"{where}: no fault, but {message}"
    assert why.startswith(message), why
    for part in where:
        assert part in why, f"{part}: {why}"
    if stop.hart is not None:
        assert re.search(r"pc 0x1C[0-9A-F]{6} in \w+, \w+\.[ch]:\d+", why), why


# what a core does alone: {name: (statements, message, address or 0)}
ALONE = {
    "unmapped store": ("*(volatile uint32_t *)0x30000000 = 1;", "store outside mapped memory", 0x30000000),
    "unmapped load": ("(void)*(volatile uint8_t *)0x18000000;", "load outside mapped memory", 0x18000000),
    "L3, which cores do not reach": (f"*(volatile uint32_t *){L3} = 1;", "store outside mapped memory", L3),
    "null": ("*(volatile uint32_t *)4 = 1;", "store outside mapped memory", 4),
    "misaligned load": ("(void)*(volatile uint32_t *)(TDCO_L1_BASE + 0x4002);", "misaligned load", L1 + 0x4002),
    "misaligned half": ("(void)*(volatile uint16_t *)(TDCO_L2_BASE + 1);", "misaligned load", L2 + 1),
    "misaligned store": ("*(volatile uint32_t *)(TDCO_L1_BASE + 0x4001) = 1;", "misaligned store", L1 + 0x4001),
    "unwritten L1": ("(void)*(volatile uint32_t *)(TDCO_L1_BASE + 0x4000);", "read by a core of bytes", L1 + 0x4000),
    "unwritten byte": (
        "volatile uint8_t *p = (volatile uint8_t *)TDCO_L1_BASE + 0x4000; *p = 1; (void)*(volatile uint16_t *)p;",
        "read by a core of bytes nobody wrote",
        L1 + 0x4000,
    ),
    "unwritten L2": ("(void)*(volatile uint32_t *)(TDCO_L2_BASE + 64);", "load of bytes nobody wrote", L2 + 64),
    "illegal": ('__asm__ volatile(".word 0");', "illegal instruction", 0),
    "reserved rounding": ('__asm__ volatile("csrwi frm, 5\\nfadd.s t0, t0, t0, dyn");', "illegal instruction", 0),
    "unknown CSR": ('__asm__ volatile("csrr t0, 0x7C0" ::: "t0");', "illegal instruction", 0),
    "breakpoint": ('__asm__ volatile("ebreak");', "breakpoint", 0),
    "environment call": ('__asm__ volatile("ecall");', "environment call", 0),
    "wild jump": ("((void (*)(void))(TDCO_L2_BASE + 0x100))(); result[0] = 1;", "jump outside the program", L2 + 0x100),
    "another stack": ("*(volatile uint32_t *)TDCO_L1_BASE = 1;", "stack overflow, or access to another core's", L1),
    "no event register": ("*tdco_reg(TDCO_EVENT_UNIT_BASE + 0x54) = 1;", "access to no register of the event unit", 0),
    "no barrier": ("*tdco_reg(TDCO_EVENT_UNIT_BASE + 0x300) = 1;", "access to no register of the event unit", 0),
    "no DMA register": ("*tdco_reg(TDCO_DMA_BASE + 8) = 1;", "store to no register of the DMA", 0),
    "no DMA register to load": ("(void)*tdco_reg(TDCO_DMA_BASE + 8);", "load from no register of the DMA", 0),
    "no L3 DMA register": ("*tdco_reg(TDCO_L3_DMA_BASE + 0x20) = 1;", "store to no register of the L3 DMA", 0),
    "L3 DMA register of stores": ("(void)*tdco_reg(TDCO_L3_DMA_BASE);", "load from no register of the L3 DMA", 0),
    "no engine register": ("*tdco_reg(TDCO_ENGINE_BASE + 0x68) = 1;", "access to no register of the engine", 0),
    "no engine register to load": (
        "(void)*tdco_reg(TDCO_ENGINE_BASE + 0x3F0);",
        "access to no register of the engine",
        MEMORY_MAP["engine"].base + 0x3F0,
    ),
    "last of the engine's window": ("*tdco_reg(TDCO_ENGINE_BASE + 0x3F4) = 1;", "access to no register of the eng", 0),
    "no cache register": ("*tdco_reg(TDCO_ICACHE_BASE + 0x20) = 1;", "access to no register of the instruction c", 0),
    "no cache register to load": ("(void)*tdco_reg(TDCO_ICACHE_BASE + 4);", "access to no register of the instr", 0),
    "no output register": ("*tdco_reg(TDCO_STDOUT_BASE + 4) = 'x';", "store to no register", 0),
    "output register to load": ("(void)*tdco_reg(TDCO_STDOUT_BASE);", "load from no register", 0),
    "no exit register": ("*tdco_reg(TDCO_SOC_CONTROL_BASE) = 1;", "store to no register", 0),
    "byte of a register": ("*(volatile uint8_t *)TDCO_DMA_BASE = 1;", "access to a peripheral's register by less", 0),
    "byte of the engine": (
        "*(volatile uint8_t *)TDCO_ENGINE_BASE = 1;",
        "access to a peripheral's register by less",
        0,
    ),
    "DMA without a counter": ("command(LENGTH(64), TENSORS, TDCO_L2_BASE);", "DMA command without a counter", 0),
    "DMA of nothing": ("counter(); command(LENGTH(0), TENSORS, TDCO_L2_BASE);", "DMA command of no bytes", 0),
    "DMA to one address": ("counter(); command(64, TENSORS, TDCO_L2_BASE);", "DMA command 0x00000040 beyond length", 0),
    "DMA with an unknown bit": (
        "counter(); command(LENGTH(64) | 1 << 21, TENSORS, TDCO_L2_BASE);",
        "DMA command 0x00240040 beyond length, direction, 2-D and event",
        0,
    ),
    "L3 DMA of nothing": ("l3_start(TDCO_L2_BASE, TDCO_L3_BASE, 0, 1);", "L3 DMA transfer of no bytes", 0),
    "L3 DMA outside L2": ("l3_start(TENSORS, TDCO_L3_BASE, 64, 1);", "L3 DMA transfer leaves its memories", TENSORS),
    "L3 DMA outside L3": (
        "l3_start(TDCO_L2_BASE, TDCO_L3_BASE + TDCO_L3_SIZE - 4, 64, 1);",
        "L3 DMA transfer leaves its memories",
        L3 + CFG.l3_bytes - 4,
    ),
    "L3 DMA of unwritten L3": ("l3_start(TDCO_L2_BASE, TDCO_L3_BASE, 64, 1);", "L3 DMA reads bytes nobody wrote", L3),
    "L3 DMA of unwritten L2": ("l3_start(TDCO_L2_BASE, TDCO_L3_BASE, 64, 0);", "L3 DMA reads bytes nobody wrote", L2),
}


@pytest.mark.parametrize("name", ALONE)
def test_fault_of_one_core(name: str, elf: Elf) -> None:
    body, message, addr = ALONE[name]
    stop, why, _ = stop_of(elf, body, hart=3)
    called = re.search(r"(command|l3_start)\(.*\);$", body)
    check(stop, why, message, "core 3, pc", f"in {called[1]}, test.c:" if called else place_of(body))
    assert not stop.issued
    if addr:
        assert f"address 0x{addr:08X}" in why


DMA_STORE, DMA_LOAD = "store to bytes a DMA transfer under way uses", "load of bytes a DMA transfer under way writes"
JOB_STORE, JOB_LOAD = "store to bytes an engine job under way uses", "load of bytes an engine job under way writes"
L3_STORE, L3_LOAD = "store to bytes the L3 DMA uses", "load of bytes the L3 DMA writes"
BOTH_WAYS = "DMA transfer of bytes one in the other direction uses"
DMA_L3, L3_DMA = "DMA transfer of bytes the L3 DMA uses", "L3 DMA transfer of bytes a DMA transfer under way uses"
# two users of the same bytes: {statements: (message, address)}
RACES = {
    # in L1
    "IN(0, 0, 0x1000); l1[0] = 1;": (DMA_STORE, TENSORS),
    "IN(0, 0, 0x1000); result[2] = l1[4];": (DMA_LOAD, TENSORS + 16),
    "OUT(0, 0, 0x1000); l1[0] = 1;": (DMA_STORE, TENSORS),
    "IN(0, 0, 0x1000); OUT(32, 0x2000, 64);": (BOTH_WAYS, TENSORS + 32),
    "OUT(0, 0x2000, 0x1000); IN(32, 0x400, 64);": (BOTH_WAYS, TENSORS + 32),
    "OUT(0, 0x2000, 0x1000); job(0x80, 0x80, 0);": (
        "engine job on bytes a DMA transfer under way uses",
        TENSORS + 0x80,
    ),
    "IN(0, 0, 0x1000); job(0x80, 0x1200, 0);": ("engine job on bytes a DMA transfer under way uses", TENSORS + 0x80),
    "k = 64; job(0, 0x100, 0); OUT(0x100, 0, 8);": ("DMA transfer of bytes an engine job", TENSORS + 0x100),
    "k = 64; job(0, 0x100, 0); IN(0x10, 0, 8);": ("DMA transfer of bytes an engine job", TENSORS + 0x10),
    "job(0, 0x100, 0); l1[0x100 / 4] = 1;": (JOB_STORE, TENSORS + 0x100),
    "job(0, 0x100, 0); result[2] = l1[0x100 / 4];": (JOB_LOAD, TENSORS + 0x100),
    "job(0, 0x100, 0); l1[0] = 1;": (JOB_STORE, TENSORS),
    "job(0, 0x100, 0); job(0x100, 0x300, 0);": (
        "engine job on bytes an earlier job uses, without the",
        TENSORS + 0x100,
    ),
    # in L2
    "IN(0, 0, 0x1000); l2[0] = 1;": (DMA_STORE, L2),
    "OUT(0, 0, 0x1000); l2[0] = 1;": (DMA_STORE, L2),
    "OUT(0, 0, 0x1000); result[2] = l2[8];": (DMA_LOAD, L2 + 32),
    "IN(0x1000, 0, 0x1000); OUT(0x400, 32, 64);": (BOTH_WAYS, L2 + 32),
    "OUT(0, 0, 0x1000); IN(0x1000, 32, 64);": (BOTH_WAYS, L2 + 32),
    "IN2(0, 0, 128); OUT2(0x400, 20, 8);": (BOTH_WAYS, L2 + 20),
    # L3 and L2
    "FROM_L3(0, 0x400); l2[0] = 1;": (L3_STORE, L2),
    "FROM_L3(0, 0x400); result[2] = l2[1];": (L3_LOAD, L2 + 4),
    "TO_L3(0, 0x400); l2[0] = 1;": (L3_STORE, L2),
    "FROM_L3(0, 0x400); IN(0, 64, 64);": (DMA_L3, L2 + 64),
    "FROM_L3(0, 0x400); OUT(0, 64, 64);": (DMA_L3, L2 + 64),
    "TO_L3(0, 0x400); OUT(0, 64, 64);": (DMA_L3, L2 + 64),
    "IN(0, 0, 0x1000); FROM_L3(64, 64);": (L3_DMA, L2 + 64),
    "OUT(0, 0, 0x1000); FROM_L3(64, 64);": (L3_DMA, L2 + 64),
    "OUT(0, 0, 0x1000); TO_L3(64, 64);": (L3_DMA, L2 + 64),
}
# and what is none: both read, bytes between strided rows, one direction's queue, a job that waits, what has ended
NO_RACES = (
    "IN(0, 0, 0x1000); result[2] = l2[0];",
    "OUT(0, 0x400, 256); result[2] = l1[0];",
    "IN(0x400, 0, 512); TO_L3(0, 64); l2[0x80] = 1;",
    "IN2(0, 0, 64); OUT2(0x400, 8, 64);",
    "OUT(0, 0, 512); OUT(0x200, 0, 64);",
    "IN(0, 0, 512); IN(0, 64, 64);",
    "job(0, 0x100, 0); job(0x100, 0x300, TDCO_JOB_AFTER);",
    "job(0, 0x100, 0); tdco_wait_event(TDCO_EVENT_ENGINE); job(0x100, 0x300, 0);",
    "job(0, 0x100, 0); while (*tdco_reg(TDCO_ENGINE_BASE + TDCO_REG_FINISHED) == 0); job(0x100, 0x300, 0);",
    "job(0, 0x100, 0); while (*tdco_reg(TDCO_ENGINE_BASE + TDCO_REG_STATUS)); job(0x100, 0x300, 0);",
    "job(0, 0x100, 0); job(0, 0x300, 0); result[2] = l1[0];",
    "job(0, 0x100, 0); tdco_wait_event(TDCO_EVENT_ENGINE); l1[0] = 1; result[2] = l1[0x100 / 4];",
    "k = 64; m = 64; job(0, 0x10000, 0); *tdco_reg(TDCO_ENGINE_BASE + TDCO_REG_SOFT_CLEAR) = 0; l1[0] = 1;",
)


@pytest.mark.parametrize("engine", ENGINES)
def test_two_users_of_the_same_bytes_are_found(engine: str, elf: Elf) -> None:
    for body, (message, addr) in RACES.items():
        stop, why, _ = stop_of(elf, body, engine=engine)
        called = re.search(r"(IN|OUT|IN2|OUT2|FROM_L3|TO_L3|job)\([^()]*\);$", body)
        where = (
            "job" if called and called[1] == "job" else "l3_start" if called and "L3" in called[1] else "tdco_dma_start"
        )
        check(
            stop, why, message, f"address 0x{addr:08X}, controller, pc", f"in {where}, " if called else place_of(body)
        )


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_no_race_is_let_go(engine: str, elf: Elf) -> None:
    for body in NO_RACES:
        stop, why, words = stop_of(elf, body, engine=engine)
        assert stop.exit_code == 0, f"{body}: {why}"
        if "job(0x100, 0x300" in body:
            assert words == [0x48004800, 0x54005400]  # 8 and 64


# what moves bytes goes wrong after the instruction that started it: {statements: (message, lowest address, bytes)}
LATER = {
    "job(0x1000, 0x300, 0);": ("read by the engine of bytes nobody wrote", TENSORS + 0x1000, 128),
    "OUT(0x2000, 0, 64);": ("read by the DMA of bytes nobody wrote", TENSORS + 0x2000, 64),
    "IN(0, 0x10000, 64);": ("DMA reads bytes of L2 nobody wrote", L2 + 0x10000, 64),
    "OUT(0, TDCO_L2_SIZE - 4, 64);": ("DMA transfer leaves L2", L2 + CFG.l2_bytes, 64),
    "IN(0x1DFFC, 0, 64);": ("access by the DMA outside L1", L1 + CFG.l1_bytes, 64),
}


@pytest.mark.parametrize("engine", ENGINES)
def test_what_goes_wrong_later_names_who_started_it(engine: str, elf: Elf) -> None:
    for body, (message, lowest, size) in LATER.items():
        stop, why, _ = stop_of(elf, body, engine=engine)
        check(stop, why, message, "issued by controller, pc")
        assert stop.issued and lowest <= stop.addr < lowest + size, why
        assert ("in job, test.c:" if "job" in body else "in tdco_dma_start, cluster.c:") in why


# jobs the engine refuses or cannot do
BAD_JOBS = {
    "k = 0; job(0, 0x100, 0);": "illegal engine job",
    "job(1, 0x100, 0);": "illegal engine job",
    "k = m = 64; for (int i = 0; i < 5; i++) job(0, 0x1000 + 0x400 * i, 0);": "engine job triggered while the queue is",
}
OUTSIDE = "job(0, 0x1DFF0, 0);"
TWO_L3 = "TO_L3(0, 64); TO_L3(0x100, 64);"
WAITS = [f"FROM_L3(0, 0x400);{' tdco_wait_event(TDCO_EVENT_L3_DMA);' * n}" for n in (1, 2)]


@pytest.mark.parametrize("engine", ENGINES)
def test_bad_jobs_are_found(engine: str, elf: Elf) -> None:
    for body, message in BAD_JOBS.items():
        stop, why, _ = stop_of(elf, body, engine=engine)
        check(stop, why, message, "controller, pc", "in job, test.c:")
    stop, why, _ = stop_of(elf, OUTSIDE, engine=engine)
    check(
        stop, why, "engine job" if engine == "golden" else "access by the engine outside L1", "controller", "in job, "
    )


CODE_OR_CONSTANTS = "into the program's code or constants"
INTO_THE_PROGRAM = {
    "OUT(0, (uint32_t)&tdco_exit - TDCO_L2_BASE, 64);": ("DMA transfer " + CODE_OR_CONSTANTS, "tdco_exit"),
    "FROM_L3((uint32_t)&tdco_exit - TDCO_L2_BASE, 64);": ("L3 DMA transfer " + CODE_OR_CONSTANTS, "tdco_exit"),
    "*(volatile uint16_t *)&tdco_printf = 1;": ("store to the program's code or constants", "tdco_printf"),
    "*(volatile uint8_t *)&constant = 1;": ("store to the program's code or constants", "constant"),
}
BODIES = [
    *(body for body, *_ in ALONE.values()),
    *RACES,
    *NO_RACES,
    *LATER,
    *BAD_JOBS,
    OUTSIDE,
    TWO_L3,
    *WAITS,
    *INTO_THE_PROGRAM,
]


def test_the_l3_dma_takes_one_transfer_at_a_time(elf: Elf) -> None:
    stop, why, _ = stop_of(elf, TWO_L3)
    check(stop, why, "the L3 DMA was started while it runs", "controller, pc", "in l3_start, test.c:")


def test_nothing_writes_to_code_and_constants(elf: Elf) -> None:
    for body, (message, symbol) in INTO_THE_PROGRAM.items():
        stop, why, _ = stop_of(elf, body)
        check(stop, why, message, f"address 0x{elf.addresses[symbol]:08X}, controller, pc")


def test_cores_touch_tensors_only_in_kernel_calls(tmp_path: Path) -> None:
    for body, message in (
        ("*data = 1;", "store to a tensor outside any"),
        ("(void)*data;", "load from a tensor outside"),
    ):
        text = f"""
            static volatile uint32_t *const data = (volatile uint32_t *)TDCO_L2_BASE;
            void tdco_start(uint32_t hart) {{ for (;;) if (hart == 6) {{ {body} }} }}
        """
        elf = build(text, tmp_path)
        with Simulator(CFG, elf) as sim:
            sim.watch_calls([(elf.addresses["tdco_exit"], [(TENSORS, 64, False)])])
            sim.start()
            stop = sim.run(100_000)
        check(stop, describe(stop, elf, CFG.cores), message, "core 6, pc", "in tdco_start, test.c:")


def test_recursion_without_end_meets_the_end_of_the_stack(tmp_path: Path) -> None:
    for hart in (0, 5, CFG.cores):  # the first below L1, the others in their neighbours' stacks
        text = f"""
            __attribute__((noinline)) uint32_t deeper(volatile uint32_t *up) {{
                volatile uint32_t here = *up;
                return deeper(&here) + here;
            }}
            void tdco_start(uint32_t hart)
            {{
                volatile uint32_t top = hart;
                if (hart == {hart})
                    result[0] = deeper(&top);
                for (;;)
                    tdco_wait_event(TDCO_EVENT_WORK);
            }}
        """
        stop, why, _ = run(text, tmp_path)
        who = "controller" if hart == CFG.cores else f"core {hart}"
        check(stop, why, "stack overflow", f"{who}, pc", "in deeper, test.c:")


DEADLOCK = "deadlock: all cores sleep and nothing is under way"


def test_deadlock_names_where_every_core_sleeps(tmp_path: Path) -> None:
    text = """
        __attribute__((noinline)) void sulk(void) { __asm__ volatile("wfi"); }
        void tdco_start(uint32_t hart)
        {
            if (hart == 2)
                return;
            if (hart < 5)
                sulk();
            if (hart == TDCO_CORES)
                tdco_wait_event(TDCO_EVENT_DMA);
            tdco_wait_event(TDCO_EVENT_WORK);
        }
    """
    for engine in ENGINES:
        stop, why, _ = run(text, tmp_path, engine=engine)
        check(stop, why, DEADLOCK, "in sulk, test.c:3", "core 2 at pc", "in _start", "controller at pc")
        assert re.search(r"cores 0, 1, 3, 4 at pc 0x\w+ in sulk", why)
        assert re.search(r"cores 5, 6, 7 at pc 0x\w+ in tdco_start, cluster.h:\d+", why)


def test_sleepers_with_something_under_way_are_no_deadlock(elf: Elf) -> None:
    once, twice = WAITS
    stop, why, _ = stop_of(elf, once)
    assert stop.exit_code == 0, why
    stop, why, _ = stop_of(elf, twice)
    check(stop, why, DEADLOCK, "controller at pc", place_of(twice).split(",")[0], "cores 0, 1, 2, 3, 4, 5, 6, 7 at pc")


def test_cycle_limit_ends_a_runaway(tmp_path: Path) -> None:
    text = 'void tdco_start(uint32_t hart) { if (hart == 1) __asm__ volatile("wfi"); for (;;) { } }'
    stop, why, _ = run(text, tmp_path, 5000)
    check(stop, why, "not finished after 5000 cycles", "core 1 at pc", "in tdco_start, test.c:2")
