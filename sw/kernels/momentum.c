/* Stochastic gradient descent with momentum on an fp32 master copy, its velocity and its fp16 shadow. */
#include "fpmath.h"
#include "kernel.h"

static inline float load_f16(const uint16_t *x) { return tdco_h2f(*x); }
static inline float load_f32(const float *x) { return *x; }

/* p: master, velocity f32, grad, ok i32[1], new master, new velocity f32, new shadow.  i: elements.
 * f: 1 / loss scale, momentum, learning rate. */
#define MOMENTUM(format, type)                                                                                         \
    void tdco_momentum_##format(const tdco_args *args, uint32_t core, uint32_t cores)                                  \
    {                                                                                                                  \
        const tdco_range share = tdco_share(args->i[0], core, cores);                                                  \
        const int32_t ok = *(const int32_t *)args->p[3];                                                               \
        const float unscale = args->f[0] * tdco_unscale(ok), momentum = args->f[1], rate = args->f[2];                 \
        const float *master = args->p[0], *velocity = args->p[1];                                                      \
        const type *grad = args->p[2];                                                                                 \
        float *new_master = args->p[4], *new_velocity = args->p[5];                                                    \
        uint16_t *shadow = args->p[6];                                                                                 \
        for (uint32_t at = share.begin; at < share.end; at++) {                                                        \
            float value = master[at], speed = velocity[at];                                                            \
            if (ok) {                                                                                                  \
                speed = momentum * speed + load_##format(grad + at) * unscale;                                         \
                value = value - rate * speed;                                                                          \
            }                                                                                                          \
            new_master[at] = tdco_canonical(value);                                                                    \
            new_velocity[at] = tdco_canonical(speed);                                                                  \
            shadow[at] = tdco_f2h(value);                                                                              \
        }                                                                                                              \
    }

MOMENTUM(f16, uint16_t)
MOMENTUM(f32, float)
