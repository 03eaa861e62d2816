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

/* e^x of x <= 0 within 2^-17 of it, for sums that end up as binary16; e^-30 below -30, NaN of NaN. */
static inline float tdco_exp_below(float x)
{
    const float magic = 0x1.8p23f;
    const float y = (x < -30.0f ? -30.0f : x) * 0x1.715476p+0f, shifted = y + magic, r = y - (shifted - magic);
    float p = 0x1.39a772p-7f;
    p = p * r + 0x1.ca141p-5f;
    p = p * r + 0x1.ec0698p-3f;
    p = p * r + 0x1.62e0dep-1f;
    p = p * r + 0x1.ffffe8p-1f;
    return p * tdco_float((tdco_bits(shifted) << 23) + 0x3F800000); /* 2^r . 2^k */
}

typedef struct {
    float cdf, pdf;
} tdco_gaussian;

/* The standard normal distribution at x: its cdf, and its density, for results in binary16. A cubic for each quarter
 * of [0, 6) gives the upper tail Q(t) = 1 - cdf(t), its derivative the density. Relative to itself, Q is
 * within 2^-16 up to t = 2, 2^-12 up to 4 and 2^-9 up to 6, where it is 1e-9 and goes on as 0; the density is within
 * 2^-13. */
static inline tdco_gaussian tdco_normal(float x)
{
    static const float q[24][4] = { /* by u in [0, 1), lowest power first */
        {0x1p-1f, -0x1.98893p-4f, 0x1.95a574p-16f, 0x1.08abacp-10f},
        {0x1.9aecbp-2f, -0x1.8c0278p-4f, 0x1.96c382p-9f, 0x1.af0c68p-11f},
        {0x1.3bf108p-2f, -0x1.6893f2p-4f, 0x1.6f76f2p-8f, 0x1.0dbe06p-11f},
        {0x1.d02178p-3f, -0x1.346c64p-4f, 0x1.d579dap-8f, 0x1.5627d6p-13f},
        {0x1.44ecacp-3f, -0x1.efa68ep-5f, 0x1.f511e2p-8f, -0x1.33c3dcp-13f},
        {0x1.b0bd8p-4f, -0x1.761ffcp-5f, 0x1.d6e308p-8f, -0x1.776eaep-12f},
        {0x1.11a46p-4f, -0x1.09451cp-5f, 0x1.8ee5cp-8f, -0x1.db1862p-12f},
        {0x1.4829fep-5f, -0x1.6158fep-6f, 0x1.346fa6p-8f, -0x1.d687a8p-12f},
        {0x1.74bbfep-6f, -0x1.ba15cep-7f, 0x1.b68454p-9f, -0x1.8e4034p-12f},
        {0x1.909018p-7f, -0x1.03c5bcp-7f, 0x1.20210cp-9f, -0x1.2b2994p-12f},
        {0x1.96f0eep-8f, -0x1.1ec1dcp-8f, 0x1.5f1d94p-10f, -0x1.96076ep-13f},
        {0x1.868a3p-9f, -0x1.29541p-9f, 0x1.8db904p-11f, -0x1.f7024ap-14f},
        {0x1.61d5e2p-10f, -0x1.219226p-10f, 0x1.a38314p-12f, -0x1.1e487p-14f},
        {0x1.2e7ceap-11f, -0x1.08e3f8p-11f, 0x1.9c984ap-13f, -0x1.2cc21p-15f},
        {0x1.e7c55ap-13f, -0x1.c73202p-13f, 0x1.7ac512p-14f, -0x1.248dep-16f},
        {0x1.72c27p-14f, -0x1.6f5ad4p-14f, 0x1.44d502p-15f, -0x1.081cap-17f},
        {0x1.0997f4p-15f, -0x1.1674dcp-15f, 0x1.046a62p-16f, -0x1.bb61d6p-19f},
        {0x1.668058p-17f, -0x1.8c7f28p-17f, 0x1.868af4p-18f, -0x1.5a8616p-20f},
        {0x1.c7cafcp-19f, -0x1.092316p-18f, 0x1.1208c8p-19f, -0x1.f8e72ap-22f},
        {0x1.10d87ap-20f, -0x1.4d0c4ap-20f, 0x1.67ffc2p-21f, -0x1.573184p-23f},
        {0x1.338bc2p-22f, -0x1.88ee78p-22f, 0x1.badd3ap-23f, -0x1.b3a0d6p-25f},
        {0x1.4650b4p-24f, -0x1.b368e6p-24f, 0x1.fe4facp-25f, -0x1.025234p-26f},
        {0x1.45dbbcp-26f, -0x1.c5283p-26f, 0x1.13774cp-26f, -0x1.1e636ap-28f},
        {0x1.323618p-28f, -0x1.baf65ep-28f, 0x1.16b102p-28f, -0x1.28f29ep-30f},
    };
    const float t = tdco_float(tdco_bits(x) & 0x7FFFFFFF) * 4.0f;
    if (!(t < 24.0f))
        return (tdco_gaussian){x < 0.0f ? 0.0f : x > 0.0f ? 1.0f : x, x == x ? 0.0f : x};
    const int32_t quarter = (int32_t)t;
    const float u = t - (float)quarter, *const c = q[quarter];
    const float tail = ((c[3] * u + c[2]) * u + c[1]) * u + c[0];
    const float pdf = -4.0f * ((3.0f * c[3] * u + 2.0f * c[2]) * u + c[1]);
    return (tdco_gaussian){x < 0.0f ? tail : 1.0f - tail, pdf};
}

#endif
