// One in-order RISC-V core: architectural state and what an instruction does to it. Memory belongs to the caller.
#ifndef TDCO_SOC_CORE_HPP
#define TDCO_SOC_CORE_HPP

#include "isa.hpp"

namespace soc {

enum Cause : uint32_t { FETCH_FAULT = 1, ILLEGAL = 2, BREAKPOINT = 3, LOAD_FAULT = 5, STORE_FAULT = 7, ECALL_M = 11 };

struct MemoryAccess {
    uint32_t addr = 0, data = 0; // data: what a store writes
    uint8_t bytes = 0, rd = 0;
    bool write = false, sign_extend = false;
};

struct Core {
    enum class Result : uint8_t { next, taken, memory, fence_i, sleep, trap };

    uint32_t x[32] = {};
    uint32_t pc = 0;
    MemoryAccess access; // what Result::memory asks for; the caller ends a load with finish_load()
    uint32_t trap_cause = 0, trap_value = 0;
    uint32_t fflags = 0, frm = 0;
    uint32_t mstatus = 0x1800, mie = 0, mip = 0, mtvec = 0, mscratch = 0, mepc = 0, mcause = 0, mtval = 0;
    uint32_t hart = 0;
    uint64_t cycle = 0, cycle_base = 0; // mcycle = cycle - cycle_base; the caller advances cycle
    uint64_t retired = 0, retired_base = 0;

    // Executes `in` at pc and moves pc on. Result::trap leaves pc at the instruction and fills trap_cause and
    // trap_value; the caller decides whether to enter_trap() or to stop.
    Result execute(const Insn &in);
    void finish_load(uint32_t data);
    void enter_trap();

  private:
    Result execute_system(const Insn &in);
    Result execute_fp(const Insn &in);
    bool read_csr(uint32_t number, uint32_t &value) const;
    bool write_csr(uint32_t number, uint32_t value);
    Result trap(uint32_t cause, uint32_t value);
};

} // namespace soc
#endif
