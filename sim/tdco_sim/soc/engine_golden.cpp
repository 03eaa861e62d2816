// The golden arithmetic with ideal timing: a job takes the array's own cycles, its memory traffic none. Results
// appear in L1 when the job ends.
#include <algorithm>
#include <deque>

#include "engine.h"
#include "engine_device.hpp"
#include "job.hpp"

namespace soc {
namespace {

constexpr uint32_t FILL_CYCLES = 58; // first loads and last stores of a job

uint64_t blocks(uint32_t size, uint32_t block) { return (size + block - 1) / block; }

struct Job {
    uint32_t words[TDCO_JOB_WORDS];

    uint64_t cycles() const
    {
        const uint32_t m = words[8] & 0xFFFF, n = words[8] >> 16, k = words[9] & 0xFFFF;
        return uint64_t(TDCO_PIPE + 1) * TDCO_COLS * blocks(k, TDCO_COLS) * blocks(m, TDCO_ROWS) *
               blocks(n, TDCO_TILE_COLS);
    }
};

struct GoldenEngine final : EngineDevice {
    const uint64_t &now;
    Tcdm &tcdm;
    Fault &fault;
    tdco_engine *engine;
    uint32_t words[TDCO_JOB_WORDS] = {};
    std::deque<Job> queue;
    uint64_t end_cycle_of_job = 0, busy_cycles = 0, busy_since = 0;
    uint32_t finished = 0, flags = 0, seen_flags = 0, committed = 0;
    bool locked = false;

    GoldenEngine(const uint64_t &clock, Tcdm &l1, Fault &run_fault)
        : now(clock), tcdm(l1), fault(run_fault),
          engine(tdco_engine_open(l1.memory.bytes.data(), l1.memory.base, uint32_t(l1.memory.bytes.size())))
    {
    }
    ~GoldenEngine() override { tdco_engine_close(engine); }

    void begin_cycle(WidePort &) override {}
    bool active() const override { return !queue.empty(); }
    bool needs_cycle(uint64_t cycle) const override { return access.valid || (active() && cycle >= end_cycle_of_job); }
    uint64_t next_cycle(uint64_t) const override { return active() ? end_cycle_of_job : ~uint64_t(0); }

    void end_cycle(WidePort &) override
    {
        event = false;
        if (active() && now >= end_cycle_of_job)
            finish_job();
        if (access.valid)
            access.write ? write(access.offset, access.data) : read(access.offset, access.data);
    }

    void finish_job()
    {
        const int raised = tdco_engine_run(engine, queue.front().words);
        if (raised < 0) {
            fault = {std::string("engine job: ") + tdco_engine_error(engine), NO_HART, 0, queue.front().words[0]};
            return;
        }
        check_operands(tdco::Job(queue.front().words));
        mark_written(queue.front());
        flags |= uint32_t(raised);
        seen_flags |= uint32_t(raised);
        finished++;
        event = true;
        queue.pop_front();
        if (active())
            end_cycle_of_job = now + queue.front().cycles();
        else
            busy_cycles += now - busy_since;
    }

    void check_operands(const tdco::Job &job)
    {
        for (const tdco::Operand *o : {&job.x, &job.w, &job.y})
            for (uint32_t i = 0; i < o->rows && (o != &job.y || job.has(TDCO_JOB_Y)); i++) {
                const uint32_t bytes = o->col_step ? 2 * o->cols : 2, line = uint32_t(o->at(i, 0));
                if (!tcdm.memory.is_written(line, bytes))
                    fault = {"read by the engine of bytes nobody wrote", NO_HART, 0, line};
            }
    }

    void mark_written(const Job &job)
    {
        const uint32_t *w = job.words;
        const bool transposed = w[9] >> 16 & TDCO_JOB_TRANS_Z;
        const uint32_t m = w[8] & 0xFFFF, n = w[8] >> 16, lines = transposed ? n : m, length = transposed ? m : n;
        for (uint32_t i = 0; i < lines; i++) {
            const uint32_t at = w[3] + i * w[7] - tcdm.memory.base;
            std::memset(&tcdm.memory.written[at], 1, 2 * length);
            tcdm.peak_bytes = std::max(tcdm.peak_bytes, at + 2 * length);
        }
    }

    void write(uint32_t offset, uint32_t value)
    {
        if (offset >= TDCO_REG_X_ADDR && offset < TDCO_REG_X_ADDR + 4 * TDCO_JOB_WORDS) {
            words[(offset - TDCO_REG_X_ADDR) / 4] = value;
        } else if (offset == TDCO_REG_TRIGGER && queue.size() < TDCO_QUEUE_JOBS) {
            Job job;
            std::memcpy(job.words, words, sizeof words);
            if (!active()) {
                busy_since = now;
                end_cycle_of_job = now + job.cycles() + FILL_CYCLES;
            }
            queue.push_back(job);
            committed++;
            locked = false;
        } else if (offset == TDCO_REG_FLAGS) {
            flags &= ~value;
        } else if (offset == TDCO_REG_SOFT_CLEAR) {
            queue.clear();
            finished = committed = flags = 0;
            locked = false;
        }
    }

    void read(uint32_t offset, uint32_t &value)
    {
        value = 0;
        if (offset == TDCO_REG_ACQUIRE) {
            value = queue.size() == TDCO_QUEUE_JOBS ? uint32_t(-1) : locked ? uint32_t(-2) : committed;
            locked = locked || queue.size() < TDCO_QUEUE_JOBS;
        } else if (offset == TDCO_REG_FINISHED || offset == TDCO_REG_JOBS) {
            value = finished;
        } else if (offset == TDCO_REG_STATUS) {
            value = uint32_t(queue.size()) | (active() ? 0x100 : 0);
        } else if (offset == TDCO_REG_ID) {
            value = tdco_engine_id(engine);
        } else if (offset == TDCO_REG_FLAGS) {
            value = flags;
        } else if (offset >= TDCO_REG_X_ADDR && offset < TDCO_REG_X_ADDR + 4 * TDCO_JOB_WORDS) {
            value = words[(offset - TDCO_REG_X_ADDR) / 4];
        }
    }

    EngineStats stats() override
    {
        tdco_engine_stats s;
        tdco_engine_get_stats(engine, &s);
        return {s.jobs, s.macs, busy_cycles, seen_flags};
    }
};

} // namespace

std::unique_ptr<EngineDevice> make_engine(const uint64_t &now, Tcdm &tcdm, Fault &fault)
{
    return std::make_unique<GoldenEngine>(now, tcdm, fault);
}

} // namespace soc
