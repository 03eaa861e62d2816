// L1 as RTL beside L1 in C++: random initiators ask both for the same; every grant and every word read must agree.
#include <algorithm>
#include <cstdio>
#include <random>

#include "memory.hpp"
#include "tcdm.hpp"

using namespace soc;

namespace {

struct Report {
    uint64_t cycles, grants, engine_grants, client_wait, engine_wait; // the waits: longest, in refused cycles
    char error[200];
};

struct Traffic {
    std::mt19937 random;
    double client_rate = 0, engine_rate = 0;
    uint32_t bank_mask = 0, rows = 1; // hot banks: only bits of the mask vary

    bool chance(double p) { return random() < p * 4294967296.0; }

    // Every few hundred cycles another mixture: idle, busy, one hot bank, an engine that never pauses.
    void change()
    {
        constexpr double rates[] = {0, 0.05, 0.2, 0.5, 0.9, 1};
        client_rate = rates[random() % 6];
        engine_rate = rates[random() % 6];
        bank_mask = uint32_t(random()) | (random() % 2 ? ~0u : 0);
        rows = random() % 2 ? 3 : TDCO_L1_BYTES / 4 / TDCO_L1_BANKS;
    }

    uint32_t addr()
    {
        const uint32_t bank = random() & bank_mask & (TDCO_L1_BANKS - 1);
        return TDCO_L1_BASE + 4 * (random() % rows * TDCO_L1_BANKS + bank);
    }

    void ask(Port &port)
    {
        if (!port.req && chance(client_rate))
            port = {true, random() % 2 == 0, false, uint8_t(random() % 16), addr(), uint32_t(random()), 0, 0};
    }

    void ask(WidePort &port)
    {
        if (port.req || !chance(engine_rate))
            return;
        port.req = true;
        port.we = random() % 4 == 0;
        port.addr = addr();
        const uint32_t words = random() % (TDCO_PORT_WORDS + 1);
        for (uint32_t i = 0; i < TDCO_PORT_WORDS; i++) {
            port.be[i] = i < words ? uint8_t(random() % 16) : 0;
            port.data[i] = uint32_t(random());
        }
    }
};

} // namespace

extern "C" int tcdm_lockstep(uint64_t cycles, uint32_t seed, Report *report)
{
    *report = {};
    Memory memory(TDCO_L1_BASE, TDCO_L1_SIZE);
    const auto model = make_banks(memory);
    tdco::VerilatedTcdm rtl;
    Traffic traffic{std::mt19937(seed)};
    for (uint32_t offset = 0; offset < TDCO_L1_SIZE; offset += 4) {
        const uint32_t word = uint32_t(traffic.random());
        std::memcpy(&memory.bytes[offset], &word, 4);
        rtl.word(offset) = word;
    }
    Port ports[PORTS];
    WidePort engine;
    uint64_t engine_refused = 0;
    const auto differ = [&](const char *what, uint32_t who) {
        std::snprintf(report->error, sizeof report->error, "%s of initiator %u differs in cycle %llu", what, who,
                      static_cast<unsigned long long>(report->cycles));
        return 1;
    };
    for (uint64_t &now = report->cycles; now < cycles; now++) {
        if (now % 300 == 0)
            traffic.change();
        traffic.ask(engine);
        for (Port &port : ports)
            traffic.ask(port);
        rtl.show_engine(engine.req, engine.we, engine.addr, engine.be, engine.data);
        for (uint32_t i = 0; i < PORTS; i++)
            rtl.show_client(i, ports[i].req, ports[i].we, ports[i].be, ports[i].addr, ports[i].wdata);
        rtl.settle();
        const bool engine_granted = rtl.engine_granted();
        const uint32_t granted = rtl.granted();
        rtl.edge();

        engine.gnt = false;
        for (Port &port : ports)
            port.gnt = false;
        model->cycle(ports, engine);
        if (engine.req && engine_granted != engine.gnt)
            return differ("the grant", PORTS);
        for (uint32_t i = 0; engine.gnt && !engine.we && i < TDCO_PORT_WORDS; i++)
            if (engine.be[i] && rtl.engine_data(i) != engine.data[i])
                return differ("the data", PORTS);
        report->engine_grants += engine.req && engine.gnt;
        engine_refused = engine.req && !engine.gnt ? engine_refused + 1 : 0;
        report->engine_wait = std::max(report->engine_wait, engine_refused);
        engine.req = engine.req && !engine.gnt;
        for (uint32_t i = 0; i < PORTS; i++) {
            Port &port = ports[i];
            if (port.gnt != (granted >> i & 1) || (port.gnt && !port.req))
                return differ("the grant", i);
            if (port.gnt && !port.we && rtl.read_data(i) != port.rdata)
                return differ("the data", i);
            report->grants += port.gnt;
            port.refused = port.req && !port.gnt ? port.refused + 1 : 0;
            report->client_wait = std::max<uint64_t>(report->client_wait, port.refused);
            port.req = port.req && !port.gnt;
        }
    }
    for (uint32_t offset = 0; offset < TDCO_L1_SIZE; offset += 4)
        if (memory.load(TDCO_L1_BASE + offset, 4) != rtl.word(offset))
            return differ("the final memory", offset);
    return 0;
}

// On the RTL alone, for `cycles`: each client in `clients` always requests word i * stride, the engine, if asked, all its
// words from word 0 but the last. Grants and longest waits, the engine's last.
extern "C" void tcdm_scenario(
    uint32_t cycles, uint32_t clients, uint32_t stride, int with_engine, uint32_t *grants, uint32_t *waits)
{
    tdco::VerilatedTcdm rtl;
    uint8_t be[TDCO_PORT_WORDS] = {};
    std::fill_n(be, TDCO_PORT_WORDS - 1, 0xF);
    const uint32_t nothing[TDCO_PORT_WORDS] = {};
    uint32_t refused[PORTS + 1] = {};
    std::fill_n(grants, PORTS + 1, 0);
    std::fill_n(waits, PORTS + 1, 0);
    const uint32_t requests = clients | uint32_t(with_engine != 0) << PORTS;
    for (uint32_t now = 0; now < cycles; now++) {
        rtl.show_engine(with_engine, false, TDCO_L1_BASE, be, nothing);
        for (uint32_t i = 0; i < PORTS; i++)
            rtl.show_client(i, clients >> i & 1, false, 0xF, TDCO_L1_BASE + 4 * stride * i, 0);
        rtl.settle();
        const uint32_t granted = rtl.granted() | uint32_t(rtl.engine_granted()) << PORTS;
        rtl.edge();
        for (uint32_t i = 0; i <= PORTS; i++) {
            const bool got = granted >> i & requests >> i & 1;
            grants[i] += got;
            refused[i] = got || !(requests >> i & 1) ? 0 : refused[i] + 1;
            waits[i] = std::max(waits[i], refused[i]);
        }
    }
}
