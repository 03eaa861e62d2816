/* Stochastic gradient descent on an fp32 master copy and its fp16 shadow. The master may be updated in place. */
#include "fpmath.h"
#include "kernel.h"

/* All elements stay as they are. */
static void keep(const tdco_args *args, uint32_t core, uint32_t cores)
{
    const float *const master = args->p[0];
    float *const new_master = args->p[3];
    uint16_t *const shadow = args->p[4];
    for (uint32_t at = core; at < (uint32_t)args->i[0]; at += cores) {
        new_master[at] = master[at];
        shadow[at] = tdco_f2h(master[at]);
    }
}

/* p: master f32, grad, ok i32[1], new master f32, new shadow.  i: elements.  f: learning rate / loss scale. */
#define SGD(format, type)                                                                                              \
    TDCO_INLINE void step_##format(const float *master, const type *grad, float rate, float *new_master,               \
                                   uint16_t *shadow, uint32_t n)                                                       \
    {                                                                                                                  \
        float value[TDCO_BLOCK], slope[TDCO_BLOCK];                                                                    \
        tdco_load_##format(grad, slope, n);                                                                            \
        tdco_load_f32(master, value, n);                                                                               \
        for (uint32_t i = 0; i < n; i++)                                                                               \
            value[i] = tdco_fma(-rate, slope[i], value[i]);                                                            \
        for (uint32_t i = 0; i < n; i++) {                                                                             \
            new_master[i] = tdco_canonical(value[i]);                                                                  \
            shadow[i] = tdco_f2h(value[i]);                                                                            \
        }                                                                                                              \
    }                                                                                                                  \
                                                                                                                       \
    void tdco_sgd_##format(const tdco_args *args, uint32_t core, uint32_t cores)                                       \
    {                                                                                                                  \
        const uint32_t elements = args->i[0], whole = tdco_in_blocks(elements, TDCO_BLOCK, args->p[1], args->p[1]);    \
        const int32_t ok = *(const int32_t *)args->p[2];                                                               \
        const float *master = args->p[0], rate = args->f[0] * tdco_unscale(ok);                                        \
        const type *grad = args->p[1], *const end = grad + whole;                                                      \
        float *new_master = args->p[3];                                                                                \
        uint16_t *shadow = args->p[4];                                                                                 \
        if (!ok) {                                                                                                     \
            keep(args, core, cores);                                                                                   \
            return;                                                                                                    \
        }                                                                                                              \
        for (uint32_t at = whole + core; at < elements; at += cores)                                                   \
            step_##format(master + at, grad + at, rate, new_master + at, shadow + at, 1);                              \
        master += core * TDCO_BLOCK;                                                                                   \
        new_master += core * TDCO_BLOCK;                                                                               \
        shadow += core * TDCO_BLOCK;                                                                                   \
        for (grad += core * TDCO_BLOCK; grad < end; grad += cores * TDCO_BLOCK) {                                      \
            step_##format(master, grad, rate, new_master, shadow, TDCO_BLOCK);                                         \
            master += cores * TDCO_BLOCK;                                                                              \
            new_master += cores * TDCO_BLOCK;                                                                          \
            shadow += cores * TDCO_BLOCK;                                                                              \
        }                                                                                                              \
    }

SGD(f16, uint16_t)
SGD(f32, float)
