// Banks that serve who came first, as L1's do, but the engine's words one by one and last of those that come at once, as
// GVSoC's do: to find out what that is worth.
#include <deque>

#include "banks_cpp.hpp"

namespace soc {
namespace {

struct BanksByWord final : BanksCpp {
    std::deque<uint32_t> waiting[TDCO_L1_BANKS]; // ports, and PORTS + i for the engine's word i
    bool queued[PORTS] = {}, engine_queued = false;
    uint32_t engine_left = 0; // words
    uint32_t read[TDCO_PORT_WORDS] = {}; // by the engine, kept until the last word is served

    using BanksCpp::BanksCpp;

    void cycle(Port (&ports)[PORTS], WidePort &engine) override
    {
        for (uint32_t index = 0; index < PORTS; index++)
            if (ports[index].req && !queued[index]) {
                queued[index] = true;
                waiting[bank_of(ports[index].addr)].push_back(index);
            }
        if (engine.req && !engine_queued) {
            engine_queued = true;
            for (uint32_t i = 0; i < TDCO_PORT_WORDS; i++)
                if (engine.be[i]) {
                    engine_left++;
                    waiting[bank_of(engine.addr + 4 * i)].push_back(PORTS + i);
                }
        }
        for (std::deque<uint32_t> &queue : waiting)
            if (!queue.empty()) {
                serve(queue.front(), ports, engine);
                queue.pop_front();
            }
        engine.gnt = engine_queued && engine_left == 0;
        engine_queued = engine_queued && !engine.gnt;
        if (engine.gnt && !engine.we)
            std::memcpy(engine.data, read, sizeof read);
    }

    void serve(uint32_t index, Port (&ports)[PORTS], WidePort &engine)
    {
        if (index >= PORTS) {
            const uint32_t i = index - PORTS;
            access(engine.we, engine.addr + 4 * i, engine.be[i], engine.data[i], read[i]);
            engine_left--;
            return;
        }
        Port &port = ports[index];
        port.gnt = true;
        queued[index] = false;
        access(port.we, port.addr, port.be, port.wdata, port.rdata);
    }
};

} // namespace

std::unique_ptr<Banks> make_banks(Memory &memory) { return std::make_unique<BanksByWord>(memory); }

} // namespace soc
