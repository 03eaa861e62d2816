// An engine clocked by another simulator, one whose memory takes a word at a time and says how late it answers.
#pragma once

#include <algorithm>
#include <cfenv>
#include <memory>

#include "device.hpp"

namespace tdco {

// Engines compute with the host's floating point, and GVSoC's cores leave that in any rounding mode (docs/fidelity.md).
class RoundToNearest {
  public:
    RoundToNearest() { std::fesetround(FE_TONEAREST); }
    ~RoundToNearest() { std::fesetround(before); }
    RoundToNearest(const RoundToNearest &) = delete;
    RoundToNearest &operator=(const RoundToNearest &) = delete;

  private:
    const int before = std::fegetround();
};

class ClockedEngine {
  public:
    bool event = false;     // a job ended
    bool refused = false;   // the port's request was not granted
    uint32_t read_data = 0; // of the register read in the last cycle

    ClockedEngine()
    {
        std::fill_n(nothing, TDCO_PORT_WORDS, POISON);
        device->reset();
    }

    // The cycle `now`. `access_word(addr, bytes, count, write)` reads or writes `count` bytes that lie in one word and
    // returns the cycles until the memory has done so. A request of the port goes there word by word in the cycle it
    // first shows, and is granted when the slowest word is done. A write touches the bytes it means, a read takes whole
    // words.
    template <typename AccessWord> void cycle(int64_t now, const Access &access, AccessWord &&access_word)
    {
        const RoundToNearest arithmetic;
        const Request request = device->settle(access, false);
        if (request.valid && !sent) {
            sent = true;
            grant_cycle = now + send(request, access_word);
        }
        const bool granted = request.valid && now >= grant_cycle;
        sent = refused = request.valid && !granted;
        if (granted)
            device->settle(access, true);
        event = device->event;
        device->edge(granted && !request.write ? words : nothing);
        read_data = device->read_data;
    }

  private:
    const std::unique_ptr<Device> device = make_device();
    bool sent = false; // the request that is up; the memory has done it at grant_cycle
    int64_t grant_cycle = 0;
    uint32_t words[TDCO_PORT_WORDS], nothing[TDCO_PORT_WORDS];

    template <typename AccessWord> int64_t send(const Request &request, AccessWord &&access_word)
    {
        int64_t latency = 0;
        std::fill_n(words, TDCO_PORT_WORDS, POISON);
        for (uint32_t i = 0; i < TDCO_PORT_WORDS; i++) {
            const uint32_t enable = request.enable[i], addr = request.addr + 4 * i;
            if (!enable)
                continue;
            uint8_t bytes[4];
            std::memcpy(bytes, &request.data[i], 4);
            const uint32_t first = request.write ? uint32_t(__builtin_ctz(enable)) : 0;
            const uint32_t count = request.write ? uint32_t(32 - __builtin_clz(enable)) - first : 4;
            latency = std::max<int64_t>(latency, access_word(addr + first, bytes + first, count, request.write));
            if (!request.write)
                std::memcpy(&words[i], bytes, 4);
        }
        return latency;
    }
};

} // namespace tdco
