// The Verilated L1, interconnect and banks, stepped by whoever has initiators for it.
#pragma once

#include <array>
#include <stdexcept>

#include "Vtcdm.h"
#include "port.hpp"
#include "verilated.h"
#include "verilated_syms.h"

namespace tdco {

constexpr uint32_t L1_PORTS = TDCO_CORES + 1 + TDCO_DMA_BYTES_PER_CYCLE / 4 * 2; // HwConfig.l1_ports

// Up to 32 bits of a port that do not straddle words.
template <typename T> void set_bits(T &port, uint32_t bit, uint32_t width, uint32_t value)
{
    const uint64_t mask = (uint64_t(1) << width) - 1;
    if constexpr (std::is_integral_v<T>)
        port = T((port & ~(mask << bit)) | (value & mask) << bit);
    else
        port[bit / 32] = uint32_t((port[bit / 32] & ~(mask << bit % 32)) | (value & mask) << bit % 32);
}

struct VerilatedTcdm {
    VerilatedContext context{};
    std::unique_ptr<Vtcdm> top = std::make_unique<Vtcdm>(&context);
    std::array<uint32_t *, TDCO_L1_BANKS> rows{}; // of each bank: for a loader and a debugger only

    VerilatedTcdm()
    {
        for (int i = 0; i < 3; i++) {
            top->rst = i < 2;
            settle();
            edge();
        }
        for (uint32_t b = 0; b < TDCO_L1_BANKS; b++) {
            const VerilatedScope *scope = context.scopeFind(("TOP.tcdm.bank_" + std::to_string(b)).c_str());
            VerilatedVar *words = scope ? scope->varFind("words") : nullptr;
            if (!words)
                throw std::runtime_error("the Verilated L1 does not show its banks");
            rows[b] = static_cast<uint32_t *>(words->datap());
        }
    }
    ~VerilatedTcdm()
    {
        Verilated::threadContextp(&context); // Verilator's scopes leave the thread's context, whosever that is
        top->final();
        top.reset();
    }

    void show_engine(bool req, bool we, uint32_t addr, const uint8_t *be, const uint32_t *wdata)
    {
        PORT(engine, req) = req;
        if (!req)
            return;
        PORT(engine, we) = we;
        PORT(engine, addr) = addr;
        for (uint32_t i = 0; i < TDCO_PORT_WORDS; i++) {
            set_bits(PORT(engine, be), 4 * i, 4, be[i]);
            if (we)
                set_word(PORT(engine, wdata), i, wdata[i]);
        }
    }

    void show_client(uint32_t i, bool req, bool we = false, uint8_t be = 0, uint32_t addr = 0, uint32_t wdata = 0)
    {
        set_bits(PORT(clients, req), i, 1, req);
        if (!req)
            return;
        set_bits(PORT(clients, we), i, 1, we);
        set_bits(PORT(clients, be), 4 * i, 4, be);
        set_word(PORT(clients, addr), i, addr);
        set_word(PORT(clients, wdata), i, wdata);
    }

    void settle()
    {
        top->clk = 0;
        top->eval();
    }
    bool engine_granted() const { return PORT(engine, gnt); }
    uint32_t granted() const { return PORT(clients, gnt); } // bit i: client i

    void edge()
    {
        top->clk = 1;
        top->eval();
    }
    // What was read in the cycle that ended last.
    uint32_t read_data(uint32_t client) const { return get(PORT(clients, rdata), 32 * client, 32); }
    uint32_t engine_data(uint32_t word) const { return get(PORT(engine, rdata), 32 * word, 32); }

    uint32_t &word(uint32_t offset) { return rows[offset / 4 % TDCO_L1_BANKS][offset / 4 / TDCO_L1_BANKS]; }
};

} // namespace tdco
