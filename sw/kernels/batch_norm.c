/* Batch normalisation with frozen statistics, channels last, and its gradients, in fp32. */
#include "fpmath.h"
#include "kernel.h"

/* p: x[rows,n], scale[n], shift[n], mean f32[n], rstd f32[n], y[rows,n].  i: rows, n. */
void tdco_batch_norm_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const uint32_t rows = args->i[0], n = args->i[1];
    const tdco_range share = tdco_share(rows * n, core, cores);
    const uint16_t *x = args->p[0], *scale = args->p[1], *shift = args->p[2];
    const float *mean = args->p[3], *rstd = args->p[4];
    uint16_t *y = args->p[5];
    uint32_t channel = share.begin % n;
    for (uint32_t at = share.begin; at < share.end; at++) {
        y[at] = tdco_f2h((tdco_h2f(x[at]) - mean[channel]) * (rstd[channel] * tdco_h2f(scale[channel])) +
                         tdco_h2f(shift[channel]));
        channel = channel + 1 == n ? 0 : channel + 1;
    }
}

/* p: dy[rows,n], scale[n], rstd f32[n], dx[rows,n].  i: rows, n. */
void tdco_batch_norm_grad_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const uint32_t rows = args->i[0], n = args->i[1];
    const tdco_range share = tdco_share(rows * n, core, cores);
    const uint16_t *dy = args->p[0], *scale = args->p[1];
    const float *rstd = args->p[2];
    uint16_t *dx = args->p[3];
    uint32_t channel = share.begin % n;
    for (uint32_t at = share.begin; at < share.end; at++) {
        dx[at] = tdco_f2h(tdco_h2f(dy[at]) * (rstd[channel] * tdco_h2f(scale[channel])));
        channel = channel + 1 == n ? 0 : channel + 1;
    }
}

/* Sums over rows, added to dscale and dshift where `first` is 0. Cores share the channels.
 * p: dy[rows,n], x[rows,n], mean f32[n], rstd f32[n], dscale f32[n], dshift f32[n].  i: rows, n, first. */
void tdco_batch_norm_param_grad_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const uint32_t rows = args->i[0], n = args->i[1];
    const tdco_range share = tdco_share(n, core, cores);
    float *dscale = args->p[4], *dshift = args->p[5];
    for (uint32_t c = share.begin; c < share.end; c++) {
        const float mean = ((const float *)args->p[2])[c], rstd = ((const float *)args->p[3])[c];
        const uint16_t *dy = (const uint16_t *)args->p[0] + c, *x = (const uint16_t *)args->p[1] + c;
        float scaled = args->i[2] ? 0.0f : dscale[c], plain = args->i[2] ? 0.0f : dshift[c];
        for (uint32_t row = 0; row < rows; row++, dy += n, x += n) {
            const float d = tdco_h2f(*dy);
            scaled += d * ((tdco_h2f(*x) - mean) * rstd);
            plain += d;
        }
        dscale[c] = tdco_canonical(scaled);
        dshift[c] = tdco_canonical(plain);
    }
}
