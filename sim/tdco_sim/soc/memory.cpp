#include "memory.hpp"

#include <cstdio>

namespace soc {
namespace {

constexpr uint32_t bank_of(uint32_t addr) { return addr / 4 % TDCO_L1_BANKS; }

constexpr uint32_t byte_mask(uint32_t be)
{
    return (be & 1 ? 0xFFu : 0) | (be & 2 ? 0xFF00u : 0) | (be & 4 ? 0xFF0000u : 0) | (be & 8 ? 0xFF000000u : 0);
}

constexpr uint32_t ENGINE = PORTS; // as an initiator

const char *initiator(uint32_t index) { return index < HARTS ? "a core" : index < ENGINE ? "the DMA" : "the engine"; }

} // namespace

std::string hex(uint32_t value)
{
    char text[11];
    std::snprintf(text, sizeof text, "0x%08X", value);
    return text;
}

void Tcdm::access(const Port &port, uint32_t &rdata, uint32_t index, Fault &fault)
{
    if (!memory.holds(port.addr, 4)) {
        fault = {std::string("access by ") + initiator(index) + " outside L1", NO_HART, 0, port.addr};
        return;
    }
    const uint32_t at = port.addr - memory.base, mask = byte_mask(port.be);
    uint32_t word, written;
    std::memcpy(&word, &memory.bytes[at], 4);
    std::memcpy(&written, &memory.written[at], 4);
    if (at + 4 > peak_bytes)
        peak_bytes = at + 4;
    if (port.we) {
        word = (word & ~mask) | (port.wdata & mask);
        written |= 0x01010101u & mask;
        std::memcpy(&memory.bytes[at], &word, 4);
        std::memcpy(&memory.written[at], &written, 4);
    } else {
        rdata = word;
        if (at >= TDCO_L1_RESERVED_BYTES && (~written & 0x01010101u & mask))
            fault = {std::string("read by ") + initiator(index) + " of bytes nobody wrote",
                     index < HARTS ? index : NO_HART, 0, port.addr};
    }
}

bool Tcdm::engine_must_wait(uint32_t banks) const
{
    for (const Port &port : ports)
        if (port.req && port.refused >= TDCO_TCDM_MAX_WAIT_CYCLES && (banks >> bank_of(port.addr) & 1))
            return true;
    return false;
}

void Tcdm::cycle(Fault &fault)
{
    uint32_t taken = 0; // banks
    engine.gnt = false;
    if (engine.req) {
        uint32_t banks = 0;
        for (uint32_t i = 0; i < TDCO_PORT_WORDS; i++)
            banks |= engine.be[i] ? 1u << bank_of(engine.addr + 4 * i) : 0;
        engine.gnt = !engine_must_wait(banks);
        if (engine.gnt) {
            taken = banks;
            granted++;
            for (uint32_t i = 0; i < TDCO_PORT_WORDS; i++)
                if (engine.be[i])
                    access({true, engine.we, true, engine.be[i], engine.addr + 4 * i, engine.data[i]}, engine.data[i],
                           ENGINE, fault);
        } else {
            engine_refused++;
        }
    }
    uint8_t winner[TDCO_L1_BANKS]; // of the banks in `wanted`
    uint32_t wanted = 0;
    for (uint32_t index = 0; index < PORTS; index++) {
        Port &port = ports[index];
        port.gnt = false;
        if (!port.req)
            continue;
        port.refused++;
        const uint32_t bank = bank_of(port.addr);
        if (taken >> bank & 1)
            continue;
        const auto distance = [&](uint32_t i) { return i >= first[bank] ? i - first[bank] : i + PORTS - first[bank]; };
        if (!(wanted >> bank & 1) || distance(index) < distance(winner[bank]))
            winner[bank] = uint8_t(index);
        wanted |= 1u << bank;
    }
    for (; wanted; wanted &= wanted - 1) {
        const uint32_t bank = uint32_t(__builtin_ctz(wanted)), index = winner[bank];
        Port &port = ports[index];
        refused += port.refused - 1;
        port.refused = 0;
        port.gnt = true;
        port.req = false;
        first[bank] = index + 1 == PORTS ? 0 : index + 1;
        granted++;
        access(port, port.rdata, index, fault);
    }
}

} // namespace soc
