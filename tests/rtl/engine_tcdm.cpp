// The engine on L1 as one block, `redmule_tcdm`: operands go in and results come out through the clients' ports.
#include "Vredmule_tcdm.h"
#include "port.hpp"
#include "verilated.h"

namespace {

struct Block {
    VerilatedContext context{};
    std::unique_ptr<Vredmule_tcdm> top = std::make_unique<Vredmule_tcdm>(&context);
    bool event = false;

    void settle()
    {
        top->clk = 0;
        top->eval();
        event |= top->evt;
    }
    void edge()
    {
        top->clk = 1;
        top->eval();
    }

    void write_register(uint32_t offset, uint32_t value)
    {
        PORT(cfg, req) = PORT(cfg, we) = 1;
        PORT(cfg, addr) = offset;
        PORT(cfg, wdata) = value;
        settle();
        edge();
        PORT(cfg, req) = 0;
    }

    uint32_t access(uint32_t client, bool write, uint32_t addr, uint32_t value)
    {
        PORT(clients, req) = 1u << client;
        PORT(clients, we) = uint32_t(write) << client;
        PORT(clients, be) = 0xFu << 4 * client;
        tdco::set_word(PORT(clients, addr), client, addr);
        tdco::set_word(PORT(clients, wdata), client, value);
        bool granted = false;
        while (!granted) {
            settle();
            granted = PORT(clients, gnt) >> client & 1;
            edge();
        }
        PORT(clients, req) = 0;
        return tdco::get(PORT(clients, rdata), 32 * client, 32);
    }
};

} // namespace

// Runs a job on the `words` of L1, in place; cycles from TRIGGER to event, or 0 if there was none in 10,000.
extern "C" uint32_t run_engine_tcdm(uint32_t *l1, uint32_t words, const uint32_t *job)
{
    Block block;
    for (int i = 0; i < 3; i++) {
        block.top->rst = i < 2;
        block.settle();
        block.edge();
    }
    for (uint32_t i = 0; i < words; i++)
        block.access(i % 3, true, TDCO_L1_BASE + 4 * i, l1[i]);
    for (uint32_t i = 0; i < TDCO_JOB_WORDS; i++)
        block.write_register(TDCO_REG_X_ADDR + 4 * i, job[i]);
    block.write_register(TDCO_REG_TRIGGER, 0);
    uint32_t cycles = 0;
    for (; !block.event && cycles < 10'000; cycles++) {
        block.settle();
        block.edge();
    }
    for (uint32_t i = 0; i < words; i++)
        l1[i] = block.access(3, false, TDCO_L1_BASE + 4 * i, 0);
    return block.event ? cycles : 0;
}
