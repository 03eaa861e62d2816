/* Sums over dimensions of a tensor, in fp32 and in row-major order whatever the number of cores or tiles. */
#include "kernel.h"

static inline float load_f16(const uint16_t *x) { return tdco_h2f(*x); }
static inline float load_f32(const float *x) { return *x; }
static inline void store_f16(uint16_t *z, float value) { *z = tdco_f2h(value); }
static inline void store_f32(float *z, float value) { *z = value; }

/* z[a,b,c] = scale * sum over i, j of x[a,i,b,j,c], added to z where `first` is 0.
 * p: x, z.  i: extents of a, i, b, j, c; first.  f: scale. */
#define TDCO_REDUCE(name, x_type, load_x, z_type, load_z, store_z)                                                     \
    void name(const tdco_args *args, uint32_t core, uint32_t cores)                                                    \
    {                                                                                                                  \
        const uint32_t na = args->i[0], ni = args->i[1], nb = args->i[2], nj = args->i[3], nc = args->i[4];            \
        const tdco_range share = tdco_share(na * nb * nc, core, cores);                                                \
        for (uint32_t out = share.begin; out < share.end; out++) {                                                     \
            const uint32_t c = out % nc, row = out / nc, b = row % nb, a = row / nb;                                   \
            z_type *z = (z_type *)args->p[1] + out;                                                                    \
            float sum = args->i[5] ? 0.0f : load_z(z);                                                                 \
            for (uint32_t i = 0; i < ni; i++) {                                                                        \
                const x_type *x = (const x_type *)args->p[0] + (((a * ni + i) * nb + b) * nj * nc + c);                \
                for (uint32_t j = 0; j < nj; j++) {                                                                    \
                    sum += load_x(x);                                                                                  \
                    x += nc;                                                                                           \
                }                                                                                                      \
            }                                                                                                          \
            store_z(z, sum * args->f[0]);                                                                              \
        }                                                                                                              \
    }

TDCO_REDUCE(tdco_reduce_f16_f16, uint16_t, load_f16, uint16_t, load_f16, store_f16)
TDCO_REDUCE(tdco_reduce_f16_f32, uint16_t, load_f16, float, load_f32, store_f32)
TDCO_REDUCE(tdco_reduce_f32_f16, float, load_f32, uint16_t, load_f16, store_f16)
TDCO_REDUCE(tdco_reduce_f32_f32, float, load_f32, float, load_f32, store_f32)
