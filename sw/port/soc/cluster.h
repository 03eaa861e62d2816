/* Drivers of the cluster's blocks: events, barriers, DMA, printing, exit. */
#ifndef TDCO_CLUSTER_H
#define TDCO_CLUSTER_H

#include <stdint.h>

#include "tdco_hw.h"

#define TDCO_L1_DATA __attribute__((section(".l1")))
#define TDCO_KERNEL_ARGUMENTS __attribute__((section(".l1.arguments"))) /* in L1 too, and kernels may load it */

static inline volatile uint32_t *tdco_reg(uint32_t addr)
{
    return (volatile uint32_t *)addr;
}

static inline uint32_t tdco_cycles(void)
{
    uint32_t cycles;
    __asm__ volatile("csrr %0, mcycle" : "=r"(cycles));
    return cycles;
}

/* Loads from the event unit, to sleep there. The value goes to a register even though nobody wants it: on GVSoC a
 * core that sleeps in a load to x0 may never go on (docs/fidelity.md). */
static inline void tdco_sleep_at(uint32_t addr)
{
    const uint32_t events = *tdco_reg(addr);
    __asm__ volatile("" : : "r"(events));
}

/* Sleeps until `event` was sent since the last wait for it. */
static inline void tdco_wait_event(uint32_t event)
{
    *tdco_reg(TDCO_EVENT_UNIT_BASE + TDCO_EU_MASK) = 1u << event;
    tdco_sleep_at(TDCO_EVENT_UNIT_BASE + TDCO_EU_WAIT_CLEAR);
}

/* Sends a software event to the harts in `harts`. */
static inline void tdco_send_event(uint32_t event, uint32_t harts)
{
    *tdco_reg(TDCO_EVENT_UNIT_BASE + TDCO_EU_SEND + 4 * event) = harts;
}

static inline void tdco_barrier_setup(uint32_t barrier, uint32_t harts)
{
    const uint32_t base = TDCO_EVENT_UNIT_BASE + TDCO_EU_BARRIER + 0x20 * barrier;
    *tdco_reg(base + TDCO_EU_BARRIER_TRIGGER_MASK) = harts;
    *tdco_reg(base + TDCO_EU_BARRIER_TARGET_MASK) = harts;
}

/* Returns when every hart of the barrier has arrived. */
static inline void tdco_barrier(uint32_t barrier)
{
    *tdco_reg(TDCO_EVENT_UNIT_BASE + TDCO_EU_MASK) = 1u << TDCO_EVENT_BARRIER;
    tdco_sleep_at(TDCO_EVENT_UNIT_BASE + TDCO_EU_BARRIER + 0x20 * barrier + TDCO_EU_BARRIER_TRIGGER_WAIT_CLEAR);
}

/* Starts a transfer of rows x row_bytes between L1 (dense) and L2; the returned counter is for tdco_dma_busy(). */
uint32_t tdco_dma_start(uint32_t l1, uint32_t l2, uint32_t row_bytes, uint32_t rows, int32_t stride_bytes, int to_l1);
/* Nonzero while the transfer runs; afterwards the counter is free again. */
int tdco_dma_busy(uint32_t counter);

/* Copies between L3 and L2 and returns when it is done. */
void tdco_l3_copy(uint32_t l2, uint32_t l3, uint32_t bytes, int to_l2);

/* %d %u %x %s %c, with an optional 0 and width. */
void tdco_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));
void tdco_exit(uint32_t code) __attribute__((noreturn));

/* What the program does with every hart; crt0 calls it. */
void tdco_start(uint32_t hart);

#endif
