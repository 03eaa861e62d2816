// A hostile memory around the Verilated engine, and a monitor that checks in every cycle what the engine promises:
//  - a request is stable until granted and does not depend on the grant;
//  - a read touches bytes of one operand of one job that may load already; a store touches bytes of Z of the oldest
//    job, each of them once;
//  - the event of a job follows its last store by one cycle, ids are in order, the lock locks;
//  - counters are what the port and the registers showed: grants, refusals, busy cycles, jobs and MACs exactly, stalls
//    as the cycles that the array's own work and the way to and from it leave;
//  - after SOFT_CLEAR there is no new request and no event, and the engine idles at once, or after the grant of a
//    request that was refused in that cycle.
// Values are the caller's business.
#include <algorithm>
#include <memory>
#include <random>
#include <vector>

#include "Vredmule.h"
#include "job.hpp"
#include "port.hpp"
#include "verilated.h"

using namespace tdco;

namespace {

enum Stall : uint32_t { NONE, RANDOM, BURSTS, HELD, STARVE_X, STARVE_W, STARVE_Y, STARVE_Z };
enum Stream : uint32_t { X, W, Y, Z, STREAMS };

constexpr uint32_t MOST_JOBS = 8; // of a run: a bit for each operand of each job must fit readers[]
constexpr uint32_t HELD_CYCLES = 1000, HELD_EVERY = 100, LONGEST_BURST = 60, LONGEST_PAUSE = 200;
constexpr double STARVED = 0.9;
constexpr uint32_t STALL_REGISTERS[3] = {TDCO_REG_STALL_X, TDCO_REG_STALL_W, TDCO_REG_STALL_YZ};
constexpr uint32_t PASSAGE_CYCLES = 12; // of a job, from TRIGGER to the array's control, and from the last sum to a request
// With data there, the array is busy for two blocks of X at most before something must move on the port.
constexpr uint32_t QUIET_CYCLES = 4 * TDCO_TILE_COLS * (TDCO_PIPE + 1) + 100;

typedef struct {
    uint32_t stall, seed;
    double probability;   // of RANDOM and, a tenth of it for the start of one, of BURSTS
    uint32_t clear_after; // cycles from the first TRIGGER to SOFT_CLEAR; 0: never
} Scenario;

typedef struct {
    uint64_t cycles; // first TRIGGER to last event
    uint64_t granted;
    uint32_t finished, flags, cleared;
    uint32_t stalls[3]; // STALL_X, STALL_W and STALL_YZ, since they were cleared
} Report;

typedef struct {
    uint32_t queued; // another job was in the queue when it was triggered
    uint32_t refused[STREAMS];
} JobReport;

struct Counters {
    uint32_t busy, granted, refused, jobs, finished;
    uint64_t macs;
    bool operator==(const Counters &) const = default;
    std::string describe() const
    {
        return "busy " + std::to_string(busy) + ", granted " + std::to_string(granted) + ", refused "
            + std::to_string(refused) + ", jobs " + std::to_string(jobs) + ", finished " + std::to_string(finished)
            + ", MACs " + std::to_string(macs);
    }
};

struct Stress {
    uint8_t *l1;
    uint32_t l1_base, l1_bytes;
    std::string error{};
    VerilatedContext context{};
    std::unique_ptr<Vredmule> top = std::make_unique<Vredmule>(&context);

    Scenario scenario{};
    std::mt19937 random{};
    uint32_t refusals_left = 0;

    std::vector<Job> jobs{};
    std::vector<JobReport> reports{};
    std::vector<uint32_t> readers{}; // per byte: bit 4 * job + stream
    std::vector<uint8_t> unstored{}; // bytes of Z of jobs[stored] that are still to come
    uint32_t triggered = 0, stored = 0, events = 0, next_id = 0; // jobs so far; the id of jobs[triggered]
    uint64_t bytes_left = 0;
    uint64_t cycle = 0, last_progress = 0, last_event = 0, last_store = 0, first_trigger = 0, idle_trigger = 0;
    Counters counted{};
    // Since the counters were cleared: cycles of the array for the jobs that finished; at most so many in which a job
    // was there and the array neither worked for it nor counted a stall.
    uint64_t array_cycles = 0, other_cycles = 0;
    Request waiting{};
    bool cleared = false;

    Stress(uint8_t *memory, uint32_t base, uint32_t bytes);
    void fail(const std::string &what);
    void clock();
    bool grants(const Request &now, uint32_t stream, uint32_t job);
    void check_event();
    uint32_t check_read(const Request &now);
    void check_write(const Request &now);
    void begin_store();
    void answer(const Request &now);
    uint32_t read(uint32_t offset);
    void write(uint32_t offset, uint32_t value);
    void start(const uint32_t *words, uint32_t count);
    bool cut() const;
    void acquire();
    void submit(const uint32_t *words);
    void disturb();
    void clear();
    void check_counters();
    void run(const uint32_t *words, Report &report);
};

uint64_t up(uint32_t size, uint32_t step) { return (size + step - 1) / step; }

uint32_t first_byte(const Request &r)
{
    uint32_t byte = 0;
    while (byte < 4 * TDCO_PORT_WORDS && !(r.enable[byte / 4] >> byte % 4 & 1))
        byte++;
    return byte;
}

Stress::Stress(uint8_t *memory, uint32_t base, uint32_t bytes) : l1(memory), l1_base(base), l1_bytes(bytes)
{
    readers.resize(bytes);
    unstored.resize(bytes);
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

void Stress::fail(const std::string &what)
{
    if (error.empty())
        error = what + ", in cycle " + std::to_string(cycle - first_trigger)
            + (stored < jobs.size() ? ", job " + std::to_string(stored) + ": " + jobs[stored].describe() : "");
}

// One cycle. The request comes out of registers, so it is known before the grant; the data of a read follow the edge.
void Stress::clock()
{
    const Request now = request(top);
    uint32_t stream = Z, job = stored;
    if (waiting.valid && !(now == waiting))
        fail("the request changed before it was granted");
    if (now.valid) {
        if (cleared && !waiting.valid)
            fail("a new request after SOFT_CLEAR");
        if (now.write) {
            check_write(now);
        } else if (const uint32_t owner = check_read(now); owner) {
            stream = uint32_t(__builtin_ctz(owner)) % 4;
            job = uint32_t(__builtin_ctz(owner)) / 4;
        }
        last_progress = cycle;
    }
    const bool granted = now.valid && error.empty() && grants(now, stream, job);
    PORT(tcdm, gnt) = now.valid ? granted : random() & 1;
    top->clk = 0;
    top->eval();
    if (!(request(top) == now))
        fail("the request depends on the grant");
    if (top->evt)
        check_event();
    waiting = now.valid && !granted ? now : Request{};
    top->clk = 1;
    top->eval();
    Request answered = now;
    answered.valid = granted;
    answer(answered);
    cycle++;
}

bool Stress::grants(const Request &now, uint32_t stream, uint32_t job)
{
    const auto chance = [&](double p) { return random() < p * 4294967296.0; };
    bool refused = refusals_left != 0;
    if (refused)
        refusals_left--;
    else if (scenario.stall == RANDOM)
        refused = chance(scenario.probability);
    else if (scenario.stall == BURSTS && chance(scenario.probability / 10))
        refusals_left = 1 + random() % LONGEST_BURST;
    else if (scenario.stall == HELD && random() % HELD_EVERY == 0)
        refusals_left = HELD_CYCLES;
    else if (scenario.stall >= STARVE_X)
        refused = scenario.stall - STARVE_X == stream && chance(STARVED);
    (refused ? counted.refused : counted.granted)++;
    other_cycles += now.write; // the array may have nothing left to do
    if (refused && job < reports.size())
        reports[job].refused[stream]++;
    return !refused && now.valid;
}

void Stress::check_event()
{
    if (cleared)
        return fail("an event after SOFT_CLEAR");
    if (events == triggered)
        return fail("an event without a job");
    const Job &job = jobs[events];
    if (top->evt_job != ((next_id - (triggered - events)) & 0xFF))
        fail("the event of job " + std::to_string(events) + " has another id: " + std::to_string(top->evt_job));
    if (job.illegal ? stored != events : stored != events + 1 || last_store + 1 != cycle)
        fail("the event does not follow the last store");
    if (job.illegal) {
        stored++;
        begin_store();
    } else {
        counted.macs += uint64_t(job.m) * job.n * job.k;
        const uint64_t tiles = up(job.m, TDCO_ROWS) * up(job.n, TDCO_TILE_COLS);
        array_cycles += tiles * up(job.k, TDCO_COLS) * TDCO_TILE_COLS;
        // Sums leave the array a slot after the last; empty slots may follow, of which only the first cycle is a stall.
        other_cycles += tiles * (TDCO_TILE_COLS + 3 * (TDCO_PIPE + 1));
    }
    other_cycles += PASSAGE_CYCLES;
    events++;
    counted.jobs++;
    counted.finished++;
    last_event = last_progress = cycle;
    if (events == triggered)
        counted.busy += uint32_t(cycle - idle_trigger);
}

// The owners of a read, as bits of readers[]; all its bytes belong to them. 0 and an error if there are none.
uint32_t Stress::check_read(const Request &now)
{
    uint32_t owners = 0;
    for (uint32_t j = stored; j < triggered; j++)
        if (!jobs[j].illegal && (!jobs[j].has(TDCO_JOB_AFTER) || j == stored))
            owners |= 7u << 4 * j;
    const uint32_t first = first_byte(now);
    uint32_t end = first;
    bool gap = false;
    for (uint32_t byte = first; byte < 4 * TDCO_PORT_WORDS; byte++) {
        if (!(now.enable[byte / 4] >> byte % 4 & 1))
            continue;
        gap |= byte != end;
        end = byte + 1;
        const uint32_t offset = now.addr + byte - l1_base;
        owners &= offset < l1_bytes ? readers[offset] : 0;
    }
    if ((now.addr & 3) || first == end || gap || first > 3)
        fail("a malformed request");
    else if (!owners && !waiting.valid)
        fail("a read of bytes that are no operand's, or not yet, at " + Job::hex(now.addr + first));
    return owners;
}

void Stress::check_write(const Request &now)
{
    uint32_t bytes = 0;
    for (uint32_t byte = 0; byte < 4 * TDCO_PORT_WORDS; byte++) {
        if (!(now.enable[byte / 4] >> byte % 4 & 1))
            continue;
        bytes++;
        const uint32_t offset = now.addr + byte - l1_base;
        if (offset >= l1_bytes || !unstored[offset])
            return fail("a store to " + Job::hex(now.addr + byte) + ", which is not of Z or was written before");
    }
    if ((now.addr & 3) || !bytes)
        fail("a malformed request");
}

void Stress::begin_store()
{
    if (stored >= jobs.size() || jobs[stored].illegal)
        return;
    const Operand &z = jobs[stored].z;
    for (uint32_t i = 0; i < z.rows; i++)
        for (uint32_t j = 0; j < z.cols; j++)
            std::memset(&unstored[size_t(z.at(i, j) - l1_base)], 1, 2);
    bytes_left = 2ull * z.rows * z.cols;
}

// After the edge: a store takes effect, a read gets its bytes and noise around them.
void Stress::answer(const Request &now)
{
    for (uint32_t i = 0; i < TDCO_PORT_WORDS; i++) {
        uint32_t word = POISON ^ uint32_t(cycle & 0xFF) * 0x01010101;
        for (uint32_t byte = 0; now.valid && byte < 4; byte++) {
            if (!(now.enable[i] >> byte & 1))
                continue;
            const uint32_t offset = now.addr + 4 * i + byte - l1_base;
            if (now.write) {
                l1[offset] = uint8_t(now.data[i] >> 8 * byte);
                unstored[offset] = 0;
                bytes_left--;
            } else {
                word = (word & ~(0xFFu << 8 * byte)) | uint32_t(l1[offset]) << 8 * byte;
            }
        }
        set_word(PORT(tcdm, rdata), i, word);
    }
    if (now.valid && now.write && bytes_left == 0) {
        last_store = cycle;
        stored++;
        begin_store();
    }
}

uint32_t Stress::read(uint32_t offset)
{
    PORT(cfg, req) = 1;
    PORT(cfg, we) = 0;
    PORT(cfg, addr) = offset;
    clock();
    PORT(cfg, req) = 0;
    return PORT(cfg, rdata);
}

void Stress::write(uint32_t offset, uint32_t value)
{
    PORT(cfg, req) = 1;
    PORT(cfg, we) = 1;
    PORT(cfg, addr) = offset;
    PORT(cfg, wdata) = value;
    clock();
    PORT(cfg, req) = 0;
}

void Stress::start(const uint32_t *words, uint32_t count)
{
    std::fill(readers.begin(), readers.end(), 0);
    std::fill(unstored.begin(), unstored.end(), 0);
    jobs.clear();
    for (uint32_t j = 0; j < count; j++)
        jobs.emplace_back(words + j * TDCO_JOB_WORDS);
    reports.assign(count, {});
    triggered = stored = events = 0;
    bytes_left = refusals_left = 0;
    cleared = false;
    first_trigger = last_progress = cycle;
    random.seed(scenario.seed);
    for (uint32_t j = 0; j < count; j++) {
        if (jobs[j].illegal)
            continue;
        if (const std::string outside = jobs[j].outside(l1_base, l1_bytes); !outside.empty())
            return fail(outside);
        const Operand *operands[] = {&jobs[j].x, &jobs[j].w, &jobs[j].y};
        for (uint32_t o = X; o <= (jobs[j].has(TDCO_JOB_Y) ? Y : W); o++)
            for (uint32_t line = 0; line < operands[o]->rows; line++)
                for (uint32_t i = 0; i < operands[o]->cols; i++)
                    for (uint32_t byte = 0; byte < 2; byte++)
                        readers[size_t(operands[o]->at(line, i) - l1_base + byte)] |= 1u << (4 * j + o);
    }
    begin_store();
}

// SOFT_CLEAR is due, or all is over.
bool Stress::cut() const
{
    return !error.empty() || (scenario.clear_after && triggered && cycle - first_trigger >= scenario.clear_after);
}

// Wait for room in the queue and take the lock.
void Stress::acquire()
{
    last_progress = cycle;
    while (!cut()) {
        const uint32_t in_queue = triggered - events - top->evt;
        if (in_queue == TDCO_QUEUE_JOBS && random() % 4 == 0)
            write(TDCO_REG_TRIGGER, 0); // the queue is full: ignored
        const uint32_t id = read(TDCO_REG_ACQUIRE);
        if (id == QUEUE_FULL) {
            if (cycle - last_progress > QUIET_CYCLES)
                return fail("hang: the queue stays full");
            continue;
        }
        if (id != (next_id & 0xFF))
            fail("ACQUIRE gave id " + std::to_string(id) + ", not " + std::to_string(next_id & 0xFF));
        if (read(TDCO_REG_ACQUIRE) != LOCKED)
            fail("the lock was given twice");
        return;
    }
}

void Stress::submit(const uint32_t *words)
{
    for (uint32_t i = 0; i < TDCO_JOB_WORDS && !cut(); i++)
        write(TDCO_REG_X_ADDR + 4 * i, words[i]);
    if (cut())
        return;
    const bool idle = triggered == events + top->evt;
    if (triggered == 0)
        first_trigger = cycle;
    reports[triggered].queued = !idle;
    const uint64_t at = cycle;
    write(TDCO_REG_TRIGGER, 0); // the event of the job before may come in this cycle
    if (idle)
        idle_trigger = at;
    triggered++;
    next_id++;
}

// What other software does meanwhile: job registers change, time passes.
void Stress::disturb()
{
    if (random() % 3 == 0)
        for (uint32_t i = 0; i < TDCO_JOB_WORDS && !cut(); i++)
            write(TDCO_REG_X_ADDR + 4 * i, random());
    if (random() % 3 == 0)
        for (uint32_t pause = random() % LONGEST_PAUSE; pause && !cut(); pause--)
            clock();
}

void Stress::clear()
{
    write(TDCO_REG_SOFT_CLEAR, 0);
    cleared = true;
    next_id = 0;
    if (waiting.valid)
        clock();
    counted = {};
    array_cycles = other_cycles = 0; // from here on the engine counts again, if only a request that is still up
    while (waiting.valid && error.empty())
        clock();
    if (top->busy)
        fail("busy after SOFT_CLEAR, and no refused request is up");
    for (uint32_t offset : {TDCO_REG_STATUS, TDCO_REG_FLAGS, TDCO_REG_STALL_X, TDCO_REG_STALL_W, TDCO_REG_STALL_YZ,
                            TDCO_REG_RUNNING_JOB})
        if (read(offset) != 0)
            fail("register " + Job::hex(offset) + " is not 0 after SOFT_CLEAR");
    check_counters();
}

void Stress::check_counters()
{
    Counters c{};
    c.busy = read(TDCO_REG_CYCLES_BUSY);
    c.granted = read(TDCO_REG_GRANTED);
    c.refused = read(TDCO_REG_STALL_PORT);
    c.jobs = read(TDCO_REG_JOBS);
    c.finished = read(TDCO_REG_FINISHED);
    c.macs = read(TDCO_REG_MACS_LO) | uint64_t(read(TDCO_REG_MACS_HI)) << 32;
    if (c != counted)
        fail("counters: " + c.describe() + "; the monitor counted " + counted.describe());
    uint64_t stalls = 0;
    for (uint32_t offset : STALL_REGISTERS)
        stalls += read(offset);
    if (stalls + array_cycles > c.busy || stalls + array_cycles + other_cycles < c.busy)
        fail("stalls: " + std::to_string(stalls) + " of " + std::to_string(c.busy) + " busy cycles, the array worked "
             + std::to_string(array_cycles) + ", at most " + std::to_string(other_cycles) + " are neither");
}

void Stress::run(const uint32_t *words, Report &report)
{
    write(TDCO_REG_FLAGS, 0xFFFFFFFF);
    const uint32_t granted = counted.granted;
    while (triggered < jobs.size() && !cut()) {
        acquire();
        submit(words + triggered * TDCO_JOB_WORDS);
        disturb();
    }
    while (events < jobs.size() && !cut()) {
        clock();
        if (cycle - last_progress > QUIET_CYCLES)
            fail("hang: nothing moved for " + std::to_string(QUIET_CYCLES) + " cycles");
    }
    report = {events ? last_event - first_trigger : 0, counted.granted - granted, events, 0, 0, {}};
    if (!error.empty())
        return;
    if (events < jobs.size()) {
        clear();
        report.cleared = 1;
        report.finished = events;
        return;
    }
    report.flags = read(TDCO_REG_FLAGS);
    check_counters();
    for (uint32_t i = 0; i < 3; i++)
        report.stalls[i] = read(STALL_REGISTERS[i]);
    if (read(TDCO_REG_STATUS) != 0 || top->busy)
        fail("busy after the last event");
    if (read(TDCO_REG_RUNNING_JOB) != ((next_id - 1) & 0xFF))
        fail("RUNNING_JOB is not the last job");
}

} // namespace

extern "C" {

Stress *tdco_stress_open(uint8_t *l1, uint32_t l1_base, uint32_t l1_bytes) { return new Stress(l1, l1_base, l1_bytes); }

// Runs up to 8 jobs; 0, or -1 and tdco_stress_error() says what went wrong first. The engine is of no use after that.
int tdco_stress_run(
    Stress *stress, const uint32_t *words, uint32_t jobs, const Scenario *scenario, Report *report, JobReport *of_jobs)
{
    if (jobs > MOST_JOBS)
        stress->fail("more jobs than the monitor can follow");
    stress->scenario = *scenario;
    if (stress->error.empty())
        stress->start(words, jobs);
    if (stress->error.empty())
        stress->run(words, *report);
    std::copy(stress->reports.begin(), stress->reports.end(), of_jobs);
    return stress->error.empty() ? 0 : -1;
}

const char *tdco_stress_error(const Stress *stress) { return stress->error.c_str(); }

void tdco_stress_close(Stress *stress)
{
    stress->top->final();
    delete stress;
}
}
