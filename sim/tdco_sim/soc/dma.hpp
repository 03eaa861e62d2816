// The two DMAs: between L2 and L1 (MCHAN's commands, one channel each way) and between L3 and L2.
#ifndef TDCO_SOC_DMA_HPP
#define TDCO_SOC_DMA_HPP

#include <deque>

#include "memory.hpp"

namespace soc {

struct Transfer {
    uint32_t counter, l1, l2, bytes, row_bytes, stride;
    bool to_l1, event;
    uint64_t start_cycle; // not before
};

// A direction of the DMA: transfers one after the other, in bursts, up to TDCO_DMA_BYTES_PER_CYCLE through its ports of
// L1. One burst begins in a cycle; out of L1, a burst is read before it leaves and the next begins a cycle later.
struct Channel {
    Port *ports;
    bool to_l1;
    std::deque<Transfer> queue;
    uint32_t l1 = 0, left = 0, burst_left = 0, row = 0, column = 0; // of the running transfer: next byte
    bool running = false;
    uint64_t burst_from = 0; // the next burst, not before
    struct Flight {
        uint32_t l2[4]; // where the bytes of a word lie in L2
        bool active = false;
    } flights[DMA_PORTS / 2];
};

struct Dma {
    explicit Dma(Tcdm &tcdm);

    // The register interface of a hart; a fault names what is wrong with a command.
    uint32_t load(uint32_t hart, uint32_t offset, Fault &fault);
    // True if this store completed a command, which is then the last of its channel.
    bool store(uint32_t hart, uint32_t offset, uint32_t value, uint64_t now, Fault &fault);
    const Transfer &newest() const { return channels[!pushed_to_l1].queue.back(); }

    void request(uint64_t now, const Memory &l2, Fault &fault);   // before the arbitration
    // After it; `ended` gets the transfers that did.
    void finish(uint64_t now, Memory &l2, std::vector<Transfer> &ended);
    bool idle() const { return channels[0].queue.empty() && channels[1].queue.empty(); }
    uint64_t next_cycle() const; // before it nothing happens, unless a channel runs

    uint64_t bytes_to_l1 = 0, bytes_from_l1 = 0, busy_cycles = 0;
    uint32_t l2_peak_bytes = 0;

  private:
    uint32_t busy = 0, allocated = 0; // counters, as bits
    uint32_t words[HARTS][5] = {}, count[HARTS] = {}, counter[HARTS] = {};
    Channel channels[2];
    bool pushed_to_l1 = false;

    bool begin_burst(Channel &channel, uint64_t now);
    void assign(Channel &channel, uint32_t port, const Memory &l2, Fault &fault);
};

struct L3Transfer {
    uint32_t l2 = 0, l3 = 0, bytes = 0;
    bool to_l2 = false;
};

struct L3Dma {
    L3Transfer next, current; // being programmed; running
    uint32_t finished = 0;
    bool running = false;
    uint64_t end_cycle = 0;
    uint64_t bytes_moved = 0;

    uint32_t load(uint32_t offset, Fault &fault) const;
    // True when a transfer starts.
    bool store(uint32_t offset, uint32_t value, uint64_t now, const Memory &l2, const Memory &l3, Fault &fault);
    bool finish(uint64_t now, Memory &l2, Memory &l3); // true when a transfer ends
};

} // namespace soc
#endif
