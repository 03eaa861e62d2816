/* Convolution of every channel with a filter of its own, NHWC, and its gradients, in fp32. A core works on a few
 * channels of a line; inside, where windows have all their columns, on several windows at once. */
#include "fpmath.h"
#include "windows.h"

enum { WINDOWS = 2, NEIGHBOURS = 4 }; /* worked on at once: windows, and such as are one pixel apart */

/* z[p * z_step + c] = bias[c] + the sums of n windows of w channels. */
TDCO_INLINE void put_sums(const tdco_patch *t, const uint16_t *bias, uint16_t *z, int32_t x_step, int32_t z_step,
                          int32_t n, int32_t w)
{
    float sum[WINDOWS * TDCO_CHANNELS] = {0.0f}, add[TDCO_CHANNELS] = {0.0f};
    tdco_sum_patches(t, sum, x_step, n, w, 1);
    if (bias)
        tdco_load_f16(bias, add, w);
    for (int32_t p = 0; p < n; p++, z += z_step)
        for (int32_t c = 0; c < w; c++)
            z[c] = tdco_f2h(sum[p * w + c] + add[c]);
}

TDCO_APART void put_words(const tdco_patch *t, const uint16_t *bias, uint16_t *z)
{
    put_sums(t, bias, z, 0, 0, 1, TDCO_CHANNELS);
}

TDCO_APART void put_elements(const tdco_patch *t, const uint16_t *bias, uint16_t *z)
{
    put_sums(t, bias, z, 0, 0, 1, 1);
}

TDCO_APART void put_several(const tdco_patch *t, const uint16_t *bias, uint16_t *z, int32_t x_step, int32_t z_step)
{
    put_sums(t, bias, z, x_step, z_step, WINDOWS, TDCO_CHANNELS);
}

/* The same of two channels of `groups` times NEIGHBOURS windows of 3 columns that are one pixel apart: they share their
 * pixels. */
TDCO_APART void put_neighbours(const tdco_patch *t, const uint16_t *bias, uint16_t *z, int32_t groups)
{
    enum { C = 2, COLUMNS = 3 };
    const int32_t pixel = t->x_column, tap = t->filter_column;
    for (const uint16_t *x0 = t->x; groups > 0; groups--, x0 += NEIGHBOURS * pixel) {
        float sum[NEIGHBOURS * C] = {0.0f};
        const uint16_t *row = x0, *filter = t->filter;
        for (int32_t i = t->rows; i > 0; i--, row += t->x_row, filter += t->filter_row) {
            float v[(NEIGHBOURS + COLUMNS - 1) * C], f[C];
            const uint16_t *x = row, *own = filter;
            for (int32_t p = 0; p < NEIGHBOURS + COLUMNS - 1; p++, x += pixel)
                tdco_load_f16(x, v + p * C, C);
            for (int32_t j = 0; j < COLUMNS; j++, own += tap) {
                tdco_load_f16(own, f, C);
                for (int32_t p = 0; p < NEIGHBOURS * C; p++)
                    sum[p] = tdco_fma(v[p + j * C], f[p % C], sum[p]);
            }
        }
        float add[C] = {0.0f};
        if (bias)
            tdco_load_f16(bias, add, C);
        for (int32_t p = 0; p < NEIGHBOURS * C; p += C, z += pixel)
            for (int32_t c = 0; c < C; c++)
                z[c] = tdco_f2h(sum[p + c] + add[c]);
    }
}

/* Puts the sums of windows whose columns are all there, WINDOWS of them or more of n, and says of how many. */
static int32_t put_inside(const tdco_patch *t, const uint16_t *bias, uint16_t *z, int32_t x_step, int32_t z_step,
                          int32_t n)
{
    if (x_step != t->x_column || z_step != x_step || t->columns != 3 || n < NEIGHBOURS) {
        put_several(t, bias, z, x_step, z_step);
        return WINDOWS;
    }
    for (int32_t c = 0; c < TDCO_CHANNELS; c += 2) {
        tdco_patch pair = *t;
        pair.x += c;
        pair.filter += c;
        put_neighbours(&pair, bias ? bias + c : 0, z + c, n / NEIGHBOURS);
    }
    return n / NEIGHBOURS * NEIGHBOURS;
}

/* p: x, w[kh,kw,C], bias[C] or 0, z.  i: tdco_windows. */
void tdco_depthwise_conv_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const tdco_windows *const s = (const tdco_windows *)args->i;
    const uint16_t *const x = args->p[0], *const filters = args->p[1], *const bias = args->p[2];
    uint16_t *const z = args->p[3];
    const int32_t channels = s->channels, step = s->stride_w * channels;
    const int32_t w = tdco_word_aligned(filters, bias) ? tdco_together(channels, x, z) : 1, blocks = channels / w;
    const int32_t room = s->width - s->kernel_w - s->col; /* of the last window that ends inside, from the first one */
    const int32_t fit = room < 0 ? 0 : room / s->stride_w + 1, inside = fit < s->out_width ? fit : s->out_width;
    tdco_patch t = {.x_row = s->width * channels, .x_column = channels, .filter_column = channels,
                    .filter_row = s->kernel_w * channels};
    for (int32_t item = core; item < s->batch * s->out_height * blocks; item += cores) {
        const int32_t line = item / blocks, c = (item - line * blocks) * w, b = line / s->out_height;
        const int32_t row = (line - b * s->out_height) * s->stride_h + s->row;
        const tdco_range v = tdco_taps(row, s->kernel_h, s->height);
        const uint16_t *const from = x + ((b * s->height + row + (int32_t)v.begin) * s->width) * channels + c;
        const uint16_t *const filter = filters + v.begin * s->kernel_w * channels + c;
        const uint16_t *const add = bias ? bias + c : 0;
        uint16_t *to = z + line * s->out_width * channels + c;
        t.rows = v.end - v.begin;
        for (int32_t j = 0, col = s->col; j < s->out_width;) {
            const tdco_range h = tdco_taps(col, s->kernel_w, s->width);
            t.x = from + (col + (int32_t)h.begin) * channels;
            t.filter = filter + h.begin * channels;
            t.columns = h.end - h.begin;
            int32_t done = 1;
            if (w > 1 && col >= 0 && inside - j >= WINDOWS)
                done = put_inside(&t, add, to, step, channels, inside - j);
            else if (w > 1)
                put_words(&t, add, to);
            else
                put_elements(&t, add, to);
            j += done;
            col += done * s->stride_w;
            to += done * channels;
        }
    }
}

/* The windows that cover a pixel are those of a convolution of dy, with the filters backwards.
 * p: dy, w[kh,kw,C], dx.  i: tdco_windows; whole images. */
void tdco_depthwise_conv_input_grad_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const tdco_windows *const s = (const tdco_windows *)args->i;
    const uint16_t *const dy = args->p[0], *const filters = args->p[1];
    uint16_t *const dx = args->p[2];
    const int32_t channels = s->channels;
    const int32_t w = tdco_word_aligned(filters, filters) ? tdco_together(channels, dy, dx) : 1, blocks = channels / w;
    const int32_t fit = s->out_width + s->col, inside = fit < s->width ? fit : s->width; /* pixels, at a stride of 1 */
    tdco_patch t = {.x_row = s->out_width * channels, .x_column = channels, .filter_column = -s->stride_w * channels,
                    .filter_row = -s->stride_h * s->kernel_w * channels};
    for (int32_t item = core; item < s->batch * s->height * blocks; item += cores) {
        const int32_t line = item / blocks, c = (item - line * blocks) * w, b = line / s->height;
        const int32_t row = line - b * s->height;
        const tdco_range v = tdco_covering(row, s->row, s->kernel_h, s->stride_h, s->out_height);
        const int32_t ky = row - s->row - (int32_t)v.begin * s->stride_h;
        const uint16_t *const from = dy + (b * s->out_height + v.begin) * s->out_width * channels + c;
        const uint16_t *const filter = filters + ky * s->kernel_w * channels + c;
        uint16_t *to = dx + line * s->width * channels + c;
        t.rows = v.end > v.begin ? v.end - v.begin : 0;
        for (int32_t col = 0; col < s->width;) {
            const tdco_range h = tdco_covering(col, s->col, s->kernel_w, s->stride_w, s->out_width);
            t.x = from + h.begin * channels;
            t.filter = filter + (col - s->col - (int32_t)h.begin * s->stride_w) * channels;
            t.columns = h.end > h.begin ? h.end - h.begin : 0;
            int32_t done = 1;
            if (w > 1 && s->stride_w == 1 && col - s->col >= s->kernel_w - 1 && inside - col >= WINDOWS)
                done = put_inside(&t, 0, to, channels, channels, inside - col);
            else if (w > 1)
                put_words(&t, 0, to);
            else
                put_elements(&t, 0, to);
            col += done;
            to += done * channels;
        }
    }
}

/* dw[0:w] += x * dy over the windows whose tap (ky, kx) lies on x, in their order. */
TDCO_INLINE void sum_windows(const tdco_windows *s, const uint16_t *x, const uint16_t *dy, float *dw, int32_t ky,
                             int32_t kx, int32_t w)
{
    const int32_t channels = s->channels, stride = s->stride_w, first = s->col + kx;
    const int32_t before = first < 0 ? (stride - 1 - first) / stride : 0; /* windows whose tap lies left of x */
    const int32_t end = first < s->width ? (s->width - 1 - first) / stride + 1 : 0;
    const int32_t n = (end < s->out_width ? end : s->out_width) - before;
    float sum[TDCO_CHANNELS], v[TDCO_CHANNELS], d[TDCO_CHANNELS];
    for (int32_t c = 0; c < w; c++)
        sum[c] = dw[c];
    for (int32_t b = 0; b < s->batch; b++, x += s->height * s->width * channels)
        for (int32_t i = 0, row = s->row + ky; i < s->out_height; i++, row += s->stride_h, dy += s->out_width * channels) {
            if (row < 0 || row >= s->height)
                continue;
            const uint16_t *from = x + (row * s->width + first + before * stride) * channels;
            const uint16_t *to = dy + before * channels;
            for (int32_t j = 0; j < n; j++, from += stride * channels, to += channels) {
                tdco_load_f16(from, v, w);
                tdco_load_f16(to, d, w);
                for (int32_t c = 0; c < w; c++)
                    sum[c] = tdco_fma(v[c], d[c], sum[c]);
            }
        }
    for (int32_t c = 0; c < w; c++)
        dw[c] = tdco_canonical(sum[c]);
}

/* Sums over all windows in order; cores share the elements of dw.
 * p: x, dy, dw f32[kh,kw,C].  i: tdco_windows.  f: not 0: added to dw. */
void tdco_depthwise_conv_weight_grad_f32(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const tdco_windows *const s = (const tdco_windows *)args->i;
    const uint16_t *const x = args->p[0], *const dy = args->p[1];
    const int32_t w = tdco_together(s->channels, x, dy), elements = s->kernel_h * s->kernel_w * s->channels;
    for (int32_t at = core * w; at < elements; at += cores * w) {
        const int32_t tap = at / s->channels, c = at - tap * s->channels, ky = tap / s->kernel_w;
        float *const dw = (float *)args->p[2] + at;
        for (int32_t i = 0; i < w && args->f[0] == 0.0f; i++)
            dw[i] = 0.0f;
        if (w > 1)
            sum_windows(s, x + c, dy + c, dw, ky, tap - ky * s->kernel_w, TDCO_CHANNELS);
        else
            sum_windows(s, x + c, dy + c, dw, ky, tap - ky * s->kernel_w, 1);
    }
}
