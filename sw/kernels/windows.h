/* Windows of a two-dimensional operator over NHWC tensors. */
#ifndef TDCO_WINDOWS_H
#define TDCO_WINDOWS_H

#include "kernel.h"

/* Sizes of x[B,H,W,C] and y[B,OH,OW,C], of the window and its strides, and the row and column of x where window (0, 0)
 * begins (< 0: padding), in the order of the kernels' integers. */
typedef struct {
    int32_t batch, height, width, channels, out_height, out_width, kernel_h, kernel_w, stride_h, stride_w, row, col;
} tdco_windows;

/* Of window `out` along one dimension: which of its taps [begin, end) lie on the `size` rows that there are. */
static inline tdco_range tdco_taps(int32_t first, int32_t kernel, int32_t size)
{
    const int32_t begin = first < 0 ? -first : 0, end = size - first < kernel ? size - first : kernel;
    return (tdco_range){(uint32_t)begin, (uint32_t)(end < begin ? begin : end)};
}

/* Which windows [begin, end) along one dimension cover row `at`. */
static inline tdco_range tdco_covering(int32_t at, int32_t first, int32_t kernel, int32_t stride, int32_t windows)
{
    const int32_t down = at - first; /* in the padded input */
    const int32_t begin = down < kernel ? 0 : (down - kernel) / stride + 1, end = down < 0 ? 0 : down / stride + 1;
    return (tdco_range){(uint32_t)begin, (uint32_t)(end < windows ? end : windows)};
}

enum { TDCO_CHANNELS = 4 }; /* that share addresses: two words of a pixel */

/* How many of n channels share addresses at a and b: TDCO_CHANNELS, or 1. */
static inline int32_t tdco_together(int32_t n, const void *a, const void *b)
{
    return n % TDCO_CHANNELS == 0 && tdco_word_aligned(a, b) ? TDCO_CHANNELS : 1;
}

/* rows x columns taps of a window: their first element and filter, and from one row or column to the next in both. */
typedef struct {
    const uint16_t *x, *filter;
    int32_t rows, columns, x_row, x_column, filter_row, filter_column;
} tdco_patch;

/* sum[p,c] += x * filter over the patch of each of n windows, x_step elements apart, of w channels; x alone if they are
 * not `filtered`. Row by row, and the windows have as many taps. */
TDCO_INLINE void tdco_sum_patches(const tdco_patch *t, float *sum, int32_t x_step, int32_t n, int32_t w, int filtered)
{
    const int32_t columns = t->columns, x_column = t->x_column, filter_column = t->filter_column;
    const uint16_t *x = t->x, *filter = t->filter;
    const int32_t x_back = t->x_row - columns * x_column, filter_back = t->filter_row - columns * filter_column;
    for (int32_t i = t->rows; i > 0; i--, x += x_back, filter += filter_back)
        for (int32_t j = columns; j > 0; j--, x += x_column, filter += filter_column) {
            float f[TDCO_CHANNELS], v[TDCO_CHANNELS];
            if (filtered)
                tdco_load_f16(filter, f, w);
            for (int32_t p = 0; p < n; p++) {
                tdco_load_f16(x + p * x_step, v, w);
                for (int32_t c = 0; c < w; c++)
                    sum[p * w + c] = filtered ? tdco_fma(v[c], f[c], sum[p * w + c]) : sum[p * w + c] + v[c];
            }
        }
}

#endif
