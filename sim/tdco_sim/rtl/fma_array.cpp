// The Verilated multiply-adders without an engine around them, all fed with random bits in every cycle.
#include <cstdint>
#include <random>
#include <vector>

#include "Vfma_array.h"
#include "port.hpp"
#include "verilated.h"

namespace {

constexpr uint32_t LINES = 64; // of random bits, drawn before the clock starts
constexpr uint32_t WORDS = (TDCO_ROWS * TDCO_COLS + 1) / 2 * (TDCO_ACC_FP32 ? 2 : 1);

} // namespace

// Lets `cycles` pass; the results' bits, folded, so that nobody leaves them out.
extern "C" uint32_t tdco_rtl_fma_array(uint64_t cycles, uint32_t seed)
{
    VerilatedContext context;
    Vfma_array top{&context};
    std::mt19937 random(seed);
    std::vector<uint32_t> bits(LINES + 3 * WORDS);
    for (uint32_t &word : bits)
        word = uint32_t(random());
    uint32_t folded = 0;
    top.rst = 0;
    for (uint64_t cycle = 0; cycle < cycles; cycle++) {
        const uint32_t *const line = &bits[cycle % LINES];
        for (uint32_t i = 0; i < TDCO_ROWS * TDCO_COLS / 2; i++) {
            tdco::set_word(top.a, i, line[i]);
            tdco::set_word(top.b, i, line[WORDS + i]);
        }
        for (uint32_t i = 0; i < TDCO_ROWS * TDCO_COLS / 2 * (TDCO_ACC_FP32 ? 2 : 1); i++)
            tdco::set_word(top.c, i, line[2 * WORDS + i]);
        top.clk = 0;
        top.eval();
        top.clk = 1;
        top.eval();
        folded ^= tdco::get(top.z, 0, 32) + tdco::get(top.overflow, 0, 1);
    }
    top.final();
    return folded;
}
