// The GEMM engine: a device (the cycle model or the Verilated circuit), clocked with the cluster while it has work.
// A request of its port goes to the banks as single words; the grant is withheld for the largest latency GVSoC answers
// with.
#include <algorithm>
#include <cstring>

#include <vp/itf/io.hpp>
#include <vp/itf/wire.hpp>
#include <vp/vp.hpp>

#include "device.hpp"

namespace {

constexpr int64_t LOOK_CYCLES = 32; // between two looks at STATUS, to find out that the engine is idle
constexpr uint32_t POISON = 0x7D037D03; // signalling NaNs, in every word that was not asked for

class Engine : public vp::Component {
  public:
    explicit Engine(vp::ComponentConf &config) : vp::Component(config), tick(this, &Engine::ticked)
    {
        input.set_req_meth(&Engine::register_request);
        new_slave_port("input", &input);
        new_master_port("memory", &memory);
        new_master_port("event", &event);
        traces.new_trace("trace", &trace, vp::DEBUG);
        l1_base = uint32_t(get_js_config()->get_uint("l1_base"));
        l1_bytes = uint32_t(get_js_config()->get_uint("l1_bytes"));
        std::fill_n(nothing, TDCO_PORT_WORDS, POISON);
        device->reset();
    }

  private:
    std::unique_ptr<tdco::Device> device = tdco::make_device();
    vp::IoSlave input;
    vp::IoMaster memory;
    vp::WireMaster<bool> event;
    vp::ClockEvent tick;
    vp::Trace trace;
    uint32_t l1_base, l1_bytes;
    vp::IoReq *access = nullptr; // of a core that waits for its answer
    bool requested = false;      // the request that is up went to the banks; they have done it at grant_cycle
    int64_t grant_cycle = 0, look_cycle = 0;
    uint32_t words[TDCO_PORT_WORDS], nothing[TDCO_PORT_WORDS];

    static vp::IoReqStatus register_request(vp::Block *self, vp::IoReq *req)
    {
        Engine *const engine = static_cast<Engine *>(self);
        if (engine->access || req->get_size() != 4)
            return vp::IO_REQ_INVALID;
        engine->access = req;
        engine->look_cycle = engine->clock.get_cycles() + LOOK_CYCLES;
        if (!engine->tick.is_enqueued())
            engine->event_enqueue(&engine->tick, 1);
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
        const tdco::Request request = device->settle(taken, false);
        if (request.valid && !requested) {
            requested = true;
            grant_cycle = now + access_banks(request);
        }
        requested = requested && request.valid;
        const bool granted = requested && now >= grant_cycle;
        if (granted)
            device->settle(taken, true);
        requested = requested && !granted;
        const bool raised = device->event;
        device->edge(granted ? words : nothing);
        if (access)
            answer(*access, taken);
        if (raised)
            event.sync(true);
        if (looks)
            look_cycle = device->read_data == 0 && !raised ? 0 : now + LOOK_CYCLES;
        if ((look_cycle || access) && !tick.is_enqueued())
            event_enqueue(&tick, 1);
    }

    void answer(vp::IoReq &core, const tdco::Access &taken)
    {
        access = nullptr;
        if (!taken.write)
            std::memcpy(core.get_data(), &device->read_data, 4);
        core.get_resp_port()->resp(&core);
    }

    // Cycles until every bank has done its part of `request`; the words of a read are in `words` then.
    int64_t access_banks(const tdco::Request &request)
    {
        int64_t latency = 0;
        std::fill_n(words, TDCO_PORT_WORDS, POISON);
        for (uint32_t i = 0; i < TDCO_PORT_WORDS; i++) {
            uint8_t enable = request.enable[i];
            if (!enable)
                continue;
            const uint32_t addr = request.addr + 4 * i;
            uint8_t bytes[4];
            std::memcpy(bytes, &request.data[i], 4);
            // a word's bytes lie together: one access, of those meant when writing, of the whole word when reading
            const int first = request.write ? __builtin_ctz(enable) : 0;
            const int count = request.write ? 32 - __builtin_clz(uint32_t(enable)) - first : 4;
            vp::IoReq word;
            word.init();
            word.set_addr(addr - l1_base + uint32_t(first));
            word.set_size(uint64_t(count));
            word.set_data(bytes + first);
            word.set_is_write(request.write);
            if (addr < l1_base || addr - l1_base >= l1_bytes || memory.req(&word) != vp::IO_REQ_OK)
                trace.fatal("the engine accesses 0x%x, outside L1\n", addr);
            latency = std::max(latency, int64_t(word.get_latency()));
            if (!request.write)
                std::memcpy(&words[i], bytes, 4);
        }
        return latency;
    }
};

} // namespace

extern "C" vp::Component *gv_new(vp::ComponentConf &config) { return new Engine(config); }
