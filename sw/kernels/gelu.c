/* GELU, x * cdf(x) of the standard normal distribution, and its gradient, dy * (cdf(x) + x * pdf(x)).
 *
 * What is not simple in them depends on |x| alone: a polynomial for each piece of |x|, lowest power first, minimax fits
 * whose coefficients were rounded one after the other. tests/kernels/test_kernels.py has the errors over all
 * binary16. */
#include "fpmath.h"
#include "kernel.h"

enum { BLOCK = 4 }; /* elements at a time; more would not fit the cores' own instruction caches */
enum { TAIL_PIECES = 24, SLOPE_PIECES = 32 };
#define TAIL_SCALE 4.0f            /* pieces to 1: they end at |x| = 6, where x * cdf(x) is 0 or x in binary16 */
#define SLOPE_SCALE (16.0f / 3.0f) /* they end at 6, where the gradient is within 2^-24 of 0 or 1 */
#define TAIL_END 0x41BFFFFF        /* the last binary32 below 24: one less than the exact bound saves an instruction */
#define SLOPE_END 0x41FFFFFF       /* below 32 */

/* With t = 4 |x|: Q / 4, where Q = 1 - cdf(|x|). Relative to itself within 2^-16 up to |x| = 2, 2^-11 up to 4, 2^-8 up
 * to 6. */
static const float tail[TAIL_PIECES][4] = {
    {0x1p-3f, -0x1.9888a8p-6f, 0x1.6317fep-18f, 0x1.096544p-12f},
    {0x1.0020dep-3f, -0x1.9b3e8ap-6f, 0x1.43a6acp-13f, 0x1.b1e71ap-13f},
    {0x1.0180ep-3f, -0x1.ab2dep-6f, 0x1.496858p-11f, 0x1.0ed996p-13f},
    {0x1.06818ep-3f, -0x1.d2b6ap-6f, 0x1.75eb76p-10f, 0x1.55ea7ep-15f},
    {0x1.10b696p-3f, -0x1.07e2bap-5f, 0x1.35054ap-9f, -0x1.367572p-15f},
    {0x1.1e0f1cp-3f, -0x1.2802ep-5f, 0x1.9c4c4ep-9f, -0x1.78ee44p-14f},
    {0x1.281ba4p-3f, -0x1.3c59cp-5f, 0x1.d33dd4p-9f, -0x1.dbf8acp-14f},
    {0x1.26a99p-3f, -0x1.3a2c3ap-5f, 0x1.cef1eap-9f, -0x1.d6748p-14f},
    {0x1.1419c8p-3f, -0x1.1e9a98p-5f, 0x1.98516p-9f, -0x1.8e4062p-14f},
    {0x1.e0e38cp-4f, -0x1.de83fcp-6f, 0x1.447386p-9f, -0x1.2b29c8p-14f},
    {0x1.82936p-4f, -0x1.6d8ddep-6f, 0x1.d46e98p-10f, -0x1.9607aap-15f},
    {0x1.1e0c9ap-4f, -0x1.ffed06p-7f, 0x1.351458p-10f, -0x1.f7025cp-16f},
    {0x1.85733p-5f, -0x1.494218p-7f, 0x1.7681a8p-11f, -0x1.1e484p-16f},
    {0x1.e8185cp-6f, -0x1.85e878p-8f, 0x1.a21fd6p-12f, -0x1.2cc24ap-17f},
    {0x1.19e30ap-6f, -0x1.a9f2ep-9f, 0x1.af52e8p-13f, -0x1.248decp-18f},
    {0x1.2c7b6ep-7f, -0x1.ae1112p-10f, 0x1.9c02dep-14f, -0x1.081c9ep-19f},
    {0x1.2803f6p-8f, -0x1.91fddp-11f, 0x1.6d16b2p-15f, -0x1.bb61dep-21f},
    {0x1.0ddd76p-9f, -0x1.5c5caap-12f, 0x1.2c8bb4p-16f, -0x1.5a864ap-22f},
    {0x1.c7eb58p-11f, -0x1.183d18p-13f, 0x1.cc43eap-18f, -0x1.f8e6e6p-24f},
    {0x1.65403cp-12f, -0x1.a30156p-15f, 0x1.4827cep-19f, -0x1.573136p-25f},
    {0x1.03f1d2p-13f, -0x1.23625ap-16f, 0x1.b41474p-21f, -0x1.b3a0aep-27f},
    {0x1.5f9862p-15f, -0x1.794f0ap-18f, 0x1.0e3af4p-22f, -0x1.0251cp-28f},
    {0x1.ba603ap-17f, -0x1.c73488p-20f, 0x1.388deap-24f, -0x1.1e635cp-30f},
    {0x1.03127cp-18f, -0x1.00022ep-21f, 0x1.519058p-26f, -0x1.28f25ap-32f},
};

/* With t = 16/3 |x|: cdf(|x|) + |x| pdf(|x|) - 1/2, within 2^-13.8. */
static const float slope[3][SLOPE_PIECES] = {
    {0, -0x1.3c98fap-8f, -0x1.3ae602p-6f, -0x1.32955p-5f, -0x1.5d2a3ep-5f, -0x1.ac4a76p-7f, 0x1.17b5a4p-4f,
     0x1.a4dbfap-3f, 0x1.8b86f8p-2f, 0x1.2b83cep-1f, 0x1.8a92fep-1f, 0x1.d4eab4p-1f, 0x1.00f8ecp+0f, 0x1.07fc1p+0f,
     0x1.017ba8p+0f, 0x1.e3315p-1f, 0x1.b9a472p-1f, 0x1.8e4e9ap-1f, 0x1.66da86p-1f, 0x1.465902p-1f, 0x1.2da8ccp-1f,
     0x1.1c2f4p-1f, 0x1.109342p-1f, 0x1.094ce8p-1f, 0x1.04fc26p-1f, 0x1.028e1p-1f, 0x1.0140d4p-1f, 0x1.0096bap-1f,
     0x1.0043dep-1f, 0x1.001d4ep-1f, 0x1.000c24p-1f, 0x1.0004d4p-1f},
    {0x1.33e8fap-3f, 0x1.47c9f6p-3f, 0x1.658cf8p-3f, 0x1.7ee4eap-3f, 0x1.84beep-3f, 0x1.6cfc1ep-3f, 0x1.35bdf8p-3f,
     0x1.cb2814p-4f, 0x1.11fe84p-4f, 0x1.7348c2p-6f, -0x1.dd49dap-7f, -0x1.506084p-5f, -0x1.c91c9p-5f, -0x1.ec1908p-5f,
     -0x1.cea528p-5f, -0x1.8afadep-5f, -0x1.37e382p-5f, -0x1.cc879ap-6f, -0x1.4019f8p-6f, -0x1.a4eb56p-7f,
     -0x1.06aadep-7f, -0x1.37f164p-8f, -0x1.613526p-9f, -0x1.7de64p-10f, -0x1.8acdb4p-11f, -0x1.86a452p-12f,
     -0x1.7245aap-13f, -0x1.5074bap-14f, -0x1.25466ap-15f, -0x1.eab6eep-17f, -0x1.8a37dap-18f, -0x1.303c3ep-19f},
    {-0x1.3cc238p-9f, -0x1.e534eep-8f, -0x1.6b725ap-7f, -0x1.b07d7p-7f, -0x1.bd4468p-7f, -0x1.97efdep-7f,
     -0x1.4ea2cap-7f, -0x1.e63ec4p-8f, -0x1.2cf558p-8f, -0x1.173f4cp-9f, -0x1.14d82cp-12f, 0x1.ef67b2p-11f,
     0x1.99960ep-10f, 0x1.c5392ap-10f, 0x1.a3ddeep-10f, 0x1.5bcf72p-10f, 0x1.08b8bep-10f, 0x1.77b0c4p-11f,
     0x1.f572fep-12f, 0x1.3c877p-12f, 0x1.7b7282p-13f, 0x1.b1272p-14f, 0x1.d7d9fap-15f, 0x1.eb4f9ap-16f,
     0x1.e99e54p-17f, 0x1.d37b18p-18f, 0x1.ac00ep-19f, 0x1.7806bap-20f, 0x1.3d341ep-21f, 0x1.010e9ap-22f,
     0x1.906b14p-24f, 0x1.2bd864p-25f},
};

/* x * cdf(x) = max(x, 0) - |x| Q. */
TDCO_INLINE float gelu(float x)
{
    const float t = tdco_abs(x * TAIL_SCALE), part = tdco_max(x, -0.0f);
    if (__builtin_expect(tdco_bits(t) >= TAIL_END, 0))
        return x != x ? x : part;
    const float *const c = tail[(int32_t)t];
    return tdco_fma(-t, tdco_fma(tdco_fma(tdco_fma(c[3], t, c[2]), t, c[1]), t, c[0]), part);
}

/* 1/2 and an odd function. */
TDCO_INLINE float gelu_slope(float x)
{
    const float t = tdco_abs(x * SLOPE_SCALE);
    if (__builtin_expect(tdco_bits(t) >= SLOPE_END, 0))
        return x < 0.0f ? 0.0f : x > 0.0f ? 1.0f : x;
    const int32_t piece = (int32_t)t;
    const float odd = tdco_fma(tdco_fma(slope[2][piece], t, slope[1][piece]), t, slope[0][piece]);
    return 0.5f + __builtin_copysignf(odd, x);
}

TDCO_INLINE void gelu_block(const uint16_t *x, uint16_t *y, uint32_t n)
{
    float v[BLOCK];
    tdco_load_f16(x, v, n);
    for (uint32_t i = 0; i < n; i++)
        y[i] = tdco_f2h(gelu(v[i]));
}

/* p: x, y.  i: elements. */
void tdco_gelu_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const uint32_t elements = args->i[0], whole = tdco_in_blocks(elements, BLOCK, args->p[0], args->p[0]);
    const uint16_t *x = args->p[0], *const end = x + whole;
    uint16_t *y = args->p[1];
    for (uint32_t at = whole + core; at < elements; at += cores)
        gelu_block(x + at, y + at, 1);
    y += core * BLOCK;
    for (x += core * BLOCK; x < end; x += cores * BLOCK, y += cores * BLOCK)
        gelu_block(x, y, BLOCK);
}

TDCO_INLINE void grad_block(const uint16_t *dy, const uint16_t *x, uint16_t *dx, uint32_t n)
{
    float d[BLOCK], v[BLOCK];
    tdco_load_f16(dy, d, n);
    tdco_load_f16(x, v, n);
    for (uint32_t i = 0; i < n; i++)
        dx[i] = tdco_f2h(d[i] * gelu_slope(v[i]));
}

/* p: dy, x, dx.  i: elements. */
void tdco_gelu_grad_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const uint32_t elements = args->i[0], whole = tdco_in_blocks(elements, BLOCK, args->p[0], args->p[1]);
    const uint16_t *dy = args->p[0], *x = args->p[1], *const end = x + whole;
    uint16_t *dx = args->p[2];
    for (uint32_t at = whole + core; at < elements; at += cores)
        grad_block(dy + at, x + at, dx + at, 1);
    dy += core * BLOCK;
    dx += core * BLOCK;
    for (x += core * BLOCK; x < end; x += cores * BLOCK) {
        grad_block(dy, x, dx, BLOCK);
        dy += cores * BLOCK;
        dx += cores * BLOCK;
    }
}
