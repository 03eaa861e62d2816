#include "core.hpp"

#include "softfloat.hpp"

namespace soc {
namespace {

int32_t s32(uint32_t value) { return int32_t(value); }

uint32_t divide(uint32_t a, uint32_t b)
{
    if (b == 0)
        return 0xFFFFFFFF;
    return a == 0x80000000 && b == 0xFFFFFFFF ? a : uint32_t(s32(a) / s32(b));
}

uint32_t remainder(uint32_t a, uint32_t b)
{
    if (b == 0)
        return a;
    return a == 0x80000000 && b == 0xFFFFFFFF ? 0 : uint32_t(s32(a) % s32(b));
}

uint32_t extend_half(uint32_t half) { return uint32_t(int32_t(int16_t(half))); }

constexpr uint32_t FFLAGS = 0x001, FRM = 0x002, FCSR = 0x003, MSTATUS = 0x300, MISA = 0x301, MIE = 0x304,
                   MTVEC = 0x305, MSTATUSH = 0x310, MSCRATCH = 0x340, MEPC = 0x341, MCAUSE = 0x342, MTVAL = 0x343,
                   MIP = 0x344, MCYCLE = 0xB00, MINSTRET = 0xB02, MCYCLEH = 0xB80, MINSTRETH = 0xB82, CYCLE = 0xC00,
                   INSTRET = 0xC02, CYCLEH = 0xC80, INSTRETH = 0xC82, MVENDORID = 0xF11, MARCHID = 0xF12,
                   MIMPID = 0xF13, MHARTID = 0xF14;
constexpr uint32_t MSTATUS_MIE = 0x8, MSTATUS_MPIE = 0x80, MSTATUS_MPP = 0x1800;
constexpr uint32_t MISA_VALUE = 0x40001104; // RV32 I, M, C

} // namespace

Core::Result Core::trap(uint32_t cause, uint32_t value)
{
    trap_cause = cause;
    trap_value = value;
    return Result::trap;
}

void Core::enter_trap()
{
    mepc = pc;
    mcause = trap_cause;
    mtval = trap_value;
    mstatus = MSTATUS_MPP | (mstatus & MSTATUS_MIE ? MSTATUS_MPIE : 0);
    pc = mtvec & ~3u;
}

void Core::finish_load(uint32_t data)
{
    const int unused = 32 - 8 * access.bytes;
    data <<= unused; // L1 answers with the whole word
    data = access.sign_extend ? uint32_t(s32(data) >> unused) : data >> unused;
    x[access.rd] = data;
    x[0] = 0;
}

Core::Result Core::execute(const Insn &in)
{
    const uint32_t a = x[in.rs1], b = x[in.rs2], imm = in.imm;
    uint32_t &d = x[in.rd];
    const auto load = [&](uint8_t bytes, bool sign_extend) {
        access = {a + imm, 0, bytes, in.rd, false, sign_extend};
        pc += in.bytes;
        retired++;
        return Result::memory;
    };
    const auto store = [&](uint8_t bytes) {
        access = {a + imm, b, bytes, 0, true, false};
        pc += in.bytes;
        retired++;
        return Result::memory;
    };
    const auto branch = [&](bool taken) {
        pc += taken ? imm : in.bytes;
        retired++;
        return taken ? Result::taken : Result::next;
    };
    switch (in.op) {
    case Op::lui: d = imm; break;
    case Op::auipc: d = pc + imm; break;
    case Op::jal:
        d = pc + in.bytes;
        x[0] = 0;
        pc += imm;
        retired++;
        return Result::next;
    case Op::jalr: {
        const uint32_t target = (a + imm) & ~1u;
        d = pc + in.bytes;
        x[0] = 0;
        pc = target;
        retired++;
        return Result::next;
    }
    case Op::beq: return branch(a == b);
    case Op::bne: return branch(a != b);
    case Op::blt: return branch(s32(a) < s32(b));
    case Op::bge: return branch(s32(a) >= s32(b));
    case Op::bltu: return branch(a < b);
    case Op::bgeu: return branch(a >= b);
    case Op::lb: return load(1, true);
    case Op::lh: return load(2, true);
    case Op::lw: return load(4, false);
    case Op::lbu: return load(1, false);
    case Op::lhu: return load(2, false);
    case Op::sb: return store(1);
    case Op::sh: return store(2);
    case Op::sw: return store(4);
    case Op::addi: d = a + imm; break;
    case Op::slti: d = s32(a) < s32(imm); break;
    case Op::sltiu: d = a < imm; break;
    case Op::xori: d = a ^ imm; break;
    case Op::ori: d = a | imm; break;
    case Op::andi: d = a & imm; break;
    case Op::slli: d = a << imm; break;
    case Op::srli: d = a >> imm; break;
    case Op::srai: d = uint32_t(s32(a) >> imm); break;
    case Op::add: d = a + b; break;
    case Op::sub: d = a - b; break;
    case Op::sll: d = a << (b & 31); break;
    case Op::slt: d = s32(a) < s32(b); break;
    case Op::sltu: d = a < b; break;
    case Op::xor_: d = a ^ b; break;
    case Op::srl: d = a >> (b & 31); break;
    case Op::sra: d = uint32_t(s32(a) >> (b & 31)); break;
    case Op::or_: d = a | b; break;
    case Op::and_: d = a & b; break;
    case Op::mul: d = a * b; break;
    case Op::mulh: d = uint32_t(int64_t(s32(a)) * s32(b) >> 32); break;
    case Op::mulhsu: d = uint32_t(int64_t(s32(a)) * int64_t(b) >> 32); break;
    case Op::mulhu: d = uint32_t(uint64_t(a) * b >> 32); break;
    case Op::div: d = divide(a, b); break;
    case Op::divu: d = b ? a / b : 0xFFFFFFFF; break;
    case Op::rem: d = remainder(a, b); break;
    case Op::remu: d = b ? a % b : a; break;
    default:
        if (in.cost == Class::system || in.op == Op::illegal)
            return execute_system(in);
        return execute_fp(in);
    }
    x[0] = 0;
    pc += in.bytes;
    retired++;
    return Result::next;
}

Core::Result Core::execute_system(const Insn &in)
{
    Result result = Result::next;
    uint32_t old = 0;
    switch (in.op) {
    case Op::fence: break;
    case Op::fence_i: result = Result::fence_i; break;
    case Op::wfi: result = Result::sleep; break;
    case Op::ecall: return trap(ECALL_M, 0);
    case Op::ebreak: return trap(BREAKPOINT, pc);
    case Op::mret:
        pc = mepc;
        mstatus = MSTATUS_MPP | MSTATUS_MPIE | (mstatus & MSTATUS_MPIE ? MSTATUS_MIE : 0);
        retired++;
        return Result::taken;
    case Op::csrrw: case Op::csrrs: case Op::csrrc: case Op::csrrwi: case Op::csrrsi: case Op::csrrci: {
        const bool immediate = in.op >= Op::csrrwi;
        const uint32_t operand = immediate ? in.rounding : x[in.rs1];
        const bool swap = in.op == Op::csrrw || in.op == Op::csrrwi;
        const bool set = in.op == Op::csrrs || in.op == Op::csrrsi;
        if (!read_csr(in.imm, old))
            return trap(ILLEGAL, 0);
        const uint32_t value = swap ? operand : set ? old | operand : old & ~operand;
        if ((swap || in.rounding) && !write_csr(in.imm, value))
            return trap(ILLEGAL, 0);
        x[in.rd] = old;
        x[0] = 0;
        break;
    }
    default: return trap(ILLEGAL, in.imm);
    }
    pc += in.bytes;
    retired++;
    return result;
}

bool Core::read_csr(uint32_t number, uint32_t &value) const
{
    const uint64_t cycles = cycle - cycle_base, instructions = retired - retired_base;
    switch (number) {
    case FFLAGS: value = fflags; break;
    case FRM: value = frm; break;
    case FCSR: value = frm << 5 | fflags; break;
    case MSTATUS: value = mstatus; break;
    case MISA: value = MISA_VALUE; break;
    case MIE: value = mie; break;
    case MIP: value = mip; break;
    case MTVEC: value = mtvec; break;
    case MSCRATCH: value = mscratch; break;
    case MEPC: value = mepc; break;
    case MCAUSE: value = mcause; break;
    case MTVAL: value = mtval; break;
    case MCYCLE: case CYCLE: value = uint32_t(cycles); break;
    case MCYCLEH: case CYCLEH: value = uint32_t(cycles >> 32); break;
    case MINSTRET: case INSTRET: value = uint32_t(instructions); break;
    case MINSTRETH: case INSTRETH: value = uint32_t(instructions >> 32); break;
    case MHARTID: value = hart; break;
    case MSTATUSH: case MVENDORID: case MARCHID: case MIMPID: value = 0; break;
    default: return false;
    }
    return true;
}

bool Core::write_csr(uint32_t number, uint32_t value)
{
    if (number >> 10 == 3)
        return false; // read-only by its number
    constexpr uint64_t low = 0xFFFFFFFF;
    const uint64_t cycles = cycle - cycle_base, instructions = retired - retired_base;
    switch (number) {
    case FFLAGS: fflags = value & 31; break;
    case FRM: frm = value & 7; break;
    case FCSR: fflags = value & 31; frm = value >> 5 & 7; break;
    case MSTATUS: mstatus = MSTATUS_MPP | (value & (MSTATUS_MIE | MSTATUS_MPIE)); break;
    case MIE: mie = value; break;
    case MTVEC: mtvec = value & ~3u; break; // direct mode only
    case MSCRATCH: mscratch = value; break;
    case MEPC: mepc = value & ~1u; break;
    case MCAUSE: mcause = value; break;
    case MTVAL: mtval = value; break;
    case MCYCLE: cycle_base = cycle - ((cycles & ~low) | value); break;
    case MCYCLEH: cycle_base = cycle - ((cycles & low) | uint64_t(value) << 32); break;
    case MINSTRET: retired_base = retired + 1 - ((instructions & ~low) | value); break;
    case MINSTRETH: retired_base = retired + 1 - ((instructions & low) | uint64_t(value) << 32); break;
    case MISA: case MIP: case MSTATUSH: break; // fixed
    default: return false;
    }
    return true;
}

Core::Result Core::execute_fp(const Insn &in)
{
    using namespace soft;
    using soft::sub, soft::mul, soft::div;
    const uint32_t a = x[in.rs1], b = x[in.rs2], e = x[in.rs3];
    uint32_t &d = x[in.rd];
    // min, max, comparisons, sign injection and classification keep an operation code where others have the rounding
    const auto within = [&](Op first, Op last) { return in.op >= first && in.op <= last; };
    const bool rounds = !within(Op::fsgnj_s, Op::fmax_s) && !within(Op::fsgnj_h, Op::fmax_h) &&
                        !within(Op::feq_s, Op::fclass_s) && !within(Op::feq_h, Op::fclass_h);
    Context c;
    c.rounding = in.rounding == DYNAMIC_ROUNDING ? frm : in.rounding;
    if (rounds && c.rounding > RMM)
        return trap(ILLEGAL, 0);
    const uint32_t sign = F32::sign_bit, half_sign = F16::sign_bit;
    switch (in.op) {
    case Op::fadd_s: d = add<F32>(a, b, c); break;
    case Op::fsub_s: d = sub<F32>(a, b, c); break;
    case Op::fmul_s: d = mul<F32>(a, b, c); break;
    case Op::fdiv_s: d = div<F32>(a, b, c); break;
    case Op::fsqrt_s: d = sqrt<F32>(a, c); break;
    case Op::fsgnj_s: d = (a & ~sign) | (b & sign); break;
    case Op::fsgnjn_s: d = (a & ~sign) | (~b & sign); break;
    case Op::fsgnjx_s: d = a ^ (b & sign); break;
    case Op::fmin_s: d = min_max<F32>(a, b, false, c); break;
    case Op::fmax_s: d = min_max<F32>(a, b, true, c); break;
    case Op::fcvt_w_s: d = to_int<F32>(a, true, c); break;
    case Op::fcvt_wu_s: d = to_int<F32>(a, false, c); break;
    case Op::fcvt_s_w: d = from_int<F32>(a, true, c); break;
    case Op::fcvt_s_wu: d = from_int<F32>(a, false, c); break;
    case Op::feq_s: d = compare<F32>(a, b, EQ, c); break;
    case Op::flt_s: d = compare<F32>(a, b, LT, c); break;
    case Op::fle_s: d = compare<F32>(a, b, LE, c); break;
    case Op::fclass_s: d = classify<F32>(a); break;
    case Op::fmadd_s: d = fma<F32>(a, b, e, c); break;
    case Op::fmsub_s: d = fma<F32>(a, b, e ^ F32::sign_bit, c); break;
    case Op::fnmsub_s: d = fma<F32>(a ^ F32::sign_bit, b, e, c); break;
    case Op::fnmadd_s: d = fma<F32>(a ^ F32::sign_bit, b, e ^ F32::sign_bit, c); break;
    case Op::fcvt_s_h: d = convert<F32, F16>(a, c); break;
    case Op::fadd_h: d = extend_half(add<F16>(a, b, c)); break;
    case Op::fsub_h: d = extend_half(sub<F16>(a, b, c)); break;
    case Op::fmul_h: d = extend_half(mul<F16>(a, b, c)); break;
    case Op::fdiv_h: d = extend_half(div<F16>(a, b, c)); break;
    case Op::fsqrt_h: d = extend_half(sqrt<F16>(a, c)); break;
    case Op::fsgnj_h: d = extend_half((a & ~half_sign) | (b & half_sign)); break;
    case Op::fsgnjn_h: d = extend_half((a & ~half_sign) | (~b & half_sign)); break;
    case Op::fsgnjx_h: d = extend_half(a ^ (b & half_sign)); break;
    case Op::fmin_h: d = extend_half(min_max<F16>(a, b, false, c)); break;
    case Op::fmax_h: d = extend_half(min_max<F16>(a, b, true, c)); break;
    case Op::fcvt_w_h: d = to_int<F16>(a, true, c); break;
    case Op::fcvt_wu_h: d = to_int<F16>(a, false, c); break;
    case Op::fcvt_h_w: d = extend_half(from_int<F16>(a, true, c)); break;
    case Op::fcvt_h_wu: d = extend_half(from_int<F16>(a, false, c)); break;
    case Op::feq_h: d = compare<F16>(a, b, EQ, c); break;
    case Op::flt_h: d = compare<F16>(a, b, LT, c); break;
    case Op::fle_h: d = compare<F16>(a, b, LE, c); break;
    case Op::fclass_h: d = classify<F16>(a); break;
    case Op::fmadd_h: d = extend_half(fma<F16>(a, b, e, c)); break;
    case Op::fmsub_h: d = extend_half(fma<F16>(a, b, e ^ F16::sign_bit, c)); break;
    case Op::fnmsub_h: d = extend_half(fma<F16>(a ^ F16::sign_bit, b, e, c)); break;
    case Op::fnmadd_h: d = extend_half(fma<F16>(a ^ F16::sign_bit, b, e ^ F16::sign_bit, c)); break;
    case Op::fcvt_h_s: d = extend_half(convert<F16, F32>(a, c)); break;
    default: return trap(ILLEGAL, 0);
    }
    x[0] = 0;
    fflags |= c.flags;
    pc += in.bytes;
    retired++;
    return Result::next;
}

} // namespace soc
