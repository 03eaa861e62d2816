/* What a platform gives to kernels and runtime. This one is the cluster: conversions in hardware, addresses as they
 * are. */
#ifndef TDCO_PORT_H
#define TDCO_PORT_H

#include <stdint.h>

#include "tdco.h"
#include "tdco_hw.h"

/* The value of a binary16, exactly; every NaN becomes 0x7FC00000. */
static inline float tdco_h2f(uint16_t h)
{
    _Float16 half;
    __builtin_memcpy(&half, &h, sizeof half);
    return (float)half;
}

/* The binary16 nearest to `value`, ties to even; every NaN becomes 0x7E00. */
static inline uint16_t tdco_f2h(float value)
{
    const _Float16 half = (_Float16)value;
    uint16_t h;
    __builtin_memcpy(&h, &half, sizeof h);
    return h;
}

/* `x`, a result of arithmetic, with the one NaN RISC-V knows, 0x7FC00000, as it is here already. A kernel that stores
 * binary32 stores this. */
static inline float tdco_canonical(float x)
{
    return x;
}

/* Sum and product of two binary16, rounded once. */
static inline uint16_t tdco_hadd(uint16_t a, uint16_t b)
{
    _Float16 x, y;
    __builtin_memcpy(&x, &a, sizeof x);
    __builtin_memcpy(&y, &b, sizeof y);
    x = x + y;
    __builtin_memcpy(&a, &x, sizeof a);
    return a;
}

static inline uint16_t tdco_hmul(uint16_t a, uint16_t b)
{
    _Float16 x, y;
    __builtin_memcpy(&x, &a, sizeof x);
    __builtin_memcpy(&y, &b, sizeof y);
    x = x * y;
    __builtin_memcpy(&a, &x, sizeof a);
    return a;
}

/* x * w + sum, rounded once. The instruction by name: the sum stays in its register, where clang, given the choice, moves
 * it about until a loop of 16 sums no longer fits the registers. */
static inline uint16_t tdco_hfma(uint16_t x, uint16_t w, uint16_t sum)
{
    __asm__("fmadd.h %0, %1, %2, %0" : "+r"(sum) : "r"(x), "r"(w));
    return sum;
}

/* a * b + c, rounded once. */
static inline float tdco_fma(float a, float b, float c)
{
    return __builtin_elementwise_fma(a, b, c);
}

/* The larger one; +0 of both zeros, and of a number and NaN the number. */
static inline float tdco_max(float a, float b)
{
    return __builtin_fmaxf(a, b);
}

/* A device address as a pointer; 0 stays 0. */
static inline void *tdco_ptr(uint32_t addr)
{
    return (void *)addr;
}

/* A step of `program` begins. */
void tdco_port_begin(const tdco_program *program);

/* Brings up to date how many commands of each kind have finished since tdco_port_begin(); returns a bit for
 * each kind of which some may have. */
uint32_t tdco_port_poll(uint32_t finished[TDCO_KINDS]);

#define TDCO_CALLS_POSTED 2 /* at most */

/* How many commands of a kind may have started and not finished. The DMA's counters are shared by both directions. */
static inline uint32_t tdco_port_room(uint32_t kind)
{
    return kind == TDCO_GEMM ? TDCO_QUEUE_JOBS
        : kind == TDCO_CALL  ? TDCO_CALLS_POSTED
        : kind == TDCO_L3    ? 1
                             : TDCO_DMA_COUNTERS / 2;
}

/* Prepares command `index` of `kind`, the next of its queue, for tdco_port_start(), and tells what it waits for; 0: not
 * now. */
int tdco_port_stage(uint32_t kind, uint32_t index, tdco_when *when);

/* Starts the staged command of `kind`, whose number is `command`: everything it waits for has finished. */
void tdco_port_start(uint32_t kind, uint32_t command);

/* Returns when another look may find something new. */
void tdco_port_sleep(void);

#endif
