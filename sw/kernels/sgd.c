/* Stochastic gradient descent on an fp32 master copy and its fp16 shadow. The master may be updated in place. */
#include "fpmath.h"
#include "kernel.h"

/* All elements stay as they are. */
static void keep(const float *master, float *new_master, uint16_t *shadow, uint32_t n, uint32_t core, uint32_t cores)
{
    for (uint32_t at = core; at < n; at += cores) {
        new_master[at] = master[at];
        shadow[at] = tdco_f2h(master[at]);
    }
}

/* What a core takes at a time, block by block. */
enum { PIECE = 2 * TDCO_BLOCK };

/* Loads stay behind it: what all of them bring would not fit the registers. */
#define APART __asm__ volatile("" ::: "memory")

/* p: master f32, grad, ok i32[1], new master f32, new shadow.  i: elements.  f: learning rate / loss scale. */
#define SGD(format, type)                                                                                              \
    TDCO_INLINE void step_##format(const float *master, const type *grad, float rate, float *new_master,               \
                                   uint16_t *shadow, uint32_t n)                                                       \
    {                                                                                                                  \
        float value[TDCO_BLOCK], slope[TDCO_BLOCK];                                                                    \
        tdco_load_##format(grad, slope, n);                                                                            \
        tdco_load_f32(master, value, n);                                                                               \
        for (uint32_t i = 0; i < n; i++)                                                                               \
            value[i] = tdco_fma(-rate, slope[i], value[i]);                                                            \
        for (uint32_t i = 0; i < n; i++) {                                                                             \
            new_master[i] = tdco_canonical(value[i]);                                                                  \
            shadow[i] = tdco_f2h(value[i]);                                                                            \
        }                                                                                                              \
    }                                                                                                                  \
                                                                                                                       \
    void tdco_sgd_##format(const tdco_args *args, uint32_t core, uint32_t cores)                                       \
    {                                                                                                                  \
        const uint32_t elements = args->i[0], whole = tdco_in_blocks(elements, PIECE, args->p[1], args->p[1]);         \
        const int32_t ok = *(const int32_t *)args->p[2];                                                               \
        const float *master = args->p[0], rate = args->f[0] * tdco_unscale(ok);                                        \
        const type *grad = args->p[1], *const end = grad + whole;                                                      \
        float *new_master = args->p[3];                                                                                \
        uint16_t *shadow = args->p[4];                                                                                 \
        if (!ok) {                                                                                                     \
            keep(master, new_master, shadow, elements, core, cores);                                                   \
            return;                                                                                                    \
        }                                                                                                              \
        for (uint32_t at = whole + core; at < elements; at += cores)                                                   \
            step_##format(master + at, grad + at, rate, new_master + at, shadow + at, 1);                              \
        master += core * PIECE;                                                                                        \
        new_master += core * PIECE;                                                                                    \
        shadow += core * PIECE;                                                                                        \
        for (grad += core * PIECE; grad < end; grad += cores * PIECE) {                                                \
            for (uint32_t i = 0; i < PIECE; i += TDCO_BLOCK) {                                                         \
                step_##format(master + i, grad + i, rate, new_master + i, shadow + i, TDCO_BLOCK);                     \
                APART;                                                                                                 \
            }                                                                                                          \
            master += cores * PIECE;                                                                                   \
            new_master += cores * PIECE;                                                                               \
            shadow += cores * PIECE;                                                                                   \
        }                                                                                                              \
    }

SGD(f16, uint16_t)
SGD(f32, float)

/* Columns of a strip: their factors stay in registers while it goes down the rows. */
enum { STRIP = 16, GROUP = 4 };

TDCO_INLINE void strip(const float *master, const uint16_t *a, const uint16_t *b, float rate, float *new_master,
                       uint16_t *shadow, uint32_t rows, uint32_t n)
{
    float right[STRIP];
    for (int j = 0; j < STRIP; j++)
        right[j] = -rate * tdco_h2f(b[j]);
    for (const uint16_t *end = a + rows; a != end; a++) {
        const float left = tdco_h2f(*a);
#pragma GCC unroll 4
        for (int j = 0; j < STRIP; j += GROUP) {
            float value[GROUP];
            for (int i = 0; i < GROUP; i++)
                value[i] = master[j + i];
            for (int i = 0; i < GROUP; i++)
                value[i] = tdco_canonical(tdco_fma(left, right[j + i], value[i]));
            for (int i = 0; i < GROUP; i++)
                new_master[j + i] = value[i];
            for (int i = 0; i < GROUP; i++)
                shadow[j + i] = tdco_f2h(value[i]);
            APART;
        }
        master += n;
        new_master += n;
        shadow += n;
    }
}

/* With one pointer to the master all factors fit the registers. */
TDCO_APART void strip_in_place(float *master, const uint16_t *a, const uint16_t *b, float rate, uint16_t *shadow,
                               uint32_t rows, uint32_t n)
{
    strip(master, a, b, rate, master, shadow, rows, n);
}

TDCO_APART void strip_elsewhere(const float *master, const uint16_t *a, const uint16_t *b, float rate,
                                float *new_master, uint16_t *shadow, uint32_t rows, uint32_t n)
{
    strip(master, a, b, rate, new_master, shadow, rows, n);
}

/* A column of its own. */
TDCO_APART void column(const float *master, const uint16_t *a, float right, float *new_master, uint16_t *shadow,
                       uint32_t rows, uint32_t n)
{
    for (const uint16_t *end = a + rows; a != end; a++) {
        const float value = tdco_canonical(tdco_fma(tdco_h2f(*a), right, *master));
        *new_master = value;
        *shadow = tdco_f2h(value);
        master += n;
        new_master += n;
        shadow += n;
    }
}

/* Where the gradient is a column times a row: it is never made. Cores share the rows of all strips, then those of the
 * columns beside them.
 * p: master f32[m,n], a[m], b[n], ok i32[1] of both, new master, new shadow.  i: m, n.  f: rate. */
void tdco_outer_sgd_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const uint32_t m = args->i[0], n = args->i[1], strips = n / STRIP;
    const float *master = args->p[0], rate = args->f[0];
    const uint16_t *a = args->p[1], *b = args->p[2];
    float *new_master = args->p[5];
    uint16_t *shadow = args->p[6];
    if (!*(const int32_t *)args->p[3] || !*(const int32_t *)args->p[4]) {
        keep(master, new_master, shadow, m * n, core, cores);
        return;
    }
    tdco_range share = tdco_share(m * strips, core, cores);
    uint32_t j = share.begin / m, row = share.begin - j * m;
    for (uint32_t rows, left = share.end - share.begin; left; left -= rows, row = 0, j++) {
        const uint32_t at = row * n + j * STRIP;
        rows = left < m - row ? left : m - row;
        if (new_master == master)
            strip_in_place(new_master + at, a + row, b + j * STRIP, rate, shadow + at, rows, n);
        else
            strip_elsewhere(master + at, a + row, b + j * STRIP, rate, new_master + at, shadow + at, rows, n);
    }
    if (n == strips * STRIP)
        return;
    share = tdco_share(m, core, cores);
    for (j = strips * STRIP; j < n; j++) {
        const uint32_t at = share.begin * n + j;
        column(master + at, a + share.begin, -rate * tdco_h2f(b[j]), new_master + at, shadow + at,
               share.end - share.begin, n);
    }
}
