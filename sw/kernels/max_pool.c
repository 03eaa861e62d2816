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

/* The largest of window rows h x columns w of one channel. */
static uint16_t largest(const uint16_t *x, uint32_t width, uint32_t channels, tdco_range h, tdco_range w)
{
    uint16_t best = 0xFC00; /* minus infinity */
    for (uint32_t i = h.begin; i < h.end; i++)
        for (uint32_t j = w.begin; j < w.end; j++) {
            const uint16_t value = x[(i * width + j) * channels];
            best = order(value) > order(best) ? value : best;
        }
    return best;
}

/* Both maxima of two pairs, no element of which is negative: b + (a - b) where that is positive. A difference has 15
 * bits; the bit above says that it is positive, and keeps a borrow within the element. */
static inline uint32_t max_pair(uint32_t a, uint32_t b)
{
    const uint32_t difference = (a | 0x80008000) - b, positive = difference & 0x80008000;
    return b + (difference & (positive - (positive >> 15)));
}

/* Two channels of a column of up to 3 rows, one repeated where there are fewer: their maxima; `signs` collects bits. */
static inline uint32_t column(const uint16_t *const rows[3], int32_t at, uint32_t *signs)
{
    const uint32_t a = *(const tdco_pair *)(rows[0] + at), b = *(const tdco_pair *)(rows[1] + at);
    const uint32_t c = *(const tdco_pair *)(rows[2] + at);
    *signs |= a | b | c;
    return max_pair(max_pair(a, b), c);
}

/* A row of outputs of two channels, for windows of up to 3 rows and 3 columns in steps of 2: columns are reduced first,
 * since windows share them. False if an element is negative: max_pair() is not for those. */
static int pool_pair(const int32_t *sizes, const uint16_t *x, tdco_range h, uint16_t *y)
{
    const int32_t channels = sizes[3], line = sizes[2] * channels, step = 2 * channels, n = sizes[5];
    const uint16_t *const top = x + (int32_t)h.begin * line;
    const uint16_t *const rows[3] = {top, top + (h.end - h.begin > 1 ? line : 0),
                                     top + (h.end - h.begin > 2 ? 2 * line : 0)};
    uint32_t signs = 0, left = sizes[11] < 0 ? 0 : column(rows, 0, &signs);
    int32_t at = (sizes[11] + 1) * channels;
    for (int32_t j = 0; j < n; j++, at += step, y += channels) {
        const uint32_t middle = column(rows, at, &signs);
        const uint32_t right = at + channels < line ? column(rows, at + channels, &signs) : 0;
        *(tdco_pair *)y = max_pair(max_pair(left, middle), right);
        left = right;
    }
    return (signs & 0x80008000) == 0;
}

/* p: x[B,H,W,C], y[B,OH,OW,C].
 * i: B, H, W, C, OH, OW, kernel h, w, stride h, w, row and column of x where window (0, 0) begins (< 0: padding). */
void tdco_max_pool_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const int32_t *const sizes = args->i;
    const uint32_t height = sizes[1], width = sizes[2], channels = sizes[3], out_height = sizes[4], out_width = sizes[5];
    const int pairs = sizes[6] <= 3 && sizes[7] == 3 && sizes[9] == 2 && (sizes[11] == 0 || sizes[11] == -1)
        && sizes[11] + 2 * (sizes[5] - 1) + 1 < sizes[2] && channels % 2 == 0
        && tdco_word_aligned(args->p[0], args->p[1]);
    const uint32_t together = pairs ? 2 : 1, groups = channels / together;
    const tdco_range share = tdco_share(sizes[0] * out_height * groups, core, cores);
    for (uint32_t at = share.begin; at < share.end; at++) {
        const uint32_t line = at / groups, c = (at - line * groups) * together, batch = line / out_height;
        const tdco_range h = window(line - batch * out_height, sizes[8], sizes[10], sizes[6], height);
        const uint16_t *x = (const uint16_t *)args->p[0] + batch * height * width * channels + c;
        uint16_t *y = (uint16_t *)args->p[1] + line * out_width * channels + c;
        if (pairs && pool_pair(sizes, x, h, y))
            continue;
        for (uint32_t j = 0; j < out_width; j++, y += channels)
            for (uint32_t k = 0; k < together; k++)
                y[k] = largest(x + k, width, channels, h, window(j, sizes[9], sizes[11], sizes[7], width));
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
