// The banks of L1 and their arbiter in C++: grant for grant what redmule.tcdm.arbiter decides.
#include "banks_cpp.hpp"

namespace soc {
namespace {

// Sets of banks are bits: bit b is bank b.
struct BanksModel final : BanksCpp {
    uint32_t first[TDCO_L1_BANKS] = {}; // the client that goes first, the one after the last granted
    uint32_t taken[TDCO_L1_BANKS] = {}; // how often in a row the engine took the bank while a client waited
    uint32_t counting = 0, closed = 0;  // banks where that is not 0; is the limit: the engine must not have them

    using BanksCpp::BanksCpp;

    // The banks the engine takes.
    uint32_t grant_engine(WidePort &engine)
    {
        uint32_t banks = 0;
        for (uint32_t i = 0; i < TDCO_PORT_WORDS; i++)
            banks |= engine.be[i] ? 1u << bank_of(engine.addr + 4 * i) : 0;
        engine.gnt = !(banks & closed);
        if (!engine.gnt)
            return 0;
        for (uint32_t i = 0; i < TDCO_PORT_WORDS; i++)
            if (engine.be[i])
                access(engine.we, engine.addr + 4 * i, engine.be[i], engine.data[i], engine.data[i]);
        return banks;
    }

    void count(uint32_t waited)
    {
        const uint32_t before = counting;
        counting = closed = 0;
        for (uint32_t changed = before | waited; changed; changed &= changed - 1) {
            const uint32_t bank = uint32_t(__builtin_ctz(changed)), bit = 1u << bank;
            taken[bank] = waited & bit ? taken[bank] + 1 : 0;
            counting |= waited & bit;
            closed |= taken[bank] == TDCO_TCDM_MAX_WAIT_CYCLES ? bit : 0;
        }
    }

    void cycle(Port (&ports)[PORTS], WidePort &engine) override
    {
        const uint32_t engine_banks = engine.req ? grant_engine(engine) : 0;
        uint8_t winner[TDCO_L1_BANKS]; // of the banks in `wanted`
        uint32_t wanted = 0, waited = 0;
        for (uint32_t index = 0; index < PORTS; index++) {
            if (!ports[index].req)
                continue;
            const uint32_t bank = bank_of(ports[index].addr), bit = 1u << bank;
            if (engine_banks & bit) {
                waited |= bit;
                continue;
            }
            const auto distance = [&](uint32_t i) { return i >= first[bank] ? i - first[bank] : i + PORTS - first[bank]; };
            if (!(wanted & bit) || distance(index) < distance(winner[bank]))
                winner[bank] = uint8_t(index);
            wanted |= bit;
        }
        for (; wanted; wanted &= wanted - 1) {
            const uint32_t bank = uint32_t(__builtin_ctz(wanted)), index = winner[bank];
            Port &port = ports[index];
            port.gnt = true;
            first[bank] = index + 1 == PORTS ? 0 : index + 1;
            access(port.we, port.addr, port.be, port.wdata, port.rdata);
        }
        if (counting | waited)
            count(waited);
    }
};

} // namespace

std::unique_ptr<Banks> make_banks(Memory &memory) { return std::make_unique<BanksModel>(memory); }

} // namespace soc
