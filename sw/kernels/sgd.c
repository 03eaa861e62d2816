/* Stochastic gradient descent on an fp32 master copy and its fp16 shadow. The master may be updated in place. */
#include "fpmath.h"
#include "kernel.h"

static inline float load_f16(const uint16_t *x) { return tdco_h2f(*x); }
static inline float load_f32(const float *x) { return *x; }

/* p: master f32, grad, ok i32[1], new master f32, new shadow.  i: elements.  f: learning rate / loss scale. */
#define SGD(format, type)                                                                                              \
    void tdco_sgd_##format(const tdco_args *args, uint32_t core, uint32_t cores)                                       \
    {                                                                                                                  \
        const tdco_range share = tdco_share(args->i[0], core, cores);                                                  \
        const float *master = args->p[0], rate = args->f[0];                                                           \
        const type *grad = args->p[1];                                                                                 \
        const int32_t ok = *(const int32_t *)args->p[2];                                                               \
        float *new_master = args->p[3];                                                                                \
        uint16_t *shadow = args->p[4];                                                                                 \
        for (uint32_t at = share.begin; at < share.end; at++) {                                                        \
            const float value = ok ? master[at] - rate * load_##format(grad + at) : master[at];                        \
            new_master[at] = tdco_canonical(value);                                                                    \
            shadow[at] = tdco_f2h(value);                                                                              \
        }                                                                                                              \
    }

SGD(f16, uint16_t)
SGD(f32, float)
