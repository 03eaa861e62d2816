// The Verilated engine as a device.
#pragma once

#include "Vredmule.h"
#include "device.hpp"
#include "port.hpp"
#include "verilated.h"
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif

namespace tdco {

struct VerilatedEngine final : Device {
    VerilatedContext context{};
    std::unique_ptr<Vredmule> top{};
#if VM_TRACE
    VerilatedVcdC trace{};
#endif
    uint64_t time = 0; // half cycles

    VerilatedEngine()
    {
#if VM_TRACE
        context.traceEverOn(true);
#endif
        top = std::make_unique<Vredmule>(&context);
#if VM_TRACE
        top->trace(&trace, 99);
        trace.open(std::getenv("TDCO_WAVES") ? std::getenv("TDCO_WAVES") : "engine.vcd");
#endif
    }

    ~VerilatedEngine() override
    {
#if VM_TRACE
        trace.close();
#endif
        top->final();
    }

    void eval(bool clk)
    {
        top->clk = clk;
        top->eval();
#if VM_TRACE
        trace.dump(time);
#endif
        time++;
    }

    void reset() override
    {
        const uint32_t nothing[TDCO_PORT_WORDS] = {};
        for (int i = 0; i < 3; i++) {
            top->rst = i < 2;
            settle({}, false);
            edge(nothing);
        }
    }

    Request settle(const Access &access, bool grant) override
    {
        PORT(cfg, req) = access.valid;
        PORT(cfg, we) = access.write;
        PORT(cfg, addr) = access.offset;
        PORT(cfg, wdata) = access.data;
        PORT(tcdm, gnt) = grant;
        eval(false);
        event = top->evt;
        return request(top);
    }

    void edge(const uint32_t *words) override
    {
        eval(true);
        read_data = PORT(cfg, rdata);
        for (uint32_t i = 0; i < TDCO_PORT_WORDS; i++)
            set_word(PORT(tcdm, rdata), i, words[i]);
    }
};

} // namespace tdco
