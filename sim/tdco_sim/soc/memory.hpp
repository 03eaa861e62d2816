// The memories and the ports of L1. Bytes nobody wrote are known, and reading one is a fault.
#ifndef TDCO_SOC_MEMORY_HPP
#define TDCO_SOC_MEMORY_HPP

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "tdco_hw.h"

namespace soc {

constexpr uint32_t HARTS = TDCO_CORES + 1, CONTROLLER = TDCO_CORES;
constexpr uint32_t NO_HART = 0xFFFFFFFF;

// Why a run stopped. `issued`: the instruction at `pc` did not do it, but started the transfer or job that did.
struct Fault {
    std::string what;
    uint32_t hart = NO_HART, pc = 0, addr = 0;
    bool issued = false;
    bool raised() const { return !what.empty(); }
};

std::string hex(uint32_t value);

struct Memory {
    uint32_t base;
    std::vector<uint8_t> bytes, written; // written: 1 where something was stored

    Memory(uint32_t base_addr, uint32_t size) : base(base_addr), bytes(size, 0xFF), written(size, 0) {}

    bool holds(uint32_t addr, uint32_t count) const
    {
        return addr - base < bytes.size() && bytes.size() - (addr - base) >= count;
    }

    bool is_written(uint32_t addr, uint32_t count) const
    {
        return !std::memchr(&written[addr - base], 0, count);
    }

    uint32_t load(uint32_t addr, uint32_t count) const
    {
        uint32_t value = 0;
        std::memcpy(&value, &bytes[addr - base], count);
        return value;
    }

    void store(uint32_t addr, const void *data, uint32_t count)
    {
        std::memcpy(&bytes[addr - base], data, count);
        std::memset(&written[addr - base], 1, count);
    }
};

// One 32-bit initiator of L1. `req` and what belongs to it stay until `gnt`; `rdata` comes with the grant.
struct Port {
    bool req = false, we = false, gnt = false;
    uint8_t be = 0;
    uint32_t addr = 0, wdata = 0, rdata = 0; // addr: of the word
    uint32_t refused = 0;                    // cycles in a row
};

// The engine's port: consecutive words from a word's address, with one grant for all of them.
struct WidePort {
    bool req = false, we = false, gnt = false;
    uint32_t addr = 0;
    uint8_t be[TDCO_PORT_WORDS] = {}; // of reads too: which bytes are meant
    uint32_t data[TDCO_PORT_WORDS] = {};
};

constexpr uint32_t DMA_PORTS = TDCO_DMA_BYTES_PER_CYCLE / 4 * 2; // reading and writing
constexpr uint32_t PORTS = HARTS + DMA_PORTS;

// L1's word-interleaved single-ported banks and their arbiter, as redmule.tcdm describes them: the circuit, Verilated
// (banks_rtl.cpp), or the same cycle for cycle in C++ (banks_model.cpp).
struct Banks {
    virtual ~Banks() = default;
    // Sets every gnt of a cycle in which somebody requests, and does what was granted. Addresses count modulo L1's size.
    virtual void cycle(Port (&ports)[PORTS], WidePort &engine) = 0;
    // The loader's and the debugger's access, at an offset from L1's start.
    virtual void load(uint32_t offset, uint8_t *data, uint32_t bytes) = 0;
    virtual void store(uint32_t offset, const uint8_t *data, uint32_t bytes) = 0;
};

std::unique_ptr<Banks> make_banks(Memory &memory);

// L1. Which of its bytes were written is known here; where they are is the banks' affair.
struct Tcdm {
    Memory memory{TDCO_L1_BASE, TDCO_L1_SIZE}; // its bytes are used by the C++ banks, and by an engine without a port
    std::unique_ptr<Banks> banks = make_banks(memory);
    Port ports[PORTS];
    WidePort engine;
    uint64_t granted = 0, refused = 0, engine_refused = 0; // port cycles
    uint32_t peak_bytes = 0;                               // one past the highest byte accessed

    // Grants and does this cycle's requests.
    void cycle(Fault &fault);
    // The loader's.
    void load(uint32_t addr, uint8_t *data, uint32_t bytes) { banks->load(addr - memory.base, data, bytes); }
    void store(uint32_t addr, const uint8_t *data, uint32_t bytes);

  private:
    void check(bool we, uint32_t addr, uint8_t be, uint32_t initiator, Fault &fault);
};

} // namespace soc
#endif
