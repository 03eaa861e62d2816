/* What every kernel shares. A kernel is `void tdco_<op>_<format>(const tdco_args *a, uint32_t core, uint32_t cores)`:
 * all cores call it, each does its share, and the bits of the result do not depend on how many cores there are. */
#ifndef TDCO_KERNEL_H
#define TDCO_KERNEL_H

#include "port.h"
#include "tdco.h"

/* For functions with a parameter whose value shapes the code. */
#define TDCO_INLINE static inline __attribute__((always_inline))
/* For a function that is to have all registers to itself. */
#define TDCO_APART static __attribute__((noinline))

typedef struct {
    uint32_t begin, end;
} tdco_range;

/* Elements of a block. Cores take blocks in turn, so that those who work side by side use different banks of L1. A
 * block is loaded before the first of it is used: an in-order core stalls on a value used at once, and a compiler that
 * cannot rule out that outputs overlap inputs does not move loads ahead of stores by itself. */
enum { TDCO_BLOCK = 8 };

/* The part [begin, end) of `items` pieces of work that falls to `core`. */
static inline tdco_range tdco_share(uint32_t items, uint32_t core, uint32_t cores)
{
    const uint32_t chunk = (items + cores - 1) / cores;
    const uint32_t begin = core * chunk < items ? core * chunk : items;
    return (tdco_range){begin, items - begin < chunk ? items : begin + chunk};
}

/* The same of 16-bit elements that are to be moved in pairs, as words: begins at an even element. */
static inline tdco_range tdco_share_pairs(uint32_t items, uint32_t core, uint32_t cores)
{
    const tdco_range pairs = tdco_share((items + 1) / 2, core, cores);
    return (tdco_range){2 * pairs.begin < items ? 2 * pairs.begin : items,
                        2 * pairs.end < items ? 2 * pairs.end : items};
}

/* Two 16-bit elements in a word, which may also be accessed one by one. */
typedef uint32_t __attribute__((may_alias)) tdco_pair;

static inline int tdco_word_aligned(const void *a, const void *b)
{
    return (((uintptr_t)a | (uintptr_t)b) & 3) == 0;
}

/* How many of `elements` are worked on by words in blocks, a power of two; the others are dealt out one by one. */
static inline uint32_t tdco_in_blocks(uint32_t elements, uint32_t block, const void *a, const void *b)
{
    return tdco_word_aligned(a, b) ? elements & ~(block - 1) : 0;
}

/* v[0:n] = x[0:n], where n is 1, or even and at most TDCO_BLOCK for words of x: half the accesses, and cores that walk
 * rows of the same length side by side are held up less by each other. */
TDCO_INLINE void tdco_load_f16(const uint16_t *x, float *v, uint32_t n)
{
    tdco_pair words[TDCO_BLOCK / 2];
    if (n == 1)
        v[0] = tdco_h2f(*x);
    for (uint32_t i = 0; i < n / 2; i++)
        words[i] = ((const tdco_pair *)x)[i];
    for (uint32_t i = 0; i < n / 2; i++) {
        v[2 * i] = tdco_h2f((uint16_t)words[i]);
        v[2 * i + 1] = tdco_h2f((uint16_t)(words[i] >> 16));
    }
}

TDCO_INLINE void tdco_load_f32(const float *x, float *v, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        v[i] = x[i];
}

/* Words of a block that is only moved. */
enum { TDCO_MOVE = 8 };

static inline void tdco_copy_f16(uint16_t *to, const uint16_t *from, uint32_t n)
{
    if (n >= 2 * TDCO_MOVE && tdco_word_aligned(to, from)) {
        for (; n >= 2 * TDCO_MOVE; n -= 2 * TDCO_MOVE, to += 2 * TDCO_MOVE, from += 2 * TDCO_MOVE) {
            tdco_pair pairs[TDCO_MOVE];
            for (int i = 0; i < TDCO_MOVE; i++)
                pairs[i] = ((const tdco_pair *)from)[i];
            for (int i = 0; i < TDCO_MOVE; i++)
                ((tdco_pair *)to)[i] = pairs[i];
        }
    }
    for (; n >= TDCO_MOVE; n -= TDCO_MOVE, to += TDCO_MOVE, from += TDCO_MOVE) {
        uint16_t elements[TDCO_MOVE];
        for (int i = 0; i < TDCO_MOVE; i++)
            elements[i] = from[i];
        for (int i = 0; i < TDCO_MOVE; i++)
            to[i] = elements[i];
    }
    for (; n > 0; n--)
        *to++ = *from++;
}

static inline void tdco_zero_f16(uint16_t *to, uint32_t n)
{
    if (tdco_word_aligned(to, to))
        for (; n >= 2 * TDCO_MOVE; n -= 2 * TDCO_MOVE, to += 2 * TDCO_MOVE)
            for (int i = 0; i < TDCO_MOVE; i++)
                ((tdco_pair *)to)[i] = 0;
    for (; n > 0; n--)
        *to++ = 0;
}

#endif
