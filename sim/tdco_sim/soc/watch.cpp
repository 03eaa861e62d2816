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
    jobs_ended = transfers_ended[0] = transfers_ended[1] = calls_entered = command = 0;
}

// The buffer of the running command that holds the range.
const Buffer *Watch::buffer_of(uint32_t addr, uint32_t bytes) const
{
    for (const Buffer &b : buffers)
        if (b.first <= command && command <= b.last && addr >= b.addr && addr - b.addr < b.bytes
            && bytes <= b.bytes - (addr - b.addr))
            return &b;
    return nullptr;
}

// Bytes that are still in use belong to the buffer's predecessor.
void Watch::forget(const Buffer &buffer, Memory &l1) const
{
    for (uint32_t i = buffer.addr - BASE; i < buffer.addr - BASE + buffer.bytes; i++)
        if (!dma.readers[i] && !dma.writers[i] && !engine.readers[i] && !engine.writers[i])
            l1.written[i] = 0;
}

void Watch::transfer_pushed(const Transfer &t, Memory &l1, Fault &fault)
{
    if (!buffers.empty()) {
        const uint32_t rows = (t.bytes + t.row_bytes - 1) / t.row_bytes;
        const int64_t reach = int64_t(int32_t(t.stride)) * (rows - 1);
        const uint32_t lowest = t.l2 + (reach < 0 ? uint32_t(reach) : 0);
        const Buffer *const inner = buffer_of(t.l1, t.bytes);
        if (!inner || !buffer_of(lowest, uint32_t(reach < 0 ? -reach : reach) + t.row_bytes))
            fault = {"DMA transfer outside the buffers of its command", NO_HART, 0, inner ? lowest : t.l1};
        else if (t.to_l1 && inner->first == command)
            forget(*inner, l1);
    }
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
    traced(t.to_l1 ? TRACK_TO_L1 : TRACK_FROM_L1, transfers_ended[t.to_l1],
           std::max(t.start_cycle - TDCO_DMA_STARTUP_CYCLES, last_transfer_end[t.to_l1]), now);
    last_transfer_end[t.to_l1] = now;
    transfers_ended[t.to_l1]++;
}

void Watch::engine_written(uint32_t offset, uint32_t value, uint64_t now, Memory &l1, Fault &fault)
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
        for (const tdco::Operand *o : {&job.x, &job.w, &job.y, &job.z}) {
            if (buffers.empty() || (o == &job.y && !job.has(TDCO_JOB_Y)))
                continue;
            const Buffer *const buffer = buffer_of(uint32_t(o->lowest()), uint32_t(o->end() - o->lowest()));
            if (!buffer)
                fault = {"operand " + std::string(o->name) + " of an engine job outside the buffers of its command",
                         NO_HART, 0, uint32_t(o->lowest())};
            else if (o == &job.z && buffer->first == command)
                forget(*buffer, l1);
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

void Watch::job_ended(uint64_t now, uint64_t refused)
{
    if (jobs.empty())
        return;
    const InFlight &done = jobs.front();
    if (!done.job.illegal)
        engine.add(done.job, -1);
    if (done.unordered)
        unordered.add(done.job, -1);
    if (tracing)
        trace.push_back({TRACK_ENGINE, jobs_ended, std::max(done.pushed, last_job_end), now,
                         uint32_t(refused - refused_before), 0});
    last_job_end = now;
    refused_before = refused;
    jobs_ended++;
    jobs.pop_front();
}

void Watch::jumped(uint32_t hart, uint32_t from_next, uint32_t to, uint64_t now, Lost lost, Memory &l1)
{
    Position &position = at[hart];
    if (!position.return_to) {
        if (position.call < calls.size() && to == calls[position.call].kernel) {
            position.return_to = from_next;
            position.entered = now;
            position.lost = lost;
            const KernelCall &call = calls[position.call];
            for (uint32_t i = 0; i < call.ranges && position.call == calls_entered; i++)
                if (call.range[i].is_new && inside(call.range[i].addr, call.range[i].bytes))
                    std::memset(&l1.written[call.range[i].addr - BASE], 0, call.range[i].bytes);
            if (position.call == calls_entered)
                calls_entered++;
        }
    } else if (to == position.return_to) {
        if (tracing)
            trace.push_back({hart, position.call, position.entered, now,
                             uint32_t(lost.refused - position.lost.refused), uint32_t(lost.fetch - position.lost.fetch)});
        position.return_to = 0;
        position.call++;
    }
}

void Watch::slept(uint32_t hart, uint32_t events, uint64_t start, uint64_t end)
{
    traced(TRACK_SLEEP + hart, events, start, end);
}

void Watch::traced(uint32_t track, uint32_t index, uint64_t start, uint64_t end)
{
    if (tracing)
        trace.push_back({track, index, start, end, 0, 0});
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
