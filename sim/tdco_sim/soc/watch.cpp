#include "watch.hpp"

#include <algorithm>
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

// Calls visit(addr, bytes) for the rows of a transfer in L2.
template <class Visit> void rows(const Transfer &t, Visit visit)
{
    if (t.stride == t.row_bytes)
        return visit(t.l2, t.bytes);
    for (uint32_t done = 0, addr = t.l2; done < t.bytes; done += t.row_bytes, addr += t.stride)
        visit(addr, std::min(t.row_bytes, t.bytes - done));
}

bool any(const std::vector<uint16_t> &counts, uint32_t offset, uint32_t bytes)
{
    for (uint32_t i = offset; i < offset + bytes; i++)
        if (counts[i])
            return true;
    return false;
}

bool overlap(uint32_t addr, int64_t lowest, int64_t end) { return addr + 4 > lowest && addr < end; } // of a word

} // namespace

void Uses::add(uint32_t addr, uint32_t bytes, bool write, int change)
{
    if (!holds(addr, bytes))
        return; // whoever makes the access reports it
    std::vector<uint16_t> &counts = write ? writers : readers;
    for (uint32_t i = addr - base; i < addr - base + bytes; i++)
        counts[i] = uint16_t(counts[i] + change);
}

void Uses::add(const tdco::Job &job, int change)
{
    stretches(job, [&](uint32_t addr, uint32_t bytes, bool write) { add(addr, bytes, write, change); });
}

bool Uses::is_read(uint32_t addr, uint32_t bytes) const { return holds(addr, bytes) && any(readers, addr - base, bytes); }

bool Uses::is_written(uint32_t addr, uint32_t bytes) const
{
    return holds(addr, bytes) && any(writers, addr - base, bytes);
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
    jobs_ended = transfers_ended[0] = transfers_ended[1] = l3_begun = calls_entered = command = 0;
}

bool Watch::is_read_only(uint32_t addr, uint32_t bytes) const
{
    for (const Range &range : read_only)
        if (addr < range.addr + range.bytes && range.addr < addr + bytes)
            return true;
    return false;
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

void Watch::transfer_pushed(const Transfer &t, Issuer issuer, Memory &l1, Fault &fault)
{
    if (!buffers.empty()) {
        const uint32_t count = (t.bytes + t.row_bytes - 1) / t.row_bytes;
        const int64_t reach = int64_t(int32_t(t.stride)) * (count - 1);
        const uint32_t lowest = t.l2 + (reach < 0 ? uint32_t(reach) : 0);
        const Buffer *const inner = buffer_of(t.l1, t.bytes);
        if (!inner || !buffer_of(lowest, uint32_t(reach < 0 ? -reach : reach) + t.row_bytes))
            fault = {"DMA transfer outside the buffers of its command", NO_HART, 0, inner ? lowest : t.l1};
        else if (t.to_l1 && inner->first == command)
            forget(*inner, l1);
    }
    // transfers in the same direction run one after the other
    if (engine.conflict(t.l1, t.bytes, t.to_l1))
        fault = {"DMA transfer of bytes an engine job under way uses", NO_HART, 0, t.l1};
    else if (t.to_l1 ? dma.is_read(t.l1, t.bytes) : dma.is_written(t.l1, t.bytes))
        fault = {"DMA transfer of bytes one in the other direction uses", NO_HART, 0, t.l1};
    rows(t, [&](uint32_t addr, uint32_t bytes) {
        if (fault.raised())
            return;
        if (!t.to_l1 && is_read_only(addr, bytes))
            fault = {"DMA transfer into the program's code or constants", NO_HART, 0, addr};
        else if (t.to_l1 ? dma_l2.is_written(addr, bytes) : dma_l2.is_read(addr, bytes))
            fault = {"DMA transfer of bytes one in the other direction uses", NO_HART, 0, addr};
        else if (l3_l2.conflict(addr, bytes, !t.to_l1))
            fault = {"DMA transfer of bytes the L3 DMA uses", NO_HART, 0, addr};
    });
    count_transfer(t, 1);
    transfers.emplace_back(t, issuer);
}

void Watch::count_transfer(const Transfer &t, int change)
{
    dma.add(t.l1, t.bytes, t.to_l1, change);
    rows(t, [&](uint32_t addr, uint32_t bytes) { dma_l2.add(addr, bytes, !t.to_l1, change); });
}

void Watch::transfer_ended(const Transfer &t, uint64_t now)
{
    count_transfer(t, -1);
    transfers.erase(std::find_if(transfers.begin(), transfers.end(),
                                 [&](const auto &pushed) { return pushed.first.to_l1 == t.to_l1; }));
    traced(t.to_l1 ? TRACK_TO_L1 : TRACK_FROM_L1, transfers_ended[t.to_l1],
           std::max(t.start_cycle - TDCO_DMA_STARTUP_CYCLES, last_transfer_end[t.to_l1]), now);
    last_transfer_end[t.to_l1] = now;
    transfers_ended[t.to_l1]++;
}

void Watch::l3_started(const L3Dma &l3_dma, uint64_t now, Fault &fault)
{
    const L3Transfer &t = l3_dma.current;
    if (!buffers.empty()) {
        const bool inside = buffer_of(t.l2, t.bytes);
        if (!inside || !buffer_of(t.l3, t.bytes))
            fault = {"L3 DMA transfer outside the buffers of its command", NO_HART, 0, inside ? t.l3 : t.l2};
    }
    if (t.to_l2 && is_read_only(t.l2, t.bytes))
        fault = {"L3 DMA transfer into the program's code or constants", NO_HART, 0, t.l2};
    if (dma_l2.conflict(t.l2, t.bytes, t.to_l2))
        fault = {"L3 DMA transfer of bytes a DMA transfer under way uses", NO_HART, 0, t.l2};
    l3_l2.add(t.l2, t.bytes, t.to_l2, 1);
    traced(TRACK_L3, l3_begun++, now, l3_dma.end_cycle);
}

void Watch::l3_ended(const L3Transfer &t) { l3_l2.add(t.l2, t.bytes, t.to_l2, -1); }

void Watch::engine_written(uint32_t offset, uint32_t value, Issuer issuer, uint64_t now, Memory &l1, Fault &fault)
{
    if (offset == TDCO_REG_SOFT_CLEAR) {
        jobs_seen(jobs_pushed);
        for (const InFlight &dropped : jobs)
            engine.add(dropped.job, -1);
        jobs.clear();
        jobs_pushed = 0;
    }
    if (offset - TDCO_REG_X_ADDR < 4 * TDCO_JOB_WORDS)
        words[(offset - TDCO_REG_X_ADDR) / 4] = value;
    if (offset != TDCO_REG_TRIGGER)
        return;
    const tdco::Job job(words);
    if (jobs.size() == TDCO_QUEUE_JOBS)
        fault = {"engine job triggered while the queue is full", NO_HART, 0, words[0]};
    else if (job.illegal)
        fault = {"illegal engine job " + job.describe() + ": a size of 0, or an odd address or stride", NO_HART, 0, 0};
    else
        push_job(job, issuer, now, l1, fault);
}

void Watch::push_job(const tdco::Job &job, Issuer issuer, uint64_t now, Memory &l1, Fault &fault)
{
    if (job.has(TDCO_JOB_AFTER))
        jobs_seen(jobs_pushed);
    for (const tdco::Operand *o : {&job.x, &job.w, &job.y, &job.z}) {
        if (buffers.empty() || (o == &job.y && !job.has(TDCO_JOB_Y)))
            continue;
        const Buffer *const buffer = buffer_of(uint32_t(o->lowest()), uint32_t(o->end() - o->lowest()));
        if (!buffer)
            fault = {"operand " + std::string(o->name) + " of an engine job outside the buffers of its command", NO_HART,
                     0, uint32_t(o->lowest())};
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
    jobs.push_back({job, issuer, now, jobs_pushed++, true});
}

void Watch::jobs_seen(uint32_t count)
{
    const auto ordered = [&](InFlight &one) {
        if (one.unordered && one.number < count)
            unordered.add(one.job, -1);
        one.unordered &= one.number >= count;
    };
    for (InFlight &one : jobs)
        ordered(one);
    for (InFlight &one : unseen)
        ordered(one);
    while (!unseen.empty() && !unseen.front().unordered)
        unseen.pop_front();
}

void Watch::engine_read(uint32_t offset, uint32_t value)
{
    if (offset == TDCO_REG_FINISHED)
        jobs_seen(value);
    else if (offset == TDCO_REG_STATUS)
        jobs_seen(jobs_pushed - (value & 0xFF));
}

void Watch::job_ended(uint64_t now, uint64_t refused)
{
    if (jobs.empty())
        return;
    if (tracing)
        trace.push_back({TRACK_ENGINE, jobs_ended, std::max(jobs.front().pushed, last_job_end), now,
                         uint32_t(refused - refused_before), 0, 0, 0});
    engine.add(jobs.front().job, -1);
    unseen.push_back(jobs.front());
    jobs.pop_front();
    last_job_end = now;
    refused_before = refused;
    jobs_ended++;
}

void Watch::blame(Fault &fault) const
{
    const auto issued_by = [&](Issuer issuer) { fault.hart = issuer.hart, fault.pc = issuer.pc, fault.issued = true; };
    for (const auto &[t, issuer] : transfers) {
        bool found = overlap(fault.addr, t.l1, int64_t(t.l1) + t.bytes);
        rows(t, [&](uint32_t addr, uint32_t bytes) { found |= overlap(fault.addr, addr, int64_t(addr) + bytes); });
        if (found)
            return issued_by(issuer);
    }
    for (const InFlight &flying : jobs)
        for (const tdco::Operand *o : {&flying.job.x, &flying.job.w, &flying.job.y, &flying.job.z})
            if ((o != &flying.job.y || flying.job.has(TDCO_JOB_Y)) && overlap(fault.addr, o->lowest(), o->end()))
                return issued_by(flying.issuer);
}

void Watch::jumped(uint32_t hart, uint32_t from_next, uint32_t to, uint64_t now, const Counts &counts, Memory &l1)
{
    Position &position = at[hart];
    if (!position.return_to) {
        if (position.call < calls.size() && to == calls[position.call].kernel) {
            position.return_to = from_next;
            position.entered = now;
            position.counts = counts;
            const KernelCall &call = calls[position.call];
            for (uint32_t i = 0; i < call.ranges && position.call == calls_entered; i++)
                if (call.range[i].is_new && engine.holds(call.range[i].addr, call.range[i].bytes))
                    std::memset(&l1.written[call.range[i].addr - BASE], 0, call.range[i].bytes);
            if (position.call == calls_entered)
                calls_entered++;
        }
    } else if (to == position.return_to) {
        const Counts &before = position.counts;
        if (tracing)
            trace.push_back({hart, position.call, position.entered, now, uint32_t(counts.refused - before.refused),
                             uint32_t(counts.fetch - before.fetch), uint32_t(counts.flop - before.flop),
                             uint32_t(counts.l1_bytes - before.l1_bytes)});
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
        trace.push_back({track, index, start, end, 0, 0, 0, 0});
}

const char *Watch::accessed(uint32_t hart, uint32_t addr, uint32_t bytes, bool write) const
{
    if (dma.conflict(addr, bytes, write) || dma_l2.conflict(addr, bytes, write))
        return write ? "store to bytes a DMA transfer under way uses" : "load of bytes a DMA transfer under way writes";
    if (l3_l2.conflict(addr, bytes, write))
        return write ? "store to bytes the L3 DMA uses" : "load of bytes the L3 DMA writes";
    if (engine.conflict(addr, bytes, write))
        return write ? "store to bytes an engine job under way uses" : "load of bytes an engine job under way writes";
    if (write && is_read_only(addr, bytes))
        return "store to the program's code or constants";
    if (calls.empty())
        return "";
    if (at[hart].return_to)
        return kernel_accessed(hart, addr, bytes, write);
    const bool in_l2 = addr - BASE >= TDCO_L1_SIZE;
    if (in_l2 ? addr - TDCO_L2_BASE >= TDCO_L2_SIZE - TDCO_L2_RESERVED_BYTES : addr - BASE < TDCO_L1_RESERVED_BYTES)
        return "";
    return write ? "store to a tensor outside any kernel call" : "load from a tensor outside any kernel call";
}

// A kernel works on its buffers and its core's stack, and loads arguments and constants.
const char *Watch::kernel_accessed(uint32_t hart, uint32_t addr, uint32_t bytes, bool write) const
{
    const KernelCall &call = calls[at[hart].call];
    for (uint32_t i = 0; i < call.ranges; i++)
        if (addr - call.range[i].addr < call.range[i].bytes && addr + bytes <= call.range[i].addr + call.range[i].bytes)
            return "";
    if (addr - BASE >= TDCO_L1_SIZE) {
        if (addr - TDCO_L2_BASE >= TDCO_L2_SIZE - TDCO_L2_RESERVED_BYTES)
            return write ? "store of a kernel to the firmware's memory" : "load of a kernel from the firmware's memory";
        return write ? "store to a tensor in L2: kernels work in L1" : "load from a tensor in L2: kernels work in L1";
    }
    if (addr - BASE >= TDCO_L1_RESERVED_BYTES)
        return write ? "store outside the buffers of this kernel call" : "load outside the buffers of this kernel call";
    if (addr - BASE < TDCO_STACK_BYTES * HARTS || (!write && kernel_data.holds(addr))) // other stacks are seen before
        return "";
    return write ? "store of a kernel to the runtime's memory" : "load of a kernel from the runtime's memory";
}

} // namespace soc
