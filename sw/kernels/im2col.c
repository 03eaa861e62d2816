/* A convolution's windows as rows of a matrix, so that the engine can multiply them with the filters. */
#include "kernel.h"

/* The kernel's integers: extents of b, oy, ox; ky, kx, c; extents of y, x in the tile; sy, sx; top, left. */
typedef struct {
    int32_t batch, out_height, out_width, kernel_h, kernel_w, channels, height, width, stride_h, stride_w, top, left;
} sizes;

/* A line of a window that begins at column `at` of row x and reaches beyond it: elements of x, or zeros. */
TDCO_APART void put_edge(const sizes *s, const uint16_t *x, uint16_t *col, int32_t at)
{
    for (const int32_t end = at + s->kernel_w; at < end; at++, col += s->channels)
        if (at < 0 || at >= s->width)
            tdco_zero_f16(col, s->channels);
        else
            tdco_copy_f16(col, x + at * s->channels, s->channels);
}

/* The same line of n windows, the first of which begins at column `at`, from row x. */
TDCO_APART void put_lines(const sizes *s, const uint16_t *x, uint16_t *col, int32_t at, int32_t n)
{
    const int32_t stride = s->stride_w, line = s->kernel_w * s->channels, window = s->kernel_h * line;
    const int32_t step = stride * s->channels, last = s->width - s->kernel_w;
    for (; n > 0 && at < 0; n--, at += stride, col += window)
        put_edge(s, x, col, at);
    const uint16_t *from = x + at * s->channels;
    for (; n > 0 && at <= last; n--, at += stride, col += window, from += step)
        tdco_copy_f16(col, from, line);
    for (; n > 0; n--, at += stride, col += window)
        put_edge(s, x, col, at);
}

/* The same without a row x. */
TDCO_APART void zero_lines(const sizes *s, uint16_t *col, int32_t n)
{
    const int32_t line = s->kernel_w * s->channels;
    for (; n > 0; n--, col += s->kernel_h * line)
        tdco_zero_f16(col, line);
}

/* col[b,oy,ox][ky,kx,c] = x[b, oy*sy - top + ky, ox*sx - left + kx, c], 0 outside of x, which is stored b, y, x, c.
 * p: x, col.  i: above. */
void tdco_im2col_f16(const tdco_args *a, uint32_t core, uint32_t cores)
{
    const sizes *const s = (const sizes *)a->i;
    const int32_t row = s->width * s->channels, line = s->kernel_w * s->channels;
    const tdco_range share = tdco_share(s->batch * s->out_height * s->out_width, core, cores);
    uint32_t out_row = share.begin / s->out_width, ox = share.begin - out_row * s->out_width;
    uint16_t *col = (uint16_t *)a->p[1] + share.begin * s->kernel_h * line;
    for (uint32_t left = share.end - share.begin; left > 0; out_row++, ox = 0) {
        const uint32_t n = s->out_width - ox < left ? s->out_width - ox : left;
        const int32_t b = out_row / s->out_height, y0 = (out_row - b * s->out_height) * s->stride_h - s->top;
        const uint16_t *x = (const uint16_t *)a->p[0] + (b * s->height + y0) * row;
        for (int32_t y = y0; y < y0 + s->kernel_h; y++, x += row, col += line)
            if (y < 0 || y >= s->height)
                zero_lines(s, col, n);
            else
                put_lines(s, x, col, ox * s->stride_w - s->left, n);
        col += (n - 1) * s->kernel_h * line;
        left -= n;
    }
}
