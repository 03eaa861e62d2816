/* Batch normalisation with frozen statistics, channels last, and its gradients, in fp32. A core takes a few channels,
 * whose constants it keeps in registers, down many rows. */
#include "fpmath.h"
#include "kernel.h"

enum { CHANNELS = 4 }; /* worked on together: two words of a row */

/* How many channels go together in rows of n at x and y. */
static inline uint32_t together(uint32_t n, const void *x, const void *y, uint32_t most)
{
    return n % most == 0 && tdco_word_aligned(x, y) ? most : 1;
}

/* y = x * factor + offset of w channels, down `rows` rows. */
TDCO_INLINE void scale_down(const uint16_t *x, uint16_t *y, const float *factor, const float *offset, uint32_t n,
                            uint32_t rows, uint32_t w)
{
    for (const uint16_t *const end = x + rows * n; x < end; x += n, y += n) {
        float v[CHANNELS];
        tdco_load_f16(x, v, w);
        for (uint32_t i = 0; i < w; i++)
            y[i] = tdco_f2h(tdco_fma(v[i], factor[i], offset[i]));
    }
}

TDCO_APART void scale_words(const uint16_t *x, uint16_t *y, const float *factor, const float *offset, uint32_t n,
                            uint32_t rows)
{
    scale_down(x, y, factor, offset, n, rows, CHANNELS);
}

TDCO_APART void scale_elements(const uint16_t *x, uint16_t *y, const float *factor, const float *offset, uint32_t n,
                               uint32_t rows)
{
    scale_down(x, y, factor, offset, n, rows, 1);
}

/* y = (x - mean) * rstd * scale + shift; without mean and shift y = x * rstd * scale. A core's share of channels times
 * rows is a run down some channels, and on down the next ones. */
static void normalise(const uint16_t *x, const uint16_t *scale, const uint16_t *shift, const float *mean,
                      const float *rstd, uint16_t *y, uint32_t rows, uint32_t n, uint32_t core, uint32_t cores)
{
    const uint32_t w = together(n, x, y, CHANNELS);
    const tdco_range share = tdco_share(n / w * rows, core, cores);
    for (uint32_t at = share.begin; at < share.end;) {
        const uint32_t block = at / rows, row = at - block * rows, c = block * w;
        const uint32_t run = rows - row < share.end - at ? rows - row : share.end - at;
        float factor[CHANNELS], offset[CHANNELS];
        for (uint32_t i = 0; i < w; i++) {
            factor[i] = rstd[c + i] * tdco_h2f(scale[c + i]);
            offset[i] = shift ? tdco_fma(-mean[c + i], factor[i], tdco_h2f(shift[c + i])) : 0.0f;
        }
        if (w == CHANNELS)
            scale_words(x + row * n + c, y + row * n + c, factor, offset, n, run);
        else
            scale_elements(x + row * n + c, y + row * n + c, factor, offset, n, run);
        at += run;
    }
}

/* p: x[rows,n], scale[n], shift[n], mean f32[n], rstd f32[n], y[rows,n].  i: rows, n. */
void tdco_batch_norm_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    void *const *p = args->p;
    normalise(p[0], p[1], p[2], p[3], p[4], p[5], args->i[0], args->i[1], core, cores);
}

/* p: dy[rows,n], scale[n], rstd f32[n], dx[rows,n].  i: rows, n. */
void tdco_batch_norm_grad_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    void *const *p = args->p;
    normalise(p[0], p[1], 0, 0, p[2], p[3], args->i[0], args->i[1], core, cores);
}

/* Adds to the sums of dy * (x - mean) * rstd, and of dy, of w channels. */
TDCO_INLINE void sum_down(const uint16_t *dy, const uint16_t *x, const float *mean, const float *rstd, float *scaled,
                          float *plain, uint32_t n, uint32_t rows, uint32_t w)
{
    float offset[2], factor[2], product[2], sum[2];
    for (uint32_t i = 0; i < w; i++) {
        factor[i] = rstd[i];
        offset[i] = -mean[i] * rstd[i];
        product[i] = scaled[i];
        sum[i] = plain[i];
    }
    for (const uint16_t *const end = dy + rows * n; dy < end; dy += n, x += n) {
        float d[2], v[2];
        tdco_load_f16(dy, d, w);
        tdco_load_f16(x, v, w);
        for (uint32_t i = 0; i < w; i++) {
            product[i] = tdco_fma(d[i], tdco_fma(v[i], factor[i], offset[i]), product[i]);
            sum[i] += d[i];
        }
    }
    for (uint32_t i = 0; i < w; i++) {
        scaled[i] = tdco_canonical(product[i]);
        plain[i] = tdco_canonical(sum[i]);
    }
}

/* Sums over rows, added to dscale and dshift where `first` is 0. Cores share the channels.
 * p: dy[rows,n], x[rows,n], mean f32[n], rstd f32[n], dscale f32[n], dshift f32[n].  i: rows, n, first. */
void tdco_batch_norm_param_grad_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const uint32_t rows = args->i[0], n = args->i[1];
    const uint16_t *dy = args->p[0], *x = args->p[1];
    const float *mean = args->p[2], *rstd = args->p[3];
    float *dscale = args->p[4], *dshift = args->p[5];
    const uint32_t w = together(n, dy, x, 2);
    for (uint32_t c = core * w; c < n; c += cores * w) {
        for (uint32_t i = c; args->i[2] && i < c + w; i++)
            dscale[i] = dshift[i] = 0.0f;
        if (w == 2)
            sum_down(dy + c, x + c, mean + c, rstd + c, dscale + c, dshift + c, n, rows, 2);
        else
            sum_down(dy + c, x + c, mean + c, rstd + c, dscale + c, dshift + c, n, rows, 1);
    }
}
