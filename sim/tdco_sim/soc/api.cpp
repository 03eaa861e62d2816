// The C interface of the cluster simulator; simulator.py is its only user.
#include "cluster.hpp"

using soc::Cluster;
using soc::Memory;

namespace {

Memory *memory_at(Cluster *cluster, uint32_t addr, uint32_t bytes)
{
    for (Memory *memory : {&cluster->l2, &cluster->l3})
        if (memory->holds(addr, bytes))
            return memory;
    return nullptr;
}

} // namespace

extern "C" {

// Counters in the order simulator.py names them.
struct SocStats {
    uint64_t cycles, jobs, macs, engine_busy, status_flags;
    uint64_t l2_l1_bytes, l1_l2_bytes, l3_bytes, dma_busy, l1_peak_bytes, l2_peak_bytes;
    uint64_t l1_granted, l1_refused, engine_refused;
};

Cluster *tdco_soc_open() { return new Cluster; }
void tdco_soc_close(Cluster *cluster) { delete cluster; }

// The loader's accesses: 0 if the range lies in no memory.
int tdco_soc_write(Cluster *cluster, uint32_t addr, const uint8_t *data, uint32_t bytes)
{
    if (cluster->tcdm.memory.holds(addr, bytes)) {
        cluster->tcdm.store(addr, data, bytes);
        return 1;
    }
    Memory *memory = memory_at(cluster, addr, bytes);
    if (memory)
        memory->store(addr, data, bytes);
    return memory != nullptr;
}

int tdco_soc_read(Cluster *cluster, uint32_t addr, uint8_t *data, uint32_t bytes)
{
    if (cluster->tcdm.memory.holds(addr, bytes)) {
        cluster->tcdm.load(addr, data, bytes);
        return 1;
    }
    const Memory *memory = memory_at(cluster, addr, bytes);
    if (memory)
        std::memcpy(data, &memory->bytes[addr - memory->base], bytes);
    return memory != nullptr;
}

void tdco_soc_set_code(Cluster *cluster, uint32_t base, uint32_t bytes) { cluster->set_code(base, bytes); }
// Nothing may store to these bytes while the program runs.
void tdco_soc_protect(Cluster *cluster, uint32_t addr, uint32_t bytes)
{
    cluster->watch.read_only.push_back({addr, bytes});
}

void tdco_soc_start(Cluster *cluster, uint32_t entry) { cluster->start(entry); }

// Runs until cycle `limit`: 0 still running, 1 exited, 2 fault.
int tdco_soc_run(Cluster *cluster, uint64_t limit)
{
    cluster->run(limit);
    return cluster->fault.raised() ? 2 : cluster->exited;
}

uint32_t tdco_soc_exit_code(const Cluster *cluster) { return cluster->exit_code; }
const char *tdco_soc_output(const Cluster *cluster) { return cluster->output.c_str(); }
const char *tdco_soc_fault(const Cluster *cluster) { return cluster->fault.what.c_str(); }

// Where: hart, pc, address, whether the instruction there only issued what went wrong.
void tdco_soc_fault_place(const Cluster *cluster, uint32_t *place)
{
    place[0] = cluster->fault.hart;
    place[1] = cluster->fault.pc;
    place[2] = cluster->fault.addr;
    place[3] = cluster->fault.issued;
}

// The pc of the instruction each hart is at, or waits in.
void tdco_soc_places(const Cluster *cluster, uint32_t *pcs)
{
    for (uint32_t h = 0; h < soc::HARTS; h++)
        pcs[h] = cluster->place(h);
}

void tdco_soc_stats(Cluster *cluster, SocStats *s)
{
    const soc::EngineStats engine = cluster->engine->stats();
    *s = {cluster->now, engine.jobs, engine.macs, engine.busy_cycles, engine.status_flags,
          cluster->dma.bytes_to_l1, cluster->dma.bytes_from_l1, cluster->l3_dma.bytes_moved, cluster->dma.busy_cycles,
          cluster->tcdm.peak_bytes, cluster->dma.l2_peak_bytes,
          cluster->tcdm.granted, cluster->tcdm.refused, cluster->tcdm.engine_refused};
}

// The program's kernel calls, in order: cores are followed through them and may touch only their buffers and stacks,
// and load from the given range of the runtime's part of L1.
void tdco_soc_watch_calls(Cluster *cluster, const soc::KernelCall *calls, uint32_t count, uint32_t addr, uint32_t bytes)
{
    cluster->watch.kernel_data = {addr, bytes};
    cluster->watch.calls.assign(calls, calls + count);
}

// The program's planned buffers: transfers and jobs may touch only those of the command being issued, whose number the
// controller stores at `command_addr`.
void tdco_soc_watch_buffers(Cluster *cluster, const soc::Buffer *buffers, uint32_t count, uint32_t command_addr)
{
    cluster->watch.buffers.assign(buffers, buffers + count);
    cluster->watch.command_addr = command_addr;
}

// The bytes [addr, addr + bytes) count as never written.
void tdco_soc_forget(Cluster *cluster, uint32_t addr, uint32_t bytes)
{
    if (Memory *memory = memory_at(cluster, addr, bytes))
        std::memset(&memory->written[addr - memory->base], 0, bytes);
}

void tdco_soc_trace(Cluster *cluster, int on) { cluster->watch.tracing = on; }

const soc::TraceEvent *tdco_soc_trace_events(const Cluster *cluster, uint64_t *count)
{
    *count = cluster->watch.trace.size();
    return cluster->watch.trace.data();
}

// Seven counters a hart: HartCycles.
void tdco_soc_hart_cycles(const Cluster *cluster, uint64_t *counters)
{
    for (const soc::Hart &hart : cluster->harts) {
        std::memcpy(counters, &hart.cycles, sizeof hart.cycles);
        counters += sizeof hart.cycles / sizeof *counters;
    }
}
}
