// The engine's cycle model, stepped with the cluster.
#include "engine_device.hpp"
#include "model.hpp"

namespace soc {
namespace {

constexpr uint32_t IDLE_CYCLES = 4; // after this many the event of the last job is out

struct ModelEngine final : EngineDevice {
    tdco::model::Model model{true};
    uint32_t idle_cycles = 0;
    EngineStats last{};

    void begin_cycle(WidePort &port) override
    {
        event = model.event;
        port.req = model.requests();
        if (!port.req)
            return;
        const tdco::Request request = model.request();
        port.we = request.write;
        port.addr = request.addr;
        std::memcpy(port.be, request.enable, sizeof port.be);
        std::memcpy(port.data, request.data, sizeof port.data);
    }

    void end_cycle(WidePort &port) override
    {
        model.step({access.valid, access.write, access.offset, access.data}, port.req && port.gnt, port.data);
        if (access.valid && !access.write)
            access.data = model.read_data;
        idle_cycles = model.busy() ? 0 : idle_cycles + 1;
        port.req = false;
    }

    bool active() const override { return model.busy(); }
    bool needs_cycle(uint64_t) const override { return true; }
    uint64_t next_cycle(uint64_t now) const override { return now + 1; }

    uint32_t read_register(uint32_t offset)
    {
        model.step({true, false, offset, 0}, false, nullptr);
        return model.read_data;
    }

    // As the circuit's: read while it idles, because reading takes cycles of its clock.
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

std::unique_ptr<EngineDevice> make_engine(const uint64_t &, Tcdm &, Fault &) { return std::make_unique<ModelEngine>(); }

} // namespace soc
