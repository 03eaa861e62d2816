/* Layer normalisation of rows and its gradients. Statistics and sums in fp32, from the first element to the last. */
#include "fpmath.h"
#include "kernel.h"

/* Whether all rows of n elements and the vectors lie in blocks of words. */
static inline int in_words(uint32_t n, const void *a, const void *b, const void *c)
{
    return n % TDCO_BLOCK == 0 && tdco_word_aligned(a, b) && tdco_word_aligned(b, c);
}

typedef struct {
    float mean, rstd;
} row_statistics;

/* Mean and 1 / standard deviation of a row of n elements, in one pass over the differences from `guess`, the mean of the
 * first elements. Squares of these add up to at most 1 + n / TDCO_BLOCK times what those of differences from the mean
 * do, so that few digits cancel when the excess is subtracted. */
TDCO_INLINE row_statistics statistics(const uint16_t *x, uint32_t n, float epsilon, uint32_t w)
{
    const float each = 1.0f / (float)n;
    float guess = tdco_h2f(x[0]), sum = 0.0f, squares = 0.0f, v[TDCO_BLOCK];
    if (n >= TDCO_BLOCK) {
        for (uint32_t i = 1; i < TDCO_BLOCK; i++)
            guess += tdco_h2f(x[i]);
        guess *= 1.0f / TDCO_BLOCK;
    }
    for (const uint16_t *const end = x + n; x < end; x += w) {
        tdco_load_f16(x, v, w);
        for (uint32_t k = 0; k < w; k++) {
            const float d = v[k] - guess;
            sum += d;
            squares = tdco_fma(d, d, squares);
        }
    }
    const float offset = sum * each, variance = tdco_fma(-offset, sum, squares) * each;
    return (row_statistics){tdco_canonical(guess + offset),
                            tdco_canonical(tdco_rsqrt((variance < 0.0f ? 0.0f : variance) + epsilon))};
}

TDCO_INLINE void normalise(const uint16_t *x, const uint16_t *gamma, const uint16_t *beta, uint16_t *y, uint32_t n,
                           row_statistics row, uint32_t w)
{
    float v[TDCO_BLOCK], scale[TDCO_BLOCK], shift[TDCO_BLOCK];
    for (const uint16_t *const end = x + n; x < end; x += w, gamma += w, beta += w, y += w) {
        tdco_load_f16(x, v, w);
        tdco_load_f16(gamma, scale, w);
        tdco_load_f16(beta, shift, w);
        for (uint32_t k = 0; k < w; k++)
            y[k] = tdco_f2h(tdco_fma((v[k] - row.mean) * row.rstd, scale[k], shift[k]));
    }
}

TDCO_INLINE row_statistics norm_row(const uint16_t *x, const uint16_t *gamma, const uint16_t *beta, uint16_t *y,
                                    uint32_t n, float epsilon, uint32_t w)
{
    const row_statistics row = statistics(x, n, epsilon, w);
    normalise(x, gamma, beta, y, n, row, w);
    return row;
}

/* Rows in words and rows in elements are functions of their own, so that each has the registers to itself. */
TDCO_APART row_statistics norm_words(const uint16_t *x, const uint16_t *gamma, const uint16_t *beta, uint16_t *y,
                                     uint32_t n, float epsilon)
{
    return norm_row(x, gamma, beta, y, n, epsilon, TDCO_BLOCK);
}

TDCO_APART row_statistics norm_elements(const uint16_t *x, const uint16_t *gamma, const uint16_t *beta, uint16_t *y,
                                        uint32_t n, float epsilon)
{
    return norm_row(x, gamma, beta, y, n, epsilon, 1);
}

/* p: x[rows,n], gamma[n], beta[n], y[rows,n], mean f32[rows], rstd f32[rows].  i: rows, n.  f: epsilon. */
void tdco_layer_norm_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const uint32_t rows = args->i[0], n = args->i[1];
    const uint16_t *gamma = args->p[1], *beta = args->p[2];
    float *means = args->p[4], *rstds = args->p[5];
    for (uint32_t row = core; row < rows; row += cores) {
        const uint16_t *x = (const uint16_t *)args->p[0] + row * n;
        uint16_t *y = (uint16_t *)args->p[3] + row * n;
        const row_statistics found = in_words(n, x, gamma, beta) ? norm_words(x, gamma, beta, y, n, args->f[0])
                                                                 : norm_elements(x, gamma, beta, y, n, args->f[0]);
        means[row] = found.mean;
        rstds[row] = found.rstd;
    }
}

/* dx of a row. With g = dy * gamma and c = x - mean it is
 * rstd * (g - average(g) - c * rstd^2 * average(g * c)) = rstd * g + slope * x + shift. */
TDCO_INLINE void row_grad(const uint16_t *dy, const uint16_t *x, const uint16_t *gamma, uint16_t *dx, uint32_t n,
                          float mean, float rstd, uint32_t w)
{
    const uint16_t *const end = dy + n;
    float sum = 0.0f, product = 0.0f, d[TDCO_BLOCK], v[TDCO_BLOCK], scale[TDCO_BLOCK];
    for (uint32_t i = 0; i < n; i += w) {
        tdco_load_f16(dy + i, d, w);
        tdco_load_f16(gamma + i, scale, w);
        tdco_load_f16(x + i, v, w);
        for (uint32_t k = 0; k < w; k++) {
            const float g = d[k] * scale[k];
            sum += g;
            product = tdco_fma(g, v[k] - mean, product);
        }
    }
    const float each = rstd / (float)n, slope = -rstd * rstd * product * each;
    const float shift = tdco_fma(-slope, mean, -sum * each);
    for (; dy < end; dy += w, x += w, gamma += w, dx += w) {
        tdco_load_f16(dy, d, w);
        tdco_load_f16(gamma, scale, w);
        tdco_load_f16(x, v, w);
        for (uint32_t k = 0; k < w; k++)
            dx[k] = tdco_f2h(tdco_fma(d[k] * scale[k], rstd, tdco_fma(v[k], slope, shift)));
    }
}

TDCO_APART void grad_words(const uint16_t *dy, const uint16_t *x, const uint16_t *gamma, uint16_t *dx, uint32_t n,
                           float mean, float rstd)
{
    row_grad(dy, x, gamma, dx, n, mean, rstd, TDCO_BLOCK);
}

TDCO_APART void grad_elements(const uint16_t *dy, const uint16_t *x, const uint16_t *gamma, uint16_t *dx, uint32_t n,
                              float mean, float rstd)
{
    row_grad(dy, x, gamma, dx, n, mean, rstd, 1);
}

/* p: dy[rows,n], x[rows,n], gamma[n], mean f32[rows], rstd f32[rows], dx[rows,n].  i: rows, n. */
void tdco_layer_norm_grad_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const uint32_t rows = args->i[0], n = args->i[1];
    const uint16_t *gamma = args->p[2];
    const float *means = args->p[3], *rstds = args->p[4];
    for (uint32_t row = core; row < rows; row += cores) {
        const uint16_t *dy = (const uint16_t *)args->p[0] + row * n, *x = (const uint16_t *)args->p[1] + row * n;
        uint16_t *dx = (uint16_t *)args->p[5] + row * n;
        if (in_words(n, dy, x, gamma))
            grad_words(dy, x, gamma, dx, n, means[row], rstds[row]);
        else
            grad_elements(dy, x, gamma, dx, n, means[row], rstds[row]);
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
