/* What a platform gives to kernels and runtime. This one is the cluster: conversions in hardware, addresses as they
 * are. */
#ifndef TDCO_PORT_H
#define TDCO_PORT_H

#include <stdint.h>

#include "tdco.h"

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

/* x * w + sum, rounded once. (For __builtin_fmaf16 clang calls a library.) */
static inline uint16_t tdco_hfma(uint16_t x, uint16_t w, uint16_t sum)
{
    _Float16 a, b, c;
    __builtin_memcpy(&a, &x, sizeof a);
    __builtin_memcpy(&b, &w, sizeof b);
    __builtin_memcpy(&c, &sum, sizeof c);
    c = __builtin_elementwise_fma(a, b, c);
    __builtin_memcpy(&sum, &c, sizeof sum);
    return sum;
}

/* A device address as a pointer; 0 stays 0. */
static inline void *tdco_ptr(uint32_t addr)
{
    return (void *)addr;
}

/* The runtime calls these in program order, and only once everything a command waits for has finished. A port may
 * return before the work is done; commands of a kind finish in the order they were started. */
void tdco_port_copy(const tdco_copy *copy);
void tdco_port_gemm(const tdco_job *job);
void tdco_port_call(const tdco_call *call);

/* Returns when `count` commands of `kind` have finished since tdco_port_begin(). */
void tdco_port_wait(uint32_t kind, uint32_t count);

/* A step of `program` begins; command `index` of it is next. */
void tdco_port_begin(const tdco_program *program);
void tdco_port_command(const tdco_program *program, uint32_t index);

#endif
