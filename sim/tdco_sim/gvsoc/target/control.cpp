// Exit, standard output, the cycle limit, and what is left when the program ends: the memories and a line with the
// exit code, the cycles since the cores started, and when they did.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include <vp/itf/io.hpp>
#include <vp/itf/wire.hpp>
#include <vp/vp.hpp>

#include "tdco_hw.h"

namespace {

class Control : public vp::Component {
  public:
    explicit Control(vp::ComponentConf &config) : vp::Component(config), limit(this, &Control::reached_limit)
    {
        soc_control.set_req_meth(&Control::exit_request);
        new_slave_port("soc_control", &soc_control);
        std_out.set_req_meth(&Control::put_request);
        new_slave_port("stdout", &std_out);
        start.set_sync_meth(&Control::started);
        new_slave_port("start", &start);
        new_master_port("memory", &memory);
        new_master_port("left", &left);
    }

  private:
    vp::IoSlave soc_control, std_out;
    vp::IoMaster memory;
    vp::WireSlave<bool> start;
    vp::WireMaster<bool> left; // the others say what they saw
    vp::ClockEvent limit;
    int64_t start_cycle = 0;

    static void started(vp::Block *self, bool)
    {
        Control *const control = static_cast<Control *>(self);
        control->start_cycle = control->clock.get_cycles();
        if (const char *const cycles = std::getenv("TDCO_GVSOC_LIMIT_CYCLES"))
            control->event_enqueue(&control->limit, std::atoll(cycles));
    }

    static void reached_limit(vp::Block *self, vp::ClockEvent *) { static_cast<Control *>(self)->finish("limit", 1); }

    static vp::IoReqStatus exit_request(vp::Block *self, vp::IoReq *request)
    {
        uint32_t value = 0;
        if (!request->get_is_write() || request->get_addr() != TDCO_SOC_EXIT || request->get_size() != 4)
            return vp::IO_REQ_INVALID;
        std::memcpy(&value, request->get_data(), 4);
        if (value >> 31)
            static_cast<Control *>(self)->finish(std::to_string(value & 0x7FFFFFFF), 0);
        return vp::IO_REQ_OK;
    }

    static vp::IoReqStatus put_request(vp::Block *, vp::IoReq *request)
    {
        if (!request->get_is_write())
            return vp::IO_REQ_INVALID;
        std::fputc(*request->get_data(), stdout);
        return vp::IO_REQ_OK;
    }

    void finish(const std::string &how, int status)
    {
        const long long cycles = clock.get_cycles() - start_cycle;
        for (const char *name : {"l1", "l2", "l3"})
            save(name);
        left.sync(true);
        std::fflush(stdout);
        if (FILE *const file = std::fopen("stop", "w")) {
            std::fprintf(file, "%s %lld %lld\n", how.c_str(), cycles, (long long)start_cycle);
            std::fclose(file);
        }
        time.get_engine()->quit(status);
    }

    // The bytes of a memory as a file, word by word where it lies in banks.
    void save(const std::string &name)
    {
        const uint64_t base = get_js_config()->get_uint(name + "_base"), bytes = get_js_config()->get_uint(name + "_size");
        const uint32_t piece = name == "l1" ? 4 : 1 << 16;
        std::vector<uint8_t> data(bytes);
        for (uint64_t at = 0; at < bytes; at += piece) {
            vp::IoReq request;
            request.init();
            request.set_debug(true);
            request.set_addr(base + at);
            request.set_size(piece);
            request.set_data(&data[at]);
            request.set_is_write(false);
            memory.req(&request);
        }
        if (FILE *const file = std::fopen((name + ".out").c_str(), "wb")) {
            std::fwrite(data.data(), 1, data.size(), file);
            std::fclose(file);
        }
    }
};

} // namespace

extern "C" vp::Component *gv_new(vp::ComponentConf &config) { return new Control(config); }
