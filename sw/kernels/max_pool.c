/* Max pooling of NHWC tensors and its gradient. No arithmetic on values: they are compared as integers. */
#include "fpmath.h"
#include "windows.h"

/* An integer that orders binary16 values; both zeros give 0, and NaN (0x7E00) comes last, so it wins. */
static inline int32_t order(uint16_t value)
{
    const int32_t sign = (int32_t)(int16_t)value >> 15;
    return ((value & 0x7FFF) ^ sign) - sign;
}

/* Window `out` of one dimension covers [begin, end) of the `size` rows that there are. */
static inline tdco_range window(uint32_t out, uint32_t stride, int32_t first, uint32_t kernel, uint32_t size)
{
    const int32_t begin = (int32_t)(out * stride) + first, end = begin + (int32_t)kernel;
    return (tdco_range){begin < 0 ? 0 : (uint32_t)begin, end < (int32_t)size ? (uint32_t)end : size};
}

/* A binary16 as the upper half of a binary32. These compare as the binary16 do, and NaN (0x7E00) is a number larger
 * than all. The lower half, where it is not zero, decides nothing between different binary16. */
static inline float upper(uint32_t value) { return tdco_float(value << 16); }

/* The largest of window rows h x columns w of one channel. */
static uint16_t largest(const uint16_t *x, uint32_t width, uint32_t channels, tdco_range h, tdco_range w)
{
    float best = upper(0xFC00); /* minus infinity */
    for (uint32_t i = h.begin; i < h.end; i++)
        for (uint32_t j = w.begin; j < w.end; j++)
            best = tdco_max(best, upper(x[(i * width + j) * channels]));
    return (uint16_t)(tdco_bits(best) >> 16);
}

enum { TOGETHER = 4 }; /* channels that share addresses */

/* Maxima of up to 3 rows, one repeated where there are fewer, of a column of TOGETHER channels. */
TDCO_INLINE void column(const uint16_t *const rows[3], float *best)
{
    tdco_pair words[3][TOGETHER / 2];
    for (uint32_t i = 0; i < 3; i++)
        for (uint32_t k = 0; k < TOGETHER / 2; k++)
            words[i][k] = ((const tdco_pair *)rows[i])[k];
    for (uint32_t k = 0; k < TOGETHER / 2; k++) {
        best[2 * k] = tdco_max(tdco_max(upper(words[0][k]), upper(words[1][k])), upper(words[2][k]));
        best[2 * k + 1] = tdco_max(tdco_max(tdco_float(words[0][k]), tdco_float(words[1][k])), tdco_float(words[2][k]));
    }
}

/* n outputs of TOGETHER channels, whose windows of up to 3 rows and 3 columns are 2 columns apart and inside x, but for
 * the first one's left column without `left`. Columns are reduced first, since windows share them. */
TDCO_APART void pool_line(const uint16_t *top, const uint16_t *middle, const uint16_t *bottom, uint16_t *y,
                          uint32_t channels, uint32_t n, int left)
{
    const uint16_t *rows[3] = {top, middle, bottom}, *const end = y + n * channels;
    float before[TOGETHER], best[TOGETHER], after[TOGETHER];
    column(rows, before); /* without a left column, this is the middle one, which does no harm */
    for (uint32_t i = 0; left && i < 3; i++)
        rows[i] += channels;
    for (; y < end; y += channels) {
        column(rows, best);
        for (uint32_t i = 0; i < 3; i++)
            rows[i] += channels;
        column(rows, after);
        for (uint32_t i = 0; i < 3; i++)
            rows[i] += channels;
        for (uint32_t k = 0; k < TOGETHER; k++) {
            y[k] = (uint16_t)(tdco_bits(tdco_max(tdco_max(before[k], best[k]), after[k])) >> 16);
            before[k] = after[k];
        }
    }
}

/* p: x[B,H,W,C], y[B,OH,OW,C].
 * i: B, H, W, C, OH, OW, kernel h, w, stride h, w, row and column of x where window (0, 0) begins (< 0: padding). */
void tdco_max_pool_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const int32_t *const sizes = args->i;
    const uint32_t height = sizes[1], width = sizes[2], channels = sizes[3];
    const uint32_t out_height = sizes[4], out_width = sizes[5];
    const int32_t last = sizes[11] + 2 * (sizes[5] - 1); /* column where the last window begins, if they are 2 apart */
    const int by_line = sizes[6] <= 3 && sizes[7] == 3 && sizes[9] == 2 && (sizes[11] == 0 || sizes[11] == -1)
        && last + 2 < sizes[2] && channels % TOGETHER == 0 && tdco_word_aligned(args->p[0], args->p[1]);
    const uint32_t together = by_line ? TOGETHER : 1;
    const uint16_t *image = args->p[0];
    uint16_t *y = args->p[1];
    uint32_t c = core * together; /* channels of all lines are dealt out in turn */
    for (int32_t batch = 0; batch < sizes[0]; batch++, image += height * width * channels)
        for (uint32_t line = 0; line < out_height; line++, y += out_width * channels, c -= channels)
            for (; c < channels; c += cores * together) {
                const tdco_range h = window(line, sizes[8], sizes[10], sizes[6], height);
                const uint16_t *const top = image + h.begin * width * channels + c;
                const uint16_t *const middle = top + (h.end - h.begin > 1 ? width * channels : 0);
                const uint16_t *const bottom = middle + (h.end - h.begin > 2 ? width * channels : 0);
                if (by_line)
                    pool_line(top, middle, bottom, y + c, channels, out_width, sizes[11] == 0);
                else
                    for (uint32_t j = 0; j < out_width; j++)
                        y[j * channels + c] = largest(image + c, width, channels, h,
                                                      window(j, sizes[9], sizes[11], sizes[7], width));
            }
}

/* Where a window's first maximum, whose order is `value`, lies: rows x columns from x on. 0 if it is nowhere. */
TDCO_INLINE const uint16_t *first(const uint16_t *x, int32_t rows, int32_t columns, int32_t channels, int32_t line,
                                  int32_t value)
{
    for (; rows > 0; rows--, x += line)
        for (const uint16_t *at = x, *const end = x + columns * channels; at != end; at += channels)
            if (order(*at) == value)
                return at;
    return 0;
}

/* dx of element `at` of x: the sum of dy over the windows, in their order, up to (i, j), whose first maximum it is.
 * `before` is the rounded sum over those before (i, j), which is exact if they are but one. */
TDCO_APART uint16_t gather(const tdco_windows *s, const uint16_t *dy, const uint16_t *x, const uint16_t *y,
                           uint16_t before, int32_t at, int32_t i, int32_t j)
{
    const int32_t channels = s->channels, line = s->width * channels, row = at / line, value = order(x[at]);
    const tdco_range down = tdco_covering(row, s->row, s->kernel_h, s->stride_h, i + 1);
    const tdco_range right
        = tdco_covering((at - row * line) / channels, s->col, s->kernel_w, s->stride_w, s->out_width);
    const int32_t earlier = (i - (int32_t)down.begin) * (int32_t)(right.end - right.begin) + j - (int32_t)right.begin;
    float sum = 0.0f;
    if (earlier <= 1)
        return tdco_f2h(tdco_h2f(before) + tdco_h2f(dy[(i * s->out_width + j) * channels]));
    for (int32_t k = down.begin; k <= i; k++)
        for (int32_t l = right.begin; l < (k < i ? (int32_t)right.end : j + 1); l++) {
            const int32_t out = (k * s->out_width + l) * channels, top = k * s->stride_h + s->row;
            const int32_t left = l * s->stride_w + s->col;
            const tdco_range v = tdco_taps(top, s->kernel_h, s->height), h = tdco_taps(left, s->kernel_w, s->width);
            const uint16_t *const from = x + (top + (int32_t)v.begin) * line + (left + (int32_t)h.begin) * channels;
            if (order(y[out]) == value
                && first(from, v.end - v.begin, h.end - h.begin, channels, line, value) == x + at)
                sum += tdco_h2f(dy[out]);
        }
    return tdco_f2h(sum);
}

/* Adds the dy of a channel of an image to where their windows have their maxima in some `rows` of dx, window after
 * window. What is there was rounded, so a sum begins anew with every dy after the first. */
TDCO_APART void scatter(const tdco_windows *s, const uint16_t *dy, const uint16_t *x, const uint16_t *y, uint16_t *dx,
                        tdco_range rows)
{
    const int32_t channels = s->channels, line = s->width * channels;
    const uint16_t *const low = x + (int32_t)rows.begin * line, *const high = x + (int32_t)rows.end * line;
    const int32_t begin = tdco_covering(rows.begin, s->row, s->kernel_h, s->stride_h, s->out_height).begin;
    const int32_t end = tdco_covering((int32_t)rows.end - 1, s->row, s->kernel_h, s->stride_h, s->out_height).end;
    for (int32_t at = low - x; at < high - x; at += channels)
        dx[at] = 0;
    for (int32_t i = begin, out = begin * s->out_width * channels; i < end; i++) {
        const int32_t row = s->row + i * s->stride_h;
        const tdco_range v = tdco_taps(row, s->kernel_h, s->height);
        const uint16_t *const from = x + (row + (int32_t)v.begin) * line;
        for (int32_t j = 0, col = s->col; j < s->out_width; j++, col += s->stride_w, out += channels) {
            const tdco_range h = tdco_taps(col, s->kernel_w, s->width);
            const uint16_t *const found = first(from + (col + (int32_t)h.begin) * channels, v.end - v.begin,
                                                h.end - h.begin, channels, line, order(y[out]));
            if (found >= low && found < high)
                dx[found - x] = order(dx[found - x]) ? gather(s, dy, x, y, dx[found - x], found - x, i, j)
                                                     : tdco_f2h(0.0f + tdco_h2f(dy[out])); /* no -0 */
        }
    }
}

/* Cores share the channels, and each channel's rows where there are fewer.
 * p: dy[B,OH,OW,C], x[B,H,W,C], y[B,OH,OW,C], dx[B,H,W,C].  i: tdco_windows; whole images. */
void tdco_max_pool_grad_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const tdco_windows *const s = (const tdco_windows *)args->i;
    const uint16_t *dy = args->p[0], *x = args->p[1], *y = args->p[2];
    uint16_t *dx = args->p[3];
    const uint32_t channels = s->channels, height = s->height, image = height * s->width * channels;
    const uint32_t out_image = s->out_height * s->out_width * channels;
    const uint32_t parts = channels < cores ? cores / channels : 1;
    for (int32_t b = 0; b < s->batch; b++, dy += out_image, x += image, y += out_image, dx += image)
        for (uint32_t n = core; n < channels * parts; n += cores) {
            const uint32_t c = n % channels, part = n / channels;
            const tdco_range rows = {height * part / parts, height * (part + 1) / parts};
            scatter(s, dy + c, x + c, y + c, dx + c, rows);
        }
}
