/* Softmax cross-entropy over classes, its mean over the batch, and its gradient. */
#include "fpmath.h"
#include "kernel.h"

/* log_prob = (x - max) - log(sum(exp(x - max))).  p: logits[rows,n], log_prob f32[rows,n].  i: rows, n. */
void tdco_log_softmax_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const uint32_t n = args->i[1];
    const tdco_range share = tdco_share(args->i[0], core, cores);
    for (uint32_t row = share.begin; row < share.end; row++) {
        const uint16_t *x = (const uint16_t *)args->p[0] + row * n;
        float *log_prob = (float *)args->p[1] + row * n;
        float largest = tdco_h2f(x[0]), sum = 0.0f;
        for (uint32_t i = 1; i < n; i++) {
            const float value = tdco_h2f(x[i]);
            largest = value > largest ? value : largest;
        }
        for (uint32_t i = 0; i < n; i++)
            sum += tdco_exp(tdco_h2f(x[i]) - largest);
        const float log_sum = tdco_log(sum);
        for (uint32_t i = 0; i < n; i++)
            log_prob[i] = tdco_canonical(tdco_h2f(x[i]) - largest - log_sum);
    }
}

/* loss = -mean of log_prob[row, label[row]]; a label that is no class adds nothing. One core, so that the order of the
 * sum is that of the rows.  p: log_prob f32[rows,n], labels i32[rows], loss f32[1].  i: rows, n. */
void tdco_nll_loss_f32(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const uint32_t rows = args->i[0], n = args->i[1];
    const float *log_prob = args->p[0];
    const uint32_t *labels = args->p[1]; /* a negative label is a very large one */
    float *loss = args->p[2], sum = 0.0f;
    (void)cores;
    if (core)
        return;
    for (uint32_t row = 0; row < rows; row++)
        if (labels[row] < n)
            sum -= log_prob[row * n + labels[row]];
    *loss = tdco_canonical(sum / (float)rows);
}

/* dlogits = (exp(log_prob) - onehot(label)) * dloss / rows; a label that is no class has no one.
 * p: dloss f32[1], log_prob f32[rows,n], labels i32[rows], dlogits[rows,n].  i: rows, n. */
void tdco_cross_entropy_grad_f16(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const uint32_t rows = args->i[0], n = args->i[1];
    const tdco_range share = tdco_share(rows, core, cores);
    const float scale = *(const float *)args->p[0] / (float)rows;
    const uint32_t *labels = args->p[2];
    for (uint32_t row = share.begin; row < share.end; row++) {
        const float *log_prob = (const float *)args->p[1] + row * n;
        uint16_t *dx = (uint16_t *)args->p[3] + row * n;
        for (uint32_t i = 0; i < n; i++) {
            const float probability = tdco_exp(log_prob[i]);
            dx[i] = tdco_f2h((i == labels[row] ? probability - 1.0f : probability) * scale);
        }
    }
}
