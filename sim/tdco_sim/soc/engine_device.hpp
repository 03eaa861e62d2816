// The engine as the cluster sees it: registers, the wide port of L1, an event. One file implements it for each engine.
#ifndef TDCO_SOC_ENGINE_DEVICE_HPP
#define TDCO_SOC_ENGINE_DEVICE_HPP

#include <memory>

#include "memory.hpp"

namespace soc {

// A register access; at most one a cycle.
struct RegisterAccess {
    bool valid = false, write = false;
    uint32_t offset = 0, data = 0; // data: what a read gives, after end_cycle()
};

struct EngineStats {
    uint64_t jobs, macs, busy_cycles, status_flags;
};

struct EngineDevice {
    RegisterAccess access;
    bool event = false; // a job ended, after end_cycle()

    virtual ~EngineDevice() = default;
    virtual void begin_cycle(WidePort &port) = 0;      // shows what the engine requests
    virtual void end_cycle(WidePort &port) = 0;        // the clock edge; port.gnt and port.data are set
    virtual bool active() const = 0;                   // a job is in the queue
    virtual bool needs_cycle(uint64_t now) const = 0;  // false: begin_cycle and end_cycle may be left out
    virtual uint64_t next_cycle(uint64_t now) const = 0; // before it nothing happens by itself
    virtual EngineStats stats() = 0; // up to the last time the engine was idle
};

std::unique_ptr<EngineDevice> make_engine(const uint64_t &now, Tcdm &tcdm, Fault &fault);

} // namespace soc
#endif
