// The two ports of an engine, as every simulated engine shows them to whoever steps it.
#pragma once

#include <cstdint>
#include <cstring>

#include "tdco_hw.h"

namespace tdco {

// A register access; at most one a cycle, and taken in that cycle.
struct Access {
    bool valid = false, write = false;
    uint32_t offset = 0, data = 0; // data: what is written
};

constexpr uint32_t POISON = 0x7D037D03; // signalling NaNs, in everything that was not asked for
constexpr uint32_t QUEUE_FULL = 0xFFFFFFFF, LOCKED = 0xFFFFFFFE; // answers of ACQUIRE

// What the memory port asks for in a cycle: consecutive words from a word's address.
struct Request {
    bool valid = false, write = false;
    uint32_t addr = 0;
    uint8_t enable[TDCO_PORT_WORDS] = {}; // 4 bits: which bytes of the word are meant, in reads too
    uint32_t data[TDCO_PORT_WORDS] = {};  // of a write; the bytes that are not meant are undefined

    bool operator==(const Request &other) const
    {
        return valid == other.valid && write == other.write && addr == other.addr
            && !std::memcmp(enable, other.enable, sizeof enable) && (!write || !std::memcmp(data, other.data, sizeof data));
    }
};

} // namespace tdco
