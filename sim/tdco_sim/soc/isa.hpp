// Decoded instructions of RV32IMC_Zicsr_Zifencei_Zfinx_Zhinx.
#ifndef TDCO_SOC_ISA_HPP
#define TDCO_SOC_ISA_HPP

#include <cstdint>

namespace soc {

// What decides an instruction's cycles when nothing stalls it.
enum class Class : uint8_t { alu, mul, mulh, div, fp, fp16_div, fp32_div, load, store, branch, jump, system, illegal };

#define TDCO_OPS(X)                                                                                                   \
    X(illegal, illegal)                                                                                               \
    X(lui, alu) X(auipc, alu) X(jal, jump) X(jalr, jump)                                                              \
    X(beq, branch) X(bne, branch) X(blt, branch) X(bge, branch) X(bltu, branch) X(bgeu, branch)                       \
    X(lb, load) X(lh, load) X(lw, load) X(lbu, load) X(lhu, load) X(sb, store) X(sh, store) X(sw, store)              \
    X(addi, alu) X(slti, alu) X(sltiu, alu) X(xori, alu) X(ori, alu) X(andi, alu) X(slli, alu) X(srli, alu)           \
    X(srai, alu) X(add, alu) X(sub, alu) X(sll, alu) X(slt, alu) X(sltu, alu) X(xor_, alu) X(srl, alu) X(sra, alu)    \
    X(or_, alu) X(and_, alu) X(mul, mul) X(mulh, mulh) X(mulhsu, mulh) X(mulhu, mulh) X(div, div)                     \
    X(divu, div) X(rem, div) X(remu, div)                                                                             \
    X(fence, system) X(fence_i, system) X(ecall, system) X(ebreak, system) X(mret, system) X(wfi, system)             \
    X(csrrw, system) X(csrrs, system) X(csrrc, system) X(csrrwi, system) X(csrrsi, system) X(csrrci, system)          \
    X(fadd_s, fp) X(fsub_s, fp) X(fmul_s, fp) X(fdiv_s, fp32_div) X(fsqrt_s, fp32_div) X(fsgnj_s, fp)                 \
    X(fsgnjn_s, fp) X(fsgnjx_s, fp) X(fmin_s, fp) X(fmax_s, fp) X(fcvt_w_s, fp) X(fcvt_wu_s, fp) X(fcvt_s_w, fp) X(fcvt_s_wu, fp)     \
    X(feq_s, fp) X(flt_s, fp) X(fle_s, fp) X(fclass_s, fp) X(fmadd_s, fp) X(fmsub_s, fp) X(fnmsub_s, fp)              \
    X(fnmadd_s, fp) X(fcvt_s_h, fp)                                                                                   \
    X(fadd_h, fp) X(fsub_h, fp) X(fmul_h, fp) X(fdiv_h, fp16_div) X(fsqrt_h, fp16_div) X(fsgnj_h, fp)                 \
    X(fsgnjn_h, fp) X(fsgnjx_h, fp) X(fmin_h, fp) X(fmax_h, fp) X(fcvt_w_h, fp) X(fcvt_wu_h, fp) X(fcvt_h_w, fp) X(fcvt_h_wu, fp)     \
    X(feq_h, fp) X(flt_h, fp) X(fle_h, fp) X(fclass_h, fp) X(fmadd_h, fp) X(fmsub_h, fp) X(fnmsub_h, fp)              \
    X(fnmadd_h, fp) X(fcvt_h_s, fp)

enum class Op : uint8_t {
#define X(name, cost) name,
    TDCO_OPS(X)
#undef X
        count
};

constexpr uint8_t DYNAMIC_ROUNDING = 7;

struct Insn {
    Op op = Op::illegal;
    Class cost = Class::illegal;
    uint8_t rd = 0, rs1 = 0, rs2 = 0, rs3 = 0; // 0 where the instruction has no such register
    uint8_t rounding = 0; // rounding mode; of a CSR instruction the rs1 field, register or immediate
    uint8_t bytes = 0; // 2 or 4; 0: not decoded yet
    uint32_t imm = 0;  // sign-extended; CSR number for CSR instructions; the raw word for an illegal one
};

// Floating-point operations of an instruction: a multiply-add does two; conversions and sign changes are none.
constexpr uint32_t flop_of(Op op)
{
    switch (op) {
    case Op::fmadd_s: case Op::fmsub_s: case Op::fnmsub_s: case Op::fnmadd_s:
    case Op::fmadd_h: case Op::fmsub_h: case Op::fnmsub_h: case Op::fnmadd_h:
        return 2;
    case Op::fadd_s: case Op::fsub_s: case Op::fmul_s: case Op::fdiv_s: case Op::fsqrt_s: case Op::fmin_s:
    case Op::fmax_s: case Op::feq_s: case Op::flt_s: case Op::fle_s:
    case Op::fadd_h: case Op::fsub_h: case Op::fmul_h: case Op::fdiv_h: case Op::fsqrt_h: case Op::fmin_h:
    case Op::fmax_h: case Op::feq_h: case Op::flt_h: case Op::fle_h:
        return 1;
    default: return 0;
    }
}

// The instruction in the low bytes of `word` (its first 16 bits decide whether it is compressed).
Insn decode(uint32_t word);

} // namespace soc
#endif
