/* binary32 functions for kernels: plain operations in a written order, so every platform gets the same bits (build
 * with -ffp-contract=off). The stated errors are the largest ones found by tests/kernels/test_fpmath.py.
 * The polynomials are minimax fits of relative error, coefficients rounded to binary32 one after the other. */
#ifndef TDCO_FPMATH_H
#define TDCO_FPMATH_H

#include <stdint.h>

#include "port.h"

static inline uint32_t tdco_bits(float x)
{
    uint32_t bits;
    __builtin_memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float tdco_float(uint32_t bits)
{
    float x;
    __builtin_memcpy(&x, &bits, sizeof x);
    return x;
}

/* What undoes the loss scale that a flag of an update stands for: 1 for none, 1 + e for 2^e. */
static inline float tdco_unscale(int32_t ok) { return tdco_float((uint32_t)(128 - ok) << 23); }

static inline float tdco_abs(float x)
{
    return tdco_float(tdco_bits(x) & 0x7FFFFFFF);
}

/* e^x within 1 ulp; +0 below 2^-126 (x < -87.336), infinity above the largest finite value. */
static inline float tdco_exp(float x)
{
    const float magic = 0x1.8p23f; /* adding it leaves the nearest integer in the low bits */
    if (!(x >= -0x1.5d589ep+6f))
        return x == x ? 0.0f : x;
    if (x > 0x1.62e42ep+6f)
        return tdco_float(0x7F800000);
    const float shifted = x * 0x1.715476p+0f + magic, k = shifted - magic;
    const float r = x - k * 0x1.62e4p-1f - k * 0x1.7f7d1cp-20f; /* ln 2 in two parts: the first product is exact */
    float q = 0x1.6a4ed2p-10f;
    q = q * r + 0x1.12399cp-7f;
    q = q * r + 0x1.5558bp-5f;
    q = q * r + 0x1.555492p-3f;
    q = q * r + 0x1.fffffcp-2f;
    const float p = 1.0f + (r + r * r * q);
    return tdco_float(tdco_bits(p) + (tdco_bits(shifted) << 23)); /* p . 2^k */
}

/* Natural logarithm of a normal x > 0, within 1 ulp; infinity and NaN give themselves. */
static inline float tdco_log(float x)
{
    if (!(x < tdco_float(0x7F800000)))
        return x;
    const uint32_t offset = tdco_bits(x) - 0x3F3504F3; /* from the square root of 1/2: m lies in [0.71, 1.42) */
    const float k = (float)((int32_t)offset >> 23);
    const float m = tdco_float((offset & 0x007FFFFF) + 0x3F3504F3);
    const float f = m - 1.0f, s = f / (m + 1.0f), z = s * s;
    float p = 0x1.31e08p-2f;
    p = p * z + 0x1.995ed6p-2f;
    p = p * z + 0x1.55557ap-1f;
    return k * 0x1.62e4p-1f + (k * 0x1.7f7d1cp-20f + (f - s * (f - z * p)));
}

/* 1 / sqrt(x) of a finite normal x > 0, NaN of NaN, within 2.1 ulp: Newton's iteration from a guess good to 3.5 %. */
static inline float tdco_rsqrt(float x)
{
    const float half = 0.5f * x;
    float y = tdco_float(0x5F3759DF - (tdco_bits(x) >> 1));
    for (int i = 0; i < 3; i++)
        y = y + y * (0.5f - half * y * y);
    return y;
}

/* 2^y of -126 < y < 127 within 2^-17, for sums that end up as binary16; NaN of NaN. */
static inline float tdco_exp2(float y)
{
    const float shifted = y + 0x1.8p23f, r = y - (shifted - 0x1.8p23f);
    float p = tdco_fma(0x1.39a772p-7f, r, 0x1.ca141p-5f);
    p = tdco_fma(p, r, 0x1.ec0698p-3f);
    p = tdco_fma(p, r, 0x1.62e0dep-1f);
    p = tdco_fma(p, r, 0x1.ffffe8p-1f);
    return tdco_float(tdco_bits(p) + (tdco_bits(shifted) << 23)); /* 2^r . 2^k */
}

#endif
