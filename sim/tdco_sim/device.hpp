// An engine with timing as its driver steps it: the Verilated circuit or the cycle model. One file implements it for each.
#pragma once

#include <memory>

#include "request.hpp"

namespace tdco {

// L1 behind the engine's port as a circuit of its own, and the initiators that compete for it.
struct Contention {
    double rate = 0;             // a core without a request makes one in a cycle with this probability
    uint64_t cycles = 0;         // counted: those in which the engine is busy, or all if `alone`
    bool alone = false;          // the cores are measured without the engine
    uint64_t grants[TDCO_CORES] = {}; // of those cycles
    uint64_t mismatches = 0;     // words that a core or the engine read and that are not what was written

    virtual ~Contention() = default;
    virtual void start(const uint8_t *l1, uint32_t bytes, uint32_t seed) = 0; // contents of L1; zeros the counters
    virtual uint64_t differing_bytes(const uint8_t *l1, uint32_t bytes) = 0;
};

struct Device {
    bool event = false;     // a job has ended: in the cycle that settled last
    uint32_t read_data = 0; // of the last register read, after its clock edge

    virtual ~Device() = default;
    virtual void reset() = 0;
    virtual Request settle(const Access &access, bool grant) = 0; // a cycle's inputs; what the memory port asks for
    virtual void edge(const uint32_t *words) = 0;                 // ends it; `words`: what the memory port gives then
    virtual Contention *contention() { return nullptr; } // if the device has an L1 of its own
};

std::unique_ptr<Device> make_device();

} // namespace tdco
