/* What a platform gives to kernels and runtime. This one is the machine the program was compiled on. */
#ifndef TDCO_PORT_H
#define TDCO_PORT_H

#include <stdint.h>
#include <string.h>

#include "tdco.h"

#ifdef __F16C__
#include <immintrin.h>
#endif

/* The value of a binary16, exactly; every NaN becomes 0x7FC00000. */
static inline float tdco_h2f(uint16_t h)
{
#ifdef __F16C__
    const float value = _cvtsh_ss(h);
    return value == value ? value : __builtin_nanf("");
#else
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16, magnitude = h & 0x7FFF;
    uint32_t bits;
    float value;
    if (magnitude > 0x7C00)
        return __builtin_nanf("");
    if (magnitude == 0x7C00) {
        bits = sign | 0x7F800000;
    } else if (magnitude >= 0x0400) {
        bits = sign | ((magnitude << 13) + ((127 - 15) << 23));
    } else {
        value = (float)magnitude * 0x1p-24f; /* subnormal; exact, and binary32 has room to spare */
        memcpy(&bits, &value, sizeof bits);
        bits |= sign;
    }
    memcpy(&value, &bits, sizeof value);
    return value;
#endif
}

/* The binary16 nearest to `value`, ties to even; every NaN becomes 0x7E00. */
static inline uint16_t tdco_f2h(float value)
{
#ifdef __F16C__
    return value == value ? (uint16_t)_cvtss_sh(value, _MM_FROUND_TO_NEAREST_INT) : 0x7E00;
#else
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    bits &= 0x7FFFFFFF;
    if (bits > 0x7F800000)
        return 0x7E00;
    if (bits >= 0x477FF000) /* 65520, halfway between the largest finite value and the next step */
        return sign | 0x7C00;
    if (bits < 0x38800000) { /* below 2^-14: one unit in the last place of 0.5 + x is 2^-24, the subnormal step */
        float shifted;
        memcpy(&shifted, &bits, sizeof shifted);
        shifted += 0.5f;
        memcpy(&bits, &shifted, sizeof bits);
        return sign | (uint16_t)(bits - 0x3F000000);
    }
    bits += 0x0FFF + (bits >> 13 & 1);
    return sign | (uint16_t)((bits - ((127 - 15) << 23)) >> 13);
#endif
}

/* `x`, a result of arithmetic, with the one NaN RISC-V knows, 0x7FC00000. A kernel that stores binary32 stores this. */
static inline float tdco_canonical(float x)
{
    return x == x ? x : __builtin_nanf("");
}

/* Sum and product of two binary16, rounded once: binary32 has twice their digits and two more, so that rounding its
 * result gives the same (Figueroa, When is double rounding innocuous?, SIGNUM 1995). */
static inline uint16_t tdco_hadd(uint16_t a, uint16_t b)
{
    return tdco_f2h(tdco_h2f(a) + tdco_h2f(b));
}

static inline uint16_t tdco_hmul(uint16_t a, uint16_t b)
{
    return tdco_f2h(tdco_h2f(a) * tdco_h2f(b));
}

/* x * w + sum, rounded once: the product is exact in binary64, and its sum with a binary16, rounded there and then to
 * binary16, is rounded as if at once (sim/tdco_sim/golden/fp16.hpp proves it). On the way through binary32 an inexact
 * value becomes odd, which keeps it off every tie. */
static inline uint16_t tdco_hfma(uint16_t x, uint16_t w, uint16_t sum)
{
    const double exact = (double)tdco_h2f(sum) + (double)tdco_h2f(x) * (double)tdco_h2f(w);
    float value = (float)exact;
    if ((double)value != exact && exact == exact) {
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        bits -= __builtin_fabs((double)value) > __builtin_fabs(exact);
        bits |= 1;
        memcpy(&value, &bits, sizeof value);
    }
    return tdco_f2h(value);
}

/* a * b + c, rounded once: the product is exact in binary64; its sum with c becomes odd where it is inexact, and keeps
 * enough digits for the one rounding to binary32 (Boldo and Melquiond, Emulation of a FMA and correctly rounded sums,
 * IEEE Trans. Comp. 57(4), 2008). */
static inline float tdco_fma(float a, float b, float c)
{
#ifdef __FMA__
    return __builtin_fmaf(a, b, c);
#else
    const double product = (double)a * (double)b, sum = product + (double)c;
    const double from = sum - product, error = (product - (sum - from)) + ((double)c - from);
    uint64_t bits;
    double odd;
    memcpy(&bits, &sum, sizeof bits);
    if (sum - sum == 0.0 && error != 0.0 && !(bits & 1))
        bits += (error > 0.0) == (sum > 0.0) ? 1 : (uint64_t)-1;
    memcpy(&odd, &bits, sizeof odd);
    return (float)odd;
#endif
}

/* The larger one; +0 of both zeros, and of a number and NaN the number. */
static inline float tdco_max(float a, float b)
{
    if (a == b)
        return __builtin_signbit(a) ? b : a;
    return a > b || b != b ? tdco_canonical(a) : b;
}

/* A device address as a pointer; 0 stays 0. */
void *tdco_ptr(uint32_t addr);

/* A step of `program` begins. */
void tdco_port_begin(const tdco_program *program);

/* Brings up to date how many commands of each kind have finished since tdco_port_begin(); returns a bit for
 * each kind of which some may have. */
uint32_t tdco_port_poll(uint32_t finished[TDCO_KINDS]);

/* How many commands of a kind may have started and not finished: here they finish at once. */
static inline uint32_t tdco_port_room(uint32_t kind)
{
    (void)kind;
    return 1;
}

/* Prepares command `index` of `kind`, the next of its queue, for tdco_port_start(), and tells what it waits for; 0: not
 * now. */
int tdco_port_stage(uint32_t kind, uint32_t index, tdco_when *when);

/* Starts the staged command of `kind`, whose number is `command`: everything it waits for has finished. */
void tdco_port_start(uint32_t kind, uint32_t command);

/* Returns when another look may find something new. */
void tdco_port_sleep(void);

#endif
