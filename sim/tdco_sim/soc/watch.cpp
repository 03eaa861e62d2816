#include "watch.hpp"

#include <cstdlib>

namespace soc {
namespace {

constexpr uint32_t BASE = TDCO_L1_BASE;

// Calls visit(addr, bytes, writes) for the stretches of L1 a job touches.
template <class Visit> void stretches(const tdco::Job &job, Visit visit)
{
    for (const tdco::Operand *o : {&job.x, &job.w, &job.y, &job.z}) {
        if (o == &job.y && !job.has(TDCO_JOB_Y))
            continue;
        const uint32_t line_bytes = o->col_step ? 2 * o->cols : 2;
        if (std::llabs(o->row_step) <= line_bytes) { // lines touch or overlap
            visit(uint32_t(o->lowest()), uint32_t(o->end() - o->lowest()), o == &job.z);
            continue;
        }
        for (uint32_t i = 0; i < o->rows; i++)
            visit(uint32_t(o->at(i, 0)), line_bytes, o == &job.z);
    }
}

bool any(const std::vector<uint8_t> &counts, uint32_t offset, uint32_t bytes)
{
    for (uint32_t i = offset; i < offset + bytes; i++)
        if (counts[i])
            return true;
    return false;
}

bool inside(uint32_t addr, uint32_t bytes)
{
    return addr - BASE < TDCO_L1_SIZE && TDCO_L1_SIZE - (addr - BASE) >= bytes;
}

} // namespace

void Uses::add(uint32_t addr, uint32_t bytes, bool write, int change)
{
    if (!inside(addr, bytes))
        return; // whoever makes the access reports it
    std::vector<uint8_t> &counts = write ? writers : readers;
    for (uint32_t i = addr - BASE; i < addr - BASE + bytes; i++)
        counts[i] = uint8_t(counts[i] + change);
}

void Uses::add(const tdco::Job &job, int change)
{
    stretches(job, [&](uint32_t addr, uint32_t bytes, bool write) { add(addr, bytes, write, change); });
}

bool Uses::conflict(uint32_t addr, uint32_t bytes, bool write) const
{
    return inside(addr, bytes) && (any(writers, addr - BASE, bytes) || (write && any(readers, addr - BASE, bytes)));
}

bool Uses::conflict(const tdco::Job &job, uint32_t &where) const
{
    bool found = false;
    stretches(job, [&](uint32_t addr, uint32_t bytes, bool write) {
        if (!found && conflict(addr, bytes, write)) {
            found = true;
            where = addr;
        }
    });
    return found;
}

void Watch::restart()
{
    for (Position &position : at)
        position = Position();
    jobs_ended = transfers_ended[0] = transfers_ended[1] = calls_entered = 0;
}

void Watch::transfer_pushed(const Transfer &t, Fault &fault)
{
    if (engine.conflict(t.l1, t.bytes, t.to_l1))
        fault = {"DMA transfer of bytes an engine job under way uses", NO_HART, 0, t.l1};
    else if (!t.to_l1 ? any(dma.writers, t.l1 - BASE, inside(t.l1, t.bytes) ? t.bytes : 0)
                      : any(dma.readers, t.l1 - BASE, inside(t.l1, t.bytes) ? t.bytes : 0))
        fault = {"DMA transfer of bytes one in the other direction uses", NO_HART, 0, t.l1};
    dma.add(t.l1, t.bytes, t.to_l1, 1);
}

void Watch::transfer_ended(const Transfer &t, uint64_t now)
{
    dma.add(t.l1, t.bytes, t.to_l1, -1);
    if (tracing)
        trace.push_back({t.to_l1 ? TRACK_TO_L1 : TRACK_FROM_L1, transfers_ended[t.to_l1], t.start_cycle, now});
    transfers_ended[t.to_l1]++;
}

void Watch::engine_written(uint32_t offset, uint32_t value, uint64_t now, Fault &fault)
{
    if (offset - TDCO_REG_X_ADDR < 4 * TDCO_JOB_WORDS)
        words[(offset - TDCO_REG_X_ADDR) / 4] = value;
    if (offset != TDCO_REG_TRIGGER || jobs.size() == TDCO_QUEUE_JOBS)
        return;
    const tdco::Job job(words);
    if (!job.illegal) {
        if (job.has(TDCO_JOB_AFTER))
            for (InFlight &earlier : jobs)
                if (earlier.unordered) {
                    unordered.add(earlier.job, -1);
                    earlier.unordered = false;
                }
        uint32_t where = 0;
        if (dma.conflict(job, where))
            fault = {"engine job on bytes a DMA transfer under way uses", NO_HART, 0, where};
        else if (unordered.conflict(job, where))
            fault = {"engine job on bytes an earlier job uses, without the AFTER flag", NO_HART, 0, where};
        engine.add(job, 1);
        unordered.add(job, 1);
    }
    jobs.push_back({job, now, !job.illegal});
}

void Watch::job_ended(uint64_t now)
{
    if (jobs.empty())
        return;
    const InFlight &done = jobs.front();
    if (!done.job.illegal)
        engine.add(done.job, -1);
    if (done.unordered)
        unordered.add(done.job, -1);
    if (tracing)
        trace.push_back({TRACK_ENGINE, jobs_ended, std::max(done.pushed, last_job_end), now});
    last_job_end = now;
    jobs_ended++;
    jobs.pop_front();
}

void Watch::jumped(uint32_t hart, uint32_t from_next, uint32_t to, uint64_t now, Memory &l1)
{
    Position &position = at[hart];
    if (!position.return_to) {
        if (position.call < calls.size() && to == calls[position.call].kernel) {
            position.return_to = from_next;
            position.entered = now;
            const KernelCall &call = calls[position.call];
            for (uint32_t i = 0; i < call.ranges && position.call == calls_entered; i++)
                if (call.range[i].is_new && inside(call.range[i].addr, call.range[i].bytes))
                    std::memset(&l1.written[call.range[i].addr - BASE], 0, call.range[i].bytes);
            if (position.call == calls_entered)
                calls_entered++;
        }
    } else if (to == position.return_to) {
        if (tracing)
            trace.push_back({hart, position.call, position.entered, now});
        position.return_to = 0;
        position.call++;
    }
}

void Watch::slept(uint32_t hart, uint64_t start, uint64_t end)
{
    if (tracing)
        trace.push_back({TRACK_SLEEP + hart, 0, start, end});
}

const char *Watch::accessed(uint32_t hart, uint32_t addr, uint32_t bytes, bool write) const
{
    if (addr - BASE < TDCO_L1_RESERVED_BYTES)
        return "";
    if (dma.conflict(addr, bytes, write))
        return write ? "store to bytes a DMA transfer under way uses" : "load of bytes a DMA transfer under way writes";
    if (engine.conflict(addr, bytes, write))
        return write ? "store to bytes an engine job under way uses" : "load of bytes an engine job under way writes";
    const Position &position = at[hart];
    if (!position.return_to)
        return "";
    const KernelCall &call = calls[position.call];
    for (uint32_t i = 0; i < call.ranges; i++)
        if (addr - call.range[i].addr < call.range[i].bytes && addr + bytes <= call.range[i].addr + call.range[i].bytes)
            return "";
    return write ? "store outside the buffers of this kernel call" : "load outside the buffers of this kernel call";
}

} // namespace soc
