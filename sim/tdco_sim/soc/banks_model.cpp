// The banks of L1 and their arbiter in C++: grant for grant what redmule.tcdm.arbiter decides.
#include "banks_cpp.hpp"

namespace soc {
namespace {

// Sets of banks are bits: bit b is bank b.
struct BanksModel final : BanksCpp {
    uint32_t engine_refused = 0;         // cycles in a row; who was refused as often or more often goes before
    uint32_t served = 0;                 // banks that have served their word of the engine's waiting line
    uint32_t read[TDCO_PORT_WORDS] = {}; // by the engine, kept until its last word is served

    using BanksCpp::BanksCpp;

    // The banks that serve the engine: those it still wants, but for the `closed` ones.
    uint32_t serve_engine(WidePort &engine, uint32_t closed)
    {
        uint32_t serving = 0, left = 0;
        for (uint32_t i = 0; i < TDCO_PORT_WORDS; i++) {
            const uint32_t addr = engine.addr + 4 * i, bit = 1u << bank_of(addr);
            if (!engine.be[i] || served & bit)
                continue;
            if (closed & bit) {
                left |= bit;
                continue;
            }
            access(engine.we, addr, engine.be[i], engine.data[i], read[i]);
            serving |= bit;
        }
        engine.gnt = !left;
        engine_refused = engine.gnt ? 0 : engine_refused + 1;
        served = engine.gnt ? 0 : served | serving;
        if (engine.gnt && !engine.we)
            std::memcpy(engine.data, read, sizeof read);
        return serving;
    }

    void cycle(Port (&ports)[PORTS], WidePort &engine) override
    {
        uint8_t first[TDCO_L1_BANKS];     // of the clients that want a bank in `wanted`
        uint32_t wanted = 0, closed = 0; // closed: wanted by a client that goes before the engine
        for (uint32_t index = 0; index < PORTS; index++) {
            if (!ports[index].req)
                continue;
            const uint32_t bank = bank_of(ports[index].addr), bit = 1u << bank;
            if (!(wanted & bit) || ports[index].refused > ports[first[bank]].refused)
                first[bank] = uint8_t(index);
            wanted |= bit;
            closed |= ports[index].refused >= engine_refused ? bit : 0;
        }
        if (engine.req)
            wanted &= ~serve_engine(engine, closed);
        for (; wanted; wanted &= wanted - 1) {
            Port &port = ports[first[__builtin_ctz(wanted)]];
            port.gnt = true;
            access(port.we, port.addr, port.be, port.wdata, port.rdata);
        }
    }
};

} // namespace

std::unique_ptr<Banks> make_banks(Memory &memory) { return std::make_unique<BanksModel>(memory); }

} // namespace soc
