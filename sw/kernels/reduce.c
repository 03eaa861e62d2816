/* Sums over dimensions of a tensor, in fp32 and in row-major order whatever the number of cores or tiles. */
#include "kernel.h"

static inline void store_f16(uint16_t *z, float value) { *z = tdco_f2h(value); }
static inline void store_f32(float *z, float value) { *z = value; }

/* z[a,b,c] = scale * sum over i, j of x[a,i,b,j,c], added to z where `first` is 0. Where the outputs of a line follow
 * each other as x does, a core sums two of them at once.
 * p: x, z.  i: extents of a, i, b, j, c; first.  f: scale. */
#define TDCO_REDUCE(x_format, x_type, z_format, z_type)                                                                \
    TDCO_INLINE void sum_##x_format##_##z_format(const x_type *x, z_type *z, const uint32_t extent[2],                 \
                                                 const uint32_t step[2], int first, float scale, uint32_t w)           \
    {                                                                                                                  \
        float sum[2] = {0.0f, 0.0f}, v[2];                                                                             \
        if (!first)                                                                                                    \
            for (uint32_t k = 0; k < w; k++)                                                                           \
                tdco_load_##z_format(z + k, sum + k, 1);                                                               \
        for (uint32_t i = 0; i < extent[0]; i++, x += step[0]) {                                                       \
            const x_type *from = x;                                                                                    \
            for (const x_type *const end = x + extent[1] * step[1]; from != end; from += step[1]) {                    \
                tdco_load_##x_format(from, v, w);                                                                      \
                for (uint32_t k = 0; k < w; k++)                                                                       \
                    sum[k] += v[k];                                                                                    \
            }                                                                                                          \
        }                                                                                                              \
        for (uint32_t k = 0; k < w; k++)                                                                               \
            store_##z_format(z + k, sum[k] * scale);                                                                   \
    }                                                                                                                  \
                                                                                                                       \
    /* The same down the columns of x[i,n], four of them at once, words of x: no stall on what was just loaded. */      \
    TDCO_INLINE void columns_##x_format##_##z_format(const x_type *x, z_type *z, uint32_t rows, uint32_t n, int first, \
                                                     float scale)                                                      \
    {                                                                                                                  \
        float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f}, v[4];                                                                 \
        if (!first)                                                                                                    \
            for (uint32_t k = 0; k < 4; k++)                                                                           \
                tdco_load_##z_format(z + k, sum + k, 1);                                                               \
        for (; rows > 0; rows--, x += n) {                                                                             \
            tdco_load_##x_format(x, v, 4);                                                                             \
            for (uint32_t k = 0; k < 4; k++)                                                                           \
                sum[k] += v[k];                                                                                        \
        }                                                                                                              \
        for (uint32_t k = 0; k < 4; k++)                                                                               \
            store_##z_format(z + k, sum[k] * scale);                                                                   \
    }                                                                                                                  \
                                                                                                                       \
    void tdco_reduce_##x_format##_##z_format(const tdco_args *args, uint32_t core, uint32_t cores)                     \
    {                                                                                                                  \
        const uint32_t na = args->i[0], ni = args->i[1], nb = args->i[2], nj = args->i[3], nc = args->i[4];            \
        const uint32_t extent[2] = {nj == 1 ? 1 : ni, nj == 1 ? ni : nj};                                              \
        const uint32_t step[2] = {nb * nj * nc, nj == 1 ? nb * nc : nc};                                               \
        const x_type *const x0 = args->p[0];                                                                           \
        z_type *const z = args->p[1];                                                                                  \
        if (na == 1 && nj == 1 && (nb * nc) % 4 == 0 && tdco_word_aligned(x0, z)) {                                    \
            for (uint32_t at = 4 * core; at < nb * nc; at += 4 * cores)                                                \
                columns_##x_format##_##z_format(x0 + at, z + at, ni, nb * nc, args->i[5], args->f[0]);                 \
            return;                                                                                                    \
        }                                                                                                              \
        const uint32_t line = nj == 1 ? nb * nc : nc, w = line % 2 == 0 && tdco_word_aligned(x0, z) ? 2 : 1;           \
        for (uint32_t out = core * w; out < na * nb * nc; out += cores * w) {                                          \
            const uint32_t row = nj == 1 ? 0 : out / nc, a = na == 1 ? 0 : out / (nb * nc);                            \
            const x_type *const x = x0 + (a * (ni - 1) * nj * nb * nc + row * (nj - 1) * nc + out);                  \
            if (w == 2)                                                                                                \
                sum_##x_format##_##z_format(x, z + out, extent, step, args->i[5], args->f[0], 2);                      \
            else                                                                                                       \
                sum_##x_format##_##z_format(x, z + out, extent, step, args->i[5], args->f[0], 1);                      \
        }                                                                                                              \
    }

TDCO_REDUCE(f16, uint16_t, f16, uint16_t)
TDCO_REDUCE(f16, uint16_t, f32, float)
TDCO_REDUCE(f32, float, f16, uint16_t)
TDCO_REDUCE(f32, float, f32, float)
