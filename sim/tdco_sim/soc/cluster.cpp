#include "cluster.hpp"

#include <algorithm>
#include <bit>

namespace soc {
namespace {

constexpr uint64_t NEVER = ~uint64_t(0);
constexpr uint32_t L2_FETCH_CYCLES = TDCO_L2_LATENCY_CYCLES - 1; // of a line: a load without the core's own cycle
constexpr uint64_t ENGINE_TAIL_CYCLES = 8; // an engine that just fell idle may still have an event to raise

uint32_t division_cycles(Op op, uint32_t divisor)
{
    const bool negative = (op == Op::div || op == Op::rem) && divisor >> 31;
    return std::max(1u, TDCO_DIV_CYCLES + uint32_t(std::countl_zero(negative ? -divisor : divisor)) - negative);
}

// Of an instruction, over its first cycle. `divisor` is what rs2 held.
uint32_t extra_cycles(const Insn &in, uint32_t divisor)
{
    switch (in.cost) {
    case Class::mul: return TDCO_MUL_CYCLES - 1;
    case Class::mulh: return TDCO_MULH_CYCLES - 1;
    case Class::div: return division_cycles(in.op, divisor) - 1;
    case Class::fp: return TDCO_FP_CYCLES - 1;
    case Class::fp16_div: return TDCO_FP16_DIV_CYCLES - 1;
    case Class::fp32_div: return TDCO_FP32_DIV_CYCLES - 1;
    case Class::jump: return TDCO_JUMP_CYCLES;
    default: return 0;
    }
}

bool within(uint32_t addr, uint32_t base, uint32_t size) { return addr - base < size; }

uint32_t peripheral_cycles(uint32_t addr)
{
    if (within(addr, TDCO_EVENT_UNIT_BASE, TDCO_EVENT_UNIT_SIZE) || within(addr, TDCO_DMA_BASE, TDCO_DMA_SIZE))
        return TDCO_PRIVATE_PORT_LATENCY_CYCLES;
    return within(addr, TDCO_ENGINE_BASE, TDCO_ENGINE_SIZE) ? TDCO_ENGINE_LATENCY_CYCLES
                                                            : TDCO_PERIPHERAL_LATENCY_CYCLES;
}

bool is_engine_register(uint32_t offset)
{
    return offset <= TDCO_REG_FLAGS || within(offset, TDCO_REG_X_ADDR, 4 * TDCO_JOB_WORDS)
        || (offset >= TDCO_REG_CYCLES_BUSY && offset <= TDCO_REG_MACS_HI);
}

const char *trap_name(uint32_t cause)
{
    return cause == ILLEGAL ? "illegal instruction" : cause == BREAKPOINT ? "breakpoint" : "environment call";
}

} // namespace

bool Cache::lookup(uint32_t line, uint32_t &slot)
{
    const uint32_t first = line * WAYS % uint32_t(lines.size()); // of the set
    for (slot = first; slot < first + WAYS; slot++)
        if (lines[slot] == line + 1)
            return true;
    const bool feedback = !((draw >> 7 ^ draw >> 3 ^ draw >> 2 ^ draw >> 1) & 1);
    draw = uint8_t(draw << 1 | feedback);
    slot = first + (draw >> 1) % WAYS;
    lines[slot] = line + 1;
    return false;
}

uint32_t SharedBank::cycles(uint32_t line, uint64_t now)
{
    uint32_t slot;
    if (!cache.lookup(line, slot))
        ready_at[slot] = busy_until
            = std::max(now, busy_until) + TDCO_ICACHE_REFILL_CYCLES + L2_FETCH_CYCLES;
    return ready_at[slot] > now ? uint32_t(ready_at[slot] - now) : 0;
}

Cluster::Cluster()
{
    for (uint32_t h = 0; h < HARTS; h++) {
        harts.emplace_back(h == CONTROLLER ? TDCO_ICACHE_L0_CONTROLLER_BYTES : TDCO_ICACHE_L0_BYTES);
        harts[h].core.hart = h;
    }
}

void Cluster::set_code(uint32_t base, uint32_t bytes)
{
    code_base = base;
    code.assign(bytes / 2 + 1, Insn());
}

void Cluster::start(uint32_t entry)
{
    for (uint32_t h = 0; h < HARTS; h++) {
        const HartCycles counted = harts[h].cycles; // over all starts, as everything that is counted
        harts[h] = Hart(h == CONTROLLER ? TDCO_ICACHE_L0_CONTROLLER_BYTES : TDCO_ICACHE_L0_BYTES);
        harts[h].cycles = counted;
        harts[h].core.hart = h;
        harts[h].core.pc = entry;
        harts[h].core.cycle_base = now;
        harts[h].ready_at = now;
    }
    shared_cache.assign(TDCO_ICACHE_L1_BANKS, SharedBank());
    cache_enabled = exited = false;
    events = EventUnit();
    watch.restart();
}

void Cluster::stop(const std::string &what, uint32_t hart, uint32_t pc, uint32_t addr)
{
    if (!fault.raised())
        fault = {what, hart, pc, addr};
}

// Cycles until the instruction at pc is in the prefetch buffer, which holds one line.
uint32_t Cluster::fetch_cycles(Hart &hart, const Insn &in)
{
    uint32_t cycles = 0;
    const uint32_t first = hart.core.pc / TDCO_ICACHE_LINE_BYTES;
    const uint32_t last = (hart.core.pc + in.bytes - 1) / TDCO_ICACHE_LINE_BYTES;
    for (uint32_t line = first; line <= last; line++) {
        if (line + 1 == hart.fetched_line)
            continue;
        hart.fetched_line = line + 1;
        uint32_t slot;
        if (!cache_enabled) {
            cycles += L2_FETCH_CYCLES;
        } else if (!hart.l0.lookup(line, slot)) {
            SharedBank &bank = shared_cache[line % TDCO_ICACHE_L1_BANKS];
            cycles += TDCO_ICACHE_REFILL_CYCLES + bank.cycles(line / TDCO_ICACHE_L1_BANKS, now + cycles);
        }
    }
    return cycles;
}

void Cluster::step_hart(uint32_t index)
{
    Hart &hart = harts[index];
    Core &core = hart.core;
    const uint32_t slot = (core.pc - code_base) / 2;
    if (slot >= code.size() - 1)
        return stop("jump outside the program", index, hart.access_pc, core.pc);
    Insn &in = code[slot];
    if (!in.bytes)
        in = decode(l2.load(core.pc, l2.holds(core.pc, 4) ? 4 : 2));
    if (!hart.fetched) {
        hart.fetched = true;
        if (const uint32_t cycles = fetch_cycles(hart, in)) {
            hart.ready_at = now + cycles;
            hart.cycles.fetch += cycles;
            return;
        }
    }
    if (hart.late && (in.rs1 == hart.late || in.rs2 == hart.late || in.rs3 == hart.late)) {
        hart.late = 0;
        hart.ready_at = now + hart.late_cycles;
        hart.cycles.load_use += hart.late_cycles;
        return;
    }
    hart.late = 0;
    hart.fetched = false;
    core.cycle = now;
    hart.cycles.instructions++;
    const uint32_t pc = core.pc, divisor = core.x[in.rs2];
    switch (core.execute(in)) {
    case Core::Result::memory: return access(index, in);
    case Core::Result::trap:
        if (core.mtvec)
            core.enter_trap();
        else
            stop(trap_name(core.trap_cause), index, pc, 0);
        break;
    case Core::Result::sleep: // until an interrupt, and there are none
        hart.access_pc = pc;
        hart.wait = Wait::forever;
        return;
    case Core::Result::fence_i: code.assign(code.size(), Insn()); break;
    case Core::Result::taken:
        hart.ready_at = now + 1 + TDCO_BRANCH_TAKEN_CYCLES;
        hart.cycles.multicycle += TDCO_BRANCH_TAKEN_CYCLES;
        return;
    default: break;
    }
    if (in.cost == Class::jump)
        hart.access_pc = pc;
    if (in.cost == Class::jump && !watch.calls.empty())
        watch.jumped(index, pc + in.bytes, core.pc, now,
                     {hart.cycles.l1, hart.cycles.fetch, hart.flop, hart.l1_bytes}, tcdm.memory);
    hart.flop += flop_of(in.op);
    if (in.cost == Class::mul || in.cost == Class::mulh)
        hart.comes_late(in.rd, TDCO_MUL_USE_CYCLES);
    const uint32_t extra = extra_cycles(in, divisor);
    hart.ready_at = now + 1 + extra;
    hart.cycles.multicycle += extra;
}

// A load or store leaves the core: to L1's port, to L2, or to a peripheral.
void Cluster::access(uint32_t index, const Insn &in)
{
    Hart &hart = harts[index];
    const MemoryAccess &m = hart.core.access;
    const uint32_t pc = hart.access_pc = hart.core.pc - in.bytes;
    if (m.addr & (m.bytes - 1u))
        return stop(std::string("misaligned ") + (m.write ? "store" : "load"), index, pc, m.addr);
    const bool in_l1 = within(m.addr, TDCO_L1_BASE, TDCO_L1_SIZE);
    if (!in_l1 && !within(m.addr, TDCO_L2_BASE, TDCO_L2_SIZE))
        return access_peripheral(index, pc);
    if (within(m.addr, TDCO_L1_BASE, TDCO_STACK_BYTES * HARTS) && (m.addr - TDCO_L1_BASE) / TDCO_STACK_BYTES != index)
        return stop("stack overflow, or access to another core's stack", index, pc, m.addr);
    if (const char *wrong = watch.accessed(index, m.addr, m.bytes, m.write); *wrong)
        return stop(wrong, index, pc, m.addr);
    if (in_l1) {
        if (m.write)
            watch.stored(m.addr, m.data);
        hart.l1_bytes += m.bytes;
        const uint32_t byte = m.addr & 3;
        Port &port = tcdm.ports[index];
        port = {true, m.write, false, uint8_t(((1u << m.bytes) - 1) << byte), m.addr & ~3u, m.data << 8 * byte, 0, 0};
        hart.wait = Wait::l1;
        hart.wait_since = now;
        return;
    }
    if (m.write) {
        l2.store(m.addr, &m.data, m.bytes);
    } else {
        if (!l2.is_written(m.addr, m.bytes))
            return stop("load of bytes nobody wrote", index, pc, m.addr);
        hart.core.finish_load(l2.load(m.addr, m.bytes));
    }
    hart.ready_at = now + TDCO_L2_LATENCY_CYCLES;
    hart.cycles.remote += TDCO_L2_LATENCY_CYCLES - 1;
}

void Cluster::access_peripheral(uint32_t index, uint32_t pc)
{
    Hart &hart = harts[index];
    const MemoryAccess &m = hart.core.access;
    uint32_t value = 0;
    const uint32_t latency = peripheral_cycles(m.addr);
    hart.ready_at = now + latency;
    hart.cycles.remote += latency - 1;
    if (within(m.addr, TDCO_EVENT_UNIT_BASE, TDCO_EVENT_UNIT_SIZE)) {
        const uint32_t offset = m.addr - TDCO_EVENT_UNIT_BASE;
        if (!EventUnit::has(offset))
            return stop("access to no register of the event unit", index, pc, m.addr);
        bool sleeps = false;
        if (m.write)
            events.store(index, offset, m.data);
        else
            value = events.load(index, offset, now, sleeps);
        if (events.barrier_passed != EventUnit::BARRIERS)
            watch.traced(TRACK_BARRIER, events.barrier_passed, events.barriers[events.barrier_passed].since, now);
        if (sleeps) {
            hart.wait = Wait::event;
            hart.wait_offset = offset;
            hart.wait_since = hart.ready_at;
        }
    } else if (within(m.addr, TDCO_ENGINE_BASE, TDCO_ENGINE_SIZE)) {
        if (!is_engine_register(m.addr - TDCO_ENGINE_BASE))
            return stop("access to no register of the engine", index, pc, m.addr);
        hart.wait = m.bytes == 4 ? Wait::engine : Wait::none; // taken when the register port is free
    } else if (within(m.addr, TDCO_DMA_BASE, TDCO_DMA_SIZE)) {
        if (m.write && dma.store(index, m.addr - TDCO_DMA_BASE, m.data, now, fault))
            watch.transfer_pushed(dma.newest(), {index, pc}, tcdm.memory, fault);
        if (!m.write)
            value = dma.load(index, m.addr - TDCO_DMA_BASE, fault);
    } else if (within(m.addr, TDCO_L3_DMA_BASE, TDCO_L3_DMA_SIZE)) {
        if (m.write && l3_dma.store(m.addr - TDCO_L3_DMA_BASE, m.data, now, l2, l3, fault))
            watch.l3_started(l3_dma, now, fault);
        if (!m.write)
            value = l3_dma.load(m.addr - TDCO_L3_DMA_BASE, fault);
    } else if (within(m.addr, TDCO_ICACHE_BASE, TDCO_ICACHE_SIZE)) {
        if (m.addr != TDCO_ICACHE_BASE + TDCO_ICACHE_ENABLE)
            return stop("access to no register of the instruction cache", index, pc, m.addr);
        cache_enabled = m.write ? m.data & 1 : cache_enabled;
        value = cache_enabled;
    } else if (m.addr == TDCO_STDOUT_BASE + TDCO_STDOUT_PUTC && m.write) {
        output.push_back(char(m.data));
    } else if (m.addr == TDCO_SOC_CONTROL_BASE + TDCO_SOC_EXIT && m.write) {
        exited = m.data >> 31;
        exit_code = m.data & 0x7FFFFFFF;
    } else {
        if (within(m.addr, TDCO_L1_BASE - TDCO_STACK_BYTES, TDCO_STACK_BYTES))
            return stop("stack overflow", index, pc, m.addr);
        const bool peripheral = within(m.addr, TDCO_STDOUT_BASE, TDCO_STDOUT_SIZE)
            || within(m.addr, TDCO_SOC_CONTROL_BASE, TDCO_SOC_CONTROL_SIZE);
        return stop(std::string(m.write ? "store " : "load ")
                        + (peripheral ? m.write ? "to no register" : "from no register" : "outside mapped memory"),
                    index, pc, m.addr);
    }
    if (m.bytes != 4)
        return stop("access to a peripheral's register by less than a word", index, pc, m.addr);
    if (fault.raised() && fault.pc == 0)
        fault.hart = index, fault.pc = pc;
    if (!m.write && hart.wait == Wait::none)
        hart.core.finish_load(value);
}

void Cluster::wake(uint32_t index)
{
    Hart &hart = harts[index];
    hart.wait = Wait::none;
    const uint32_t taken = events.take(index, hart.wait_offset);
    hart.core.finish_load(taken);
    hart.ready_at = std::max(hart.ready_at, now + 1) + TDCO_EVENT_WAKEUP_CYCLES;
    if (taken >> TDCO_EVENT_ENGINE & 1)
        watch.jobs_seen();
    hart.cycles.asleep += hart.ready_at - hart.wait_since;
    watch.slept(index, taken, hart.wait_since, hart.ready_at);
}

void Cluster::finish_l1(uint32_t index)
{
    Hart &hart = harts[index];
    const MemoryAccess &m = hart.core.access;
    hart.wait = Wait::none;
    hart.ready_at = now + 1;
    hart.cycles.l1 += now - hart.wait_since;
    if (!m.write) {
        hart.core.finish_load(tcdm.ports[index].rdata >> 8 * (m.addr & 3));
        hart.comes_late(m.rd, TDCO_LOAD_USE_CYCLES);
    }
}

void Cluster::step_engine()
{
    engine->event = false;
    if (engine_user == NO_HART) {
        for (uint32_t h = HARTS; h-- > 0 && engine_user == NO_HART;)
            if (harts[h].wait == Wait::engine)
                engine_user = h;
        if (engine_user != NO_HART) {
            const MemoryAccess &m = harts[engine_user].core.access;
            engine->access = {true, m.write, m.addr - TDCO_ENGINE_BASE, m.data};
            if (m.write)
                watch.engine_written(engine->access.offset, m.data, {engine_user, harts[engine_user].access_pc}, now,
                                     tcdm.memory, fault);
            if (fault.raised() && fault.hart == NO_HART)
                fault.hart = engine_user, fault.pc = harts[engine_user].access_pc;
        }
    }
    if (engine->active() || engine->access.valid)
        engine_awake_until = now + ENGINE_TAIL_CYCLES;
}

void Cluster::step()
{
    for (uint32_t h = 0; h < HARTS; h++) {
        Hart &hart = harts[h];
        if (hart.wait == Wait::none && now >= hart.ready_at)
            step_hart(h);
    }
    step_engine();
    const bool engine_cycle = now <= engine_awake_until && engine->needs_cycle(now);
    if (engine_cycle)
        engine->begin_cycle(tcdm.engine);
    dma.request(now, l2, fault);
    tcdm.cycle(fault);
    if (engine_cycle)
        engine->end_cycle(tcdm.engine);
    if (engine_user != NO_HART) {
        Hart &user = harts[engine_user];
        user.wait = Wait::none;
        if (!user.core.access.write) {
            user.core.finish_load(engine->access.data);
            watch.engine_read(engine->access.offset, engine->access.data);
        }
        engine->access.valid = false;
        engine_user = NO_HART;
    }
    if (fault.raised() && fault.hart == NO_HART)
        watch.blame(fault);
    if (engine->event) {
        events.send(TDCO_EVENT_ENGINE, EventUnit::ALL);
        watch.job_ended(now, tcdm.engine_refused);
    }
    dma.finish(now, l2, ended);
    for (const Transfer &transfer : ended) {
        watch.transfer_ended(transfer, now);
        if (transfer.event)
            events.send(TDCO_EVENT_DMA, EventUnit::ALL);
    }
    if (l3_dma.finish(now, l2, l3)) {
        watch.l3_ended(l3_dma.current);
        events.send(TDCO_EVENT_L3_DMA, EventUnit::ALL);
    }
    for (uint32_t h = 0; h < HARTS; h++)
        if (harts[h].wait == Wait::l1 && tcdm.ports[h].gnt)
            finish_l1(h);
        else if (harts[h].wait == Wait::event && events.pending(h))
            wake(h);
    if (fault.raised() && fault.hart != NO_HART && fault.pc == 0)
        fault.pc = harts[fault.hart].access_pc;
}

// The first cycle after `now` in which anything can happen.
uint64_t Cluster::next_cycle() const
{
    uint64_t next = std::min(dma.next_cycle(), l3_dma.running ? l3_dma.end_cycle : NEVER);
    next = std::min(next, now <= engine_awake_until ? engine->next_cycle(now) : NEVER);
    for (uint32_t h = 0; h < HARTS; h++) {
        const Hart &hart = harts[h];
        if (hart.wait == Wait::l1 || hart.wait == Wait::engine)
            return now + 1;
        if (hart.wait == Wait::none)
            next = std::min(next, hart.ready_at);
    }
    return std::max(next, now + 1);
}

uint32_t Cluster::place(uint32_t hart) const
{
    return harts[hart].wait == Wait::none ? harts[hart].core.pc : harts[hart].access_pc;
}

void Cluster::run(uint64_t limit)
{
    while (!exited && !fault.raised() && now < limit) {
        step();
        if (exited || fault.raised())
            return;
        const uint64_t next = next_cycle();
        if (next == NEVER)
            return stop("deadlock: all cores sleep and nothing is under way", NO_HART, 0, 0);
        now = next;
    }
}

} // namespace soc
