// Jobs of the engine's cycle model as a ClockedEngine, on a memory that takes words with random latency.
#include <random>

#include "clocked.hpp"

// Runs one job on `l1`, in `rounding` mode of the host; returns the cycles from TRIGGER to the event.
extern "C" int64_t run_job(uint8_t *l1, const uint32_t *words, uint32_t max_latency, uint32_t seed, int rounding)
{
    std::mt19937 random_bits(seed);
    tdco::ClockedEngine engine;
    int64_t now = 0;
    const auto cycle = [&](const tdco::Access &access) {
        engine.cycle(++now, access, [&](uint32_t addr, uint8_t *bytes, uint32_t count, bool write) {
            uint8_t *const at = l1 + (addr - TDCO_L1_BASE);
            std::memcpy(write ? at : bytes, write ? bytes : at, count);
            return int64_t(random_bits() % (max_latency + 1));
        });
    };
    std::fesetround(rounding ? FE_DOWNWARD : FE_TONEAREST);
    cycle({true, false, TDCO_REG_ACQUIRE, 0});
    for (uint32_t i = 0; i < TDCO_JOB_WORDS; i++)
        cycle({true, true, TDCO_REG_X_ADDR + 4 * i, words[i]});
    cycle({true, true, TDCO_REG_TRIGGER, 0});
    const int64_t triggered = now;
    while (!engine.event && now < triggered + 1'000'000)
        cycle({});
    std::fesetround(FE_TONEAREST);
    return now - triggered;
}
