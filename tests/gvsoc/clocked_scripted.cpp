// A ClockedEngine whose device is a script: random requests, and a check of all that comes back. The memory takes words
// with random latency.
#include <random>
#include <string>
#include <vector>

#include "clocked.hpp"

namespace {

constexpr uint32_t BASE = 0x1000, WORDS = 64;

std::mt19937 random_bits;
std::string problem;
std::vector<uint8_t> memory(4 * WORDS);
int64_t now, sent_at, slowest, requests;
uint32_t reads_seen;

uint32_t draw(uint32_t below) { return random_bits() % below; }

void expect(bool holds, const std::string &what)
{
    if (!holds && problem.empty())
        problem = what + " in cycle " + std::to_string(now);
}

struct Script final : tdco::Device {
    tdco::Request up;
    bool taken = false;
    std::vector<uint8_t> wanted;

    void reset() override { up = {}; }

    tdco::Request settle(const tdco::Access &access, bool granted) override
    {
        expect(access.offset == 4 * uint32_t(now % 8), "another register access");
        expect(std::fegetround() == FE_TONEAREST, "another rounding mode");
        if (!up.valid && !taken && draw(4) == 0)
            ask();
        taken = granted;
        event = now % 5 == 0;
        return up;
    }

    void edge(const uint32_t *words) override
    {
        read_data = uint32_t(now) + 1;
        expect(taken == (up.valid && now == sent_at + slowest), "a grant at another time");
        for (uint32_t i = 0; i < TDCO_PORT_WORDS; i++) {
            uint32_t word = tdco::POISON;
            if (taken && !up.write && up.enable[i])
                std::memcpy(&word, &wanted[4 * i], 4);
            expect(words[i] == word, "another word read");
        }
        if (taken && up.write)
            expect(memory == wanted, "another memory after a write");
        if (taken)
            up = {};
        taken = false;
    }

    void ask()
    {
        up.valid = true;
        up.write = draw(2);
        up.addr = BASE + 4 * draw(WORDS - TDCO_PORT_WORDS + 1);
        const uint32_t first = draw(2 * TDCO_PORT_WORDS), last = first + draw(2 * TDCO_PORT_WORDS - first); // halfwords
        for (uint32_t i = 0; i < TDCO_PORT_WORDS; i++) {
            for (uint32_t half = 0; half < 2; half++)
                if (first <= 2 * i + half && 2 * i + half <= last)
                    up.enable[i] |= uint8_t(3 << 2 * half);
            up.data[i] = uint32_t(random_bits());
        }
        const uint32_t at = up.addr - BASE;
        wanted = up.write ? memory : std::vector<uint8_t>(memory.begin() + at, memory.begin() + at + 4 * TDCO_PORT_WORDS);
        for (uint32_t i = 0; up.write && i < 4 * TDCO_PORT_WORDS; i++)
            if (up.enable[i / 4] >> i % 4 & 1)
                wanted[at + i] = uint8_t(up.data[i / 4] >> 8 * (i % 4));
        sent_at = now;
        slowest = 0;
        requests++;
    }
};

int64_t access_word(uint32_t addr, uint8_t *bytes, uint32_t count, bool write, uint32_t max_latency)
{
    expect(now == sent_at, "a word that nobody asked for");
    expect(addr >= BASE && addr + count <= BASE + 4 * WORDS, "an address outside the memory");
    expect(count && addr / 4 == (addr + count - 1) / 4, "bytes of two words");
    expect(write || count == 4, "a read of less than a word");
    if (write)
        std::memcpy(&memory[addr - BASE], bytes, count);
    else
        std::memcpy(bytes, &memory[addr - BASE], count);
    const int64_t latency = draw(max_latency + 1);
    slowest = std::max(slowest, latency);
    return latency;
}

} // namespace

std::unique_ptr<tdco::Device> tdco::make_device() { return std::make_unique<Script>(); }

// What was wrong, or nothing; the requests made in `cycles` go to *made.
extern "C" const char *run_script(uint32_t seed, uint32_t max_latency, int64_t cycles, int64_t *made)
{
    random_bits.seed(seed);
    problem.clear();
    requests = 0;
    for (uint8_t &byte : memory)
        byte = uint8_t(draw(256));
    tdco::ClockedEngine engine;
    const int modes[] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};
    for (now = 1; now <= cycles; now++) {
        const int mode = modes[now % 4];
        std::fesetround(mode);
        engine.cycle(now, {true, false, 4 * uint32_t(now % 8), 0},
            [=](uint32_t addr, uint8_t *bytes, uint32_t count, bool write) {
                return access_word(addr, bytes, count, write, max_latency);
            });
        expect(std::fegetround() == mode, "the rounding mode is not given back");
        expect(engine.event == (now % 5 == 0) && engine.read_data == uint32_t(now) + 1, "another event or register");
        std::fesetround(FE_TONEAREST);
    }
    *made = requests;
    return problem.c_str();
}
