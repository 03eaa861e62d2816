/* Softmax of rows and its gradient; sums in fp32, from the first element to the last. */
#include "fpmath.h"
#include "kernel.h"

/* y = softmax(x * factor).  p: x[rows,n], scratch f32[lines,n], y[rows,n].  i: rows, n, lines.  f: factor, positive.
 * A core keeps the exponentials of its current row in a line of scratch; cores beyond the lines have nothing to do. */
void tdco_softmax_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const uint32_t n = args->i[1], lines = args->i[2];
    const tdco_range share = tdco_share(args->i[0], core, cores < lines ? cores : lines);
    const float factor = args->f[0];
    float *exponentials = (float *)args->p[1] + core * n;
    for (uint32_t row = share.begin; row < share.end; row++) {
        const uint16_t *x = (const uint16_t *)args->p[0] + row * n;
        uint16_t *y = (uint16_t *)args->p[2] + row * n;
        float largest = tdco_h2f(x[0]), sum = 0.0f;
#pragma GCC unroll 4
        for (uint32_t i = 1; i < n; i++) {
            const float value = tdco_h2f(x[i]);
            largest = value > largest ? value : largest;
        }
#pragma GCC unroll 2
        for (uint32_t i = 0; i < n; i++) {
            const float value = tdco_exp_below((tdco_h2f(x[i]) - largest) * factor);
            exponentials[i] = value;
            sum += value;
        }
        const float scale = 1.0f / sum;
#pragma GCC unroll 4
        for (uint32_t i = 0; i < n; i++)
            y[i] = tdco_f2h(exponentials[i] * scale);
    }
}

/* dx of a row; w elements are loaded together: 2 where rows lie in words. */
TDCO_INLINE void row_grad(const uint16_t *dy, const uint16_t *y, uint16_t *dx, uint32_t n, uint32_t w, float factor)
{
    float sum = 0.0f, d[2], p[2];
#pragma GCC unroll 2
    for (uint32_t i = 0; i < n; i += w) {
        tdco_load_f16(dy + i, d, w);
        tdco_load_f16(y + i, p, w);
        for (uint32_t k = 0; k < w; k++)
            sum += d[k] * p[k];
    }
#pragma GCC unroll 2
    for (uint32_t i = 0; i < n; i += w) {
        tdco_load_f16(dy + i, d, w);
        tdco_load_f16(y + i, p, w);
        for (uint32_t k = 0; k < w; k++)
            dx[i + k] = tdco_f2h(p[k] * (d[k] - sum) * factor);
    }
}

/* dx = factor * y * (dy - sum(dy * y)).  p: dy[rows,n], y[rows,n], dx[rows,n].  i: rows, n.  f: factor. */
void tdco_softmax_grad_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const uint32_t n = args->i[1];
    const tdco_range share = tdco_share(args->i[0], core, cores);
    for (uint32_t row = share.begin; row < share.end; row++) {
        const uint16_t *dy = (const uint16_t *)args->p[0] + row * n, *y = (const uint16_t *)args->p[1] + row * n;
        uint16_t *dx = (uint16_t *)args->p[2] + row * n;
        if (n % 2 == 0 && tdco_word_aligned(dy, y))
            row_grad(dy, y, dx, n, 2, args->f[0]);
        else
            row_grad(dy, y, dx, n, 1, args->f[0]);
    }
}
