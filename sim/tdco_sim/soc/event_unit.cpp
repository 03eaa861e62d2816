#include "event_unit.hpp"

namespace soc {

void EventUnit::arrive(uint32_t hart, uint32_t number, uint64_t now)
{
    Barrier &barrier = barriers[number];
    if (barrier.arrived == 0)
        barrier.since = now;
    barrier.arrived |= 1u << hart;
    if ((barrier.arrived & barrier.trigger_mask) == barrier.trigger_mask) {
        barrier.arrived = 0;
        send(TDCO_EVENT_BARRIER, barrier.target_mask);
        barrier_passed = number;
    }
}

bool EventUnit::has(uint32_t offset)
{
    if (offset >= TDCO_EU_BARRIER && offset < TDCO_EU_BARRIER + 0x20 * BARRIERS) {
        const uint32_t within = offset & 0x1F;
        return within == TDCO_EU_BARRIER_TRIGGER_MASK || within == TDCO_EU_BARRIER_TARGET_MASK
            || within == TDCO_EU_BARRIER_TRIGGER_WAIT_CLEAR;
    }
    for (uint32_t known : {TDCO_EU_MASK, TDCO_EU_MASK_AND, TDCO_EU_MASK_OR, TDCO_EU_BUFFER, TDCO_EU_BUFFER_CLEAR,
                           TDCO_EU_WAIT, TDCO_EU_WAIT_CLEAR})
        if (offset == known)
            return true;
    return offset >= TDCO_EU_SEND && offset < TDCO_EU_SEND + 0x20 && offset % 4 == 0;
}

uint32_t EventUnit::load(uint32_t hart, uint32_t offset, uint64_t now, bool &sleeps)
{
    barrier_passed = BARRIERS;
    sleeps = false;
    switch (offset) {
    case TDCO_EU_MASK: return mask[hart];
    case TDCO_EU_BUFFER: return buffer[hart];
    case TDCO_EU_WAIT: case TDCO_EU_WAIT_CLEAR: break;
    default:
        if (offset < TDCO_EU_BARRIER || (offset & 0x1F) != TDCO_EU_BARRIER_TRIGGER_WAIT_CLEAR)
            return 0;
        arrive(hart, (offset - TDCO_EU_BARRIER) / 0x20 % BARRIERS, now);
    }
    sleeps = true;
    return 0;
}

void EventUnit::store(uint32_t hart, uint32_t offset, uint32_t value)
{
    barrier_passed = BARRIERS;
    switch (offset) {
    case TDCO_EU_MASK: mask[hart] = value; return;
    case TDCO_EU_MASK_AND: mask[hart] &= ~value; return;
    case TDCO_EU_MASK_OR: mask[hart] |= value; return;
    case TDCO_EU_BUFFER_CLEAR: buffer[hart] &= ~value; return;
    default: break;
    }
    if (offset >= TDCO_EU_SEND && offset < TDCO_EU_SEND + 0x20) {
        send((offset - TDCO_EU_SEND) / 4, value ? value : ALL);
    } else if (offset >= TDCO_EU_BARRIER) {
        Barrier &barrier = barriers[(offset - TDCO_EU_BARRIER) / 0x20 % BARRIERS];
        if ((offset & 0x1F) == TDCO_EU_BARRIER_TRIGGER_MASK)
            barrier.trigger_mask = value;
        else if ((offset & 0x1F) == TDCO_EU_BARRIER_TARGET_MASK)
            barrier.target_mask = value;
    }
}

} // namespace soc
