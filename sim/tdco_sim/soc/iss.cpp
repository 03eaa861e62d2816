// A single core with flat memory and no timing: the instruction-set simulator the instruction tests run on.
#include <cstring>
#include <string>
#include <vector>

#include "core.hpp"

namespace {

using soc::Core;
using soc::Insn;

struct Iss {
    uint32_t base;
    std::vector<uint8_t> memory;
    std::vector<Insn> decoded; // one slot per halfword
    Core core;
    std::string output, error;
    bool exited = false;

    bool inside(uint32_t addr, uint32_t bytes) const
    {
        return addr - base < memory.size() && memory.size() - (addr - base) >= bytes;
    }

    const Insn *fetch(uint32_t pc)
    {
        if (!inside(pc, 2))
            return nullptr;
        Insn &in = decoded[(pc - base) / 2];
        if (!in.bytes) {
            uint32_t word = 0;
            std::memcpy(&word, &memory[pc - base], inside(pc, 4) ? 4 : 2);
            in = soc::decode(word);
        }
        return &in;
    }

    bool access()
    {
        const soc::MemoryAccess &m = core.access;
        if (!inside(m.addr, m.bytes))
            return false;
        uint8_t *at = &memory[m.addr - base];
        if (m.write) {
            std::memcpy(at, &m.data, m.bytes);
        } else {
            uint32_t data = 0;
            std::memcpy(&data, at, m.bytes);
            core.finish_load(data);
        }
        return true;
    }

    // Linux's write (64) and exit (93), so that the same ELF runs under qemu-riscv32.
    bool host_call()
    {
        const uint32_t number = core.x[17], addr = core.x[11], length = core.x[12];
        if (number == 93) {
            exited = true;
            return true;
        }
        if (number != 64 || !inside(addr, length))
            return false;
        output.append(reinterpret_cast<const char *>(&memory[addr - base]), length);
        core.x[10] = length;
        core.pc += 4;
        return true;
    }

    bool handle_trap()
    {
        if (core.trap_cause == soc::ECALL_M && core.mtvec == 0)
            return host_call();
        if (core.mtvec == 0)
            return false;
        core.enter_trap();
        return true;
    }

    bool step()
    {
        const Insn *in = fetch(core.pc);
        core.cycle++;
        if (!in) {
            core.trap_cause = soc::FETCH_FAULT;
            core.trap_value = core.pc;
            return handle_trap();
        }
        switch (core.execute(*in)) {
        case Core::Result::memory: {
            if (access())
                return true;
            core.pc -= in->bytes;
            core.trap_cause = core.access.write ? soc::STORE_FAULT : soc::LOAD_FAULT;
            core.trap_value = core.access.addr;
            return handle_trap();
        }
        case Core::Result::fence_i: decoded.assign(decoded.size(), Insn()); return true;
        case Core::Result::trap: return handle_trap();
        default: return true;
        }
    }
};

} // namespace

extern "C" {

Iss *tdco_iss_open(uint32_t base, uint32_t bytes)
{
    return new Iss{base, std::vector<uint8_t>(bytes), std::vector<Insn>(bytes / 2 + 1), {}, {}, {}};
}

uint8_t *tdco_iss_memory(Iss *iss) { return iss->memory.data(); }

uint32_t *tdco_iss_registers(Iss *iss) { return iss->core.x; }

// Runs from `pc` for at most `limit` instructions; returns how many ran. tdco_iss_error() is empty after an exit.
uint64_t tdco_iss_run(Iss *iss, uint32_t pc, uint64_t limit)
{
    iss->core.pc = pc;
    iss->exited = false;
    iss->error.clear();
    const uint64_t start = iss->core.cycle;
    while (iss->core.cycle - start < limit && !iss->exited) {
        if (!iss->step()) {
            iss->error = "trap, cause " + std::to_string(iss->core.trap_cause) + ", pc " +
                         std::to_string(iss->core.pc) + ", value " + std::to_string(iss->core.trap_value);
            return iss->core.cycle - start;
        }
    }
    if (!iss->exited)
        iss->error = "no exit within the limit, pc " + std::to_string(iss->core.pc);
    return iss->core.cycle - start;
}

const char *tdco_iss_error(const Iss *iss) { return iss->error.c_str(); }

const char *tdco_iss_output(const Iss *iss, uint64_t *bytes)
{
    *bytes = iss->output.size();
    return iss->output.data();
}

void tdco_iss_close(Iss *iss) { delete iss; }
}
