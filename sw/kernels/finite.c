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
 * p: x, ok i32[1].  i: elements. */
#define FINITE(format, type, magnitude, one, sign)                                                                     \
    void tdco_finite_##format(const tdco_args *args, uint32_t core, uint32_t cores)                                    \
    {                                                                                                                  \
        const tdco_range share = tdco_share(args->i[0], core, cores);                                                  \
        const type *x = args->p[0];                                                                                    \
        uint32_t carry = 0;                                                                                            \
        for (uint32_t at = share.begin; at < share.end; at++)                                                          \
            carry |= (x[at] & magnitude) + one;                                                                        \
        if (carry & sign)                                                                                              \
            *(int32_t *)args->p[1] = 0;                                                                                \
    }

FINITE(f16, uint16_t, 0x7FFFu, 0x0400u, 0x8000u)
FINITE(f32, uint32_t, 0x7FFFFFFFu, 0x00800000u, 0x80000000u)
