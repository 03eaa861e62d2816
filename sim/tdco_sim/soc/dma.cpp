#include "dma.hpp"

#include <algorithm>

namespace soc {
namespace {

constexpr uint64_t NEVER = ~uint64_t(0);
constexpr uint32_t COMMAND_BITS = TDCO_DMA_COMMAND_LENGTH_MASK | TDCO_DMA_COMMAND_TO_L1 | TDCO_DMA_COMMAND_INCREMENT
    | TDCO_DMA_COMMAND_2D | TDCO_DMA_COMMAND_EVENT;

} // namespace

Dma::Dma(Tcdm &tcdm)
    : channels{{tcdm.ports + HARTS, true, {}}, {tcdm.ports + HARTS + DMA_PORTS / 2, false, {}}}
{
}

uint32_t Dma::load(uint32_t hart, uint32_t offset, Fault &fault)
{
    if (offset == TDCO_DMA_STATUS)
        return busy | allocated << 16;
    if (offset != TDCO_DMA_COMMAND)
        fault = {"load from no register of the DMA", hart, 0, TDCO_DMA_BASE + offset};
    for (uint32_t c = 0; c < TDCO_DMA_COUNTERS; c++)
        if (!(allocated >> c & 1)) {
            allocated |= 1u << c;
            return counter[hart] = c;
        }
    return 0xFFFFFFFF;
}

bool Dma::store(uint32_t hart, uint32_t offset, uint32_t value, uint64_t now, Fault &fault)
{
    if (offset == TDCO_DMA_STATUS) {
        allocated &= ~value | busy;
        return false;
    }
    if (offset != TDCO_DMA_COMMAND) {
        fault = {"store to no register of the DMA", hart, 0, TDCO_DMA_BASE + offset};
        return false;
    }
    uint32_t *w = words[hart];
    w[count[hart]++] = value;
    const bool two_d = w[0] & TDCO_DMA_COMMAND_2D;
    if (count[hart] < (two_d ? 5u : 3u))
        return false;
    count[hart] = 0;
    Transfer t{};
    t.bytes = w[0] & TDCO_DMA_COMMAND_LENGTH_MASK;
    t.to_l1 = w[0] & TDCO_DMA_COMMAND_TO_L1;
    t.event = w[0] & TDCO_DMA_COMMAND_EVENT;
    t.l1 = w[1];
    t.l2 = w[2];
    t.row_bytes = two_d ? w[3] : t.bytes;
    t.stride = two_d ? w[4] : 0;
    t.start_cycle = now + TDCO_DMA_STARTUP_CYCLES;
    t.counter = counter[hart];
    if (t.bytes == 0 || t.row_bytes == 0) {
        fault = {"DMA command of no bytes", hart, 0, t.l1};
    } else if (w[0] & ~COMMAND_BITS || !(w[0] & TDCO_DMA_COMMAND_INCREMENT)) {
        fault = {"DMA command " + hex(w[0]) + " beyond length, direction, 2-D and event, incrementing", hart, 0, t.l1};
    } else if (!(allocated >> t.counter & 1)) {
        fault = {"DMA command without a counter allocated for it", hart, 0, t.l1};
    } else {
        busy |= 1u << t.counter;
        channels[!t.to_l1].queue.push_back(t);
        pushed_to_l1 = t.to_l1;
        return true;
    }
    return false;
}

// False if none is left, or it is too early.
bool Dma::begin_burst(Channel &channel, uint64_t now)
{
    if (channel.left == 0 || now < channel.burst_from)
        return false;
    const uint32_t of_row = channel.queue.front().row_bytes - channel.column;
    channel.burst_left = std::min({channel.left, of_row, uint32_t(TDCO_DMA_BURST_BYTES)});
    channel.burst_from = channel.to_l1 ? now + 1 : NEVER;
    return true;
}

// Puts the next word of the running burst on `port`.
void Dma::assign(Channel &channel, uint32_t port, const Memory &l2, Fault &fault)
{
    const Transfer &t = channel.queue.front();
    Port &p = channel.ports[port];
    Channel::Flight &flight = channel.flights[port];
    const uint32_t first = channel.l1 & 3, bytes = std::min(4 - first, channel.burst_left);
    p = {true, channel.to_l1, false, 0, channel.l1 & ~3u, 0, 0, 0};
    for (uint32_t i = first; i < first + bytes; i++) {
        const uint32_t addr = t.l2 + channel.row * t.stride + channel.column;
        if (!l2.holds(addr, 1)) {
            fault = {"DMA transfer leaves L2", NO_HART, 0, addr};
            p.req = false;
            return;
        }
        if (channel.to_l1) {
            if (!l2.is_written(addr, 1))
                fault = {"DMA reads bytes of L2 nobody wrote", NO_HART, 0, addr};
            p.wdata |= uint32_t(l2.bytes[addr - l2.base]) << 8 * i;
        }
        l2_peak_bytes = std::max(l2_peak_bytes, addr - l2.base + 1);
        flight.l2[i] = addr;
        p.be |= uint8_t(1u << i);
        if (++channel.column == t.row_bytes) {
            channel.column = 0;
            channel.row++;
        }
    }
    flight.active = true;
    channel.l1 += bytes;
    channel.left -= bytes;
    channel.burst_left -= bytes;
    (channel.to_l1 ? bytes_to_l1 : bytes_from_l1) += bytes;
}

void Dma::request(uint64_t now, const Memory &l2, Fault &fault)
{
    bool busy_now = false;
    for (Channel &channel : channels) {
        if (!channel.running) {
            if (channel.queue.empty() || channel.queue.front().start_cycle > now)
                continue;
            const Transfer &t = channel.queue.front();
            channel.running = true;
            channel.l1 = t.l1;
            channel.left = t.bytes;
            channel.row = channel.column = 0;
        }
        busy_now = true;
        for (uint32_t port = 0; port < DMA_PORTS / 2; port++)
            if (!channel.flights[port].active && (channel.burst_left || begin_burst(channel, now)))
                assign(channel, port, l2, fault);
    }
    busy_cycles += busy_now;
}

void Dma::finish(uint64_t now, Memory &l2, std::vector<Transfer> &ended)
{
    ended.clear();
    for (Channel &channel : channels) {
        if (!channel.running)
            continue;
        bool flying = false;
        for (uint32_t port = 0; port < DMA_PORTS / 2; port++) {
            Channel::Flight &flight = channel.flights[port];
            const Port &p = channel.ports[port];
            if (!flight.active)
                continue;
            if (!p.gnt) {
                flying = true;
                continue;
            }
            flight.active = false;
            if (!channel.to_l1)
                for (uint32_t i = 0; i < 4; i++)
                    if (p.be >> i & 1) {
                        const uint8_t byte = uint8_t(p.rdata >> 8 * i);
                        l2.store(flight.l2[i], &byte, 1);
                    }
        }
        if (channel.burst_left == 0 && !flying && !channel.to_l1)
            channel.burst_from = std::min(channel.burst_from, now + 2);
        if (channel.left == 0 && !flying) {
            ended.push_back(channel.queue.front());
            busy &= ~(1u << channel.queue.front().counter);
            channel.queue.pop_front();
            channel.running = false;
        }
    }
}

uint64_t Dma::next_cycle() const
{
    uint64_t next = NEVER;
    for (const Channel &channel : channels)
        if (channel.running)
            return 0;
        else if (!channel.queue.empty())
            next = std::min(next, channel.queue.front().start_cycle);
    return next;
}

uint32_t L3Dma::load(uint32_t offset, Fault &fault) const
{
    if (offset != TDCO_L3_DMA_FINISHED)
        fault = {"load from no register of the L3 DMA", NO_HART, 0, TDCO_L3_DMA_BASE + offset};
    return finished;
}

bool L3Dma::store(uint32_t offset, uint32_t value, uint64_t now, const Memory &l2, const Memory &l3, Fault &fault)
{
    switch (offset) {
    case TDCO_L3_DMA_L2_ADDR: next.l2 = value; return false;
    case TDCO_L3_DMA_L3_ADDR: next.l3 = value; return false;
    case TDCO_L3_DMA_LENGTH: next.bytes = value; return false;
    case TDCO_L3_DMA_START: break;
    default: fault = {"store to no register of the L3 DMA", NO_HART, 0, TDCO_L3_DMA_BASE + offset}; return false;
    }
    next.to_l2 = value & 1;
    const Memory &source = next.to_l2 ? l3 : l2;
    const uint32_t from = next.to_l2 ? next.l3 : next.l2;
    if (running)
        fault = {"the L3 DMA was started while it runs", NO_HART, 0, next.l2};
    else if (next.bytes == 0)
        fault = {"L3 DMA transfer of no bytes", NO_HART, 0, next.l2};
    else if (!l2.holds(next.l2, next.bytes) || !l3.holds(next.l3, next.bytes))
        fault = {"L3 DMA transfer leaves its memories", NO_HART, 0, l2.holds(next.l2, next.bytes) ? next.l3 : next.l2};
    else if (!source.is_written(from, next.bytes))
        fault = {"L3 DMA reads bytes nobody wrote", NO_HART, 0, from};
    if (fault.raised())
        return false;
    running = true;
    current = next;
    end_cycle = now + TDCO_L3_STARTUP_CYCLES + uint64_t(current.bytes) * TDCO_L3_CYCLES_PER_BYTE;
    return true;
}

bool L3Dma::finish(uint64_t now, Memory &l2, Memory &l3)
{
    if (!running || now < end_cycle)
        return false;
    running = false;
    finished++;
    const Memory &source = current.to_l2 ? l3 : l2;
    const uint32_t from = current.to_l2 ? current.l3 : current.l2, to = current.to_l2 ? current.l2 : current.l3;
    (current.to_l2 ? l2 : l3).store(to, &source.bytes[from - source.base], current.bytes);
    bytes_moved += current.bytes;
    return true;
}

} // namespace soc
