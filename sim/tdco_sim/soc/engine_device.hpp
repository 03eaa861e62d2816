// The engine as the cluster sees it: registers, the wide port of L1, an event. One file implements it for each engine.
#ifndef TDCO_SOC_ENGINE_DEVICE_HPP
#define TDCO_SOC_ENGINE_DEVICE_HPP

#include <memory>

#include "memory.hpp"
#include "request.hpp"

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

// What an engine with a memory port requests.
inline void show(const tdco::Request &request, WidePort &port)
{
    port.req = request.valid;
    if (!port.req)
        return;
    port.we = request.write;
    port.addr = request.addr;
    std::memcpy(port.be, request.enable, sizeof port.be);
    std::memcpy(port.data, request.data, sizeof port.data);
}

constexpr uint32_t IDLE_CYCLES = 4; // after this many the event of the last job is out

// An engine's own counters; read only while it idles, because reading takes cycles of its clock.
template <typename Engine> EngineStats read_counters(Engine &engine)
{
    const uint32_t macs_lo = engine.read_register(TDCO_REG_MACS_LO);
    return {engine.read_register(TDCO_REG_JOBS), macs_lo | uint64_t(engine.read_register(TDCO_REG_MACS_HI)) << 32,
            engine.read_register(TDCO_REG_CYCLES_BUSY), engine.read_register(TDCO_REG_FLAGS)};
}

std::unique_ptr<EngineDevice> make_engine(const uint64_t &now, Tcdm &tcdm, Fault &fault);

} // namespace soc
#endif
