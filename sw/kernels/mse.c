/* Mean squared error and its gradient. */
#include "fpmath.h"
#include "kernel.h"

/* Sums that a loss is made of, so that cores can share it and the order of additions is the same for any number. */
enum { LANES = 16 };

/* (y - target)^2 of blocks of elements, those of a lane one after the other.  p: y, target, sums f32[LANES].
 * i: elements. */
void tdco_mse_lanes_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const uint32_t n = args->i[0];
    const uint16_t *y = args->p[0], *target = args->p[1];
    for (uint32_t lane = core; lane < LANES; lane += cores) {
        float sum = 0.0f;
        for (uint32_t at = lane * TDCO_BLOCK; at < n; at += LANES * TDCO_BLOCK) {
            if (n - at >= TDCO_BLOCK && tdco_word_aligned(y, target)) {
                float a[TDCO_BLOCK], b[TDCO_BLOCK];
                tdco_load_f16(y + at, a, TDCO_BLOCK);
                tdco_load_f16(target + at, b, TDCO_BLOCK);
                for (uint32_t i = 0; i < TDCO_BLOCK; i++)
                    sum += (a[i] - b[i]) * (a[i] - b[i]);
                continue;
            }
            for (uint32_t i = at; i < n && i < at + TDCO_BLOCK; i++) {
                const float off = tdco_h2f(y[i]) - tdco_h2f(target[i]);
                sum += off * off;
            }
        }
        ((float *)args->p[2])[lane] = sum;
    }
}

/* loss = mean of (y - target)^2.  p: sums f32[LANES], loss f32[1].  i: elements. */
void tdco_mse_loss_f32(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const float *sums = args->p[0];
    float sum = 0.0f;
    (void)cores;
    if (core)
        return;
    for (uint32_t lane = 0; lane < LANES; lane++)
        sum += sums[lane];
    *(float *)args->p[1] = tdco_canonical(sum / (float)args->i[0]);
}

/* dy = scale * (y - target), n as tdco_load_f16() has it. */
TDCO_INLINE void slope(const uint16_t *y, const uint16_t *target, uint16_t *dy, float scale, uint32_t n)
{
    float a[TDCO_BLOCK], b[TDCO_BLOCK];
    tdco_load_f16(y, a, n);
    tdco_load_f16(target, b, n);
    for (uint32_t i = 0; i < n; i++)
        a[i] = (a[i] - b[i]) * scale;
    for (uint32_t i = 0; i < n; i++)
        dy[i] = tdco_f2h(a[i]);
}

/* dy = dloss * 2 / all * (y - target).  p: dloss f32[1], y, target, dy.  i: elements here, of the whole tensor. */
void tdco_mse_grad_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const uint16_t *y = args->p[1], *target = args->p[2];
    const uint32_t n = args->i[0], whole = tdco_in_blocks(n, TDCO_BLOCK, y, target);
    const float scale = *(const float *)args->p[0] * 2.0f / (float)args->i[1];
    uint16_t *dy = args->p[3];
    for (uint32_t at = core * TDCO_BLOCK; at < whole; at += cores * TDCO_BLOCK)
        slope(y + at, target + at, dy + at, scale, TDCO_BLOCK);
    for (uint32_t at = whole + core; at < n; at += cores)
        slope(y + at, target + at, dy + at, scale, 1);
}
