// The Verilated fused multiply-adder alone: a vector in every cycle, compared by the caller.
#include <cstdint>

#include "Vredmule_fma.h"
#include "tdco_hw.h"
#include "verilated.h"

// c and z are in the accumulator's format.
#if TDCO_ACC_FP32
using Acc = uint32_t;
#else
using Acc = uint16_t;
#endif

// z[i] and the STATUS_FLAGS bits of a[i] * b[i] + c[i], which the circuit gives `latency` cycles later.
extern "C" void tdco_rtl_fma(
    const uint16_t *a, const uint16_t *b, const Acc *c, Acc *z, uint8_t *flags, uint64_t count, uint32_t latency)
{
    VerilatedContext context;
    Vredmule_fma top{&context};
    top.rst = 0;
    top.en = 1;
    for (uint64_t i = 0; i < count + latency; i++) {
        if (i < count) {
            top.a = a[i];
            top.b = b[i];
            top.c = c[i];
        }
        top.clk = 0;
        top.eval();
        if (i >= latency) {
            z[i - latency] = top.z;
            flags[i - latency] = (top.overflow ? TDCO_FLAG_OVERFLOW : 0) | (top.invalid ? TDCO_FLAG_INVALID : 0);
        }
        top.clk = 1;
        top.eval();
    }
    top.final();
}
