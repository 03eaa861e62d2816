/* For test programs: time a piece of code on a hart, warm. Results go to `result`, which the test reads by symbol. */
#ifndef MICRO_H
#define MICRO_H

#include "cluster.h"

extern volatile uint32_t result[32];
volatile uint32_t result[32];

/* Cycles of the asm text, run twice (the second time with a warm fetch path), without those of reading the counter. */
#define CYCLES(text)                                                                                               \
    ({                                                                                                             \
        uint32_t before, after, spent = 0;                                                                         \
        _Pragma("clang loop unroll(disable)")                                                                     \
        for (int round = 0; round < 2; round++) {                                                                  \
            __asm__ volatile(".balign 16\n csrr %0, mcycle\n" text "\n csrr %1, mcycle"                            \
                             : "=&r"(before), "=&r"(after)                                                         \
                             : "r"(data)                                                                           \
                             : "t0", "t1", "t2", "t3", "t4", "t5", "memory");                                       \
            spent = after - before - 1;                                                                            \
        }                                                                                                          \
        spent;                                                                                                     \
    })

static inline void cache_on(void)
{
    *tdco_reg(TDCO_ICACHE_BASE + TDCO_ICACHE_ENABLE) = 1;
}

#endif
