/* A loss scale that is state: what it says to an update, and how it follows what became of the gradients. */
#include "fpmath.h"
#include "kernel.h"

/* p: loss scale f32[1], a power of two; ok i32[1]. What tdco_unscale undoes, until a gradient is not finite. */
void tdco_scaled_begin_f32(const tdco_args *args, uint32_t core, uint32_t cores)
{
    (void)cores;
    if (core == 0)
        *(int32_t *)args->p[1] = (int32_t)(tdco_bits(*(const float *)args->p[0]) >> 23) - 126;
}

/* p: flags i32[1], as many as i says; all: i32[1], 1 where no flag is 0. */
void tdco_all_i32(const tdco_args *args, uint32_t core, uint32_t cores)
{
    int32_t all = 1;
    (void)cores;
    if (core)
        return;
    for (int32_t n = 0; n < args->i[0]; n++)
        all &= *(const int32_t *)args->p[n] != 0;
    *(int32_t *)args->p[args->i[0]] = all;
}

/* p: scale f32[1], counts i32[2] (good steps since the scale last changed, skipped ones ever), all i32[1], count i32[1]
 * or 0 (a step counts only where it is 0), new scale, new counts.  i: good steps that double the scale, 0 for never.
 * f: the least and the largest scale. */
void tdco_loss_scale_f32(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const int32_t *counts = args->p[1], *count = args->p[3], every = args->i[0];
    float scale = *(const float *)args->p[0];
    int32_t good = counts[0], skipped = counts[1];
    (void)cores;
    if (core)
        return;
    if (!count || !*count) {
        const int32_t all = *(const int32_t *)args->p[2];
        good = all ? good + 1 : 0;
        skipped += !all;
        if (every && !all && scale > args->f[0])
            scale *= 0.5f;
        if (every && good == every) {
            good = 0;
            if (scale < args->f[1])
                scale *= 2.0f;
        }
    }
    *(float *)args->p[4] = scale;
    ((int32_t *)args->p[5])[0] = good;
    ((int32_t *)args->p[5])[1] = skipped;
}
