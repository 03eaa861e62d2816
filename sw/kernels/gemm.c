/* What the engine computes, on the cores: Z = X.W + Y in binary16, one rounding per multiply-add, in the order of K. */
#include "kernel.h"

#define SIDE 4 /* rows and columns of a block: its 16 sums, and what a step of K needs, fit the registers */

typedef struct {
    int32_t m, n, k;
    int32_t xm, xk, wk, wn, ym, yn, zm, zn; /* elements from one row, column or step of K to the next */
    int32_t relu;
} sizes;

typedef struct {
    const uint16_t *x, *w, *y; /* y may be 0 */
    uint16_t *z;
} operands;

static inline uint16_t finish(uint16_t sum, int32_t relu) { return relu && (sum & 0x8000) ? 0 : sum; }

#define EACH(i, extent) _Pragma("GCC unroll 4") for (int32_t i = 0; i < extent; i++)

/* `count` blocks along the rows of Z, from row m and column n on: sums from Y or 0, all steps of K, sums to Z. */
#define BLOCKS(name, type, ...)                                                                                        \
    static __attribute__((noinline)) void name(const sizes *s, const operands *o, int32_t m, int32_t n, int32_t count) \
    {                                                                                                                  \
        for (; count > 0; count--) {                                                                                   \
            const uint16_t *x = o->x + m * s->xm, *w = o->w + n * s->wn, *y = o->y;                                    \
            uint16_t sum[SIDE][SIDE] = {{0}};                                                                          \
            type row[SIDE];                                                                                            \
            if (y) {                                                                                                   \
                y += m * s->ym + n * s->yn;                                                                            \
                EACH(i, SIDE)                                                                                          \
                {                                                                                                      \
                    const uint16_t *line = y;                                                                          \
                    EACH(j, SIDE) sum[i][j] = *line, line += s->yn;                                                    \
                    y += s->ym;                                                                                        \
                }                                                                                                      \
            }                                                                                                          \
            __VA_ARGS__                                                                                                \
            if (s->relu)                                                                                               \
                EACH(i, SIDE) EACH(j, SIDE) sum[i][j] = finish(sum[i][j], 1);                                          \
            uint16_t *z = o->z + m * s->zm + n * s->zn;                                                                \
            EACH(i, SIDE)                                                                                              \
            {                                                                                                          \
                uint16_t *line = z;                                                                                    \
                EACH(j, SIDE) *line = sum[i][j], line += s->zn;                                                        \
                z += s->zm;                                                                                            \
            }                                                                                                          \
            if ((n += SIDE) > s->n - SIDE)                                                                             \
                n = 0, m += SIDE;                                                                                      \
        }                                                                                                              \
    }

/* The value is known here and no sooner: what follows from it is computed anew in every turn of a loop, and takes no
 * register from one to the next. */
#define LATER(value) __asm__ volatile("" : "+r"(value));

/* An element of each row of X times one of a column of W. A multiply-add reads the lower half of a register alone. */
#define COLUMN(j, value)                                                                                               \
    {                                                                                                                  \
        const uint16_t element = (uint16_t)(value);                                                                    \
        EACH(i, SIDE) sum[i][j] = tdco_hfma((uint16_t)row[i], element, sum[i][j]);                                     \
    }

/* A step of K. Loads stay behind the step before theirs: moved ahead, their values would not fit the registers. */
#define STEP(a, b, c, d)                                                                                               \
    COLUMN(0, a) COLUMN(1, b) COLUMN(2, c) COLUMN(3, d)                                                                \
    __asm__ volatile("" ::: "memory");

#define BEHIND(at, bytes) (const uint16_t *)((const char *)(at) + (bytes))
/* What lies `at` elements behind x in each of four rows of X, an element or a pair: one pointer goes from row to row. */
#define LOAD_ROWS(piece, at)                                                                                           \
    {                                                                                                                  \
        LATER(x)                                                                                                       \
        const uint16_t *x1 = BEHIND(x, row_bytes), *x2 = BEHIND(x1, row_bytes), *x3 = BEHIND(x2, row_bytes);           \
        row[0] = *(const piece *)(x + at), row[1] = *(const piece *)(x1 + at);                                         \
        row[2] = *(const piece *)(x2 + at), row[3] = *(const piece *)(x3 + at);                                        \
    }

/* Columns of X and rows of W lie side by side. */
BLOCKS(both_across, uint16_t, {
    const int32_t xk = s->xk, wk = s->wk;
    const uint16_t *end = w + s->k * wk;
    for (; w != end; x += xk, w += wk) {
        EACH(i, SIDE) row[i] = x[i];
        STEP(w[0], w[1], w[2], w[3])
    }
})

/* Rows of X lie side by side. */
BLOCKS(w_across, uint16_t, {
    const int32_t row_bytes = 2 * s->xm, wk = s->wk;
    const uint16_t *end = x + s->k;
    for (; x != end; x++, w += wk) {
        LOAD_ROWS(uint16_t, 0)
        STEP(w[0], w[1], w[2], w[3])
    }
})

/* The same where lines begin at words: half the accesses, and cores hold each other up less. */
#define PAIR(at) (*(const tdco_pair *)(at))
#define STEP_BY_WORDS                                                                                                  \
    {                                                                                                                  \
        const tdco_pair w0 = PAIR(w), w2 = PAIR(w + 2);                                                                \
        STEP(w0, w0 >> 16, w2, w2 >> 16)                                                                               \
    }
#define SECOND_HALVES EACH(i, SIDE) { LATER(row[i]) row[i] >>= 16; } /* of the pairs of X */

BLOCKS(both_across_by_words, tdco_pair, {
    const int32_t xk = s->xk, wk = s->wk;
    const uint16_t *end = w + s->k * wk;
    for (; w != end; x += xk, w += wk) {
        row[0] = PAIR(x), row[2] = PAIR(x + 2), row[1] = row[0] >> 16, row[3] = row[2] >> 16;
        STEP_BY_WORDS
    }
})

BLOCKS(w_across_by_words, tdco_pair, {
    const int32_t row_bytes = 2 * s->xm, wk = s->wk;
    const uint16_t *end = x + (s->k & ~1);
    for (; x != end; x += 2, w += wk) {
        LOAD_ROWS(tdco_pair, 0)
        STEP_BY_WORDS
        SECOND_HALVES
        w += wk;
        LATER(w)
        STEP_BY_WORDS
    }
    if (s->k & 1) {
        LOAD_ROWS(uint16_t, 0)
        STEP(w[0], w[1], w[2], w[3])
    }
})

/* Columns of W lie side by side, too. Two steps of K: from column to column, and back an element further. */
#define TO(at, bytes)                                                                                                  \
    at = BEHIND(at, bytes);                                                                                            \
    LATER(at)
#define ALONG(name, piece, next)                                                                                       \
    BLOCKS(name, piece, {                                                                                              \
        const int32_t row_bytes = 2 * s->xm;                                                                           \
        int32_t bytes = 2 * s->wn;                                                                                     \
        const uint16_t *end = x + (s->k & ~1);                                                                         \
        for (; x != end; x += 2, w += 2) {                                                                             \
            uint16_t even = *w, odd;                                                                                   \
            LATER(bytes)                                                                                               \
            LOAD_ROWS(piece, 0)                                                                                        \
            TO(w, bytes) odd = *w;                                                                                     \
            COLUMN(0, even)                                                                                            \
            TO(w, bytes) even = *w;                                                                                    \
            COLUMN(1, odd)                                                                                             \
            TO(w, bytes) odd = *w;                                                                                     \
            COLUMN(2, even)                                                                                            \
            even = w[1];                                                                                               \
            COLUMN(3, odd)                                                                                             \
            next;                                                                                                      \
            TO(w, -bytes) odd = w[1];                                                                                  \
            COLUMN(3, even)                                                                                            \
            TO(w, -bytes) even = w[1];                                                                                 \
            COLUMN(2, odd)                                                                                             \
            TO(w, -bytes) odd = w[1];                                                                                  \
            COLUMN(1, even)                                                                                            \
            COLUMN(0, odd)                                                                                             \
        }                                                                                                              \
        if (s->k & 1) {                                                                                                \
            LOAD_ROWS(uint16_t, 0)                                                                                     \
            STEP(*w, w[s->wn], w[2 * s->wn], w[3 * s->wn])                                                             \
        }                                                                                                              \
    })

ALONG(along_by_words, tdco_pair, SECOND_HALVES)
ALONG(along, uint16_t, LOAD_ROWS(uint16_t, 1))

typedef void some_blocks(const sizes *s, const operands *o, int32_t m, int32_t n, int32_t count);

static some_blocks *blocks_of(const sizes *s, int words)
{
    if (s->wn != 1)
        return words ? along_by_words : along;
    if (s->xk == 1)
        return words ? w_across_by_words : w_across;
    return words ? both_across_by_words : both_across;
}

/* Z transposed is W transposed times X transposed. */
static sizes turned(const sizes *s)
{
    return (sizes){s->n, s->m, s->k, s->wn, s->wk, s->xk, s->xm, s->yn, s->ym, s->zn, s->zm, s->relu};
}

/* Columns of a strip of a single row of Z. With one of them, W may lie in any way. */
enum { STRIP = 16, ALONG_STRIP = 4 };
#define EACH_COLUMN _Pragma("GCC unroll 16") for (int32_t j = 0; j < columns; j++)

/* Where `across`, rows of W lie side by side, else two steps of K are a turn: they share pointers, and so do columns. */
TDCO_INLINE void strip(const sizes *s, const uint16_t *x, const uint16_t *w, const uint16_t *y, uint16_t *z,
                       int32_t columns, int across)
{
    const int32_t xk = s->xk, wk = s->wk, wn = across ? 1 : s->wn;
    uint16_t sum[STRIP] = {0};
    int32_t k = s->k;
    if (y)
        EACH_COLUMN sum[j] = y[j * s->yn];
    for (; !across && k > 1; k -= 2, x += 2 * xk) {
        const uint16_t first = x[0], second = x[xk];
        const uint16_t *column = w;
        EACH_COLUMN
        {
            const uint16_t a = column[0], b = column[wk];
            sum[j] = tdco_hfma(first, a, sum[j]);
            sum[j] = tdco_hfma(second, b, sum[j]);
            column += wn;
            LATER(column)
        }
        w += 2 * wk;
    }
    for (; k > 0; k--, x += xk, w += wk) {
        const uint16_t element = *x;
        EACH_COLUMN sum[j] = tdco_hfma(element, w[j * wn], sum[j]);
    }
    EACH_COLUMN z[j * s->zn] = finish(sum[j], s->relu);
}

TDCO_APART void across_strip(const sizes *s, const uint16_t *x, const uint16_t *w, const uint16_t *y, uint16_t *z)
{
    strip(s, x, w, y, z, STRIP, 1);
}

TDCO_APART void along_strip(const sizes *s, const uint16_t *x, const uint16_t *w, const uint16_t *y, uint16_t *z)
{
    strip(s, x, w, y, z, ALONG_STRIP, 0);
}

TDCO_APART void element(const sizes *s, const uint16_t *x, const uint16_t *w, const uint16_t *y, uint16_t *z)
{
    strip(s, x, w, y, z, 1, 0);
}

/* Columns [0, to) of the rows of Z from `from` on: cores share the strips of all rows, then what is beside them. */
static void single_rows(const sizes *s, const operands *o, int32_t from, int32_t to, uint32_t core, uint32_t cores)
{
    const int across = s->wn == 1 && to >= STRIP;
    const int32_t columns = across ? STRIP : ALONG_STRIP, rows = s->m - from, strips = to / columns;
    const int32_t beside = to - strips * columns;
    for (int32_t part = 0; part < 2; part++) {
        const int32_t in_row = part ? beside : strips;
        const tdco_range share = tdco_share(rows * in_row, core, cores);
        for (uint32_t at = share.begin; at < share.end; at++) {
            const int32_t row = (int32_t)at / in_row, m = from + row, place = (int32_t)at - row * in_row;
            const int32_t n = part ? strips * columns + place : place * columns;
            const uint16_t *x = o->x + m * s->xm, *w = o->w + n * s->wn;
            const uint16_t *y = o->y ? o->y + m * s->ym + n * s->yn : 0;
            (part ? element : across ? across_strip : along_strip)(s, x, w, y, o->z + m * s->zm + n * s->zn);
        }
    }
}

/* Cores share the blocks, then the rows below them and the columns beside.  p: x, w, y or 0, z.  i: sizes. */
void tdco_gemm_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const sizes given = *(const sizes *)args->i;
    const int turn = given.xk != 1 && given.wn != 1;
    const sizes size = turn ? turned(&given) : given, beside = turned(&size), *s = &size;
    const operands all = {args->p[turn], args->p[!turn], args->p[2], args->p[3]}, *o = &all;
    const int32_t across = s->n / SIDE, down = s->m / SIDE;
    const int32_t lines = (s->xk == 1 ? s->xm : s->xk) | (s->wn == 1 ? s->wk : s->wn);
    const int words = tdco_word_aligned(o->x, o->w) && !(lines & 1);
    const tdco_range blocks = tdco_share(across * down, core, cores);
    if (blocks.begin < blocks.end) {
        const int32_t row = blocks.begin / across, column = blocks.begin - row * across;
        blocks_of(s, words)(s, o, SIDE * row, SIDE * column, blocks.end - blocks.begin);
    }
    const operands swapped = {o->w, o->x, o->y, o->z};
    single_rows(s, o, SIDE * down, s->n, core, cores);
    single_rows(&beside, &swapped, SIDE * across, SIDE * down, core, cores);
}
