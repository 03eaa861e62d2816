/* Stochastic gradient descent on binary16 weights without a master copy: rounded to nearest, with what rounding lost
 * carried to the next step (Kahan), or rounded up or down by chance. */
#include "fpmath.h"
#include "kernel.h"

TDCO_INLINE void one_f16(const uint16_t *x, float *v) { tdco_load_f16(x, v, 1); }
TDCO_INLINE void one_f32(const float *x, float *v) { tdco_load_f32(x, v, 1); }

/* 32 bits that look random, the same for the same key and index (constants: github.com/skeeto/hash-prospector). */
static inline uint32_t bits_at(uint32_t key, uint32_t index)
{
    uint32_t x = key ^ index * 0x9E3779B1u;
    x = (x ^ x >> 16) * 0x21F0AAADu;
    x = (x ^ x >> 15) * 0x735A2D97u;
    return x ^ x >> 15;
}

/* One of the two binary16 around `value`, each the likelier the nearer it is: in the mean, `value`. */
static inline uint16_t round_by_chance(float value, uint32_t random)
{
    const uint16_t near = tdco_f2h(value);
    const float back = tdco_h2f(near), off = value - back;
    const uint16_t other = (tdco_bits(off) >> 16 ^ near) & 0x8000 ? near - 1 : near + 1;
    const float gap = tdco_abs(tdco_h2f(other) - back);
    return tdco_abs(off) > gap * ((float)(random >> 8) * 0x1p-24f) ? other : near;
}

/* Where element `at` of a tile stands in the whole tensor. i: elements, seed, index of the tile's first one; extents of
 * its three inner dimensions, and the whole tensor's steps along the three outer ones of four. */
static inline uint32_t index_of(const int32_t *i, uint32_t at)
{
    const uint32_t e1 = i[3], e2 = i[4], e3 = i[5];
    if (e3 == (uint32_t)i[0])
        return i[2] + at;
    const uint32_t row = at / e3, plane = row / e2, cube = plane / e1;
    return i[2] + cube * i[6] + (plane - cube * e1) * i[7] + (row - plane * e2) * i[8] + (at - row * e3);
}

#define HALF_SGD(format, type)                                                                                         \
    /* p: w, grad, ok i32[1], new w.  i: elements.  f: learning rate / loss scale. */                                  \
    void tdco_half_sgd_##format(const tdco_args *args, uint32_t core, uint32_t cores)                                  \
    {                                                                                                                  \
        const tdco_range share = tdco_share_pairs(args->i[0], core, cores);                                            \
        const int32_t ok = *(const int32_t *)args->p[2];                                                               \
        const float rate = args->f[0] * tdco_unscale(ok);                                                              \
        const uint16_t *w = args->p[0];                                                                                \
        uint16_t *new_w = args->p[3];                                                                                  \
        for (uint32_t at = share.begin; at < share.end; at++) {                                                        \
            float slope;                                                                                               \
            one_##format((const type *)args->p[1] + at, &slope);                                                       \
            new_w[at] = ok ? tdco_f2h(tdco_fma(-rate, slope, tdco_h2f(w[at]))) : w[at];                                \
        }                                                                                                              \
    }                                                                                                                  \
                                                                                                                       \
    /* p: w, carry, grad, ok i32[1], new w, new carry.  i: elements.  f: learning rate / loss scale. */                \
    void tdco_kahan_sgd_##format(const tdco_args *args, uint32_t core, uint32_t cores)                                 \
    {                                                                                                                  \
        const tdco_range share = tdco_share_pairs(args->i[0], core, cores);                                            \
        const int32_t ok = *(const int32_t *)args->p[3];                                                               \
        const float rate = args->f[0] * tdco_unscale(ok);                                                              \
        const uint16_t *w = args->p[0], *carry = args->p[1];                                                           \
        uint16_t *new_w = args->p[4], *new_carry = args->p[5];                                                         \
        for (uint32_t at = share.begin; at < share.end; at++) {                                                        \
            float slope;                                                                                               \
            one_##format((const type *)args->p[2] + at, &slope);                                                       \
            const float old = tdco_h2f(w[at]), step = tdco_fma(-rate, slope, tdco_h2f(carry[at]));                     \
            const uint16_t sum = tdco_f2h(old + step);                                                                 \
            new_carry[at] = ok ? tdco_f2h(step - (tdco_h2f(sum) - old)) : carry[at];                                   \
            new_w[at] = ok ? sum : w[at];                                                                              \
        }                                                                                                              \
    }                                                                                                                  \
                                                                                                                       \
    /* p: w, grad, ok i32[1], step i32[1], new w.  i: as index_of.  f: learning rate / loss scale. */                  \
    void tdco_stochastic_sgd_##format(const tdco_args *args, uint32_t core, uint32_t cores)                            \
    {                                                                                                                  \
        const tdco_range share = tdco_share_pairs(args->i[0], core, cores);                                            \
        const int32_t ok = *(const int32_t *)args->p[2];                                                               \
        const float rate = args->f[0] * tdco_unscale(ok);                                                              \
        const uint32_t key = bits_at(args->i[1], *(const uint32_t *)args->p[3]);                                       \
        const uint16_t *w = args->p[0];                                                                                \
        uint16_t *new_w = args->p[4];                                                                                  \
        for (uint32_t at = share.begin; at < share.end; at++) {                                                        \
            const uint32_t random = bits_at(key, index_of(args->i, at));                                               \
            float slope;                                                                                               \
            one_##format((const type *)args->p[1] + at, &slope);                                                       \
            new_w[at] = ok ? round_by_chance(tdco_fma(-rate, slope, tdco_h2f(w[at])), random) : w[at];                 \
        }                                                                                                              \
    }

HALF_SGD(f16, uint16_t)
HALF_SGD(f32, float)

/* A factor of a product that is added to weights: rate . x, or a zero that leaves every sum as it is. That takes a
 * positive zero in the factor with the positive rate and a negative one in the other.
 * p: x, ok i32[1] twice, z.  i: elements.  f: rate. */
void tdco_factor_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const tdco_range share = tdco_share_pairs(args->i[0], core, cores);
    const int32_t ok = *(const int32_t *)args->p[1] && *(const int32_t *)args->p[2];
    const float rate = args->f[0];
    const uint16_t *x = args->p[0], zero = rate < 0.0f ? 0x8000 : 0;
    uint16_t *z = args->p[3];
    for (uint32_t at = share.begin; at < share.end; at++)
        z[at] = ok ? tdco_f2h(rate * tdco_h2f(x[at])) : zero;
}
