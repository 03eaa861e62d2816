// The Verilated interconnect and banks: here lie the bytes of L1, and nowhere else.
#include "memory.hpp"
#include "tcdm.hpp"

namespace soc {
namespace {

struct BanksRtl final : Banks {
    tdco::VerilatedTcdm tcdm{};

    void load(uint32_t offset, uint8_t *data, uint32_t bytes) override
    {
        for (uint32_t i = 0; i < bytes; i++)
            data[i] = uint8_t(tcdm.word(offset + i) >> 8 * ((offset + i) % 4));
    }

    void store(uint32_t offset, const uint8_t *data, uint32_t bytes) override
    {
        for (uint32_t i = 0; i < bytes; i++) {
            const uint32_t shift = 8 * ((offset + i) % 4);
            uint32_t &word = tcdm.word(offset + i);
            word = (word & ~(0xFFu << shift)) | uint32_t(data[i]) << shift;
        }
    }

    void cycle(Port (&ports)[PORTS], WidePort &engine) override
    {
        tcdm.show_engine(engine.req, engine.we, engine.addr, engine.be, engine.data);
        for (uint32_t i = 0; i < PORTS; i++)
            tcdm.show_client(i, ports[i].req, ports[i].we, ports[i].be, ports[i].addr, ports[i].wdata);
        tcdm.settle();
        engine.gnt = tcdm.engine_granted();
        const uint32_t granted = tcdm.granted();
        tcdm.edge();
        for (uint32_t i = 0; i < PORTS; i++) {
            ports[i].gnt = granted >> i & 1;
            if (ports[i].gnt)
                ports[i].rdata = tcdm.read_data(i);
        }
        if (engine.gnt && !engine.we)
            for (uint32_t i = 0; i < TDCO_PORT_WORDS; i++)
                engine.data[i] = tcdm.engine_data(i);
    }
};

} // namespace

std::unique_ptr<Banks> make_banks(Memory &) { return std::make_unique<BanksRtl>(); }

} // namespace soc
