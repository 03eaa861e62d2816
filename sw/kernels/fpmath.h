/* binary32 functions for kernels: plain operations in a written order, so every platform gets the same bits (build
 * with -ffp-contract=off). The stated errors are the largest ones found by tests/kernels/test_fpmath.py.
 * The polynomials are minimax fits of relative error, coefficients rounded to binary32 one after the other. */
#ifndef TDCO_FPMATH_H
#define TDCO_FPMATH_H

#include <stdint.h>

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

/* `x` with the one NaN RISC-V knows, 0x7FC00000; a kernel that stores binary32 stores this. */
static inline float tdco_canonical(float x)
{
    return x == x ? x : tdco_float(0x7FC00000);
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

typedef struct {
    float cdf, pdf;
} tdco_gaussian;

/* The standard normal distribution at x, with one exponential for both: its cdf, 0.5 * (1 + erf(x / sqrt(2))), and its
 * density. Where x * x is exact, as for every binary16, the cdf is within 5 ulp from x = -6 up and the density within
 * 2 ulp where |x| <= 12; other x add x * x / 2 ulp. Below -6 the cdf's absolute error is under 1e-9. */
static inline tdco_gaussian tdco_normal(float x)
{
    /* Q(t) = (1 - cdf(t)) * exp(t^2 / 2) on [0, 2) around 1 and on [2, 6] around 4, highest power first */
    static const float q[2][10] = {
        {-0x1.cdcab8p-16f, 0x1.ba6fd6p-14f, -0x1.40eeep-12f, 0x1.064018p-10f, -0x1.9ee7e4p-9f,
         0x1.2f6f78p-7f, -0x1.9b0228p-6f, 0x1.fcc728p-5f, -0x1.195246p-3f, 0x1.0bdb2ep-2f},
        {-0x1.ce3834p-25f, 0x1.55ba3ap-22f, -0x1.53b8e4p-20f, 0x1.c7be9ep-18f, -0x1.3b44d4p-15f,
         0x1.952b1ep-13f, -0x1.f6a486p-11f, 0x1.2dd654p-8f, -0x1.5cf974p-6f, 0x1.82b4cp-4f},
    };
    const float e = tdco_exp(-0.5f * x * x), t = x < 0.0f ? -x : x;
    const int far = t >= 2.0f;
    const float u = t < 6.0f ? t - (far ? 4.0f : 1.0f) : 2.0f;
    float p = q[far][0];
    for (int i = 1; i < 10; i++)
        p = p * u + q[far][i];
    const float tail = e * p;
    return (tdco_gaussian){x < 0.0f ? tail : 1.0f - tail, e * 0x1.988454p-2f};
}

#endif
