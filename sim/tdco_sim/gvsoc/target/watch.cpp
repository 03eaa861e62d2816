// Sits between the cluster's parts, passes everything on unchanged and without delay, and says when the program ends what
// it saw: kernels on the cores, their sleep, transfers of the DMA, bytes moved and the highest addresses used.
//
// A kernel begins with the fetch of the line that holds its entry and ends with the fetch of one that holds its return
// address. "calls.in" lists the entries of the program's kernel calls in their order.
#include <algorithm>
#include <deque>
#include <fstream>
#include <memory>

#include <vp/itf/io.hpp>
#include <vp/itf/wire.hpp>
#include <vp/vp.hpp>

#include "report.hpp"
#include "tdco_hw.h"

namespace {

constexpr uint32_t HARTS = TDCO_CORES + 1, DMA_PORTS = 4, L1_PORTS = HARTS + DMA_PORTS + 1, LINE_BYTES = 16;
constexpr uint32_t TRACK_SLEEP = HARTS, TRACK_TO_L1 = 2 * HARTS + 1, TRACK_FROM_L1 = TRACK_TO_L1 + 1; // soc/watch.hpp

uint32_t line_of(uint64_t addr) { return uint32_t(addr) & ~(LINE_BYTES - 1); }

// Two ports joined through the watch.
struct Link {
    vp::IoSlave in;
    vp::IoMaster out;
};

class Watch : public vp::Component {
  public:
    explicit Watch(vp::ComponentConf &config) : vp::Component(config)
    {
        join("fetch", HARTS, fetch, &Watch::on_fetch);
        join("l1", L1_PORTS, l1, &Watch::on_l1);
        join("dma", HARTS, dma, &Watch::on_dma);
        join("l2", 1, l2, &Watch::on_l2);
        join("l3", 1, l3, &Watch::on_l3);
        for (uint32_t i = 0; i < HARTS; i++) {
            clocks[i].set_sync_meth_muxed(&Watch::on_clock, int(i));
            new_slave_port("clock_" + std::to_string(i), &clocks[i]);
        }
        left.set_sync_meth(&Watch::on_left);
        new_slave_port("left", &left);
        std::ifstream entries("calls.in");
        for (uint32_t entry; entries >> std::hex >> entry;)
            calls.push_back(entry);
    }

  private:
    std::vector<std::unique_ptr<Link>> fetch, l1, dma, l2, l3;
    vp::WireSlave<bool> clocks[HARTS], left;
    std::vector<uint32_t> calls;
    std::vector<report::Span> spans;

    struct Core {
        uint32_t call = 0, line = 0, return_line = 0; // calls finished; the line fetched last; not 0: inside a kernel
        int64_t entered = 0, asleep_since = -1;
        uint64_t asleep = 0;
        uint32_t command[5] = {}, words = 0; // of the DMA, while it is written
    } cores[HARTS];
    struct Transfer {
        uint32_t left_bytes;
        int64_t pushed;
    };
    std::deque<Transfer> transfers[2]; // from L1, to L1
    uint32_t transfers_ended[2] = {};
    int64_t last_end[2] = {}, dma_since = 0;
    uint64_t dma_busy = 0, bytes[2] = {}, l3_bytes = 0, l1_peak = 0, l2_peak = 0;

    void join(const std::string &name, uint32_t count, std::vector<std::unique_ptr<Link>> &links, vp::IoReqMethMuxed *method)
    {
        for (uint32_t i = 0; i < count; i++) {
            links.push_back(std::make_unique<Link>());
            links[i]->in.set_req_meth_muxed(method, int(i));
            new_slave_port(name + "_in_" + std::to_string(i), &links[i]->in);
            new_master_port(name + "_out_" + std::to_string(i), &links[i]->out);
        }
    }

    static vp::IoReqStatus on_fetch(vp::Block *self, vp::IoReq *req, int hart)
    {
        Watch *const watch = static_cast<Watch *>(self);
        watch->fetched(uint32_t(hart), line_of(req->get_addr()));
        return watch->fetch[hart]->out.req_forward(req);
    }

    void fetched(uint32_t hart, uint32_t line)
    {
        Core &core = cores[hart];
        const int64_t now = clock.get_cycles();
        if (!core.return_line) {
            if (hart < TDCO_CORES && core.call < calls.size() && line == line_of(calls[core.call])) {
                core.return_line = core.line;
                core.entered = now;
            }
        } else if (line == core.return_line || line == core.return_line + LINE_BYTES) {
            spans.push_back({hart, core.call++, core.entered, now, 0});
            core.return_line = 0;
        }
        core.line = line;
    }

    static vp::IoReqStatus on_l1(vp::Block *self, vp::IoReq *req, int port)
    {
        Watch *const watch = static_cast<Watch *>(self);
        watch->l1_peak = std::max(watch->l1_peak, (req->get_addr() & ~uint64_t(3)) + 4);
        const bool writes = req->get_is_write(), of_dma = HARTS <= uint32_t(port) && uint32_t(port) < HARTS + DMA_PORTS;
        const uint32_t size = uint32_t(req->get_size());
        const vp::IoReqStatus status = watch->l1[port]->out.req_forward(req);
        if (of_dma && writes)
            watch->moved(true, size);
        return status;
    }

    static vp::IoReqStatus on_l2(vp::Block *self, vp::IoReq *req, int)
    {
        Watch *const watch = static_cast<Watch *>(self);
        const uint64_t end = req->get_addr() - TDCO_L2_BASE + req->get_size();
        const uint32_t size = uint32_t(req->get_size());
        const bool writes = req->get_is_write();
        watch->l2_peak = std::max(watch->l2_peak, end <= TDCO_L2_SIZE ? end : 0);
        watch->bytes[writes ? 0 : 1] += size;
        const vp::IoReqStatus status = watch->l2[0]->out.req_forward(req);
        if (writes)
            watch->moved(false, size);
        return status;
    }

    static vp::IoReqStatus on_l3(vp::Block *self, vp::IoReq *req, int)
    {
        Watch *const watch = static_cast<Watch *>(self);
        if (req->get_is_write())
            watch->l3_bytes += req->get_size();
        return watch->l3[0]->out.req_forward(req);
    }

    static vp::IoReqStatus on_dma(vp::Block *self, vp::IoReq *req, int hart)
    {
        Watch *const watch = static_cast<Watch *>(self);
        if (req->get_is_write() && req->get_addr() == TDCO_DMA_COMMAND)
            watch->commanded(watch->cores[hart], *reinterpret_cast<const uint32_t *>(req->get_data()));
        return watch->dma[hart]->out.req_forward(req);
    }

    void commanded(Core &core, uint32_t word)
    {
        core.command[core.words++] = word;
        if (core.words < (core.command[0] & TDCO_DMA_COMMAND_2D ? 5u : 3u))
            return;
        core.words = 0;
        const int64_t now = clock.get_cycles();
        if (transfers[0].empty() && transfers[1].empty())
            dma_since = now;
        transfers[core.command[0] & TDCO_DMA_COMMAND_TO_L1 ? 1 : 0].push_back(
            {core.command[0] & TDCO_DMA_COMMAND_LENGTH_MASK, now});
    }

    void moved(bool to_l1, uint32_t size)
    {
        std::deque<Transfer> &queue = transfers[to_l1];
        if (queue.empty() || (queue.front().left_bytes -= size))
            return;
        const int64_t now = clock.get_cycles();
        spans.push_back({to_l1 ? TRACK_TO_L1 : TRACK_FROM_L1, transfers_ended[to_l1]++,
                         std::max(queue.front().pushed, last_end[to_l1]), now, 0});
        last_end[to_l1] = now;
        queue.pop_front();
        if (transfers[0].empty() && transfers[1].empty())
            dma_busy += uint64_t(now - dma_since);
    }

    static void on_clock(vp::Block *self, bool runs, int hart)
    {
        Watch *const watch = static_cast<Watch *>(self);
        Core &core = watch->cores[hart];
        const int64_t now = watch->clock.get_cycles();
        if (!runs) {
            core.asleep_since = now;
        } else if (core.asleep_since >= 0) {
            watch->spans.push_back({TRACK_SLEEP + uint32_t(hart), 0, core.asleep_since, now, 0});
            core.asleep += uint64_t(now - core.asleep_since);
            core.asleep_since = -1;
        }
    }

    static void on_left(vp::Block *self, bool)
    {
        Watch *const watch = static_cast<Watch *>(self);
        uint64_t asleep = 0;
        for (uint32_t i = 0; i < TDCO_CORES; i++) {
            if (watch->cores[i].asleep_since >= 0)
                on_clock(self, true, int(i));
            asleep += watch->cores[i].asleep;
        }
        report::append(watch->spans,
                       {{"asleep", asleep}, {"dma_busy", watch->dma_busy}, {"l2_l1", watch->bytes[1]},
                        {"l1_l2", watch->bytes[0]}, {"l3_l2", watch->l3_bytes}, {"l1_peak", watch->l1_peak},
                        {"l2_peak", watch->l2_peak}});
    }
};

} // namespace

extern "C" vp::Component *gv_new(vp::ComponentConf &config) { return new Watch(config); }
