/* AdamW on an fp32 master copy, its two moments and its fp16 shadow. */
#include "fpmath.h"
#include "kernel.h"

static inline float load_f16(const uint16_t *x) { return tdco_h2f(*x); }
static inline float load_f32(const float *x) { return *x; }

/* Square root within 3 ulp; what is too small for a normal number counts as 0. */
static inline float root(float x) { return x >= 0x1p-126f ? x * tdco_rsqrt(x) : x == x ? 0.0f : x; }

/* p: master f32[n], moments f32[2,n], grad[n], ok i32[1], rates f32[5], new master, new moments, new shadow.
 * i: n.  f: 1 / loss scale, beta1, beta2, epsilon. */
#define ADAMW(format, type)                                                                                            \
    void tdco_adamw_##format(const tdco_args *args, uint32_t core, uint32_t cores)                                     \
    {                                                                                                                  \
        const uint32_t n = args->i[0];                                                                                 \
        const tdco_range share = tdco_share(n, core, cores);                                                           \
        const int32_t ok = *(const int32_t *)args->p[3];                                                               \
        const float unscale = args->f[0] * tdco_unscale(ok);                                                           \
        const float beta1 = args->f[1], beta2 = args->f[2], epsilon = args->f[3];                                      \
        const float *master = args->p[0], *moments = args->p[1], *rates = args->p[4];                                  \
        const type *grad = args->p[2];                                                                                 \
        float *new_master = args->p[5], *new_moments = args->p[6];                                                     \
        uint16_t *shadow = args->p[7];                                                                                 \
        for (uint32_t at = share.begin; at < share.end; at++) {                                                        \
            float value = master[at], m = moments[at], v = moments[n + at];                                            \
            if (ok) {                                                                                                  \
                const float g = load_##format(grad + at) * unscale;                                                    \
                m = beta1 * m + (1.0f - beta1) * g;                                                                    \
                v = beta2 * v + (1.0f - beta2) * g * g;                                                                \
                value = rates[4] * value - rates[2] * m / (root(v * rates[3]) + epsilon);                              \
            }                                                                                                          \
            new_master[at] = tdco_canonical(value);                                                                    \
            new_moments[at] = tdco_canonical(m);                                                                       \
            new_moments[n + at] = tdco_canonical(v);                                                                   \
            shadow[at] = tdco_f2h(value);                                                                              \
        }                                                                                                              \
    }

ADAMW(f16, uint16_t)
ADAMW(f32, float)

/* rates: 1 - beta1^t, 1 - beta2^t, and what follows from them: lr / (1 - beta1^t), 1 / (1 - beta2^t), 1 - lr * decay.
 * p: rates f32[5], count i32[1] or 0 (the step counts only where it is 0), new rates.  f: lr, beta1, beta2, decay. */
void tdco_adamw_rates_f32(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const float *rates = args->p[0], lr = args->f[0], beta1 = args->f[1], beta2 = args->f[2];
    const int32_t *count = args->p[1];
    float *next = args->p[2];
    (void)cores;
    if (core)
        return;
    if (count && *count) {
        for (uint32_t i = 0; i < 5; i++)
            next[i] = rates[i];
        return;
    }
    next[0] = (1.0f - beta1) + beta1 * rates[0];
    next[1] = (1.0f - beta2) + beta2 * rates[1];
    next[2] = lr / next[0];
    next[3] = 1.0f / next[1];
    next[4] = 1.0f - lr * args->f[3];
}
