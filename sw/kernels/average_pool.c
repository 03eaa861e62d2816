/* Average pooling of NHWC tensors and its gradient, in fp32. A core works on a few channels of a line. */
#include "fpmath.h"
#include "windows.h"

/* z = the sum of a patch / count, of w channels. */
TDCO_INLINE void put_mean(const tdco_patch *t, uint16_t *z, float count, int32_t w)
{
    float sum[TDCO_CHANNELS] = {0.0f};
    tdco_sum_patches(t, sum, 0, 1, w, 0);
    for (int32_t c = 0; c < w; c++)
        z[c] = tdco_f2h(sum[c] / count);
}

/* p: x, y.  i: tdco_windows.  f: elements of a window, or 0: those that lie inside x. */
void tdco_average_pool_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const tdco_windows *const s = (const tdco_windows *)args->i;
    const uint16_t *const x = args->p[0];
    uint16_t *y = args->p[1];
    const int32_t channels = s->channels, w = tdco_together(channels, x, y), blocks = channels / w;
    tdco_patch t = {.x_row = s->width * channels, .x_column = channels};
    for (int32_t item = core; item < s->batch * s->out_height * blocks; item += cores) {
        const int32_t line = item / blocks, c = (item - line * blocks) * w, b = line / s->out_height;
        const int32_t row = (line - b * s->out_height) * s->stride_h + s->row;
        const tdco_range v = tdco_taps(row, s->kernel_h, s->height);
        t.rows = v.end - v.begin;
        for (int32_t j = 0, col = s->col; j < s->out_width; j++, col += s->stride_w) {
            const tdco_range h = tdco_taps(col, s->kernel_w, s->width);
            uint16_t *const to = y + (line * s->out_width + j) * channels + c;
            t.x = x + ((b * s->height + row + (int32_t)v.begin) * s->width + col + (int32_t)h.begin) * channels + c;
            t.columns = h.end - h.begin;
            const float count = args->f[0] > 0.0f ? args->f[0] : (float)(t.rows * t.columns);
            if (w > 1)
                put_mean(&t, to, count, TDCO_CHANNELS);
            else
                put_mean(&t, to, count, 1);
        }
    }
}

/* z = the sum of dy / elements of its window over windows v x h of w channels; `count` as tdco_average_pool_f16's f. */
TDCO_INLINE void put_shares(const tdco_windows *s, const uint16_t *dy, uint16_t *z, tdco_range v, tdco_range h,
                            float count, int32_t w)
{
    float sum[TDCO_CHANNELS] = {0.0f}, d[TDCO_CHANNELS];
    for (int32_t i = v.begin; i < (int32_t)v.end; i++) {
        const tdco_range down = tdco_taps(i * s->stride_h + s->row, s->kernel_h, s->height);
        for (int32_t j = h.begin; j < (int32_t)h.end; j++) {
            const tdco_range right = tdco_taps(j * s->stride_w + s->col, s->kernel_w, s->width);
            const float inside = (float)((down.end - down.begin) * (right.end - right.begin));
            const float elements = count > 0.0f ? count : inside;
            tdco_load_f16(dy + (i * s->out_width + j) * s->channels, d, w);
            for (int32_t c = 0; c < w; c++)
                sum[c] += d[c] / elements;
        }
    }
    for (int32_t c = 0; c < w; c++)
        z[c] = tdco_f2h(sum[c]);
}

/* p: dy, dx.  i, f: as above; whole images. */
void tdco_average_pool_grad_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const tdco_windows *const s = (const tdco_windows *)args->i;
    const uint16_t *const dy = args->p[0];
    uint16_t *const dx = args->p[1];
    const int32_t channels = s->channels, w = tdco_together(channels, dy, dx);
    for (int32_t at = core; at < s->batch * s->height * s->width; at += cores) {
        const int32_t line = at / s->width, b = line / s->height, row = line - b * s->height, col = at - line * s->width;
        const tdco_range v = tdco_covering(row, s->row, s->kernel_h, s->stride_h, s->out_height);
        const tdco_range h = tdco_covering(col, s->col, s->kernel_w, s->stride_w, s->out_width);
        const uint16_t *const from = dy + b * s->out_height * s->out_width * channels;
        for (int32_t c = 0; c < channels; c += w)
            if (w > 1)
                put_shares(s, from + c, dx + at * channels + c, v, h, args->f[0], TDCO_CHANNELS);
            else
                put_shares(s, from + c, dx + at * channels + c, v, h, args->f[0], 1);
    }
}
