// The cluster: nine cores, their fetch path, L1, L2, L3, event unit, DMAs and engine, stepped cycle by cycle.
#ifndef TDCO_SOC_CLUSTER_HPP
#define TDCO_SOC_CLUSTER_HPP

#include "core.hpp"
#include "dma.hpp"
#include "engine_device.hpp"
#include "event_unit.hpp"
#include "watch.hpp"

namespace soc {

// A set-associative cache of line addresses; it knows what it holds, the bytes come from memory.
struct Cache {
    static constexpr uint32_t WAYS = TDCO_ICACHE_WAYS;
    std::vector<uint32_t> lines; // [set][way], line address + 1, 0: empty
    uint8_t draw = 0;            // a shift register with feedback; two of its bits are the way to replace

    explicit Cache(uint32_t bytes) : lines(bytes / TDCO_ICACHE_LINE_BYTES, 0) {}
    bool lookup(uint32_t line, uint32_t &slot); // and brings it in; where it is then
};

// A bank of the shared cache: one refill at a time.
struct SharedBank {
    Cache cache{TDCO_ICACHE_L1_BYTES / TDCO_ICACHE_L1_BANKS};
    std::vector<uint64_t> ready_at = std::vector<uint64_t>(cache.lines.size(), 0); // of each line
    uint64_t busy_until = 0;

    uint32_t cycles(uint32_t line, uint64_t now); // until the line is there
};

enum class Wait : uint8_t { none, l1, engine, event, forever };

// Cycles of a hart by what it did; they add up to the cycles it was up.
struct HartCycles {
    uint64_t instructions, multicycle, load_use, fetch, l1, remote, asleep;
};

struct Hart {
    Core core;
    Cache l0;
    uint64_t ready_at = 0;
    Wait wait = Wait::none;
    uint32_t wait_offset = 0;        // of the event unit's register it sleeps at
    uint32_t fetched_line = 0;       // the line in the prefetch buffer, + 1
    bool fetched = false;            // the instruction at pc is there
    uint8_t late = 0, late_cycles = 0; // the register that comes so much later if the next instruction uses it
    uint64_t wait_since = 0;
    uint32_t access_pc = 0;          // of the last load, store, jump or wfi
    HartCycles cycles{};
    uint64_t flop = 0, l1_bytes = 0; // done; moved between it and L1

    explicit Hart(uint32_t cache_bytes) : l0(cache_bytes) {}
    void comes_late(uint8_t rd, uint8_t cycles)
    {
        late = cycles ? rd : 0;
        late_cycles = cycles;
    }
};

struct Cluster {
    uint64_t now = 0;
    Fault fault;
    bool exited = false;
    uint32_t exit_code = 0;
    std::string output;

    Tcdm tcdm;
    Memory l2{TDCO_L2_BASE, TDCO_L2_SIZE}, l3{TDCO_L3_BASE, TDCO_L3_SIZE};
    EventUnit events;
    Dma dma{tcdm};
    L3Dma l3_dma;
    std::unique_ptr<EngineDevice> engine = make_engine(now, tcdm, fault);
    std::vector<Hart> harts;
    Watch watch;
    std::vector<SharedBank> shared_cache{TDCO_ICACHE_L1_BANKS};
    bool cache_enabled = false;
    uint32_t code_base = 0;
    std::vector<Insn> code; // one slot per halfword of the executable range

    Cluster();
    void set_code(uint32_t base, uint32_t bytes);
    void start(uint32_t entry); // every hart at `entry`, everything idle; memories stay
    void run(uint64_t limit);   // until exit, fault or cycle `limit`
    uint32_t place(uint32_t hart) const; // the pc of the instruction it is at, or waits in

  private:
    uint32_t engine_user = NO_HART; // hart whose register access is under way
    uint64_t engine_awake_until = 0;
    std::vector<Transfer> ended;

    void step();
    void step_hart(uint32_t index);
    uint32_t fetch_cycles(Hart &hart, const Insn &in);
    void access(uint32_t index, const Insn &in);
    void access_peripheral(uint32_t index, uint32_t pc);
    void finish_l1(uint32_t index);
    void wake(uint32_t index);
    void step_engine();
    uint64_t next_cycle() const;
    void stop(const std::string &what, uint32_t hart, uint32_t pc, uint32_t addr);
};

} // namespace soc
#endif
