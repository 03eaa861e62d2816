// The DMA between L3 and L2: a start-up time, then bytes at a fixed rate; the data move when the transfer ends.
#include <cstring>
#include <vector>

#include <vp/itf/io.hpp>
#include <vp/itf/wire.hpp>
#include <vp/vp.hpp>

#include "tdco_hw.h"

namespace {

class L3Dma : public vp::Component {
  public:
    explicit L3Dma(vp::ComponentConf &config) : vp::Component(config), end(this, &L3Dma::ended)
    {
        input.set_req_meth(&L3Dma::request);
        new_slave_port("input", &input);
        new_master_port("memory", &memory);
        new_master_port("event", &event);
        traces.new_trace("trace", &trace, vp::DEBUG);
    }

  private:
    vp::IoSlave input;
    vp::IoMaster memory;
    vp::WireMaster<bool> event;
    vp::ClockEvent end;
    vp::Trace trace;
    struct Transfer {
        uint32_t l2, l3, bytes;
        bool to_l2;
    };
    Transfer next{}, current{}; // the registers, of which the next transfer is told while one runs; that one
    uint32_t finished = 0;
    bool running = false;

    static vp::IoReqStatus request(vp::Block *self, vp::IoReq *req)
    {
        L3Dma *const dma = static_cast<L3Dma *>(self);
        uint32_t value = dma->finished;
        if (req->get_size() != 4)
            return vp::IO_REQ_INVALID;
        if (req->get_is_write()) {
            std::memcpy(&value, req->get_data(), 4);
            return dma->write(uint32_t(req->get_addr()), value);
        }
        if (req->get_addr() != TDCO_L3_DMA_FINISHED)
            return vp::IO_REQ_INVALID;
        std::memcpy(req->get_data(), &value, 4);
        return vp::IO_REQ_OK;
    }

    vp::IoReqStatus write(uint32_t offset, uint32_t value)
    {
        switch (offset) {
        case TDCO_L3_DMA_L2_ADDR: next.l2 = value; return vp::IO_REQ_OK;
        case TDCO_L3_DMA_L3_ADDR: next.l3 = value; return vp::IO_REQ_OK;
        case TDCO_L3_DMA_LENGTH: next.bytes = value; return vp::IO_REQ_OK;
        case TDCO_L3_DMA_START: break;
        default: return vp::IO_REQ_INVALID;
        }
        if (running) {
            trace.fatal("the L3 DMA was started while it runs\n");
            return vp::IO_REQ_INVALID;
        }
        running = true;
        next.to_l2 = value & 1;
        current = next;
        event_enqueue(&end, TDCO_L3_STARTUP_CYCLES + int64_t(current.bytes) * TDCO_L3_CYCLES_PER_BYTE);
        return vp::IO_REQ_OK;
    }

    static void ended(vp::Block *self, vp::ClockEvent *)
    {
        L3Dma *const dma = static_cast<L3Dma *>(self);
        const Transfer &t = dma->current;
        std::vector<uint8_t> data(t.bytes);
        dma->move(t.to_l2 ? t.l3 : t.l2, data, false);
        dma->move(t.to_l2 ? t.l2 : t.l3, data, true);
        dma->running = false;
        dma->finished++;
        dma->event.sync(true);
    }

    void move(uint32_t addr, std::vector<uint8_t> &data, bool is_write)
    {
        vp::IoReq req;
        req.init();
        req.set_debug(true);
        req.set_addr(addr);
        req.set_size(data.size());
        req.set_data(data.data());
        req.set_is_write(is_write);
        if (!data.empty() && memory.req(&req) != vp::IO_REQ_OK)
            trace.fatal("the L3 DMA leaves its memories at 0x%x\n", addr);
    }
};

} // namespace

extern "C" vp::Component *gv_new(vp::ComponentConf &config) { return new L3Dma(config); }
