/* Layer normalisation of rows and its gradients. Statistics and sums in fp32, from the first element to the last. */
#include "fpmath.h"
#include "kernel.h"

/* p: x[rows,n], gamma[n], beta[n], y[rows,n], mean f32[rows], rstd f32[rows].  i: rows, n.  f: epsilon. */
void tdco_layer_norm_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const uint32_t n = args->i[1];
    const tdco_range share = tdco_share(args->i[0], core, cores);
    const uint16_t *gamma = args->p[1], *beta = args->p[2];
    float *means = args->p[4], *rstds = args->p[5];
    for (uint32_t row = share.begin; row < share.end; row++) {
        const uint16_t *x = (const uint16_t *)args->p[0] + row * n;
        uint16_t *y = (uint16_t *)args->p[3] + row * n;
        float sum = 0.0f, squares = 0.0f;
        for (uint32_t i = 0; i < n; i++)
            sum += tdco_h2f(x[i]);
        const float mean = sum / (float)n;
        for (uint32_t i = 0; i < n; i++) {
            const float centred = tdco_h2f(x[i]) - mean;
            squares += centred * centred;
        }
        const float rstd = tdco_rsqrt(squares / (float)n + args->f[0]);
        for (uint32_t i = 0; i < n; i++)
            y[i] = tdco_f2h((tdco_h2f(x[i]) - mean) * rstd * tdco_h2f(gamma[i]) + tdco_h2f(beta[i]));
        means[row] = tdco_canonical(mean);
        rstds[row] = tdco_canonical(rstd);
    }
}

/* p: dy[rows,n], x[rows,n], gamma[n], mean f32[rows], rstd f32[rows], dx[rows,n].  i: rows, n. */
void tdco_layer_norm_grad_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const uint32_t n = args->i[1];
    const tdco_range share = tdco_share(args->i[0], core, cores);
    const uint16_t *gamma = args->p[2];
    const float *means = args->p[3], *rstds = args->p[4];
    for (uint32_t row = share.begin; row < share.end; row++) {
        const uint16_t *dy = (const uint16_t *)args->p[0] + row * n, *x = (const uint16_t *)args->p[1] + row * n;
        uint16_t *dx = (uint16_t *)args->p[5] + row * n;
        const float mean = means[row], rstd = rstds[row];
        float sum = 0.0f, product = 0.0f;
        for (uint32_t i = 0; i < n; i++) {
            const float g = tdco_h2f(dy[i]) * tdco_h2f(gamma[i]);
            sum += g;
            product += g * ((tdco_h2f(x[i]) - mean) * rstd);
        }
        sum /= (float)n;
        product /= (float)n;
        for (uint32_t i = 0; i < n; i++) {
            const float g = tdco_h2f(dy[i]) * tdco_h2f(gamma[i]), c = (tdco_h2f(x[i]) - mean) * rstd;
            dx[i] = tdco_f2h(rstd * (g - sum - c * product));
        }
    }
}

/* Sums over rows, added to dgamma and dbeta where `first` is 0. Cores share the columns.
 * p: dy[rows,n], x[rows,n], mean f32[rows], rstd f32[rows], dgamma f32[n], dbeta f32[n].  i: rows, n, first. */
void tdco_layer_norm_param_grad_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const uint32_t rows = args->i[0], n = args->i[1];
    const tdco_range share = tdco_share(n, core, cores);
    const float *means = args->p[2], *rstds = args->p[3];
    float *dgamma = args->p[4], *dbeta = args->p[5];
    for (uint32_t i = share.begin; i < share.end; i++) {
        const uint16_t *dy = (const uint16_t *)args->p[0] + i, *x = (const uint16_t *)args->p[1] + i;
        float scaled = args->i[2] ? 0.0f : dgamma[i], plain = args->i[2] ? 0.0f : dbeta[i];
        for (uint32_t row = 0; row < rows; row++, dy += n, x += n) {
            const float d = tdco_h2f(*dy);
            scaled += d * ((tdco_h2f(*x) - means[row]) * rstds[row]);
            plain += d;
        }
        dgamma[i] = tdco_canonical(scaled);
        dbeta[i] = tdco_canonical(plain);
    }
}
