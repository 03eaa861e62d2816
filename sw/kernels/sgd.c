/* Stochastic gradient descent on an fp32 master copy and its fp16 shadow. The master may be updated in place. */
#include "fpmath.h"
#include "kernel.h"

static inline float load_f16(const uint16_t *x) { return tdco_h2f(*x); }
static inline float load_f32(const float *x) { return *x; }

/* A block of at most n elements stays as it is. */
static void keep(const float *master, float *new_master, uint16_t *shadow, uint32_t n)
{
    for (uint32_t i = 0; i < n && i < TDCO_BLOCK; i++) {
        new_master[i] = master[i];
        shadow[i] = tdco_f2h(master[i]);
    }
}

/* p: master f32, grad, ok i32[1], new master f32, new shadow.  i: elements.  f: learning rate / loss scale. */
#define SGD(format, type)                                                                                              \
    static inline void step_##format(const float *master, const type *grad, float rate, float *new_master,             \
                                     uint16_t *shadow, uint32_t n)                                                     \
    {                                                                                                                  \
        float value[TDCO_BLOCK];                                                                                       \
        for (uint32_t i = 0; i < n; i++)                                                                               \
            value[i] = load_##format(grad + i);                                                                        \
        for (uint32_t i = 0; i < n; i++)                                                                               \
            value[i] = master[i] - rate * value[i];                                                                    \
        for (uint32_t i = 0; i < n; i++) {                                                                             \
            new_master[i] = tdco_canonical(value[i]);                                                                  \
            shadow[i] = tdco_f2h(value[i]);                                                                            \
        }                                                                                                              \
    }                                                                                                                  \
                                                                                                                       \
    void tdco_sgd_##format(const tdco_args *args, uint32_t core, uint32_t cores)                                       \
    {                                                                                                                  \
        const uint32_t elements = args->i[0];                                                                          \
        const float *const master = args->p[0], rate = args->f[0];                                                     \
        const type *const grad = args->p[1];                                                                           \
        float *const new_master = args->p[3];                                                                          \
        uint16_t *const shadow = args->p[4];                                                                           \
        uint32_t at = core * TDCO_BLOCK;                                                                               \
        if (!*(const int32_t *)args->p[2]) {                                                                           \
            for (; at < elements; at += cores * TDCO_BLOCK)                                                            \
                keep(master + at, new_master + at, shadow + at, elements - at);                                        \
            return;                                                                                                    \
        }                                                                                                              \
        for (; at + TDCO_BLOCK <= elements; at += cores * TDCO_BLOCK)                                                  \
            step_##format(master + at, grad + at, rate, new_master + at, shadow + at, TDCO_BLOCK);                     \
        if (at < elements)                                                                                             \
            step_##format(master + at, grad + at, rate, new_master + at, shadow + at, elements - at);                  \
    }

SGD(f16, uint16_t)
SGD(f32, float)
