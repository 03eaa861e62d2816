// A device behind engine.h: its registers are written as a driver would, its memory port reads and writes L1, and
// everything the port's protocol promises is checked in every cycle.
#include <algorithm>
#include <random>
#include <vector>

#include "device.hpp"
#include "engine.h"
#include "job.hpp"

using namespace tdco;

namespace {

constexpr uint64_t WATCHDOG_CYCLES = 10'000; // without a grant or an event

} // namespace

struct tdco_engine {
    uint8_t *l1;
    uint32_t l1_base, l1_bytes;
    tdco_engine_stats stats{};
    std::string error{};
    uint32_t id = 0;

    std::unique_ptr<Device> device = make_device();
    uint64_t cycle = 0, last_progress = 0, last_event = 0, events = 0;
    Request waiting{}; // the request of the cycle before, if it was not granted
    std::vector<uint8_t> may_read{}, may_write{}; // per byte of L1, by the jobs under way
    uint64_t guard_errors = 0;
    uint32_t stall_threshold = 0; // of 2^32: probability of not granting
    std::mt19937 random{};

    void start();
    void reset();
    void clock(const Access &access = {});
    void serve(const Request &request, uint32_t *words);
    uint32_t read(uint32_t offset);
    void write(uint32_t offset, uint32_t value);
    void allow(const Job &job);
    uint64_t run(const uint32_t *words, uint32_t jobs);
    void fail(const std::string &what)
    {
        if (error.empty())
            error = what + ", in cycle " + std::to_string(cycle);
    }
};

void tdco_engine::start()
{
    may_read.resize(l1_bytes);
    may_write.resize(l1_bytes);
    reset();
    id = read(TDCO_REG_ID);
}

void tdco_engine::reset()
{
    waiting = {};
    device->reset();
    last_progress = cycle;
}

// One cycle: inputs settle, the memory answers the request, the clock rises.
void tdco_engine::clock(const Access &access)
{
    const bool grant = stall_threshold == 0 || random() >= stall_threshold;
    const Request now = device->settle(access, grant);
    if (device->event) {
        events++;
        last_event = last_progress = cycle;
    }
    if (waiting.valid && !(now == waiting))
        fail("the memory request changed before it was granted");
    waiting = now.valid && !grant ? now : Request{};
    uint32_t words[TDCO_PORT_WORDS];
    std::fill_n(words, TDCO_PORT_WORDS, POISON);
    if (now.valid && grant)
        serve(now, words);
    device->edge(words);
    cycle++;
}

void tdco_engine::serve(const Request &request, uint32_t *words)
{
    last_progress = cycle;
    if (request.addr & 3)
        fail("access to " + Job::hex(request.addr) + ", which is not a word's address");
    for (uint32_t i = 0; i < TDCO_PORT_WORDS; i++) {
        if (!request.enable[i])
            continue;
        const uint32_t offset = (request.addr & ~3u) + 4 * i - l1_base;
        if (offset >= l1_bytes) {
            fail((request.write ? "write to " : "read of ") + Job::hex(l1_base + offset) + ", outside L1");
            continue;
        }
        if (!request.write) {
            std::memcpy(&words[i], l1 + offset, sizeof words[i]);
            guard_errors += !(may_read[offset] | may_read[offset + 1] | may_read[offset + 2] | may_read[offset + 3]);
            continue;
        }
        for (uint32_t byte = 0; byte < 4; byte++)
            if (request.enable[i] >> byte & 1) {
                l1[offset + byte] = uint8_t(request.data[i] >> 8 * byte);
                guard_errors += !may_write[offset + byte];
            }
    }
}

uint32_t tdco_engine::read(uint32_t offset)
{
    clock({true, false, offset, 0});
    return device->read_data;
}

void tdco_engine::write(uint32_t offset, uint32_t value) { clock({true, true, offset, value}); }

// Marks the bytes that a legal job inside L1 may read and write.
void tdco_engine::allow(const Job &job)
{
    const auto mark = [&](std::vector<uint8_t> &bytes, const Operand &o) {
        for (uint32_t i = 0; i < o.rows; i++)
            for (uint32_t j = 0; j < o.cols; j++)
                std::memset(&bytes[size_t(o.at(i, j) - l1_base)], 1, 2);
    };
    mark(may_read, job.x);
    mark(may_read, job.w);
    if (job.has(TDCO_JOB_Y))
        mark(may_read, job.y);
    mark(may_write, job.z);
}

// Runs jobs, handing over the next as soon as the queue has room: cycles from the first TRIGGER to the last event.
uint64_t tdco_engine::run(const uint32_t *words, uint32_t jobs)
{
    std::fill(may_read.begin(), may_read.end(), 0);
    std::fill(may_write.begin(), may_write.end(), 0);
    for (uint32_t j = 0; j < jobs; j++) {
        const Job job(words + j * TDCO_JOB_WORDS);
        if (job.illegal)
            continue;
        if (const std::string outside = job.outside(l1_base, l1_bytes); !outside.empty()) {
            error = outside;
            return 0;
        }
        allow(job);
    }
    const uint64_t events_before = events;
    uint64_t first_trigger = 0;
    last_progress = cycle;
    for (uint32_t j = 0; j < jobs || events - events_before < jobs;) {
        if (j == jobs) {
            clock();
        } else if (read(TDCO_REG_ACQUIRE) != QUEUE_FULL) {
            for (uint32_t i = 0; i < TDCO_JOB_WORDS; i++)
                write(TDCO_REG_X_ADDR + 4 * i, words[j * TDCO_JOB_WORDS + i]);
            if (j++ == 0)
                first_trigger = cycle;
            write(TDCO_REG_TRIGGER, 0);
        }
        if (cycle - last_progress > WATCHDOG_CYCLES)
            fail("no memory access granted and no event for " + std::to_string(WATCHDOG_CYCLES) + " cycles: hang");
        if (!error.empty()) {
            const uint64_t at = std::min<uint64_t>(events - events_before, jobs - 1);
            error += ", job " + Job(words + at * TDCO_JOB_WORDS).describe();
            reset();
            return 0;
        }
    }
    const uint64_t cycles = last_event - first_trigger;
    stats.cycles += cycles;
    stats.jobs += jobs;
    stats.busy += read(TDCO_REG_CYCLES_BUSY);
    stats.macs += read(TDCO_REG_MACS_LO) | uint64_t(read(TDCO_REG_MACS_HI)) << 32;
    return cycles;
}

extern "C" {

tdco_engine *tdco_engine_open(uint8_t *l1, uint32_t l1_base, uint32_t l1_bytes)
{
    auto *engine = new tdco_engine{l1, l1_base, l1_bytes};
    engine->start();
    return engine;
}

const char *tdco_engine_error(const tdco_engine *engine) { return engine->error.c_str(); }
void tdco_engine_get_stats(const tdco_engine *engine, tdco_engine_stats *stats) { *stats = engine->stats; }
uint32_t tdco_engine_id(const tdco_engine *engine) { return engine->id; }

void tdco_engine_close(tdco_engine *engine) { delete engine; }

typedef struct {
    uint64_t cycles;       // first TRIGGER to last event
    uint64_t guard_errors; // bytes written outside Z, words read that hold no operand byte
    uint32_t flags;        // STATUS_FLAGS bits the jobs raised
} tdco_engine_report;

// Runs `jobs` jobs through the queue; 0, or -1 and tdco_engine_error() says why.
int tdco_engine_run_queue(tdco_engine *engine, const uint32_t *words, uint32_t jobs, tdco_engine_report *report)
{
    engine->error.clear();
    engine->guard_errors = 0;
    engine->write(TDCO_REG_SOFT_CLEAR, 0); // counters and flags are then this run's
    report->cycles = engine->run(words, jobs);
    report->guard_errors = engine->guard_errors;
    if (!engine->error.empty())
        return -1;
    report->flags = engine->read(TDCO_REG_FLAGS);
    return 0;
}

int tdco_engine_run(tdco_engine *engine, const uint32_t *words)
{
    tdco_engine_report report;
    if (tdco_engine_run_queue(engine, words, 1, &report) != 0)
        return -1;
    if (report.guard_errors == 0)
        return int(report.flags);
    engine->error = std::to_string(report.guard_errors) + " accesses outside the operands of job " + Job(words).describe();
    return -1;
}

// From now on a cycle passes without grant with this probability, below 1.
void tdco_engine_set_stall(tdco_engine *engine, double probability, uint32_t seed)
{
    engine->stall_threshold = uint32_t(probability * 4294967296.0);
    engine->random.seed(seed);
}

// From now on every core requests random words of L1 at this rate, on a device that has an L1 of its own.
void tdco_engine_set_traffic(tdco_engine *engine, double rate, uint32_t seed)
{
    Contention *const contention = engine->device->contention();
    contention->rate = rate;
    contention->start(engine->l1, engine->l1_bytes, seed);
}

// Lets the cores go on alone for so many cycles.
void tdco_engine_run_cores(tdco_engine *engine, uint64_t cycles)
{
    engine->device->contention()->alone = true;
    for (uint64_t i = 0; i < cycles; i++)
        engine->clock();
    engine->device->contention()->alone = false;
}

// Since set_traffic: cycles counted, each core's grants in them, and what L1 holds or gave that was not right.
uint64_t tdco_engine_get_traffic(tdco_engine *engine, uint64_t *grants, uint64_t *mismatches)
{
    Contention *const contention = engine->device->contention();
    std::copy_n(contention->grants, TDCO_CORES, grants);
    *mismatches = contention->mismatches + contention->differing_bytes(engine->l1, engine->l1_bytes);
    return contention->cycles;
}
}
