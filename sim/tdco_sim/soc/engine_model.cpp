// The engine's cycle model, stepped with the cluster.
#include "engine_device.hpp"
#include "model.hpp"

namespace soc {
namespace {

struct ModelEngine final : EngineDevice {
    tdco::model::Model model{true};
    uint32_t idle_cycles = 0;
    EngineStats last{};

    void begin_cycle(WidePort &port) override
    {
        event = model.event;
        show(model.requests() ? model.request() : tdco::Request(), port);
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

    EngineStats stats() override
    {
        if (idle_cycles >= IDLE_CYCLES)
            last = read_counters(*this);
        return last;
    }
};

} // namespace

std::unique_ptr<EngineDevice> make_engine(const uint64_t &, Tcdm &, Fault &) { return std::make_unique<ModelEngine>(); }

} // namespace soc
