/* GELU, x * cdf(x) of the standard normal distribution, and its gradient, dy * (cdf(x) + x * pdf(x)). */
#include "fpmath.h"
#include "kernel.h"

/* p: x, y.  i: elements. */
void tdco_gelu_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const tdco_range share = tdco_share(args->i[0], core, cores);
    const uint16_t *x = args->p[0];
    uint16_t *y = args->p[1];
#pragma GCC unroll 2
    for (uint32_t at = share.begin; at < share.end; at++) {
        const float value = tdco_h2f(x[at]);
        y[at] = tdco_f2h(value * tdco_normal(value).cdf);
    }
}

/* p: dy, x, dx.  i: elements. */
void tdco_gelu_grad_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const tdco_range share = tdco_share(args->i[0], core, cores);
    const uint16_t *dy = args->p[0], *x = args->p[1];
    uint16_t *dx = args->p[2];
#pragma GCC unroll 2
    for (uint32_t at = share.begin; at < share.end; at++) {
        const float value = tdco_h2f(x[at]);
        const tdco_gaussian normal = tdco_normal(value);
        dx[at] = tdco_f2h(tdco_h2f(dy[at]) * (normal.cdf + value * normal.pdf));
    }
}
