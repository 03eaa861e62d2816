// The Verilated engine on the Verilated L1, with cores that request random words. The driver's flat memory is the
// reference: what the engine reads from the banks must be what the driver would have given it.
#include <algorithm>
#include <random>
#include <vector>

#include "engine.hpp"
#include "tcdm.hpp"

namespace tdco {
namespace {

struct Core {
    bool req = false, we = false, reads = false; // reads: the word comes at the end of this cycle
    uint32_t word = 0, wdata = 0;
};

struct Contended final : Device, Contention {
    VerilatedEngine engine;
    VerilatedTcdm tcdm;
    Core cores[TDCO_CORES];
    Request asked{};                 // granted in this cycle
    std::vector<uint32_t> own;       // the words behind the engine's operands belong to the cores
    uint32_t own_from = TDCO_L1_SIZE / 4;
    std::mt19937 random{};

    Contention *contention() override { return this; }
    void reset() override { engine.reset(); }

    void start(const uint8_t *l1, uint32_t bytes, uint32_t seed) override
    {
        own_from = (bytes + 3) / 4;
        own.assign(TDCO_L1_SIZE / 4 - own_from, 0);
        for (uint32_t offset = 0; offset < TDCO_L1_SIZE; offset++) {
            uint32_t &word = tcdm.word(offset);
            const uint32_t shift = 8 * (offset % 4);
            word = (word & ~(0xFFu << shift)) | uint32_t(offset < bytes ? l1[offset] : 0) << shift;
        }
        for (Core &core : cores)
            core = Core();
        std::fill_n(grants, TDCO_CORES, 0);
        cycles = mismatches = 0;
        random.seed(seed);
    }

    uint64_t differing_bytes(const uint8_t *l1, uint32_t bytes) override
    {
        uint64_t count = 0;
        for (uint32_t offset = 0; offset < bytes; offset++)
            count += uint8_t(tcdm.word(offset) >> 8 * (offset % 4)) != l1[offset];
        return count;
    }

    void ask(Core &core)
    {
        if (core.req || rate == 0 || random() >= rate * 4294967296.0)
            return;
        core.req = true;
        core.word = random() % (TDCO_L1_SIZE / 4);
        core.we = core.word >= own_from && random() % 2;
        core.wdata = uint32_t(random());
    }

    // The request as the driver has to serve it: one that L1 refuses does not exist for it.
    Request settle(const Access &access, bool grant) override
    {
        Request now = request(engine.top); // comes from registers: settled since the clock edge
        now.valid &= grant;
        tcdm.show_engine(now.valid, now.write, now.addr, now.enable, now.data);
        for (uint32_t i = 0; i < TDCO_CORES; i++) {
            ask(cores[i]);
            tcdm.show_client(i, cores[i].req, cores[i].we, 0xF, TDCO_L1_BASE + 4 * cores[i].word, cores[i].wdata);
        }
        tcdm.settle();
        now.valid &= tcdm.engine_granted();
        engine.settle(access, now.valid);
        event = engine.event;
        const bool counted = alone || engine.top->busy;
        cycles += counted;
        const uint32_t granted = tcdm.granted();
        for (uint32_t i = 0; i < TDCO_CORES; i++)
            if (cores[i].req && (granted >> i & 1)) {
                finish(cores[i]);
                grants[i] += counted;
            }
        return asked = now;
    }

    void finish(Core &core)
    {
        core.req = false;
        core.reads = !core.we && core.word >= own_from;
        if (core.we)
            own[core.word - own_from] = core.wdata;
        else if (core.reads)
            core.wdata = own[core.word - own_from]; // what it must read
    }

    void edge(const uint32_t *words) override
    {
        tcdm.edge();
        for (uint32_t i = 0; i < TDCO_CORES; i++) {
            mismatches += cores[i].reads && tcdm.read_data(i) != cores[i].wdata;
            cores[i].reads = false;
        }
        uint32_t read[TDCO_PORT_WORDS];
        for (uint32_t i = 0; i < TDCO_PORT_WORDS; i++) {
            const bool meant = asked.valid && !asked.write && asked.enable[i];
            read[i] = meant ? tcdm.engine_data(i) : POISON;
            mismatches += read[i] != words[i];
        }
        engine.edge(read);
        read_data = engine.read_data;
    }
};

} // namespace

std::unique_ptr<Device> make_device() { return std::make_unique<Contended>(); }

} // namespace tdco
