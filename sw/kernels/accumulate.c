/* Gradient accumulation: which step is due, and sums that begin anew behind it. */
#include "kernel.h"

/* p: count i32[1], next i32[1].  i: every. */
void tdco_count_i32(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const int32_t next = *(const int32_t *)args->p[0] + 1;
    (void)cores;
    if (core == 0)
        *(int32_t *)args->p[1] = next == args->i[0] ? 0 : next;
}

/* p: ok, count, due: all i32[1]. */
void tdco_due_i32(const tdco_args *args, uint32_t core, uint32_t cores)
{
    (void)cores;
    if (core == 0)
        *(int32_t *)args->p[2] = *(const int32_t *)args->p[1] ? 0 : *(const int32_t *)args->p[0];
}

/* p: sum f32[n], count i32[1], kept f32[n]: the sum, or 0 where count is.  i: n. */
void tdco_accumulate_f32(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const tdco_range share = tdco_share(args->i[0], core, cores);
    const uint32_t *sum = args->p[0]; /* as bits: NaN stays the NaN it is */
    const int32_t keep = *(const int32_t *)args->p[1];
    uint32_t *kept = args->p[2];
    for (uint32_t at = share.begin; at < share.end; at++)
        kept[at] = keep ? sum[at] : 0;
}
