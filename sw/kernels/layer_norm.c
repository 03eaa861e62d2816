/* Layer normalisation of rows and its gradients. Statistics and sums in fp32, from the first element to the last. */
#include "fpmath.h"
#include "kernel.h"

/* Elements that are loaded together: 2 where all rows of n elements and the vectors lie in words. */
static inline uint32_t width(uint32_t n, const void *a, const void *b, const void *c)
{
    return n % 2 == 0 && tdco_word_aligned(a, b) && tdco_word_aligned(b, c) ? 2 : 1;
}

/* Mean and 1 / standard deviation of a row. */
TDCO_INLINE void statistics(const uint16_t *x, uint32_t n, float epsilon, float *mean, float *rstd, uint32_t w)
{
    float sum = 0.0f, squares = 0.0f, v[2];
#pragma GCC unroll 4
    for (uint32_t i = 0; i < n; i += w) {
        tdco_load_f16(x + i, v, w);
        for (uint32_t k = 0; k < w; k++)
            sum += v[k];
    }
    const float m = sum / (float)n;
#pragma GCC unroll 4
    for (uint32_t i = 0; i < n; i += w) {
        tdco_load_f16(x + i, v, w);
        for (uint32_t k = 0; k < w; k++)
            squares += (v[k] - m) * (v[k] - m);
    }
    *mean = tdco_canonical(m);
    *rstd = tdco_canonical(tdco_rsqrt(squares / (float)n + epsilon));
}

TDCO_INLINE void normalise(const uint16_t *x, const uint16_t *gamma, const uint16_t *beta, uint16_t *y, uint32_t n,
                             float mean, float rstd, uint32_t w)
{
    float v[2], scale[2], shift[2];
#pragma GCC unroll 2
    for (uint32_t i = 0; i < n; i += w) {
        tdco_load_f16(x + i, v, w);
        tdco_load_f16(gamma + i, scale, w);
        tdco_load_f16(beta + i, shift, w);
        for (uint32_t k = 0; k < w; k++)
            y[i + k] = tdco_f2h((v[k] - mean) * rstd * scale[k] + shift[k]);
    }
}

/* p: x[rows,n], gamma[n], beta[n], y[rows,n], mean f32[rows], rstd f32[rows].  i: rows, n.  f: epsilon. */
void tdco_layer_norm_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const uint32_t n = args->i[1];
    const tdco_range share = tdco_share(args->i[0], core, cores);
    const uint16_t *gamma = args->p[1], *beta = args->p[2];
    float *means = args->p[4], *rstds = args->p[5];
    for (uint32_t row = share.begin; row < share.end; row++) {
        const uint16_t *x = (const uint16_t *)args->p[0] + row * n;
        uint16_t *y = (uint16_t *)args->p[3] + row * n;
        if (width(n, x, gamma, beta) == 2) {
            statistics(x, n, args->f[0], means + row, rstds + row, 2);
            normalise(x, gamma, beta, y, n, means[row], rstds[row], 2);
        } else {
            statistics(x, n, args->f[0], means + row, rstds + row, 1);
            normalise(x, gamma, beta, y, n, means[row], rstds[row], 1);
        }
    }
}

/* dx of a row: with g = dy * gamma and c = x - mean, rstd * (g - average(g) - c * rstd^2 * average(g * c)). */
TDCO_INLINE void row_grad(const uint16_t *dy, const uint16_t *x, const uint16_t *gamma, uint16_t *dx, uint32_t n,
                            float mean, float rstd, uint32_t w)
{
    float sum = 0.0f, product = 0.0f, d[2], v[2], scale[2];
#pragma GCC unroll 2
    for (uint32_t i = 0; i < n; i += w) {
        tdco_load_f16(dy + i, d, w);
        tdco_load_f16(gamma + i, scale, w);
        tdco_load_f16(x + i, v, w);
        for (uint32_t k = 0; k < w; k++) {
            const float g = d[k] * scale[k];
            sum += g;
            product += g * (v[k] - mean);
        }
    }
    sum /= (float)n;
    product *= rstd * rstd / (float)n;
#pragma GCC unroll 2
    for (uint32_t i = 0; i < n; i += w) {
        tdco_load_f16(dy + i, d, w);
        tdco_load_f16(gamma + i, scale, w);
        tdco_load_f16(x + i, v, w);
        for (uint32_t k = 0; k < w; k++) {
            dx[i + k] = tdco_f2h(rstd * (d[k] * scale[k] - sum - (v[k] - mean) * product));
        }
    }
}

/* p: dy[rows,n], x[rows,n], gamma[n], mean f32[rows], rstd f32[rows], dx[rows,n].  i: rows, n. */
void tdco_layer_norm_grad_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const uint32_t n = args->i[1];
    const tdco_range share = tdco_share(args->i[0], core, cores);
    const uint16_t *gamma = args->p[2];
    const float *means = args->p[3], *rstds = args->p[4];
    for (uint32_t row = share.begin; row < share.end; row++) {
        const uint16_t *dy = (const uint16_t *)args->p[0] + row * n, *x = (const uint16_t *)args->p[1] + row * n;
        uint16_t *dx = (uint16_t *)args->p[5] + row * n;
        if (width(n, dy, x, gamma) == 2)
            row_grad(dy, x, gamma, dx, n, means[row], rstds[row], 2);
        else
            row_grad(dy, x, gamma, dx, n, means[row], rstds[row], 1);
    }
}

/* Sums over rows, added to dgamma and dbeta where `first` is 0. Cores share the columns.
 * p: dy[rows,n], x[rows,n], mean f32[rows], rstd f32[rows], dgamma f32[n], dbeta f32[n].  i: rows, n, first. */
void tdco_layer_norm_param_grad_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const uint32_t rows = args->i[0], n = args->i[1];
    const tdco_range share = tdco_share(n, core, cores);
    const float *means = args->p[2], *rstds = args->p[3];
    float *dgamma = args->p[4], *dbeta = args->p[5];
    for (uint32_t i = share.begin; i < share.end; i++) {
        const uint16_t *dy = (const uint16_t *)args->p[0] + i, *x = (const uint16_t *)args->p[1] + i;
        float scaled = args->i[2] ? 0.0f : dgamma[i], plain = args->i[2] ? 0.0f : dbeta[i];
        for (uint32_t row = 0; row < rows; row++, dy += n, x += n) {
            const float d = tdco_h2f(*dy);
            scaled += d * ((tdco_h2f(*x) - means[row]) * rstds[row]);
            plain += d;
        }
        dgamma[i] = tdco_canonical(scaled);
        dbeta[i] = tdco_canonical(plain);
    }
}
