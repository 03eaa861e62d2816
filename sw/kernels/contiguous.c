/* Moving elements about: strided copies and zero fill. Formats b16 and b32 are any type of that many bits. */
#include "kernel.h"

/* z[i0,i1,i2,i3] = x[i0,i1,i2,i3] in strides of their own.
 * p: x, z.  i: 4 extents, 4 strides of x, 4 strides of z, in elements. */
#define TDCO_CONTIGUOUS(name, type)                                                                                    \
    void name(const tdco_args *a, uint32_t core, uint32_t cores)                                                       \
    {                                                                                                                  \
        const uint32_t n0 = a->i[0], n1 = a->i[1], n2 = a->i[2], n3 = a->i[3];                                         \
        const int32_t *xs = a->i + 4, *zs = a->i + 8;                                                                  \
        const tdco_range share = tdco_share(n0 * n1 * n2 * n3, core, cores);                                           \
        uint32_t at = share.begin, row = at / n3;                                                                      \
        int32_t i3 = at % n3, i2 = row % n2, i1 = row / n2 % n1, i0 = row / n2 / n1;                                   \
        while (at < share.end) {                                                                                       \
            const type *x = (const type *)a->p[0] + (i0 * xs[0] + i1 * xs[1] + i2 * xs[2] + i3 * xs[3]);               \
            type *z = (type *)a->p[1] + (i0 * zs[0] + i1 * zs[1] + i2 * zs[2] + i3 * zs[3]);                           \
            const uint32_t rest = n3 - i3, run = share.end - at < rest ? share.end - at : rest;                        \
            for (uint32_t n = 0; n < run; n++) {                                                                       \
                *z = *x;                                                                                               \
                x += xs[3];                                                                                            \
                z += zs[3];                                                                                            \
            }                                                                                                          \
            at += run;                                                                                                 \
            i3 = 0;                                                                                                    \
            if (++i2 == (int32_t)n2) {                                                                                 \
                i2 = 0;                                                                                                \
                if (++i1 == (int32_t)n1) {                                                                             \
                    i1 = 0;                                                                                            \
                    i0++;                                                                                              \
                }                                                                                                      \
            }                                                                                                          \
        }                                                                                                              \
    }

TDCO_CONTIGUOUS(tdco_contiguous_b16, uint16_t)
TDCO_CONTIGUOUS(tdco_contiguous_b32, uint32_t)

/* z[0:n] = 0.  p: z.  i: n, in 16-bit units. */
void tdco_zero_b16(const tdco_args *a, uint32_t core, uint32_t cores)
{
    const tdco_range share = tdco_share_pairs(a->i[0], core, cores);
    tdco_zero_f16((uint16_t *)a->p[0] + share.begin, share.end - share.begin);
}
