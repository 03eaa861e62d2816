// Event buffers, masks and barriers of the cores, as in PULP's event unit.
#ifndef TDCO_SOC_EVENT_UNIT_HPP
#define TDCO_SOC_EVENT_UNIT_HPP

#include "memory.hpp"

namespace soc {

struct EventUnit {
    static constexpr uint32_t BARRIERS = 2, ALL = (1u << HARTS) - 1;
    struct Barrier {
        uint32_t trigger_mask = 0, target_mask = 0, arrived = 0;
        uint64_t since = 0; // the first arrival
    };
    uint32_t mask[HARTS] = {}, buffer[HARTS] = {};
    Barrier barriers[BARRIERS];
    uint32_t barrier_passed = BARRIERS; // by the last access; BARRIERS: none

    void send(uint32_t event, uint32_t harts)
    {
        for (uint32_t h = 0; h < HARTS; h++)
            if (harts >> h & 1)
                buffer[h] |= 1u << event;
    }

    // What a load at `offset` does. Where it waits for a masked event the core `sleeps`, be the event there or not, until
    // take() ends it.
    uint32_t load(uint32_t hart, uint32_t offset, uint64_t now, bool &sleeps);
    void store(uint32_t hart, uint32_t offset, uint32_t value);
    static bool has(uint32_t offset); // a register there
    bool pending(uint32_t hart) const { return buffer[hart] & mask[hart]; }

    // The masked events, cleared unless the wait was at WAIT.
    uint32_t take(uint32_t hart, uint32_t offset)
    {
        const uint32_t events = buffer[hart] & mask[hart];
        if (offset != TDCO_EU_WAIT)
            buffer[hart] &= ~events;
        return events;
    }

  private:
    void arrive(uint32_t hart, uint32_t barrier, uint64_t now);
};

} // namespace soc
#endif
