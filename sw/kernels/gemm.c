/* What the engine computes, on the cores: Z = X.W + Y in binary16, one rounding per multiply-add, in the order of K. */
#include "kernel.h"

#define SIDE 4 /* rows and columns of a block: its 16 sums, and what a step of K needs, fit the registers */

typedef struct {
    int32_t m, n, k;
    int32_t xm, xk, wk, wn, ym, yn, zm, zn; /* elements from one row, column or step of K to the next */
    int32_t relu;
} sizes;

static inline uint16_t finish(uint16_t sum, int32_t relu) { return relu && (sum & 0x8000) ? 0 : sum; }

/* A single element of Z. */
static void element(const sizes *s, const uint16_t *x, const uint16_t *w, const uint16_t *y, uint16_t *z)
{
    uint16_t sum = y ? *y : 0;
    for (int32_t k = 0; k < s->k; k++, x += s->xk, w += s->wk)
        sum = tdco_hfma(*x, *w, sum);
    *z = finish(sum, s->relu);
}

#define EACH(i, extent) _Pragma("GCC unroll 4") for (int32_t i = 0; i < extent; i++)

/* One step of K: a column of X times a row of W. Loads stay behind the step before theirs: moved ahead of it, their
 * values would not fit the registers. */
#define STEP(across, r0, r1, r2, r3, ...)                                                                              \
    {                                                                                                                  \
        const uint16_t row[SIDE] = {r0, r1, r2, r3}, column[across] = {__VA_ARGS__};                                   \
        EACH(i, SIDE) EACH(j, across) sum[i][j] = tdco_hfma(row[i], column[j], sum[i][j]);                             \
        __asm__ volatile("" ::: "memory");                                                                             \
    }

/* SIDE rows of `across` elements: sums from Y or 0, all steps of K, sums to Z. */
#define BLOCK(name, across, ...)                                                                                       \
    static __attribute__((noinline)) void name(const sizes *s, const uint16_t *x, const uint16_t *w,                   \
                                               const uint16_t *y, uint16_t *z)                                         \
    {                                                                                                                  \
        uint16_t sum[SIDE][across] = {{0}};                                                                            \
        if (y)                                                                                                         \
            EACH(i, SIDE)                                                                                              \
            {                                                                                                          \
                const uint16_t *line = y;                                                                              \
                EACH(j, across) sum[i][j] = *line, line += s->yn;                                                      \
                y += s->ym;                                                                                            \
            }                                                                                                          \
        __VA_ARGS__                                                                                                    \
        if (s->relu)                                                                                                   \
            EACH(i, SIDE) EACH(j, across) sum[i][j] = finish(sum[i][j], 1);                                            \
        EACH(i, SIDE)                                                                                                  \
        {                                                                                                              \
            uint16_t *line = z;                                                                                        \
            EACH(j, across) *line = sum[i][j], line += s->zn;                                                          \
            z += s->zm;                                                                                                \
        }                                                                                                              \
    }

/* Columns of X and rows of W lie side by side: one pointer each. */
BLOCK(both_across, SIDE, {
    const int32_t xk = s->xk, wk = s->wk;
    const uint16_t *end = w + s->k * wk;
    for (; w != end; x += xk, w += wk)
        STEP(SIDE, x[0], x[1], x[2], x[3], w[0], w[1], w[2], w[3])
})

/* Rows of X lie side by side: a pointer each. */
BLOCK(w_across, SIDE, {
    const int32_t wk = s->wk;
    const uint16_t *end = x + s->k, *x1 = x + s->xm, *x2 = x1 + s->xm, *x3 = x2 + s->xm;
    for (; x != end; x++, x1++, x2++, x3++, w += wk)
        STEP(SIDE, *x, *x1, *x2, *x3, w[0], w[1], w[2], w[3])
})

/* Columns of W do as well: six pointers are as many as there are registers for. */
BLOCK(along, 2, {
    const uint16_t *x1 = x + s->xm, *x2 = x1 + s->xm, *x3 = x2 + s->xm, *w1 = w + s->wn, *end = x + (s->k & ~3);
    for (; x != end; x += 4, x1 += 4, x2 += 4, x3 += 4, w += 4, w1 += 4) {
        STEP(2, x[0], x1[0], x2[0], x3[0], w[0], w1[0])
        STEP(2, x[1], x1[1], x2[1], x3[1], w[1], w1[1])
        STEP(2, x[2], x1[2], x2[2], x3[2], w[2], w1[2])
        STEP(2, x[3], x1[3], x2[3], x3[3], w[3], w1[3])
    }
    for (end += s->k & 3; x != end; x++, x1++, x2++, x3++, w++, w1++)
        STEP(2, *x, *x1, *x2, *x3, *w, *w1)
})

/* The same three where lines begin at words: half the accesses, and cores hold each other up less. A multiply-add reads
 * the lower half of a register alone. */
#define PAIR(at) (*(const tdco_pair *)(at))
#define HIGH(word) (uint16_t)((word) >> 16)
#define FOUR(a, b) (uint16_t)(a), HIGH(a), (uint16_t)(b), HIGH(b)
#define STEP_OF(...) STEP(__VA_ARGS__)
/* Halves are taken apart behind it: sooner they would not fit the registers. A pointer stays one, not base and index. */
#define LATER(word) __asm__ volatile("" : "+r"(word));

BLOCK(both_across_by_words, SIDE, {
    const int32_t xk = s->xk, wk = s->wk;
    const uint16_t *end = w + s->k * wk;
    for (; w != end; x += xk, w += wk) {
        const tdco_pair x0 = PAIR(x), x2 = PAIR(x + 2), w0 = PAIR(w), w2 = PAIR(w + 2);
        STEP_OF(SIDE, FOUR(x0, x2), FOUR(w0, w2))
    }
})

BLOCK(w_across_by_words, SIDE, {
    const int32_t wk = s->wk;
    const uint16_t *end = x + (s->k & ~1), *x1 = x + s->xm, *x2 = x1 + s->xm, *x3 = x2 + s->xm;
    for (; x != end; x += 2, x1 += 2, x2 += 2, x3 += 2, w += wk) {
        tdco_pair a = PAIR(x), b = PAIR(x1), c = PAIR(x2), d = PAIR(x3), w0 = PAIR(w), w2 = PAIR(w + 2);
        STEP(SIDE, a, b, c, d, FOUR(w0, w2))
        LATER(a) LATER(b) LATER(c) LATER(d)
        w += wk;
        w0 = PAIR(w), w2 = PAIR(w + 2);
        STEP(SIDE, HIGH(a), HIGH(b), HIGH(c), HIGH(d), FOUR(w0, w2))
    }
    if (s->k & 1)
        STEP(SIDE, *x, *x1, *x2, *x3, w[0], w[1], w[2], w[3])
})

BLOCK(along_by_words, 2, {
    const uint16_t *x1 = x + s->xm, *x2 = x1 + s->xm, *x3 = x2 + s->xm, *w1 = w + s->wn, *end = x + (s->k & ~3);
    for (; x != end; x += 4, x1 += 4, x2 += 4, x3 += 4, w += 4, w1 += 4) {
        LATER(x1) LATER(x2) LATER(x3) LATER(w) LATER(w1)
        EACH(at, 2)
        {
            tdco_pair a = PAIR(x + 2 * at), b = PAIR(x1 + 2 * at), c = PAIR(x2 + 2 * at), d = PAIR(x3 + 2 * at);
            tdco_pair v = PAIR(w + 2 * at), v1 = PAIR(w1 + 2 * at);
            STEP(2, a, b, c, d, v, v1)
            LATER(a) LATER(b) LATER(c) LATER(d) LATER(v) LATER(v1)
            STEP(2, HIGH(a), HIGH(b), HIGH(c), HIGH(d), HIGH(v), HIGH(v1))
        }
    }
    for (end += s->k & 3; x != end; x++, x1++, x2++, x3++, w++, w1++)
        STEP(2, *x, *x1, *x2, *x3, *w, *w1)
})

typedef void one_block(const sizes *s, const uint16_t *x, const uint16_t *w, const uint16_t *y, uint16_t *z);

static void block(const sizes *s, int words, const uint16_t *x, const uint16_t *w, const uint16_t *y, uint16_t *z)
{
    if (s->wn == 1) {
        one_block *const rows = words ? w_across_by_words : w_across;
        one_block *const columns = words ? both_across_by_words : both_across;
        (s->xk == 1 ? rows : columns)(s, x, w, y, z);
        return;
    }
    one_block *const half = words ? along_by_words : along;
    half(s, x, w, y, z);
    half(s, x, w + 2 * s->wn, y ? y + 2 * s->yn : 0, z + 2 * s->zn);
}

/* Z transposed is W transposed times X transposed. */
static sizes turned(const sizes *s)
{
    return (sizes){s->n, s->m, s->k, s->wn, s->wk, s->xk, s->xm, s->yn, s->ym, s->zn, s->zm, s->relu};
}

/* Cores share the blocks, then what is left over at the edges. p: x, w, y or 0, z.  i: sizes. */
void tdco_gemm_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const sizes given = *(const sizes *)args->i;
    const int turn = given.xk != 1 && given.wn != 1;
    const sizes size = turn ? turned(&given) : given, *s = &size;
    const uint16_t *x = args->p[turn], *w = args->p[!turn], *y = args->p[2];
    uint16_t *z = args->p[3];
    const int32_t across = s->n / SIDE, down = s->m / SIDE;
    const int32_t lines = (s->xk == 1 ? s->xm : s->xk) | (s->wn == 1 ? s->wk : s->wn);
    const int words = tdco_word_aligned(x, w) && !(lines & 1);
    const tdco_range blocks = tdco_share(across * down, core, cores);
    for (uint32_t at = blocks.begin; at < blocks.end; at++) {
        const int32_t row = at / across, m = SIDE * row, n = SIDE * (int32_t)(at - row * across);
        block(s, words, x + m * s->xm, w + n * s->wn, y ? y + m * s->ym + n * s->yn : 0, z + m * s->zm + n * s->zn);
    }
    const int32_t right = s->n - SIDE * across, below = s->m - SIDE * down; /* columns right of, rows below the blocks */
    const tdco_range rest = tdco_share(SIDE * down * right + below * s->n, core, cores);
    for (uint32_t at = rest.begin; at < rest.end; at++) {
        const int32_t beside = SIDE * down * right, index = at;
        const int32_t m = index < beside ? index / right : SIDE * down + (index - beside) / s->n;
        const int32_t n = index < beside ? SIDE * across + index % right : (index - beside) % s->n;
        element(s, x + m * s->xm, w + n * s->wn, y ? y + m * s->ym + n * s->yn : 0, z + m * s->zm + n * s->zn);
    }
}
