// The Verilated engine and the cycle model side by side: the same register accesses and the same grants go to both, and
// whatever either shows is compared in every cycle. Each has its own copy of the memory, where addresses wrap around.
#include <memory>
#include <random>
#include <vector>

#include "Vredmule.h"
#include "model.hpp"
#include "rtl/port.hpp"
#include "verilated.h"

using namespace tdco;

namespace {

enum Pattern : uint32_t { ALWAYS, RANDOM, BURSTS, BLOCKS };

constexpr double REFUSED = 0.3;                                    // of RANDOM
constexpr uint32_t LONGEST_BURST = 20, BLOCK = 1000, APART = 3000; // cycles without grant; between blocks, on average
constexpr uint32_t REGISTERS = 0xA4 / 4;                           // as far as there are any, and gaps
constexpr uint64_t QUIET_CYCLES = 10'000;                          // without a grant or an event: both hang

struct Lockstep {
    std::vector<uint8_t> memories[2];
    VerilatedContext context{};
    std::unique_ptr<Vredmule> top = std::make_unique<Vredmule>(&context);
    model::Model model{true};
    std::mt19937 random{};
    Pattern pattern{};
    uint32_t refusals_left = 0;
    uint64_t cycle = 0, granted_cycles = 0, last_progress = 0;
    std::string difference{};

    explicit Lockstep(std::vector<uint8_t> memory);
    bool grants();
    void clock(const Access &access = {});
    void compare(const Request &rtl, const Request &mine);
    void serve(uint32_t which, const Request &request, uint32_t *words);
    uint32_t read(uint32_t offset);
    void read_all();
    void run(const uint32_t *words, uint32_t jobs, double disturbance);
    void disturb();
};

Lockstep::Lockstep(std::vector<uint8_t> memory) : memories{memory, memory}
{
    top->rst = 1;
    PORT(cfg, req) = PORT(cfg, we) = PORT(tcdm, gnt) = 0;
    for (int i = 0; i < 3; i++) {
        top->clk = 0;
        top->eval();
        top->clk = 1;
        top->eval();
        top->rst = i < 1;
    }
}

bool Lockstep::grants()
{
    if (refusals_left) {
        refusals_left--;
        return false;
    }
    const double dice = random() / 4294967296.0;
    switch (pattern) {
    case ALWAYS: return true;
    case RANDOM: return dice >= REFUSED;
    case BURSTS: refusals_left = dice < REFUSED / 10 ? 1 + random() % LONGEST_BURST : 0; return true;
    default: refusals_left = dice < 1.0 / APART ? BLOCK : 0; return true;
    }
}

void Lockstep::compare(const Request &rtl, const Request &mine)
{
    const auto differ = [&](const std::string &what, uint32_t of_rtl, uint32_t of_model) {
        if (difference.empty() && of_rtl != of_model)
            difference = what + " in cycle " + std::to_string(cycle) + ": RTL " + Job::hex(of_rtl) + ", model " + Job::hex(of_model);
    };
    differ("busy", top->busy, model.busy());
    differ("event", top->evt, model.event);
    differ("the event's job", top->evt_job, model.event_job);
    differ("request", rtl.valid, mine.valid);
    differ("direction", rtl.write, mine.write);
    differ("address", rtl.addr, mine.addr);
    for (uint32_t i = 0; i < TDCO_PORT_WORDS; i++) {
        differ("byte enables of word " + std::to_string(i), rtl.enable[i], mine.enable[i]);
        uint32_t mask = 0;
        for (uint32_t byte = 0; byte < 4; byte++)
            mask |= rtl.enable[i] >> byte & 1 ? 0xFFu << 8 * byte : 0;
        differ("stored word " + std::to_string(i), rtl.data[i] & mask, mine.data[i] & mask);
    }
}

// One cycle of both.
void Lockstep::clock(const Access &access)
{
    const bool grant = grants();
    PORT(cfg, req) = access.valid;
    PORT(cfg, we) = access.write;
    PORT(cfg, addr) = access.offset;
    PORT(cfg, wdata) = access.data;
    PORT(tcdm, gnt) = grant;
    top->clk = 0;
    top->eval();
    const Request rtl = request(top), mine = model.request();
    compare(rtl, mine);
    if ((rtl.valid && grant) || top->evt)
        last_progress = cycle;
    granted_cycles += rtl.valid && grant;
    uint32_t words[2][TDCO_PORT_WORDS];
    std::fill_n(words[0], 2 * TDCO_PORT_WORDS, POISON);
    if (rtl.valid && grant)
        serve(0, rtl, words[0]);
    if (mine.valid && grant)
        serve(1, mine, words[1]);

    top->clk = 1;
    top->eval();
    for (uint32_t i = 0; i < TDCO_PORT_WORDS; i++)
        set_word(PORT(tcdm, rdata), i, words[0][i]);
    model.step(access, grant, words[1]);
    cycle++;
}

void Lockstep::serve(uint32_t which, const Request &request, uint32_t *words)
{
    std::vector<uint8_t> &memory = memories[which];
    for (uint32_t byte = 0; byte < 4 * TDCO_PORT_WORDS; byte++) {
        if (!(request.enable[byte / 4] >> byte % 4 & 1))
            continue;
        uint8_t &stored = memory[(request.addr + byte) % memory.size()];
        if (request.write)
            stored = uint8_t(request.data[byte / 4] >> 8 * (byte % 4));
        else
            reinterpret_cast<uint8_t *>(words)[byte] = stored;
    }
}

uint32_t Lockstep::read(uint32_t offset)
{
    const bool busy = model.busy(); // the model has the flags of a multiply-add before the array has it
    clock({true, false, offset, 0});
    if (difference.empty() && PORT(cfg, rdata) != model.read_data && !(offset == TDCO_REG_FLAGS && busy))
        difference = "register " + Job::hex(offset) + " in cycle " + std::to_string(cycle - 1) + ": RTL "
            + Job::hex(PORT(cfg, rdata)) + ", model " + Job::hex(model.read_data);
    return PORT(cfg, rdata);
}

void Lockstep::read_all()
{
    for (uint32_t i = 0; i < REGISTERS; i++)
        read(4 * i);
}

// What software may do at any time: read and write any register, trigger with a full queue, clear, do nothing.
void Lockstep::disturb()
{
    const uint32_t dice = random() % 64;
    if (dice < 16)
        read(4 * (random() % REGISTERS));
    else if (dice < 20)
        clock({true, true, TDCO_REG_FLAGS, uint32_t(random())});
    else if (dice < 24)
        clock({true, true, TDCO_REG_TRIGGER, 0}); // the job before once more, or nothing if the queue is full
    else if (dice == 24)
        clock({true, true, TDCO_REG_SOFT_CLEAR, 0});
    else
        for (uint32_t pause = random() % (dice == 25 ? 1000 : 20); pause; pause--)
            clock();
}

// Pushes jobs as the queue takes them, and waits for the end.
void Lockstep::run(const uint32_t *words, uint32_t jobs, double disturbance)
{
    last_progress = cycle;
    const auto hangs = [&] {
        if (difference.empty() && cycle - last_progress > QUIET_CYCLES)
            difference = "both hang in cycle " + std::to_string(cycle);
        return !difference.empty();
    };
    for (uint32_t j = 0; j < jobs && !hangs(); j++) {
        const auto meddle = [&] {
            if (random() < disturbance * 4294967296.0)
                disturb();
        };
        while (read(TDCO_REG_ACQUIRE) == QUEUE_FULL && !hangs())
            meddle();
        for (uint32_t i = 0; i < TDCO_JOB_WORDS; i++) {
            clock({true, true, TDCO_REG_X_ADDR + 4 * i, words[j * TDCO_JOB_WORDS + i]});
            meddle();
        }
        clock({true, true, TDCO_REG_TRIGGER, 0});
        meddle();
    }
    while (model.busy() && !hangs())
        clock();
    for (uint32_t i = 0; i < 8; i++)
        clock();
    read_all();
    if (difference.empty() && memories[0] != memories[1])
        difference = "the memories";
}

} // namespace

extern "C" {

// `bytes` a power of two.
Lockstep *lockstep_open(const uint8_t *memory, uint32_t bytes) { return new Lockstep({memory, memory + bytes}); }

// Runs a queue of jobs; what differed first, or "". `report`: cycles and grants of the run.
const char *lockstep_run(
    Lockstep *both, const uint32_t *words, uint32_t jobs, uint32_t pattern, double disturbance, uint32_t seed, uint64_t *report)
{
    both->pattern = Pattern(pattern);
    both->random.seed(seed);
    both->refusals_left = 0;
    const uint64_t cycle = both->cycle, granted = both->granted_cycles;
    both->run(words, jobs, disturbance);
    report[0] = both->cycle - cycle;
    report[1] = both->granted_cycles - granted;
    return both->difference.c_str();
}

void lockstep_close(Lockstep *both)
{
    both->top->final();
    delete both;
}
}
