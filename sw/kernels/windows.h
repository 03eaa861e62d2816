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

#endif
