// The GEMM engine: a device (the cycle model or the Verilated circuit), clocked with the cluster while it has work.
#include <deque>

#include <vp/itf/io.hpp>
#include <vp/itf/wire.hpp>
#include <vp/vp.hpp>

#include "clocked.hpp"
#include "report.hpp"

namespace {

constexpr int64_t LOOK_CYCLES = 32; // between two looks at STATUS, to find out that the engine is idle
constexpr uint32_t TRACK = 2 * (TDCO_CORES + 1); // soc/watch.hpp

class Engine : public vp::Component {
  public:
    explicit Engine(vp::ComponentConf &config) : vp::Component(config), tick(this, &Engine::ticked)
    {
        input.set_req_meth(&Engine::register_request);
        new_slave_port("input", &input);
        new_master_port("memory", &memory);
        new_master_port("event", &event);
        left.set_sync_meth(&Engine::on_left);
        new_slave_port("left", &left);
        traces.new_trace("trace", &trace, vp::DEBUG);
        l1_base = uint32_t(get_js_config()->get_uint("l1_base"));
        l1_bytes = uint32_t(get_js_config()->get_uint("l1_bytes"));
    }

  private:
    tdco::ClockedEngine engine;
    vp::IoSlave input;
    vp::IoMaster memory;
    vp::WireMaster<bool> event;
    vp::WireSlave<bool> left; // the program has ended
    vp::ClockEvent tick;
    vp::Trace trace;
    uint32_t l1_base, l1_bytes;
    vp::IoReq *access = nullptr; // of a core that waits for its answer
    int64_t look_cycle = 0;      // of the next look at STATUS; 0 while the engine is idle
    std::deque<int64_t> pushed;  // when the jobs in the queue came
    std::vector<report::Span> spans;
    int64_t last_end = 0, refused = 0; // refused: since the last job's end

    static vp::IoReqStatus register_request(vp::Block *self, vp::IoReq *req)
    {
        Engine *const block = static_cast<Engine *>(self);
        if (block->access || req->get_size() != 4)
            return vp::IO_REQ_INVALID;
        block->access = req;
        block->look_cycle = block->clock.get_cycles() + LOOK_CYCLES;
        if (!block->tick.is_enqueued())
            block->event_enqueue(&block->tick, 1);
        return vp::IO_REQ_PENDING;
    }

    static void ticked(vp::Block *self, vp::ClockEvent *) { static_cast<Engine *>(self)->cycle(); }

    void cycle()
    {
        const int64_t now = clock.get_cycles();
        const bool looks = !access && now >= look_cycle;
        tdco::Access taken;
        if (looks) {
            taken = {true, false, TDCO_REG_STATUS, 0};
        } else if (access) {
            taken = {true, access->get_is_write(), uint32_t(access->get_addr()), 0};
            if (taken.write)
                std::memcpy(&taken.data, access->get_data(), 4);
        }
        step(now, taken);
        if (access)
            answer(*access, taken);
        if (engine.event)
            event.sync(true);
        if (looks)
            look_cycle = engine.read_data == 0 && !engine.event ? 0 : now + LOOK_CYCLES;
        if ((look_cycle || access) && !tick.is_enqueued())
            event_enqueue(&tick, 1);
    }

    void step(int64_t now, const tdco::Access &taken)
    {
        engine.cycle(now, taken, [this](uint32_t addr, uint8_t *bytes, uint32_t count, bool write) {
            return access_word(addr, bytes, count, write);
        });
        refused += engine.refused;
        if (taken.valid && taken.write && taken.offset == TDCO_REG_TRIGGER)
            pushed.push_back(now);
        if (engine.event && !pushed.empty()) {
            spans.push_back({TRACK, uint32_t(spans.size()), std::max(pushed.front(), last_end), now, refused});
            pushed.pop_front();
            last_end = now;
            refused = 0;
        }
    }

    static void on_left(vp::Block *self, bool)
    {
        Engine *const block = static_cast<Engine *>(self);
        int64_t now = block->clock.get_cycles();
        const auto read = [&](uint32_t offset) {
            block->step(++now, {true, false, offset, 0});
            return uint64_t(block->engine.read_data);
        };
        const uint64_t macs = read(TDCO_REG_MACS_LO);
        report::append(block->spans, {{"jobs", read(TDCO_REG_JOBS)}, {"macs", macs | read(TDCO_REG_MACS_HI) << 32},
                                      {"engine_busy", read(TDCO_REG_CYCLES_BUSY)}, {"status_flags", read(TDCO_REG_FLAGS)}});
    }

    void answer(vp::IoReq &core, const tdco::Access &taken)
    {
        access = nullptr;
        if (!taken.write)
            std::memcpy(core.get_data(), &engine.read_data, 4);
        core.get_resp_port()->resp(&core);
    }

    int64_t access_word(uint32_t addr, uint8_t *bytes, uint32_t count, bool write)
    {
        vp::IoReq word;
        word.init();
        word.set_addr(addr - l1_base);
        word.set_size(count);
        word.set_data(bytes);
        word.set_is_write(write);
        if (addr < l1_base || addr - l1_base >= l1_bytes || memory.req(&word) != vp::IO_REQ_OK)
            trace.fatal("the engine accesses 0x%x, outside L1\n", addr);
        return int64_t(word.get_latency());
    }
};

} // namespace

extern "C" vp::Component *gv_new(vp::ComponentConf &config) { return new Engine(config); }
