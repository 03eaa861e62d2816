/* One product Z = X . W + Z with dense operands on our engine or on GVSoC's light RedMulE. The first words of L2 say which,
 * the sizes, and whether a core converts a number to an integer first; the operands follow. */
#include "cluster.h"

enum { OURS, LIGHT };
enum { WHICH, M, N, K, CONVERTS, HEAD_WORDS };
enum { /* registers of the light RedMulE */
    LIGHT_TRIGGER = 0x00,
    LIGHT_X = 0x40,
    LIGHT_W = 0x44,
    LIGHT_Z = 0x48,
    LIGHT_COLUMNS_ROWS = 0x4C,
    LIGHT_REDUCED = 0x50,
    LIGHT_ARITHMETIC = 0x54,
    LIGHT_FP16 = 0x480,
};

volatile uint32_t cycles TDCO_L1_DATA;

static void set(uint32_t reg, uint32_t value)
{
    *tdco_reg(TDCO_ENGINE_BASE + reg) = value;
}

static void fetch(uint32_t l1, uint32_t l2, uint32_t bytes)
{
    const uint32_t counter = tdco_dma_start(l1, l2, bytes, 1, 0, 1);
    while (tdco_dma_busy(counter))
        tdco_wait_event(TDCO_EVENT_DMA);
}

static void describe(const uint32_t *head)
{
    const uint32_t m = head[M], n = head[N], k = head[K];
    const uint32_t x = TDCO_L1_BASE + TDCO_L1_RESERVED_BYTES, w = x + 2 * m * k, z = w + 2 * k * n;
    fetch(x, TDCO_L2_BASE + 4 * HEAD_WORDS, 2 * (m * k + k * n + m * n));
    if (head[WHICH] == LIGHT) {
        set(LIGHT_X, x);
        set(LIGHT_W, w);
        set(LIGHT_Z, z);
        set(LIGHT_COLUMNS_ROWS, n << 16 | m);
        set(LIGHT_REDUCED, k);
        set(LIGHT_ARITHMETIC, LIGHT_FP16);
    } else {
        const uint32_t job[] = {x, w, z, z, 2 * k, 2 * n, 2 * n, 2 * n, n << 16 | m, (uint32_t)TDCO_JOB_Y << 16 | k};
        (void)*tdco_reg(TDCO_ENGINE_BASE + TDCO_REG_ACQUIRE);
        for (uint32_t i = 0; i < TDCO_JOB_WORDS; i++)
            set(TDCO_REG_X_ADDR + 4 * i, job[i]);
    }
}

void tdco_start(uint32_t hart)
{
    if (hart != TDCO_CORES)
        for (;;)
            tdco_wait_event(TDCO_EVENT_WORK);
    const uint32_t *const head = (const uint32_t *)TDCO_L2_BASE;
    const uint32_t trigger = head[WHICH] == LIGHT ? (uint32_t)LIGHT_TRIGGER : (uint32_t)TDCO_REG_TRIGGER;
    *tdco_reg(TDCO_ICACHE_BASE + TDCO_ICACHE_ENABLE) = 1;
    if (head[CONVERTS]) {
        volatile float number = 1.5f;
        volatile int32_t integer = (int32_t)number;
        (void)integer;
    }
    for (uint32_t times = 0; times < 2; times++) { /* the second time with the code in the caches */
        describe(head);
        /* the light RedMulE's event falls after it rose, and GVSoC's event unit takes that for another one */
        *tdco_reg(TDCO_EVENT_UNIT_BASE + TDCO_EU_BUFFER_CLEAR) = 1u << TDCO_EVENT_ENGINE;
        const uint32_t begin = tdco_cycles();
        set(trigger, 0);
        tdco_wait_event(TDCO_EVENT_ENGINE);
        cycles = tdco_cycles() - begin;
    }
    tdco_exit(0);
}
