/* Element by element: Add and Mul with broadcasting, Relu and its gradient. */
#include "fpmath.h"
#include "kernel.h"

typedef uint16_t f16;
typedef float f32;

static inline f16 add_f16_f16(f16 a, f16 b) { return tdco_hadd(a, b); }
static inline f16 add_f16_f32(f16 a, f32 b) { return tdco_f2h(tdco_h2f(a) + b); }
static inline f32 add_f32_f16(f32 a, f16 b) { return tdco_canonical(a + tdco_h2f(b)); }
static inline f32 add_f32_f32(f32 a, f32 b) { return tdco_canonical(a + b); }
static inline f16 mul_f16_f16(f16 a, f16 b) { return tdco_hmul(a, b); }
static inline f16 mul_f16_f32(f16 a, f32 b) { return tdco_f2h(tdco_h2f(a) * b); }
static inline f32 mul_f32_f16(f32 a, f16 b) { return tdco_canonical(a * tdco_h2f(b)); }
static inline f32 mul_f32_f32(f32 a, f32 b) { return tdco_canonical(a * b); }

/* v[0:n] = x[0:n], n as tdco_load_f16() has it. */
TDCO_INLINE void fetch_f16(const f16 *x, f16 *v, uint32_t n)
{
    tdco_pair words[TDCO_BLOCK / 2];
    if (n == 1)
        v[0] = *x;
    for (uint32_t i = 0; i < n / 2; i++)
        words[i] = ((const tdco_pair *)x)[i];
    for (uint32_t i = 0; i < n / 2; i++) {
        v[2 * i] = (f16)words[i];
        v[2 * i + 1] = (f16)(words[i] >> 16);
    }
}

TDCO_INLINE void fetch_f32(const f32 *x, f32 *v, uint32_t n) { tdco_load_f32(x, v, n); }

/* z[i,j,k] = a[...] op b[...], z dense and stored like a.
 * p: a, b, z.  i: extents of i, j, k; strides of a along them; strides of b, in elements, 0 where broadcast. */
#define BROADCAST(name, a_format, b_format)                                                                            \
    TDCO_INLINE void name##_block(const a_format *a, const b_format *b, a_format *z, uint32_t n)                       \
    {                                                                                                                  \
        a_format x[TDCO_BLOCK];                                                                                        \
        b_format y[TDCO_BLOCK];                                                                                        \
        fetch_##a_format(a, x, n);                                                                                     \
        fetch_##b_format(b, y, n);                                                                                     \
        for (uint32_t i = 0; i < n; i++)                                                                               \
            z[i] = name(x[i], y[i]);                                                                                   \
    }                                                                                                                  \
                                                                                                                       \
    static void name##_dense(const a_format *a, const b_format *b, a_format *z, uint32_t elements, uint32_t core,      \
                             uint32_t cores)                                                                           \
    {                                                                                                                  \
        const uint32_t whole = tdco_in_blocks(elements, TDCO_BLOCK, a, b), step = cores * TDCO_BLOCK;                  \
        const a_format *const end = a + whole;                                                                         \
        for (uint32_t at = whole + core; at < elements; at += cores)                                                   \
            name##_block(a + at, b + at, z + at, 1);                                                                   \
        b += core * TDCO_BLOCK;                                                                                        \
        z += core * TDCO_BLOCK;                                                                                        \
        for (a += core * TDCO_BLOCK; a < end; a += step, b += step, z += step)                                         \
            name##_block(a, b, z, TDCO_BLOCK);                                                                         \
    }                                                                                                                  \
                                                                                                                       \
    void tdco_##name(const tdco_args *args, uint32_t core, uint32_t cores)                                             \
    {                                                                                                                  \
        const int32_t *extent = args->i, *a_stride = args->i + 3, *b_stride = args->i + 6;                             \
        const uint32_t middle = extent[1], inner = extent[2], elements = extent[0] * middle * inner;                   \
        const int32_t a_step = a_stride[2], b_step = b_stride[2];                                                      \
        const a_format *const a0 = args->p[0];                                                                         \
        const b_format *const b0 = args->p[1];                                                                         \
        a_format *const z = args->p[2];                                                                                \
        if (inner == elements && a_step == 1 && b_step == 1) {                                                         \
            name##_dense(a0, b0, z, elements, core, cores);                                                            \
            return;                                                                                                    \
        }                                                                                                              \
        const tdco_range share = tdco_share(elements, core, cores);                                                    \
        for (uint32_t at = share.begin; at < share.end;) {                                                             \
            const uint32_t row = at / inner, i = row / middle, j = row - i * middle, k = at - row * inner;             \
            const uint32_t stop = share.end - at < inner - k ? share.end : at + inner - k;                             \
            const a_format *a = a0 + i * a_stride[0] + j * a_stride[1] + k * a_step;                                   \
            const b_format *b = b0 + i * b_stride[0] + j * b_stride[1] + k * b_step;                                   \
            for (; at < stop; at++, a += a_step, b += b_step)                                                          \
                z[at] = name(*a, *b);                                                                                  \
        }                                                                                                              \
    }

BROADCAST(add_f16_f16, f16, f16)
BROADCAST(add_f16_f32, f16, f32)
BROADCAST(add_f32_f16, f32, f16)
BROADCAST(add_f32_f32, f32, f32)
BROADCAST(mul_f16_f16, f16, f16)
BROADCAST(mul_f16_f32, f16, f32)
BROADCAST(mul_f32_f16, f32, f16)
BROADCAST(mul_f32_f32, f32, f32)

/* p: x, y.  i: elements. A binary16 is negative where its sign bit is set; NaN, 0x7E00, passes. */
void tdco_relu_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const tdco_range share = tdco_share_pairs(args->i[0], core, cores);
    const int16_t *x = (const int16_t *)args->p[0] + share.begin, *const end = (const int16_t *)args->p[0] + share.end;
    int16_t *y = (int16_t *)args->p[1] + share.begin;
    if (tdco_word_aligned(x, y))
        for (; end - x >= TDCO_BLOCK; x += TDCO_BLOCK, y += TDCO_BLOCK) {
            tdco_pair pairs[TDCO_BLOCK / 2];
            for (int i = 0; i < TDCO_BLOCK / 2; i++)
                pairs[i] = ((const tdco_pair *)x)[i];
            for (int i = 0; i < TDCO_BLOCK / 2; i++) {
                const uint32_t negative = pairs[i] >> 15 & 0x00010001;
                ((tdco_pair *)y)[i] = pairs[i] & ~((negative << 16) - negative);
            }
        }
    for (; x < end; x++, y++)
        *y = *x < 0 ? 0 : *x;
}

/* All bits of each half of a word whose binary16 is above zero: its sign is clear, and another bit set. NaN is. */
static inline uint32_t positive(uint32_t pair)
{
    const uint32_t found = (((pair & 0x7FFF7FFF) + 0x7FFF7FFF) & ~pair) & 0x80008000;
    return found | (found - (found >> 15));
}

/* p: dy, y, dx.  i: elements. */
void tdco_relu_grad_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const tdco_range share = tdco_share_pairs(args->i[0], core, cores);
    const uint16_t *dy = (const uint16_t *)args->p[0] + share.begin, *const end = (const uint16_t *)args->p[0] + share.end;
    const int16_t *y = (const int16_t *)args->p[1] + share.begin;
    uint16_t *dx = (uint16_t *)args->p[2] + share.begin;
    if (tdco_word_aligned(dy, y) && tdco_word_aligned(dx, dx))
        for (; end - dy >= TDCO_BLOCK; dy += TDCO_BLOCK, y += TDCO_BLOCK, dx += TDCO_BLOCK) {
            tdco_pair from[TDCO_BLOCK / 2], mask[TDCO_BLOCK / 2];
            for (int i = 0; i < TDCO_BLOCK / 2; i++) {
                from[i] = ((const tdco_pair *)dy)[i];
                mask[i] = ((const tdco_pair *)y)[i];
            }
            for (int i = 0; i < TDCO_BLOCK / 2; i++)
                ((tdco_pair *)dx)[i] = from[i] & positive(mask[i]);
        }
    for (; dy < end; dy++, y++, dx++)
        *dx = *y > 0 ? *dy : 0;
}
