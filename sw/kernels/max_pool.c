/* Max pooling of NHWC tensors and its gradient. No arithmetic on values: they are compared as integers. */
#include "kernel.h"

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

/* p: x[B,H,W,C], y[B,OH,OW,C].
 * i: B, H, W, C, OH, OW, kernel h, w, stride h, w, row and column of x where window (0, 0) begins (< 0: padding). */
void tdco_max_pool_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const uint32_t height = args->i[1], width = args->i[2], channels = args->i[3];
    const uint32_t out_height = args->i[4], out_width = args->i[5];
    const tdco_range share = tdco_share(args->i[0] * out_height * out_width, core, cores);
    uint16_t *y = (uint16_t *)args->p[1] + share.begin * channels;
    for (uint32_t at = share.begin; at < share.end; at++) {
        const uint32_t row = at / out_width, batch = row / out_height;
        const tdco_range h = window(row - batch * out_height, args->i[8], args->i[10], args->i[6], height);
        const tdco_range w = window(at - row * out_width, args->i[9], args->i[11], args->i[7], width);
        const uint32_t corner = ((batch * height + h.begin) * width + w.begin) * channels;
        for (uint32_t c = 0; c < channels; c++) {
            uint16_t best = 0xFC00; /* minus infinity */
            int32_t best_order = order(best);
            const uint16_t *line = (const uint16_t *)args->p[0] + corner + c;
            for (uint32_t i = h.begin; i < h.end; i++, line += width * channels) {
                const uint16_t *x = line;
                for (uint32_t j = w.begin; j < w.end; j++, x += channels) {
                    const int32_t x_order = order(*x);
                    if (x_order > best_order) {
                        best = *x;
                        best_order = x_order;
                    }
                }
            }
            *y++ = best;
        }
    }
}

/* True if an element of the window rows h x columns w that stands before (row, col) equals `value`. */
static int seen(const uint16_t *x, uint32_t width, uint32_t channels, tdco_range h, tdco_range w, uint32_t row,
                uint32_t col, int32_t value)
{
    for (uint32_t i = h.begin; i <= row; i++)
        for (uint32_t j = w.begin; j < (i < row ? w.end : col); j++)
            if (order(x[(i * width + j) * channels]) == value)
                return 1;
    return 0;
}

/* The gradient at one element of x: the sum of dy over the windows, in their order, whose first maximum it is. */
static float gather(const int32_t *sizes, const uint16_t *dy, const uint16_t *x, const uint16_t *y, uint32_t row,
                    uint32_t col)
{
    const uint32_t height = sizes[1], width = sizes[2], channels = sizes[3];
    const uint32_t out_height = sizes[4], out_width = sizes[5], kernel_h = sizes[6], kernel_w = sizes[7];
    const uint32_t stride_h = sizes[8], stride_w = sizes[9];
    const uint32_t down = row - sizes[10], right = col - sizes[11]; /* in the padded input */
    const int32_t value = order(x[(row * width + col) * channels]);
    float sum = 0.0f;
    uint32_t i = down < kernel_h ? 0 : (down - kernel_h) / stride_h + 1;
    for (; i < out_height && i * stride_h <= down; i++) {
        uint32_t j = right < kernel_w ? 0 : (right - kernel_w) / stride_w + 1;
        for (; j < out_width && j * stride_w <= right; j++) {
            const uint32_t out = (i * out_width + j) * channels;
            if (value != order(y[out]))
                continue;
            const tdco_range h = window(i, stride_h, sizes[10], kernel_h, height);
            const tdco_range w = window(j, stride_w, sizes[11], kernel_w, width);
            if (!seen(x, width, channels, h, w, row, col, value))
                sum += tdco_h2f(dy[out]);
        }
    }
    return sum;
}

/* p: dy[B,OH,OW,C], x[B,H,W,C], y[B,OH,OW,C], dx[B,H,W,C].  i: as above; whole images. */
void tdco_max_pool_grad_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const uint32_t height = args->i[1], width = args->i[2], channels = args->i[3];
    const uint32_t image = height * width * channels, out_image = args->i[4] * args->i[5] * channels;
    const tdco_range share = tdco_share(args->i[0] * height * width, core, cores);
    uint16_t *dx = (uint16_t *)args->p[3] + share.begin * channels;
    for (uint32_t at = share.begin; at < share.end; at++) {
        const uint32_t line = at / width, batch = line / height, row = line - batch * height, col = at - line * width;
        const uint16_t *dy = (const uint16_t *)args->p[0] + batch * out_image;
        const uint16_t *x = (const uint16_t *)args->p[1] + batch * image;
        const uint16_t *y = (const uint16_t *)args->p[2] + batch * out_image;
        for (uint32_t c = 0; c < channels; c++)
            *dx++ = tdco_f2h(gather(args->i, dy + c, x + c, y + c, row, col));
    }
}
