"""Timing of the cluster against answers derived by hand from the configuration."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from tdco_sim.soc.simulator import Simulator, describe

from .micro import CFG, build, circuits, run

# instruction sequences on the controller with a warm fetch path: {name: (text, cycles)}; `data` points into L1
PIPELINE = {
    "four additions": ("add t0, t1, t2\n" * 4, 4),
    "multiplication": ("mul t0, t1, t2", CFG.mul_cycles),
    "division": ("li t2, 3\n div t0, t1, t2", 1 + CFG.div_cycles),
    "fp32 addition and fma": ("fadd.s t0, t1, t2\n fmadd.s t0, t1, t2, t0", 2 * CFG.fp_cycles),
    "fp16 addition": ("fadd.h t0, t1, t2", CFG.fp_cycles),
    "fp32 square root": ("li t1, 0\n fsqrt.s t0, t1", 1 + CFG.fp32_div_cycles),
    "load, unrelated, use": ("lw t0, 0(%2)\n li t1, 1\n add t2, t0, t1", 3),
    "load and use": ("lw t0, 0(%2)\n add t2, t0, t0", 2 + CFG.load_use_cycles),
    "store": ("sw t0, 0(%2)", 1),
    "branch not taken": ("bne zero, zero, 1f\n1:", 1),
    "branch taken": ("beq zero, zero, 1f\n1:", 1 + CFG.branch_taken_cycles),
    "jump": ("j 1f\n1:", 1 + CFG.jump_cycles),
    "loop of ten": ("li t0, 10\n1: addi t0, t0, -1\n bnez t0, 1b", 1 + 10 * 2 + 9 * CFG.branch_taken_cycles),
    "load from L2": ("lui t0, 0x1C000\n sw t1, 0(t0)\n lw t2, 0(t0)", 1 + 2 * CFG.l2_latency_cycles),
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
        for (int i = -1; i < 3; i++) {
            const uint32_t sizes[] = {1024, 1024, 4096, 4096}, start = tdco_cycles();
            uint32_t out = tdco_dma_start(l1, TDCO_L2_BASE + 0x10000, sizes[i + 1], 1, 0, 0), in = out;
            if (i == 2)
                in = tdco_dma_start(l1 + 0x2000, TDCO_L2_BASE, 4096, 1, 0, 1);
            while (tdco_dma_busy(out))
                tdco_wait_event(TDCO_EVENT_DMA);
            while (i == 2 && tdco_dma_busy(in))
                tdco_wait_event(TDCO_EVENT_DMA);
            if (i >= 0) /* once to warm up */
                result[6 + i] = tdco_cycles() - start;
        }
        tdco_exit(0);
    }
"""


def test_dma_start_up_bandwidth_and_shapes(tmp_path: Path) -> None:
    stop, why, result = run(DMA, tmp_path)
    assert stop.exit_code == 0, why
    assert result[2] - result[1] == (4096 - 1024) / CFG.dma_bytes_per_cycle
    # programming the transfer, its start, its words, waking up, looking at the status
    least = CFG.dma_startup_cycles + 1024 // CFG.dma_bytes_per_cycle + CFG.event_wakeup_cycles
    assert least < result[1] < least + 100
    assert result[3] == 0
    moved = CFG.l3_startup_cycles + 256 * CFG.l3_cycles_per_byte
    assert moved < result[4] < moved + 120
    assert result[5] == 0
    assert result[7] - result[6] == (4096 - 1024) / CFG.dma_bytes_per_cycle
    # the second transfer starts while the first runs: programming it again, not moving it again
    assert result[7] < result[8] < result[7] + 100 < result[7] + 4096 / CFG.dma_bytes_per_cycle


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
    # who completes the barrier finds the event there and does not sleep: writing the mask, arriving, one addition
    awake = 2 * CFG.private_port_latency_cycles + 1
    # the others wake when it has arrived
    asleep = CFG.private_port_latency_cycles + 1 + CFG.event_wakeup_cycles
    assert awake in result[:8]
    # who completed the barrier before left it earlier by what the others took to wake up
    ahead = 1 + CFG.event_wakeup_cycles - CFG.private_port_latency_cycles
    assert all(cycles == awake or asleep <= cycles <= asleep + ahead for cycles in result[:8]), str(result[:8])


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
    assert result[0] == 63 + lines * CFG.l2_latency_cycles
    assert result[1] == 63 + lines * (CFG.icache_refill_cycles + CFG.l2_latency_cycles)
    assert result[2] == 63


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


def contention(tmp_path: Path, **engine: str | None) -> tuple[int, ...]:
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
    assert 0 < refused <= lines / CFG.tcdm_max_wait_cycles  # the first refusal comes after so many grants, and so on
    assert quiet <= loud <= quiet + refused


def test_engine_under_core_traffic(tmp_path: Path) -> None:
    check_contention(*contention(tmp_path, engine="model"))


@pytest.mark.slow
def test_rtl_engine_under_core_traffic_on_both_forms_of_l1(tmp_path: Path) -> None:
    on_rtl = contention(tmp_path, **circuits())
    check_contention(*on_rtl)
    assert on_rtl == contention(tmp_path, verilog=circuits()["verilog"])
