// The Verilated engine, stepped with the cluster; an idle engine is not evaluated.
#include <type_traits>

#include "Vredmule.h"
#include "engine_device.hpp"
#include "verilated.h"

namespace soc {
namespace {

#define PORT(bundle, signal) top.bundle##___05F##signal

constexpr uint32_t POISON = 0x7D037D03; // signalling NaNs, in every word that was not asked for
constexpr uint32_t IDLE_CYCLES = 4;     // after this many the event of the last job is out

// `width` bits from bit `bit` of a port, which Verilator holds in an integer or, if wide, in an array of words.
template <typename T> uint32_t get(const T &port, uint32_t bit, uint32_t width)
{
    const uint32_t mask = width == 32 ? 0xFFFFFFFF : (1u << width) - 1;
    if constexpr (std::is_integral_v<T>)
        return uint32_t(uint64_t(port) >> bit) & mask;
    else
        return port[bit / 32] >> bit % 32 & mask;
}

template <typename T> void set_word(T &port, uint32_t i, uint32_t value)
{
    if constexpr (std::is_integral_v<T>)
        port = T((uint64_t(port) & ~(uint64_t(0xFFFFFFFF) << 32 * i)) | uint64_t(value) << 32 * i);
    else
        port[i] = value;
}

struct RtlEngine final : EngineDevice {
    VerilatedContext context;
    Vredmule top{&context};
    uint32_t idle_cycles = 0;
    EngineStats last{};

    RtlEngine()
    {
        top.rst = 1;
        PORT(cfg, req) = 0;
        PORT(tcdm, gnt) = 0;
        for (int i = 0; i < 4; i++) {
            tick();
            top.rst = i < 1;
        }
    }
    ~RtlEngine() override { top.final(); }

    void tick()
    {
        top.clk = 0;
        top.eval();
        top.clk = 1;
        top.eval();
    }

    // The event and the request come from registers: they have settled since the last clock edge.
    void begin_cycle(WidePort &port) override
    {
        event = top.evt;
        port.req = PORT(tcdm, req);
        if (!port.req)
            return;
        port.we = PORT(tcdm, we);
        port.addr = PORT(tcdm, addr);
        for (uint32_t i = 0; i < TDCO_PORT_WORDS; i++) {
            port.be[i] = uint8_t(get(PORT(tcdm, be), 4 * i, 4));
            port.data[i] = port.we ? get(PORT(tcdm, wdata), 32 * i, 32) : 0;
        }
    }

    void end_cycle(WidePort &port) override
    {
        const bool granted = port.req && port.gnt;
        PORT(cfg, req) = access.valid;
        PORT(cfg, we) = access.write;
        PORT(cfg, addr) = access.offset;
        PORT(cfg, wdata) = access.data;
        PORT(tcdm, gnt) = granted;
        top.clk = 0;
        top.eval();
        top.clk = 1;
        top.eval();
        for (uint32_t i = 0; i < TDCO_PORT_WORDS; i++)
            set_word(PORT(tcdm, rdata), i, granted && !port.we && port.be[i] ? port.data[i] : POISON);
        if (access.valid && !access.write)
            access.data = PORT(cfg, rdata);
        idle_cycles = top.busy ? 0 : idle_cycles + 1;
        port.req = false;
    }

    bool active() const override { return top.busy; }
    bool needs_cycle(uint64_t) const override { return true; }
    uint64_t next_cycle(uint64_t now) const override { return now + 1; }

    uint32_t read_register(uint32_t offset)
    {
        access = {true, false, offset, 0};
        WidePort unused;
        begin_cycle(unused);
        end_cycle(unused);
        access.valid = false;
        return access.data;
    }

    // The engine's own counters; read only while it idles, because reading takes cycles of its clock.
    EngineStats stats() override
    {
        if (idle_cycles < IDLE_CYCLES)
            return last;
        last.jobs = read_register(TDCO_REG_JOBS);
        last.macs = read_register(TDCO_REG_MACS_LO) | uint64_t(read_register(TDCO_REG_MACS_HI)) << 32;
        last.busy_cycles = read_register(TDCO_REG_CYCLES_BUSY);
        last.status_flags = read_register(TDCO_REG_FLAGS);
        return last;
    }
};

} // namespace

std::unique_ptr<EngineDevice> make_engine(const uint64_t &, Tcdm &, Fault &) { return std::make_unique<RtlEngine>(); }

} // namespace soc
