"""Every fault the cluster simulator can raise, provoked: what it says and where it says it happened."""

from __future__ import annotations

from pathlib import Path

import pytest
from tdco_sim.soc.simulator import Simulator
from tdco_spec import MEMORY_MAP

from .micro import CFG, build, run


def worker_fault(body: str) -> str:
    return f"""
        __attribute__((noinline)) void culprit(void) {{ {body} }}
        void tdco_start(uint32_t hart)
        {{
            if (hart == 3)
                culprit();
            for (;;)
                tdco_wait_event(TDCO_EVENT_WORK);
        }}
    """


FAULTS = {
    "unmapped": ("*(volatile uint32_t *)0x30000000 = 1;", "store outside mapped memory"),
    "misaligned": ("(void)*(volatile uint32_t *)(TDCO_L1_BASE + 0x4002);", "misaligned load"),
    "never written": ("(void)*(volatile uint32_t *)(TDCO_L1_BASE + 0x4000);", "nobody wrote"),
    "illegal": ('__asm__ volatile(".word 0");', "illegal instruction"),
    "wild jump": ("((void (*)(void))(TDCO_L2_BASE + 0x100))();", "jump outside the program"),
    "stack": (
        'volatile char large[2000]; __asm__ volatile("" ::"r"(large) : "memory"); large[0] = 1;',
        "another core's stack",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_names_core_function_and_line(name: str, tmp_path: Path) -> None:
    body, message = FAULTS[name]
    stop, why, _ = run(worker_fault(body), tmp_path)
    assert stop.exit_code is None
    assert message in why
    assert "core 3" in why
    if name != "wild jump":
        assert "in culprit" in why
        assert "test.c:" in why


ENGINE = """
    static uint32_t k = 8;
    static void job(uint32_t x, uint32_t z, uint32_t flags)
    {
        const uint32_t l1 = TDCO_L1_BASE + TDCO_L1_RESERVED_BYTES, words[TDCO_JOB_WORDS]
            = {l1 + x, l1 + 0x200, 0, l1 + z, 16, 16, 0, 16, 8 << 16 | 8, flags << 16 | k};
        for (uint32_t i = 0; i < TDCO_JOB_WORDS; i++)
            *tdco_reg(TDCO_ENGINE_BASE + TDCO_REG_X_ADDR + 4 * i) = words[i];
        *tdco_reg(TDCO_ENGINE_BASE + TDCO_REG_TRIGGER) = 0;
    }
    void tdco_start(uint32_t hart)
    {
        volatile uint32_t *const l1 = (volatile uint32_t *)(TDCO_L1_BASE + TDCO_L1_RESERVED_BYTES);
        if (hart == TDCO_CORES) {
            cache_on();
            for (uint32_t i = 0; i < 0x800 / 4; i++)
                l1[i] = 0x3C003C00;
            BODY
            while (*tdco_reg(TDCO_ENGINE_BASE + TDCO_REG_STATUS))
                tdco_wait_event(TDCO_EVENT_ENGINE);
            result[0] = l1[0x100 / 4];
            result[1] = l1[0x300 / 4];
            tdco_exit(0);
        }
        for (;;)
            tdco_wait_event(TDCO_EVENT_WORK);
    }
"""


def test_dependent_jobs_need_the_after_flag(tmp_path: Path) -> None:
    chain = "job(0, 0x100, 0); job(0x100, 0x300, FLAG);"
    stop, why, result = run(ENGINE.replace("BODY", chain.replace("FLAG", "TDCO_JOB_AFTER")), tmp_path)
    assert stop.exit_code == 0, why
    assert result[:2] == [0x48004800, 0x54005400]  # 8 and 64
    stop, why, _ = run(ENGINE.replace("BODY", chain.replace("FLAG", "0")), tmp_path)
    assert "without the AFTER flag" in why
    assert "controller" in why and "test.c:" in why


HAZARDS = {
    "job(0, 0x100, 0); l1[0x100 / 4] = 1;": "store to bytes an engine job under way uses",
    "job(0, 0x100, 0); result[2] = l1[0x100 / 4];": "load of bytes an engine job under way writes",
    "job(0, 0x100, 0); l1[0] = 1;": "store to bytes an engine job under way uses",
    "tdco_dma_start((uint32_t)l1, TDCO_L2_BASE, 2048, 1, 0, 0); l1[0] = 1;": "store to bytes a DMA transfer",
    "tdco_dma_start((uint32_t)l1, TDCO_L2_BASE, 2048, 1, 0, 0); job(0x80, 0x80, 0);": "engine job on bytes a DMA",
    "k = 64; job(0, 0x100, 0); tdco_dma_start((uint32_t)l1 + 0x100, TDCO_L2_BASE, 8, 1, 0, 0);": "bytes an engine job",
    "tdco_dma_start((uint32_t)l1, TDCO_L2_BASE + TDCO_L2_SIZE - 4, 256, 1, 0, 0);": "DMA transfer leaves L2",
}


@pytest.mark.parametrize("body", HAZARDS)
def test_two_users_of_the_same_bytes_are_found(body: str, tmp_path: Path) -> None:
    stop, why, _ = run(ENGINE.replace("BODY", body), tmp_path)
    assert stop.exit_code is None
    assert HAZARDS[body] in why


@pytest.mark.parametrize("engine", ["golden", "model"])
def test_engine_finds_operands_nobody_wrote(engine: str, tmp_path: Path) -> None:
    elf = build(ENGINE.replace("BODY", "job(0x1000, 0x300, 0);"), tmp_path)
    with Simulator(CFG, elf, engine=engine) as sim:
        sim.start()
        stop = sim.run(1_000_000)
    assert "read by the engine of bytes nobody wrote" in stop.what
    start = MEMORY_MAP["l1"].base + CFG.l1_reserved_bytes + 0x1000
    assert start <= stop.addr < start + 128


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
        assert stop.exit_code is None
        assert "stack overflow" in why
        assert ("controller" if hart == CFG.cores else f"core {hart}") in why
        assert "in deeper" in why and "test.c:" in why


def test_deadlock_is_found(tmp_path: Path) -> None:
    stop, why, _ = run("void tdco_start(uint32_t hart) { (void)hart; for (;;) tdco_wait_event(0); }", tmp_path)
    assert stop.exit_code is None
    assert "deadlock" in why


def test_cycle_limit_ends_a_runaway(tmp_path: Path) -> None:
    stop, why, _ = run("void tdco_start(uint32_t hart) { (void)hart; for (;;) { } }", tmp_path, 5000)
    assert stop.exit_code is None
    assert "not finished after 5000 cycles" in why
