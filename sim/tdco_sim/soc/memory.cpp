#include "memory.hpp"

#include <cstdio>

namespace soc {
namespace {

constexpr uint32_t ENGINE = PORTS; // as an initiator

const char *name(uint32_t initiator)
{
    return initiator < HARTS ? "a core" : initiator < ENGINE ? "the DMA" : "the engine";
}

} // namespace

std::string hex(uint32_t value)
{
    char text[11];
    std::snprintf(text, sizeof text, "0x%08X", value);
    return text;
}

// Keeps the books of a granted access: what is written now, and whether what was read had been.
void Tcdm::check(bool we, uint32_t addr, uint8_t be, uint32_t initiator, Fault &fault)
{
    if (!memory.holds(addr, 4)) {
        fault = {std::string("access by ") + name(initiator) + " outside L1", NO_HART, 0, addr};
        return;
    }
    const uint32_t at = addr - memory.base;
    const uint32_t bytes = (be & 1) | (be & 2) << 7 | (be & 4) << 14 | (be & 8) << 21; // 1 in each byte meant
    uint32_t written;
    std::memcpy(&written, &memory.written[at], 4);
    if (at + 4 > peak_bytes)
        peak_bytes = at + 4;
    if (we) {
        written |= bytes;
        std::memcpy(&memory.written[at], &written, 4);
    } else if (at >= TDCO_L1_RESERVED_BYTES && (~written & bytes)) {
        fault = {std::string("read by ") + name(initiator) + " of bytes nobody wrote",
                 initiator < HARTS ? initiator : NO_HART, 0, addr};
    }
}

void Tcdm::store(uint32_t addr, const uint8_t *data, uint32_t bytes)
{
    banks->store(addr - memory.base, data, bytes);
    std::memset(&memory.written[addr - memory.base], 1, bytes);
}

void Tcdm::cycle(Fault &fault)
{
    bool wanted = engine.req;
    engine.gnt = false;
    for (Port &port : ports) {
        port.gnt = false;
        wanted |= port.req;
    }
    if (!wanted) // then nothing changes in the banks either: they wait for nobody
        return;
    banks->cycle(ports, engine);
    if (engine.req && engine.gnt) {
        granted++;
        for (uint32_t i = 0; i < TDCO_PORT_WORDS; i++)
            if (engine.be[i])
                check(engine.we, engine.addr + 4 * i, engine.be[i], ENGINE, fault);
    } else if (engine.req) {
        engine_refused++;
    }
    for (uint32_t index = 0; index < PORTS; index++) {
        Port &port = ports[index];
        if (!port.req)
            continue;
        if (!port.gnt) {
            port.refused++;
            continue;
        }
        check(port.we, port.addr, port.be, index, fault);
        granted++;
        refused += port.refused;
        port.refused = 0;
        port.req = false;
    }
}

} // namespace soc
