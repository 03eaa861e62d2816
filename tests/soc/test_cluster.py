"""Timing of the cluster against answers derived by hand from the configuration."""

from __future__ import annotations

import struct
from itertools import permutations, product
from pathlib import Path

import pytest
from tdco_sim.soc.simulator import Simulator, describe
from tdco_spec import MEMORY_MAP
from tdco_spec.cluster import DMA as DMA_REGISTERS
from tdco_spec.cluster import L3_DMA
from tdco_spec.regs import REGISTERS

from .micro import CFG, build, circuits, run

EVENT_UNIT, DMA_STATUS, L3_FINISHED, ENGINE_STATUS = (
    MEMORY_MAP["event_unit"].base,
    MEMORY_MAP["dma"].base + DMA_REGISTERS["STATUS"],
    MEMORY_MAP["l3_dma"].base + L3_DMA["FINISHED"],
    MEMORY_MAP["engine"].base + REGISTERS["STATUS"].offset,
)

# instruction sequences on the controller with a warm fetch path: {name: (text, cycles)}; `data` points into L1
PIPELINE = {
    "four additions": ("add t0, t1, t2\n" * 4, 4),
    "multiplication": ("mul t0, t1, t2", CFG.mul_cycles),
    "multiplication and use": ("mul t0, t1, t2\n add t3, t0, t0", CFG.mul_cycles + CFG.mul_use_cycles + 1),
    "multiplication, unrelated, use": ("mul t0, t1, t2\n li t4, 1\n add t3, t0, t0", CFG.mul_cycles + 2),
    "high half and use": ("mulhu t0, t1, t2\n add t3, t0, t0", CFG.mulh_cycles + CFG.mul_use_cycles + 1),
    "division by 3": ("li t2, 3\n divu t0, t1, t2", 1 + CFG.div_cycles + 30),
    "remainder by -3": ("li t2, -3\n rem t0, t1, t2", 1 + CFG.div_cycles + 30 - 1),
    "division by 2^32 - 3": ("li t2, -3\n divu t0, t1, t2", 1 + CFG.div_cycles),
    "division by 0, over its own divisor": ("li t2, 0\n div t2, t1, t2", 1 + CFG.div_cycles + 32),
    "division over its own divisor": ("li t2, 1\n remu t2, t1, t2", 1 + CFG.div_cycles + 31),
    "fp32 addition and fma": ("fadd.s t0, t1, t2\n fmadd.s t0, t1, t2, t0", 2 * CFG.fp_cycles),
    "fp16 addition": ("fadd.h t0, t1, t2", CFG.fp_cycles),
    "fp32 square root": ("li t1, 0\n fsqrt.s t0, t1", 1 + CFG.fp32_div_cycles),
    "fp16 division and square root": (
        "li t1, 0x3C00\n fdiv.h t0, t1, t1\n fsqrt.h t0, t1",
        2 + 2 * CFG.fp16_div_cycles,
    ),
    "load, unrelated, use": ("lw t0, 0(%2)\n li t1, 1\n add t2, t0, t1", 3),
    "load and use": ("lw t0, 0(%2)\n add t2, t0, t0", 2 + CFG.load_use_cycles),
    "store": ("sw t0, 0(%2)", 1),
    "branch not taken": ("bne zero, zero, 1f\n1:", 1),
    "branch taken": ("beq zero, zero, 1f\n1:", 1 + CFG.branch_taken_cycles),
    "jump": ("j 1f\n1:", 1 + CFG.jump_cycles),
    "loop of ten": ("li t0, 10\n1: addi t0, t0, -1\n bnez t0, 1b", 1 + 10 * 2 + 9 * CFG.branch_taken_cycles),
    "load from L2": ("lui t0, 0x1C000\n sw t1, 0(t0)\n lw t2, 0(t0)", 1 + 2 * CFG.l2_latency_cycles),
    "event unit": (f"lui t0, {EVENT_UNIT >> 12:#x}\n lw t1, 0(t0)", 1 + CFG.private_port_latency_cycles),
    "DMA": (f"li t0, {DMA_STATUS:#x}\n lw t1, 0(t0)\n sw t1, 0(t0)", 2 + 2 * CFG.private_port_latency_cycles),
    "L3 DMA": (f"li t0, {L3_FINISHED:#x}\n lw t1, 0(t0)", 2 + CFG.peripheral_latency_cycles),
    "engine": (f"li t0, {ENGINE_STATUS:#x}\n lw t1, 0(t0)", 2 + CFG.engine_latency_cycles),
}


def test_pipeline(tmp_path: Path) -> None:
    lines = "\n".join(
        f"    result[{i}] = CYCLES({' '.join(chr(34) + part + chr(92) + 'n' + chr(34) for part in text.splitlines())});"
        for i, (text, _) in enumerate(PIPELINE.values())
    )
    text = f"""
        TDCO_L1_DATA volatile uint32_t cell[4];
        void tdco_start(uint32_t hart)
        {{
            volatile uint32_t *const data = cell;
            if (hart != TDCO_CORES)
                for (;;)
                    tdco_wait_event(TDCO_EVENT_WORK);
            cache_on();
            {lines}
            tdco_exit(0);
        }}
    """
    stop, why, result = run(text, tmp_path)
    assert stop.exit_code == 0, why
    expected = {name: cycles for name, (_, cycles) in PIPELINE.items()}
    assert dict(zip(PIPELINE, result, strict=False)) == expected


BANKS = """
    void tdco_start(uint32_t hart)
    {
        volatile uint32_t *const data = (volatile uint32_t *)(TDCO_L1_BASE + TDCO_L1_RESERVED_BYTES + STRIDE * hart);
        if (hart == TDCO_CORES) {
            cache_on();
            tdco_barrier_setup(TDCO_BARRIER_WORKERS, (1 << TDCO_CORES) - 1);
            tdco_send_event(TDCO_EVENT_WORK, (1 << TDCO_CORES) - 1);
            for (int i = 0; i < TDCO_CORES; i++)
                tdco_wait_event(TDCO_EVENT_DONE);
            tdco_exit(0);
        }
        tdco_wait_event(TDCO_EVENT_WORK);
        _Pragma("clang loop unroll(disable)")
        for (int round = 0; round < 3; round++) {
            tdco_barrier(TDCO_BARRIER_WORKERS);
            uint32_t before, after;
            __asm__ volatile(".balign 16\\n csrr %0, mcycle\\n .rept 64\\n sw zero, 0(%2)\\n .endr\\n csrr %1, mcycle"
                             : "=&r"(before), "=&r"(after) : "r"(data) : "memory");
            result[hart] = after - before - 1;
        }
        tdco_barrier(TDCO_BARRIER_WORKERS);
        if (hart == 0)
            for (int i = 0; i < TDCO_CORES; i++) {
                tdco_send_event(TDCO_EVENT_DONE, 1 << TDCO_CORES);
                for (volatile int wait = 0; wait < 20; wait++) {
                }
            }
        for (;;)
            tdco_wait_event(TDCO_EVENT_WORK);
    }
"""


def test_eight_cores_on_distinct_banks_do_not_wait(tmp_path: Path) -> None:
    stop, why, result = run("#define STRIDE 4\n" + BANKS, tmp_path)
    assert stop.exit_code == 0, why
    assert result[:8] == [64] * 8


def test_eight_cores_share_one_bank_fairly(tmp_path: Path) -> None:
    stop, why, result = run(f"#define STRIDE {4 * CFG.l1_banks}\n" + BANKS, tmp_path)
    assert stop.exit_code == 0, why
    # 8 x 64 stores through one bank; a core is done when its last one went, the first of them a few before the end
    assert max(result[:8]) == pytest.approx(8 * 64, abs=8)
    assert min(result[:8]) > 0.8 * 8 * 64


def test_banks_serve_cores_in_step_in_their_order(tmp_path: Path) -> None:
    elf = build(f"#define STRIDE {4 * CFG.l1_banks}\n" + BANKS, tmp_path)
    with Simulator(CFG, elf, engine="model") as sim:
        sim.start()
        stop = sim.run(1_000_000)
        assert stop.exit_code == 0, describe(stop, elf, CFG.cores)
        result = struct.unpack("<8I", sim.read(elf.addresses["result"], 32))
    refetched = 2 * CFG.icache_refill_cycles  # where a line of the program was replaced
    assert list(result) == pytest.approx([8 * 63 + hart + 1 for hart in range(8)], abs=refetched)
    assert list(result) == sorted(result)


DMA = """
    void tdco_start(uint32_t hart)
    {
        if (hart != TDCO_CORES)
            for (;;)
                tdco_wait_event(TDCO_EVENT_WORK);
        cache_on();
        volatile uint32_t *const l2 = (volatile uint32_t *)TDCO_L2_BASE;
        for (uint32_t i = 0; i < 2048; i++)
            l2[i] = i * 0x9E3779B1u;
        const uint32_t l1 = TDCO_L1_BASE + TDCO_L1_RESERVED_BYTES;
        _Pragma("clang loop unroll(disable)")
        for (int i = 0; i < 3; i++) { /* the first to warm up */
            const uint32_t sizes[] = {1024, 1024, 4096}, before = tdco_cycles();
            const uint32_t counter = tdco_dma_start(l1, TDCO_L2_BASE, sizes[i], 1, 0, 1);
            tdco_wait_event(TDCO_EVENT_DMA);
            while (tdco_dma_busy(counter)) {
            }
            result[i] = tdco_cycles() - before;
        }
        /* rows of 12 bytes, 20 apart, gathered at an odd halfword and scattered back */
        uint32_t counter = tdco_dma_start(l1 + 2, TDCO_L2_BASE + 6, 12, 5, 20, 1);
        while (tdco_dma_busy(counter))
            tdco_wait_event(TDCO_EVENT_DMA);
        counter = tdco_dma_start(l1 + 2, TDCO_L2_BASE + 0x4002, 12, 5, 16, 0);
        while (tdco_dma_busy(counter))
            tdco_wait_event(TDCO_EVENT_DMA);
        uint32_t wrong = 0;
        for (uint32_t row = 0; row < 5; row++)
            for (uint32_t i = 0; i < 12; i += 2)
                wrong += *(volatile uint16_t *)(TDCO_L2_BASE + 0x4002 + 16 * row + i)
                    != *(volatile uint16_t *)(TDCO_L2_BASE + 6 + 20 * row + i);
        result[3] = wrong;
        /* out to L3 and back */
        tdco_l3_copy(TDCO_L2_BASE, TDCO_L3_BASE + 64, 256, 0);
        const uint32_t before = tdco_cycles();
        tdco_l3_copy(TDCO_L2_BASE + 0x8000, TDCO_L3_BASE + 64, 256, 1);
        result[4] = tdco_cycles() - before;
        result[5] = *(volatile uint32_t *)(TDCO_L2_BASE + 0x8000 + 252) != l2[63];
        /* out of L1, then both ways at the same time */
        _Pragma("clang loop unroll(disable)")
        for (int i = -3; i < 3; i++) {
            const uint32_t sizes[] = {1024, 1024, 1024, 1024, 4096, 4096}, start = tdco_cycles();
            uint32_t out = tdco_dma_start(l1, TDCO_L2_BASE + 0x10000, sizes[i + 3], 1, 0, 0), in = out;
            if (i == 2)
                in = tdco_dma_start(l1 + 0x2000, TDCO_L2_BASE, 4096, 1, 0, 1);
            while (tdco_dma_busy(out))
                tdco_wait_event(TDCO_EVENT_DMA);
            while (i == 2 && tdco_dma_busy(in))
                tdco_wait_event(TDCO_EVENT_DMA);
            if (i >= 0) /* three times to warm up: caches replace by chance */
                result[6 + i] = tdco_cycles() - start;
        }
        tdco_exit(0);
    }
"""


def test_dma_start_up_bandwidth_and_shapes(tmp_path: Path) -> None:
    stop, why, result = run(DMA, tmp_path)
    assert stop.exit_code == 0, why
    words = (4096 - 1024) // CFG.dma_bytes_per_cycle
    assert result[2] - result[1] == words
    assert result[3] == 0
    moved = CFG.l3_startup_cycles + 256 * CFG.l3_cycles_per_byte
    assert moved < result[4] < moved + 120
    assert result[5] == 0
    assert result[7] - result[6] == words + (4096 - 1024) // CFG.dma_burst_bytes  # a pause after each burst
    # the second transfer starts while the first runs: programming it again, not moving it again
    assert result[7] < result[8] < result[7] + 100 < result[7] + 4096 / CFG.dma_bytes_per_cycle


STARTUP = """
    static uint32_t busy_looks(uint32_t word)
    {
        volatile uint32_t *const dma = tdco_reg(TDCO_DMA_BASE);
        uint32_t looks = 0;
        _Pragma("clang loop unroll(disable)")
        for (int i = 0; i < 2; i++) { /* the first to warm up */
            const uint32_t counter = dma[TDCO_DMA_COMMAND / 4], bit = 1u << counter;
            dma[TDCO_DMA_COMMAND / 4] = word | TDCO_DMA_COMMAND_INCREMENT;
            dma[TDCO_DMA_COMMAND / 4] = TDCO_L1_BASE + TDCO_L1_RESERVED_BYTES;
            uint32_t s[@LOOKS@];
            __asm__ volatile(".balign 16\\n sw %[l2], %[command](%[dma])\\n @LOADS@"
                             : @OUTPUTS@ : [l2] "r"(TDCO_L2_BASE), [dma] "r"(dma),
                               [command] "i"(TDCO_DMA_COMMAND), [status] "i"(TDCO_DMA_STATUS) : "memory");
            looks = 0;
            for (uint32_t look = 0; look < @LOOKS@; look++)
                looks += (s[look] & bit) != 0;
            while (tdco_dma_busy(counter)) {
            }
        }
        return looks;
    }
    void tdco_start(uint32_t hart)
    {
        if (hart != TDCO_CORES)
            for (;;)
                tdco_wait_event(TDCO_EVENT_WORK);
        cache_on();
        for (uint32_t i = 0; i < 64; i += 4)
            *tdco_reg(TDCO_L2_BASE + i) = i;
        result[0] = busy_looks(8 | TDCO_DMA_COMMAND_TO_L1);
        result[1] = busy_looks(8);
        result[2] = busy_looks(32 | TDCO_DMA_COMMAND_TO_L1);
        tdco_exit(0);
    }
"""
LOOKS = 10


def test_dma_starts_so_many_cycles_after_its_command(tmp_path: Path) -> None:
    """Loads of the status in every cycle behind the command's last word; the words move after the start-up cycles."""
    loads = " ".join(f"lw %[s{n}], %[status](%[dma])\\n" for n in range(LOOKS))
    outputs = ", ".join(f'[s{n}] "=&r"(s[{n}])' for n in range(LOOKS))
    text = STARTUP.replace("@LOOKS@", str(LOOKS)).replace("@LOADS@", loads).replace("@OUTPUTS@", outputs)
    stop, why, result = run(text, tmp_path)
    assert stop.exit_code == 0, why
    assert CFG.private_port_latency_cycles == 1  # a look in every cycle
    # the transfer is over behind the cycle that moves its last word, which still finds it busy
    words = (8, 8, 32)
    assert result[:3] == [CFG.dma_startup_cycles + size // CFG.dma_bytes_per_cycle - 1 for size in words]


def test_printf_and_exit_code(tmp_path: Path) -> None:
    text = """
        void tdco_start(uint32_t hart)
        {
            if (hart == TDCO_CORES) {
                tdco_printf("%s %d %5u|%08x%c", "n", -7, 42, 0xBEEF, '.');
                tdco_exit(3);
            }
            for (;;)
                tdco_wait_event(TDCO_EVENT_WORK);
        }
    """
    elf = build(text, tmp_path)
    with Simulator(CFG, elf) as sim:
        sim.start()
        assert sim.run(100_000).exit_code == 3
        assert sim.output == "n -7    42|0000beef."


BARRIER = """
    void tdco_start(uint32_t hart)
    {
        if (hart == TDCO_CORES) {
            cache_on();
            tdco_barrier_setup(TDCO_BARRIER_WORKERS, (1 << TDCO_CORES) - 1);
            tdco_send_event(TDCO_EVENT_WORK, (1 << TDCO_CORES) - 1);
            tdco_wait_event(TDCO_EVENT_DONE);
            tdco_exit(0);
        }
        tdco_wait_event(TDCO_EVENT_WORK);
        _Pragma("clang loop unroll(disable)")
        for (int round = 0; round < 3; round++) {
            tdco_barrier(TDCO_BARRIER_WORKERS);
            const uint32_t before = tdco_cycles();
            tdco_barrier(TDCO_BARRIER_WORKERS);
            result[hart] = tdco_cycles() - before;
        }
        if (hart == 0)
            tdco_send_event(TDCO_EVENT_DONE, 1 << TDCO_CORES);
        for (;;)
            tdco_wait_event(TDCO_EVENT_WORK);
    }
"""


def test_barrier_of_workers_in_step(tmp_path: Path) -> None:
    stop, why, result = run(BARRIER, tmp_path)
    assert stop.exit_code == 0, why
    # writing the mask, arriving, waking up, one addition; who completes the barrier sleeps and wakes as the others do
    assert result[:8] == [2 * CFG.private_port_latency_cycles + CFG.event_wakeup_cycles + 1] * 8


FETCH = """
    void tdco_start(uint32_t hart)
    {
        if (hart != TDCO_CORES)
            for (;;)
                tdco_wait_event(TDCO_EVENT_WORK);
        _Pragma("clang loop unroll(disable)")
        for (int round = 0; round < 3; round++) {
            uint32_t before, after;
            __asm__ volatile(".balign 16\\n csrr %0, mcycle\\n .rept 63\\n add t0, t1, t2\\n .endr\\n csrr %1, mcycle"
                             : "=&r"(before), "=&r"(after) : : "t0", "t1", "t2");
            result[round] = after - before - 1;
            if (round == 0)
                cache_on();
        }
        tdco_exit(0);
    }
"""


def test_fetch_uncached_cold_and_warm(tmp_path: Path) -> None:
    stop, why, result = run(FETCH, tmp_path)
    assert stop.exit_code == 0, why
    lines = 4 * 64 // CFG.icache_line_bytes  # after the first, which holds the first reading of the counter
    assert result[0] == 63 + lines * (CFG.l2_latency_cycles - 1)
    assert result[1] == 63 + lines * (2 * CFG.icache_refill_cycles + CFG.l2_latency_cycles - 1)
    assert result[2] == 63


ROWS = """
    static uint32_t copy(uint32_t row_bytes, uint32_t rows, int to_l1)
    {
        uint32_t cycles = 0;
        _Pragma("clang loop unroll(disable)")
        for (int i = 0; i < 5; i++) { /* the first ones to warm up */
            const uint32_t before = tdco_cycles();
            const uint32_t counter = tdco_dma_start(
                TDCO_L1_BASE + TDCO_L1_RESERVED_BYTES, TDCO_L2_BASE, row_bytes, rows, 128, to_l1);
            while (tdco_dma_busy(counter))
                tdco_wait_event(TDCO_EVENT_DMA);
            cycles = tdco_cycles() - before;
        }
        return cycles;
    }
    void tdco_start(uint32_t hart)
    {
        if (hart != TDCO_CORES)
            for (;;)
                tdco_wait_event(TDCO_EVENT_WORK);
        cache_on();
        for (uint32_t i = 0; i < 0x6000; i += 4)
            *(volatile uint32_t *)(TDCO_L2_BASE + i) = i;
        static const uint32_t row_bytes[] = {8, 2, 6, 14, 64};
        for (int to_l1 = 1; to_l1 >= 0; to_l1--)
            for (uint32_t i = 0; i < 5; i++)
                result[10 * !to_l1 + 2 * i] = copy(row_bytes[i], 64, to_l1),
                result[10 * !to_l1 + 2 * i + 1] = copy(row_bytes[i], 192, to_l1);
        tdco_exit(0);
    }
"""


def test_rows_are_bursts_of_the_dma(tmp_path: Path) -> None:
    stop, why, result = run(ROWS, tmp_path)
    assert stop.exit_code == 0, why
    # cycles of a row: 8 bytes in one; 2 bytes too, as one burst begins in a cycle; 6 bytes in two words whatever their
    # place; 14 in four words; 64 in sixteen. Out of L1 each row's burst is followed by a pause.
    rows = [128 * cycles for cycles in (1, 1, 1, 2, 8)]
    noise = 2 * CFG.icache_refill_cycles  # a line of the program may have been replaced
    measured = [result[i + 1] - result[i] for i in range(0, 20, 2)]
    assert measured[:5] == pytest.approx(rows, abs=noise)
    assert measured[5:] == pytest.approx([cycles + 128 for cycles in rows], abs=noise)


SHARED_CACHE = r"""
    /* straight through 24 lines of one bank of the shared cache, an addition and a jump in each */
    #define WALK(name)                                                                        \
        __attribute__((noinline)) static uint32_t name(void)                                  \
        {                                                                                     \
            uint32_t before, after;                                                           \
            __asm__ volatile("j 2f\n .balign 32\n 2: csrr %0, mcycle\n j 1f\n"                \
                             ".rept 24\n .balign 32\n 1: add t0, t1, t2\n j 1f\n .endr\n"    \
                             ".balign 32\n 1: csrr %1, mcycle"                                \
                             : "=&r"(before), "=&r"(after) : : "t0", "t1", "t2");             \
            return after - before;                                                            \
        }
    WALK(first)
    WALK(second)
    WALK(third)
    WALK(fourth)
    void tdco_start(uint32_t hart)
    {
        if (hart == TDCO_CORES) {
            cache_on();
            tdco_barrier_setup(TDCO_BARRIER_WORKERS, (1 << TDCO_CORES) - 1);
            tdco_send_event(TDCO_EVENT_WORK, (1 << TDCO_CORES) - 1);
            tdco_wait_event(TDCO_EVENT_DONE);
            tdco_exit(0);
        }
        tdco_wait_event(TDCO_EVENT_WORK);
        tdco_barrier(TDCO_BARRIER_WORKERS);
        if (hart == 0)
            result[0] = first();
        tdco_barrier(TDCO_BARRIER_WORKERS);
        result[1 + hart] = second();
        tdco_barrier(TDCO_BARRIER_WORKERS);
        if (hart < 2)
            result[9 + hart] = hart ? third() : fourth();
        tdco_barrier(TDCO_BARRIER_WORKERS);
        if (hart == 0)
            tdco_send_event(TDCO_EVENT_DONE, 1 << TDCO_CORES);
        for (;;)
            tdco_wait_event(TDCO_EVENT_WORK);
    }
"""


def test_shared_cache_brings_one_line_at_a_time_in_a_bank(tmp_path: Path) -> None:
    stop, why, result = run(SHARED_CACHE, tmp_path)
    assert stop.exit_code == 0, why
    refill = CFG.icache_refill_cycles + CFG.l2_latency_cycles - 1
    jump = 1 + CFG.jump_cycles
    alone = 1 + jump + 24 * (CFG.icache_refill_cycles + refill + 1 + jump) + CFG.icache_refill_cycles + refill
    assert result[0] == alone
    # all who want a line that comes already get it together
    assert result[1:9] == [alone] * 8
    # two with lines of their own wait for one another: 2 x 25 refills, one of them over when the second begins
    assert max(result[9:11]) == pytest.approx((2 * 25 - 1) * refill, abs=refill)
    assert max(result[9:11]) - min(result[9:11]) <= refill


REPLACEMENT = r"""
    /* five lines of one set of the controller's buffer, passed again and again */
    void tdco_start(uint32_t hart)
    {
        if (hart != TDCO_CORES)
            for (;;)
                tdco_wait_event(TDCO_EVENT_WORK);
        cache_on();
        _Pragma("clang loop unroll(disable)")
        for (int round = 0; round < 32; round++) {
            uint32_t before, after;
            __asm__ volatile("j 2f\n .balign 512\n 2: csrr %0, mcycle\n j 1f\n"
                             ".rept 5\n .balign 512\n .skip 256\n 1: j 1f\n .endr\n"
                             ".balign 512\n 1: csrr %1, mcycle"
                             : "=&r"(before), "=&r"(after));
            result[round] = after - before;
        }
        tdco_exit(0);
    }
"""


def gives(misses: list[int], ways: list[int], draw: int) -> bool:
    """Whether passing lines 0 to 4 in turn misses so often in each round, in a set of four ways that holds ``ways``.

    The way to replace is drawn by an 8-bit shift register that stands at ``draw``: two of its bits, after a shift that
    brings in the complement of the exclusive or of bits 7, 3, 2 and 1.
    """
    held = list(ways)
    for wanted in misses:
        missed = 0
        for line in range(5):
            if line not in held:
                draw = (draw << 1 | 1 ^ (draw >> 7 & 1) ^ (draw >> 3 & 1) ^ (draw >> 2 & 1) ^ (draw >> 1 & 1)) & 0xFF
                held[draw >> 1 & 3] = line
                missed += 1
        if missed != wanted:
            return False
    return True


def test_a_shift_register_draws_the_way_to_replace(tmp_path: Path) -> None:
    stop, why, result = run(REPLACEMENT, tmp_path)
    assert stop.exit_code == 0, why
    hits = 1 + 6 * (1 + CFG.jump_cycles)
    settled = result[8:]  # the shared cache holds every line
    misses = [(cycles - hits) // CFG.icache_refill_cycles for cycles in settled]
    assert [hits + CFG.icache_refill_cycles * missed for missed in misses] == settled
    starts = list(product(permutations(range(5), 4), range(256)))
    assert sum(gives(misses, list(ways), draw) for ways, draw in starts) == 1, misses


CONTENTION = """
    void tdco_start(uint32_t hart)
    {
        const uint32_t l1 = TDCO_L1_BASE + TDCO_L1_RESERVED_BYTES;
        if (hart != TDCO_CORES) {
            tdco_wait_event(TDCO_EVENT_WORK);
            volatile uint32_t *const mine = (volatile uint32_t *)(l1 + 0x10000 + 0x400 * hart);
            for (uint32_t i = 0;; i++)
                mine[i * 5 % 64] = i;
        }
        cache_on();
        volatile uint32_t *const data = (volatile uint32_t *)l1;
        for (uint32_t i = 0; i < 0x3000; i++)
            data[i] = 0;
        for (int round = 0; round < 2; round++) {
            /* lines 128 bytes apart lie in the same banks */
            const uint32_t words[TDCO_JOB_WORDS]
                = {l1, l1 + 0x3000, 0, l1 + 0x6000, 128, 128, 0, 128, 48 << 16 | 48, 48};
            const uint32_t stall = *tdco_reg(TDCO_ENGINE_BASE + TDCO_REG_STALL_PORT);
            const uint32_t busy = *tdco_reg(TDCO_ENGINE_BASE + TDCO_REG_CYCLES_BUSY);
            for (uint32_t i = 0; i < TDCO_JOB_WORDS; i++)
                *tdco_reg(TDCO_ENGINE_BASE + TDCO_REG_X_ADDR + 4 * i) = words[i];
            *tdco_reg(TDCO_ENGINE_BASE + TDCO_REG_TRIGGER) = 0;
            tdco_wait_event(TDCO_EVENT_ENGINE);
            result[2 * round] = *tdco_reg(TDCO_ENGINE_BASE + TDCO_REG_CYCLES_BUSY) - busy;
            result[2 * round + 1] = *tdco_reg(TDCO_ENGINE_BASE + TDCO_REG_STALL_PORT) - stall;
            tdco_send_event(TDCO_EVENT_WORK, (1 << TDCO_CORES) - 1); /* quiet the first time, not the second */
        }
        tdco_exit(0);
    }
"""


def contention(tmp_path: Path, **engine: str) -> tuple[int, ...]:
    """Busy cycles and refused cycles of a job, with quiet cores and with cores that store without a pause."""
    elf = build(CONTENTION, tmp_path)
    with Simulator(CFG, elf, **engine) as sim:
        sim.start()
        stop = sim.run(1_000_000)
        assert stop.exit_code == 0, describe(stop, elf, CFG.cores)
        return struct.unpack("<4I", sim.read(elf.addresses["result"], 16))


def check_contention(quiet: int, refused_quiet: int, loud: int, refused: int) -> None:
    core = (CFG.pipe + 1) * CFG.cols * -(-48 // CFG.cols) * -(-48 // CFG.rows) * -(-48 // CFG.tile_cols)
    assert core <= quiet <= core + 66
    assert refused_quiet == 0
    blocks = 48 // CFG.tile_cols
    lines = 48 * blocks * blocks + 48 * blocks * (48 // CFG.rows) + 48 * blocks  # of X, W and Z
    assert 0 < refused <= lines * CFG.cores  # each core may come before each line
    assert quiet <= loud <= quiet + refused


def test_engine_under_core_traffic(tmp_path: Path) -> None:
    check_contention(*contention(tmp_path, engine="model"))


@pytest.mark.slow
def test_rtl_engine_under_core_traffic_on_both_forms_of_l1(tmp_path: Path) -> None:
    on_rtl = contention(tmp_path, **circuits())
    check_contention(*on_rtl)
    assert on_rtl == contention(tmp_path, verilog=circuits()["verilog"])
