// An engine with timing as its driver steps it: the Verilated circuit or the cycle model. One file implements it for each.
#pragma once

#include <memory>

#include "request.hpp"

namespace tdco {

struct Device {
    bool event = false;     // a job has ended: in the cycle that settled last
    uint32_t read_data = 0; // of the last register read, after its clock edge

    virtual ~Device() = default;
    virtual void reset() = 0;
    virtual Request settle(const Access &access, bool grant) = 0; // a cycle's inputs; what the memory port asks for
    virtual void edge(const uint32_t *words) = 0;                 // ends it; `words`: what the memory port gives then
};

std::unique_ptr<Device> make_device();

} // namespace tdco
