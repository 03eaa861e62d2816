// Brings the wide requests of GVSoC's light RedMulE to the banks as ClockedEngine does ours: word by word in one cycle, and
// done when the slowest word is.
#include <algorithm>
#include <cstring>

#include <vp/itf/io.hpp>
#include <vp/itf/wire.hpp>
#include <vp/vp.hpp>

#include "report.hpp"

namespace {

class Wide : public vp::Component {
  public:
    explicit Wide(vp::ComponentConf &config) : vp::Component(config)
    {
        input.set_req_meth(&Wide::requested);
        new_slave_port("input", &input);
        new_master_port("memory", &memory);
        left.set_sync_meth(&Wide::on_left);
        new_slave_port("left", &left);
    }

  private:
    vp::IoSlave input;
    vp::IoMaster memory;
    vp::WireSlave<bool> left;
    uint64_t requests = 0;

    static vp::IoReqStatus requested(vp::Block *self, vp::IoReq *req)
    {
        Wide *const wide = static_cast<Wide *>(self);
        wide->requests++;
        uint64_t latency = 0;
        for (uint64_t at = 0; at < req->get_size();) {
            const uint64_t addr = req->get_addr() + at, count = std::min(4 - addr % 4, req->get_size() - at);
            vp::IoReq word;
            word.init();
            word.set_addr(addr);
            word.set_size(count);
            word.set_data(req->get_data() + at);
            word.set_is_write(req->get_is_write());
            if (wide->memory.req(&word) != vp::IO_REQ_OK)
                return vp::IO_REQ_INVALID;
            latency = std::max<uint64_t>(latency, word.get_latency());
            at += count;
        }
        req->inc_latency(latency);
        return vp::IO_REQ_OK;
    }

    static void on_left(vp::Block *self, bool)
    {
        report::append({}, {{"wide_requests", static_cast<Wide *>(self)->requests}});
    }
};

} // namespace

extern "C" vp::Component *gv_new(vp::ComponentConf &config) { return new Wide(config); }
