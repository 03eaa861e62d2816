/* Average pooling of NHWC tensors and its gradient, in fp32. */
#include "fpmath.h"
#include "windows.h"

/* p: x, y.  i: tdco_windows.  f: elements of a window, or 0: those that lie inside x. */
void tdco_average_pool_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const tdco_windows *w = (const tdco_windows *)args->i;
    const tdco_range share = tdco_share(w->batch * w->out_height * w->out_width, core, cores);
    uint16_t *y = (uint16_t *)args->p[1] + share.begin * w->channels;
    for (uint32_t at = share.begin; at < share.end; at++) {
        const int32_t line = at / w->out_width, b = line / w->out_height;
        const int32_t row = (line - b * w->out_height) * w->stride_h + w->row;
        const int32_t col = (int32_t)(at - line * w->out_width) * w->stride_w + w->col;
        const tdco_range v = tdco_taps(row, w->kernel_h, w->height), h = tdco_taps(col, w->kernel_w, w->width);
        const float inside = (float)((v.end - v.begin) * (h.end - h.begin));
        const float count = args->f[0] > 0.0f ? args->f[0] : inside;
        for (int32_t c = 0; c < w->channels; c++) {
            float sum = 0.0f;
            for (int32_t i = v.begin; i < (int32_t)v.end; i++) {
                const int32_t start = (b * w->height + row + i) * w->width + col;
                for (int32_t j = h.begin; j < (int32_t)h.end; j++)
                    sum += tdco_h2f(((const uint16_t *)args->p[0])[(start + j) * w->channels + c]);
            }
            *y++ = tdco_f2h(sum / count);
        }
    }
}

/* p: dy, dx.  i, f: as above; whole images. */
void tdco_average_pool_grad_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const tdco_windows *w = (const tdco_windows *)args->i;
    const tdco_range share = tdco_share(w->batch * w->height * w->width, core, cores);
    uint16_t *dx = (uint16_t *)args->p[1] + share.begin * w->channels;
    for (uint32_t at = share.begin; at < share.end; at++) {
        const int32_t line = at / w->width, b = line / w->height, row = line - b * w->height, col = at - line * w->width;
        const tdco_range v = tdco_covering(row, w->row, w->kernel_h, w->stride_h, w->out_height);
        const tdco_range h = tdco_covering(col, w->col, w->kernel_w, w->stride_w, w->out_width);
        for (int32_t c = 0; c < w->channels; c++) {
            float sum = 0.0f;
            for (int32_t i = v.begin; i < (int32_t)v.end; i++)
                for (int32_t j = h.begin; j < (int32_t)h.end; j++) {
                    const tdco_range down = tdco_taps(i * w->stride_h + w->row, w->kernel_h, w->height);
                    const tdco_range right = tdco_taps(j * w->stride_w + w->col, w->kernel_w, w->width);
                    const float inside = (float)((down.end - down.begin) * (right.end - right.begin));
                    const int32_t from = ((b * w->out_height + i) * w->out_width + j) * w->channels + c;
                    sum += tdco_h2f(((const uint16_t *)args->p[0])[from]) / (args->f[0] > 0.0f ? args->f[0] : inside);
                }
            *dx++ = tdco_f2h(sum);
        }
    }
}
