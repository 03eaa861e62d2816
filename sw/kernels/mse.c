/* Mean squared error and its gradient. */
#include "fpmath.h"
#include "kernel.h"

/* loss = mean of (y - target)^2, summed by one core, so that the order is that of the elements.
 * p: y, target, loss f32[1].  i: elements. */
void tdco_mse_loss_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const uint32_t n = args->i[0], whole = tdco_in_blocks(n, TDCO_BLOCK, args->p[0], args->p[1]);
    const uint16_t *y = args->p[0], *target = args->p[1];
    float sum = 0.0f;
    (void)cores;
    if (core)
        return;
    for (uint32_t i = 0; i < whole; i += TDCO_BLOCK) {
        float a[TDCO_BLOCK], b[TDCO_BLOCK];
        tdco_load_f16(y + i, a, TDCO_BLOCK);
        tdco_load_f16(target + i, b, TDCO_BLOCK);
        for (uint32_t j = 0; j < TDCO_BLOCK; j++)
            sum += (a[j] - b[j]) * (a[j] - b[j]);
    }
    for (uint32_t i = whole; i < n; i++) {
        const float off = tdco_h2f(y[i]) - tdco_h2f(target[i]);
        sum += off * off;
    }
    *(float *)args->p[2] = tdco_canonical(sum / (float)n);
}

/* dy = dloss * 2 / all * (y - target).  p: dloss f32[1], y, target, dy.  i: elements here, of the whole tensor. */
void tdco_mse_grad_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const tdco_range share = tdco_share(args->i[0], core, cores);
    const float scale = *(const float *)args->p[0] * 2.0f / (float)args->i[1];
    const uint16_t *y = args->p[1], *target = args->p[2];
    uint16_t *dy = args->p[3];
    for (uint32_t at = share.begin; at < share.end; at++)
        dy[at] = tdco_f2h((tdco_h2f(y[at]) - tdco_h2f(target[at])) * scale);
}
