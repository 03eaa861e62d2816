// The banks of L1 and their arbiter in C++: grant for grant what redmule.tcdm.arbiter decides.
#include "banks_cpp.hpp"

namespace soc {
namespace {

// Sets of banks are bits: bit b is bank b.
struct BanksModel final : BanksCpp {
    uint32_t engine_refused = 0; // cycles in a row; who was refused more often came before

    using BanksCpp::BanksCpp;

    // The banks the engine takes, none of those that are `closed`.
    uint32_t grant_engine(WidePort &engine, uint32_t closed)
    {
        uint32_t banks = 0;
        for (uint32_t i = 0; i < TDCO_PORT_WORDS; i++)
            banks |= engine.be[i] ? 1u << bank_of(engine.addr + 4 * i) : 0;
        engine.gnt = !(banks & closed);
        engine_refused = engine.gnt ? 0 : engine_refused + 1;
        if (!engine.gnt)
            return 0;
        for (uint32_t i = 0; i < TDCO_PORT_WORDS; i++)
            if (engine.be[i])
                access(engine.we, engine.addr + 4 * i, engine.be[i], engine.data[i], engine.data[i]);
        return banks;
    }

    void cycle(Port (&ports)[PORTS], WidePort &engine) override
    {
        uint8_t first[TDCO_L1_BANKS];     // of the clients that want a bank in `wanted`
        uint32_t wanted = 0, closed = 0; // closed: wanted by a client that came before the engine
        for (uint32_t index = 0; index < PORTS; index++) {
            if (!ports[index].req)
                continue;
            const uint32_t bank = bank_of(ports[index].addr), bit = 1u << bank;
            if (!(wanted & bit) || ports[index].refused > ports[first[bank]].refused)
                first[bank] = uint8_t(index);
            wanted |= bit;
            closed |= ports[index].refused > engine_refused ? bit : 0;
        }
        if (engine.req)
            wanted &= ~grant_engine(engine, closed);
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
