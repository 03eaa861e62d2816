// Tries every state that the arbiters of L1 can reach with every input, and checks what bounds the waits.
#include <bit>
#include <cstdio>
#include <set>
#include <vector>

#include "tdco_hw.h"
#include "verilated.h"
#if __has_include("Vbank_arbiter.h")
#include "Vbank_arbiter.h"
#else
#include "Varbiter.h"
#endif

namespace {

constexpr uint32_t CLIENTS = TDCO_CORES + 1 + TDCO_DMA_BYTES_PER_CYCLE / 4 * 2, MAX_WAIT = TDCO_TCDM_MAX_WAIT_CYCLES;
constexpr uint32_t BOUND = CLIENTS * (MAX_WAIT + 1) - 1; // HwConfig.l1_wait_cycles

// A bank's state as redmule.tcdm.arbiter lays it out: `later` in the low bits, `taken` above.
uint32_t later(uint32_t state) { return state & ((1u << CLIENTS) - 1); }
uint32_t taken(uint32_t state) { return state >> CLIENTS; }

// At most so often a client that waits at a bank in `state` will still be refused.
uint32_t refusals_left(uint32_t state, uint32_t client)
{
    const uint32_t first = later(state) ? uint32_t(std::countr_zero(later(state))) : 0;
    return (client + CLIENTS - first) % CLIENTS * (MAX_WAIT + 1) + MAX_WAIT - taken(state);
}

// What a bank's decision must be; nullptr if it is.
const char *wrong(uint32_t state, uint32_t wanted, bool engine, uint32_t grant, uint32_t next)
{
    if (grant & ~wanted)
        return "grants a client that does not ask";
    if (grant & (grant - 1))
        return "grants two clients";
    if (grant && engine)
        return "grants a client beside the engine";
    if (!grant && !engine && wanted)
        return "grants nobody although the bank is free";
    if (taken(next) > MAX_WAIT || (taken(next) && !engine))
        return "counts on although the engine did not take the bank";
    for (uint32_t client = 0; client < CLIENTS; client++)
        if (wanted >> client & ~grant >> client & 1) {
            if (refusals_left(state, client) > BOUND)
                return "can make a client wait beyond the bound";
            if (refusals_left(next, client) >= refusals_left(state, client))
                return "refuses a client and brings it no closer to its grant";
        }
    return nullptr;
}

} // namespace

extern "C" {

#if __has_include("Vbank_arbiter.h")
// One bank, whatever its size: 0, or what is wrong. `states`: how many are reachable, `tried`: decisions looked at.
const char *prove_bank_arbiter(uint64_t *states, uint64_t *tried)
{
    VerilatedContext context;
    Vbank_arbiter top(&context);
    std::vector<uint32_t> open{0};
    std::set<uint32_t> reached{0};
    *tried = 0;
    while (!open.empty()) {
        const uint32_t state = open.back();
        open.pop_back();
        for (uint32_t input = 0; input < 2u << CLIENTS; input++) {
            const bool engine = input & 1;
            top.state = state;
            top.wanted = input >> 1;
            top.engine = engine;
            top.eval();
            if (top.closed != (taken(state) == MAX_WAIT))
                return "is not closed exactly at the limit";
            if (engine && top.closed)
                continue; // the engine's grant forbids it, see prove_arbiter
            ++*tried;
            if (const char *what = wrong(state, top.wanted, engine, top.grant, top.next_state))
                return what;
            if (reached.insert(top.next_state).second)
                open.push_back(top.next_state);
        }
    }
    *states = reached.size();
    return nullptr;
}
#else
#define ALL(signal) {&top.signal##___05F0, &top.signal##___05F1, &top.signal##___05F2, &top.signal##___05F3}

// All banks and the engine's grant, of an instance with 4 banks: every combination of the banks' reachable states.
const char *prove_arbiter(const uint32_t *states, uint32_t count, uint64_t *tried)
{
    constexpr uint32_t BANKS = 4;
    static_assert(TDCO_L1_BANKS == BANKS);
    VerilatedContext context;
    Varbiter top(&context);
    uint8_t *const state_port[] = ALL(state), *const wanted_port[] = ALL(wanted);
    const uint8_t *const grant[] = ALL(grant), *const next[] = ALL(next_state);
    *tried = 0;
    uint32_t requests = 1, combinations = 1;
    for (uint32_t i = 0; i < CLIENTS; i++)
        requests *= BANKS + 1;
    for (uint32_t b = 0; b < BANKS; b++)
        combinations *= count;
    for (uint32_t c = 0; c < combinations; c++) {
        uint32_t state[BANKS], closed = 0;
        for (uint32_t b = 0, rest = c; b < BANKS; b++, rest /= count) {
            *state_port[b] = uint8_t(state[b] = states[rest % count]);
            closed |= uint32_t(taken(state[b]) == MAX_WAIT) << b;
        }
        for (uint32_t r = 0; r < requests; r++) {
            uint32_t wanted[BANKS] = {};
            for (uint32_t client = 0, rest = r; client < CLIENTS; client++, rest /= BANKS + 1)
                if (rest % (BANKS + 1))
                    wanted[rest % (BANKS + 1) - 1] |= 1u << client;
            for (uint32_t b = 0; b < BANKS; b++)
                *wanted_port[b] = uint8_t(wanted[b]);
            for (uint32_t engine = 0; engine <= 1u << BANKS; engine++) { // the last: no request
                top.engine_req = engine < 1u << BANKS;
                top.engine_banks = engine;
                top.eval();
                ++*tried;
                if (top.engine_gnt != (top.engine_req && !(engine & closed)))
                    return "refuses the engine without a closed bank, or grants it one";
                uint32_t counts = 0;
                for (uint32_t b = 0; b < BANKS; b++) {
                    const bool takes = top.engine_gnt && (engine >> b & 1);
                    if (const char *what = wrong(state[b], wanted[b], takes, *grant[b], *next[b]))
                        return what;
                    counts |= taken(*next[b]);
                }
                if (top.engine_req && !top.engine_gnt && counts)
                    return "can refuse the engine twice in a row";
            }
        }
    }
    return nullptr;
}
#endif
}
