/* Is every element of a gradient finite? The answer is 1 until a core finds one that is not. */
#include "kernel.h"

/* p: ok i32[1]. Sets it to 1: a call of its own, because the cores of one call do not wait for each other. */
void tdco_finite_begin(const tdco_args *args, uint32_t core, uint32_t cores)
{
    (void)cores;
    if (core == 0)
        *(int32_t *)args->p[0] = 1;
}

/* A finite number's exponent is not all ones, so adding one to it does not carry into the (cleared) sign bit.
 * p: x, ok i32[1].  i: elements, alone: one core looks at all of them and sets ok, which needs no call before. */
void tdco_finite_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const uint32_t alone = args->i[1];
    const tdco_range share = tdco_share_pairs(args->i[0], core, alone ? 1 : cores);
    const uint16_t *x = args->p[0];
    uint32_t carry = 0, at = share.begin;
    if (alone && core)
        return;
    if (tdco_word_aligned(x, x))
#pragma GCC unroll 8
        for (; at + 2 <= share.end; at += 2)
            carry |= (*(const tdco_pair *)(x + at) & 0x7FFF7FFF) + 0x04000400;
    for (; at < share.end; at++)
        carry |= (x[at] & 0x7FFFu) + 0x0400;
    carry &= 0x80008000;
    if (carry || alone)
        *(int32_t *)args->p[1] = !carry;
}

/* The same where the engine computed x: mostly its sticky flag saves the look. */
void tdco_finite_product_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    if (!args->engine_finite)
        tdco_finite_f16(args, core, cores);
    else if (args->i[1] && core == 0)
        *(int32_t *)args->p[1] = 1;
}

void tdco_finite_f32(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const uint32_t alone = args->i[1];
    const tdco_range share = tdco_share(args->i[0], core, alone ? 1 : cores);
    const uint32_t *x = args->p[0];
    uint32_t carry = 0;
    if (alone && core)
        return;
#pragma GCC unroll 8
    for (uint32_t at = share.begin; at < share.end; at++)
        carry |= (x[at] & 0x7FFFFFFF) + 0x00800000;
    carry &= 0x80000000;
    if (carry || alone)
        *(int32_t *)args->p[1] = !carry;
}
