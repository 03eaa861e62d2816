/* Softmax of rows and its gradient; sums in fp32, from the first element to the last. */
#include "fpmath.h"
#include "kernel.h"

/* Whether all rows of n elements lie in blocks of words. */
static inline int in_words(uint32_t n, const void *a, const void *b)
{
    return n % TDCO_BLOCK == 0 && tdco_word_aligned(a, b);
}

/* The largest element of a row, NaN if there is one; elements are compared as the upper halves of binary32, in which
 * NaN (0x7E00) is a number larger than all. */
TDCO_INLINE float largest(const uint16_t *x, uint32_t n, uint32_t w)
{
    float best = tdco_float((uint32_t)x[0] << 16);
    for (const uint16_t *const end = x + n; x < end; x += w) {
        tdco_pair words[TDCO_BLOCK / 2];
        if (w == 1)
            best = tdco_max(best, tdco_float((uint32_t)x[0] << 16));
        for (uint32_t i = 0; i < w / 2; i++)
            words[i] = ((const tdco_pair *)x)[i];
        for (uint32_t i = 0; i < w / 2; i++)
            best = tdco_max(tdco_max(best, tdco_float(words[i])), tdco_float(words[i] << 16));
    }
    return tdco_h2f((uint16_t)(tdco_bits(best) >> 16));
}

/* Of e^((x - largest) * factor), what is below e^-30 counts as that. The rounding of `offset` cancels in the quotient:
 * all elements of a row share it. */
TDCO_INLINE void softmax_row(const uint16_t *x, float *exponentials, uint16_t *y, uint32_t n, float factor, uint32_t w)
{
    const float top = largest(x, n, w), least = top - 30.0f / factor;
    const float slope = factor * 0x1.715476p+0f, offset = -top * slope; /* log2 e: powers of 2 */
    const float *const end = exponentials + n;
    const uint32_t half = w == 1 ? 1 : w / 2;
    float v[TDCO_BLOCK], sum = 0.0f;
    for (float *to = exponentials; to < end; to += half, x += half) {
        tdco_load_f16(x, v, half);
        for (uint32_t i = 0; i < half; i++) {
            v[i] = tdco_exp2(tdco_fma(tdco_max(v[i], least), slope, offset));
            sum += v[i];
        }
        for (uint32_t i = 0; i < half; i++)
            to[i] = v[i];
    }
    const float scale = 1.0f / sum;
    for (; exponentials < end; exponentials += w, y += w) {
        tdco_load_f32(exponentials, v, w);
        for (uint32_t i = 0; i < w; i++)
            y[i] = tdco_f2h(v[i] * scale);
    }
}

TDCO_APART void softmax_words(const uint16_t *x, float *exponentials, uint16_t *y, uint32_t n, float factor)
{
    softmax_row(x, exponentials, y, n, factor, TDCO_BLOCK);
}

TDCO_APART void softmax_elements(const uint16_t *x, float *exponentials, uint16_t *y, uint32_t n, float factor)
{
    softmax_row(x, exponentials, y, n, factor, 1);
}

/* y = softmax(x * factor).  p: x[rows,n], scratch f32[lines,n], y[rows,n].  i: rows, n, lines.  f: factor, positive.
 * A core keeps the exponentials of its current row in a line of scratch; cores beyond the lines have nothing to do. */
void tdco_softmax_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const uint32_t rows = args->i[0], n = args->i[1], lines = args->i[2], step = cores < lines ? cores : lines;
    float *const exponentials = (float *)args->p[1] + core * n;
    for (uint32_t row = core; core < step && row < rows; row += step) {
        const uint16_t *x = (const uint16_t *)args->p[0] + row * n;
        uint16_t *y = (uint16_t *)args->p[2] + row * n;
        if (in_words(n, x, y))
            softmax_words(x, exponentials, y, n, args->f[0]);
        else
            softmax_elements(x, exponentials, y, n, args->f[0]);
    }
}

/* dx of a row. */
TDCO_INLINE void row_grad(const uint16_t *dy, const uint16_t *y, uint16_t *dx, uint32_t n, float factor, uint32_t w)
{
    float sum = 0.0f, d[TDCO_BLOCK], p[TDCO_BLOCK];
    for (uint32_t i = 0; i < n; i += w) {
        tdco_load_f16(dy + i, d, w);
        tdco_load_f16(y + i, p, w);
        for (uint32_t k = 0; k < w; k++)
            sum = tdco_fma(d[k], p[k], sum);
    }
    const float offset = -sum * factor;
    for (const uint16_t *const end = dy + n; dy < end; dy += w, y += w, dx += w) {
        tdco_load_f16(dy, d, w);
        tdco_load_f16(y, p, w);
        for (uint32_t k = 0; k < w; k++)
            dx[k] = tdco_f2h(p[k] * tdco_fma(d[k], factor, offset));
    }
}

TDCO_APART void grad_words(const uint16_t *dy, const uint16_t *y, uint16_t *dx, uint32_t n, float factor)
{
    row_grad(dy, y, dx, n, factor, TDCO_BLOCK);
}

TDCO_APART void grad_elements(const uint16_t *dy, const uint16_t *y, uint16_t *dx, uint32_t n, float factor)
{
    row_grad(dy, y, dx, n, factor, 1);
}

/* dx = y * (dy - sum(dy * y)) * factor.  p: dy[rows,n], y[rows,n], dx[rows,n].  i: rows, n.  f: factor. */
void tdco_softmax_grad_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const uint32_t rows = args->i[0], n = args->i[1];
    for (uint32_t row = core; row < rows; row += cores) {
        const uint16_t *dy = (const uint16_t *)args->p[0] + row * n, *y = (const uint16_t *)args->p[1] + row * n;
        uint16_t *dx = (uint16_t *)args->p[2] + row * n;
        if (in_words(n, dy, y))
            grad_words(dy, y, dx, n, args->f[0]);
        else
            grad_elements(dy, y, dx, n, args->f[0]);
    }
}
