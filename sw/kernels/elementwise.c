/* Element by element: Add and Mul with broadcasting, Relu and its gradient. */
#include "fpmath.h"
#include "kernel.h"

static inline float load_f16(const uint16_t *x) { return tdco_h2f(*x); }
static inline float load_f32(const float *x) { return *x; }
static inline void store_f16(uint16_t *z, float value) { *z = tdco_f2h(value); }
static inline void store_f32(float *z, float value) { *z = tdco_canonical(value); }

typedef uint16_t f16;
typedef float f32;

/* z[i,j,k] = a[...] op b[...], z dense and stored like a.
 * p: a, b, z.  i: extents of i, j, k; strides of a along them; strides of b, in elements, 0 where broadcast. */
#define BROADCAST(name, a_format, b_format, op)                                                                        \
    void tdco_##name##_##a_format##_##b_format(const tdco_args *args, uint32_t core, uint32_t cores)                   \
    {                                                                                                                  \
        const int32_t *extent = args->i, *a_stride = args->i + 3, *b_stride = args->i + 6;                             \
        const uint32_t middle = extent[1], inner = extent[2];                                                          \
        const tdco_range share = tdco_share(extent[0] * middle * inner, core, cores);                                  \
        a_format *z = (a_format *)args->p[2];                                                                          \
        uint32_t at = share.begin;                                                                                     \
        while (at < share.end) {                                                                                       \
            const uint32_t row = at / inner, i = row / middle, j = row - i * middle, k = at - row * inner;             \
            const uint32_t stop = share.end - at < inner - k ? share.end : at + inner - k;                             \
            const int32_t a_step = a_stride[2], b_step = b_stride[2];                                                  \
            const a_format *a = (const a_format *)args->p[0] + i * a_stride[0] + j * a_stride[1] + k * a_step;         \
            const b_format *b = (const b_format *)args->p[1] + i * b_stride[0] + j * b_stride[1] + k * b_step;         \
            for (; at < stop; at++, a += a_step, b += b_step)                                                          \
                store_##a_format(z + at, load_##a_format(a) op load_##b_format(b));                                    \
        }                                                                                                              \
    }

BROADCAST(add, f16, f16, +)
BROADCAST(add, f16, f32, +)
BROADCAST(add, f32, f16, +)
BROADCAST(add, f32, f32, +)
BROADCAST(mul, f16, f16, *)
BROADCAST(mul, f16, f32, *)
BROADCAST(mul, f32, f16, *)
BROADCAST(mul, f32, f32, *)

/* p: x, y.  i: elements. A binary16 is negative where its sign bit is set; NaN, 0x7E00, passes. */
void tdco_relu_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const tdco_range share = tdco_share(args->i[0], core, cores);
    const int16_t *x = args->p[0];
    int16_t *y = args->p[1];
    for (uint32_t at = share.begin; at < share.end; at++)
        y[at] = x[at] < 0 ? 0 : x[at];
}

/* p: dy, y, dx.  i: elements. */
void tdco_relu_grad_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const tdco_range share = tdco_share(args->i[0], core, cores);
    const uint16_t *dy = args->p[0];
    const int16_t *y = args->p[1];
    uint16_t *dx = args->p[2];
    for (uint32_t at = share.begin; at < share.end; at++)
        dx[at] = y[at] > 0 ? dy[at] : 0;
}
