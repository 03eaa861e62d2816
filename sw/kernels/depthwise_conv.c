/* Convolution of every channel with a filter of its own, NHWC, and its gradients, in fp32. */
#include "fpmath.h"
#include "windows.h"

/* p: x, w[kh,kw,C], bias[C] or 0, z.  i: tdco_windows. */
void tdco_depthwise_conv_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const tdco_windows *w = (const tdco_windows *)args->i;
    const tdco_range share = tdco_share(w->batch * w->out_height * w->out_width, core, cores);
    const uint16_t *filters = args->p[1], *bias = args->p[2];
    uint16_t *z = (uint16_t *)args->p[3] + share.begin * w->channels;
    for (uint32_t at = share.begin; at < share.end; at++) {
        const int32_t line = at / w->out_width, b = line / w->out_height;
        const int32_t row = (line - b * w->out_height) * w->stride_h + w->row;
        const int32_t col = (int32_t)(at - line * w->out_width) * w->stride_w + w->col;
        const tdco_range v = tdco_taps(row, w->kernel_h, w->height), h = tdco_taps(col, w->kernel_w, w->width);
        for (int32_t c = 0; c < w->channels; c++) {
            float sum = 0.0f;
            for (int32_t i = v.begin; i < (int32_t)v.end; i++) {
                const int32_t from = ((b * w->height + row + i) * w->width + col) * w->channels + c;
                for (int32_t j = h.begin; j < (int32_t)h.end; j++)
                    sum += tdco_h2f(((const uint16_t *)args->p[0])[from + j * w->channels]) *
                           tdco_h2f(filters[(i * w->kernel_w + j) * w->channels + c]);
            }
            *z++ = tdco_f2h(bias ? sum + tdco_h2f(bias[c]) : sum);
        }
    }
}

/* p: dy, w[kh,kw,C], dx.  i: tdco_windows; whole images. */
void tdco_depthwise_conv_input_grad_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const tdco_windows *w = (const tdco_windows *)args->i;
    const tdco_range share = tdco_share(w->batch * w->height * w->width, core, cores);
    const uint16_t *filters = args->p[1];
    uint16_t *dx = (uint16_t *)args->p[2] + share.begin * w->channels;
    for (uint32_t at = share.begin; at < share.end; at++) {
        const int32_t line = at / w->width, b = line / w->height, row = line - b * w->height, col = at - line * w->width;
        const tdco_range v = tdco_covering(row, w->row, w->kernel_h, w->stride_h, w->out_height);
        const tdco_range h = tdco_covering(col, w->col, w->kernel_w, w->stride_w, w->out_width);
        for (int32_t c = 0; c < w->channels; c++) {
            float sum = 0.0f;
            for (int32_t i = v.begin; i < (int32_t)v.end; i++)
                for (int32_t j = h.begin; j < (int32_t)h.end; j++) {
                    const int32_t ky = row - w->row - i * w->stride_h, kx = col - w->col - j * w->stride_w;
                    const int32_t from = ((b * w->out_height + i) * w->out_width + j) * w->channels + c;
                    sum += tdco_h2f(((const uint16_t *)args->p[0])[from]) *
                           tdco_h2f(filters[(ky * w->kernel_w + kx) * w->channels + c]);
                }
            *dx++ = tdco_f2h(sum);
        }
    }
}

/* Sums over all windows in order; cores share the elements of dw.
 * p: x, dy, dw f32[kh,kw,C].  i: tdco_windows.  f: not 0: added to dw. */
void tdco_depthwise_conv_weight_grad_f32(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const tdco_windows *w = (const tdco_windows *)args->i;
    const tdco_range share = tdco_share(w->kernel_h * w->kernel_w * w->channels, core, cores);
    for (uint32_t at = share.begin; at < share.end; at++) {
        const int32_t tap = at / w->channels, c = at - tap * w->channels, ky = tap / w->kernel_w;
        const int32_t kx = tap - ky * w->kernel_w;
        float *dw = (float *)args->p[2] + at, sum = args->f[0] != 0.0f ? *dw : 0.0f;
        const uint16_t *dy = (const uint16_t *)args->p[1] + c;
        for (int32_t line = 0; line < w->batch * w->out_height; line++) {
            const int32_t b = line / w->out_height, row = (line - b * w->out_height) * w->stride_h + w->row + ky;
            const int32_t from = (b * w->height + row) * w->width;
            int32_t col = w->col + kx;
            for (int32_t j = 0; j < w->out_width; j++, dy += w->channels, col += w->stride_w)
                if (row >= 0 && row < w->height && col >= 0 && col < w->width)
                    sum += tdco_h2f(((const uint16_t *)args->p[0])[(from + col) * w->channels + c]) * tdco_h2f(*dy);
        }
        *dw = tdco_canonical(sum);
    }
}
