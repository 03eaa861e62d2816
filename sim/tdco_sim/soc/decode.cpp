#include "isa.hpp"

namespace soc {
namespace {

uint32_t bits(uint32_t word, int high, int low) { return word >> low & ((1u << (high - low + 1)) - 1); }

uint32_t sign_extend(uint32_t value, int width) { return uint32_t(int32_t(value << (32 - width)) >> (32 - width)); }

constexpr Class COST[] = {
#define X(name, cost) Class::cost,
    TDCO_OPS(X)
#undef X
};

Op from(Op first, uint32_t offset) { return Op(uint8_t(first) + offset); }

uint32_t imm_i(uint32_t w) { return sign_extend(w >> 20, 12); }
uint32_t imm_s(uint32_t w) { return sign_extend(bits(w, 31, 25) << 5 | bits(w, 11, 7), 12); }

uint32_t imm_b(uint32_t w)
{
    return sign_extend(bits(w, 31, 31) << 12 | bits(w, 7, 7) << 11 | bits(w, 30, 25) << 5 | bits(w, 11, 8) << 1, 13);
}

uint32_t imm_j(uint32_t w)
{
    return sign_extend(bits(w, 31, 31) << 20 | bits(w, 19, 12) << 12 | bits(w, 20, 20) << 11 | bits(w, 30, 21) << 1,
                       21);
}

Op load_op(uint32_t f3)
{
    constexpr Op ops[] = {Op::lb, Op::lh, Op::lw, Op::illegal, Op::lbu, Op::lhu, Op::illegal, Op::illegal};
    return ops[f3];
}

Op branch_op(uint32_t f3)
{
    constexpr Op ops[] = {Op::beq, Op::bne, Op::illegal, Op::illegal, Op::blt, Op::bge, Op::bltu, Op::bgeu};
    return ops[f3];
}

Op immediate_op(uint32_t f3, uint32_t f7)
{
    constexpr Op ops[] = {Op::addi, Op::slli, Op::slti, Op::sltiu, Op::xori, Op::srli, Op::ori, Op::andi};
    if (f3 == 5 && f7 == 0x20)
        return Op::srai;
    return (f3 == 1 || f3 == 5) && f7 ? Op::illegal : ops[f3];
}

Op register_op(uint32_t f3, uint32_t f7)
{
    constexpr Op ops[] = {Op::add, Op::sll, Op::slt, Op::sltu, Op::xor_, Op::srl, Op::or_, Op::and_};
    if (f7 == 1)
        return from(Op::mul, f3);
    if (f7 == 0x20)
        return f3 == 0 ? Op::sub : f3 == 5 ? Op::sra : Op::illegal;
    return f7 ? Op::illegal : ops[f3];
}

Op system_op(uint32_t w, uint32_t f3)
{
    constexpr Op csr[] = {Op::illegal, Op::csrrw,  Op::csrrs,  Op::csrrc,
                          Op::illegal, Op::csrrwi, Op::csrrsi, Op::csrrci};
    if (f3)
        return csr[f3];
    switch (w) {
    case 0x00000073: return Op::ecall;
    case 0x00100073: return Op::ebreak;
    case 0x30200073: return Op::mret;
    case 0x10500073: return Op::wfi;
    default: return Op::illegal;
    }
}

// The distance from the binary32 to the binary16 form of an operation in the table.
constexpr uint32_t HALF = uint32_t(Op::fadd_h) - uint32_t(Op::fadd_s);

void decode_fp(uint32_t w, Insn &in)
{
    const uint32_t f7 = w >> 25, format = f7 & 3, f3 = bits(w, 14, 12), half = format == 2 ? HALF : 0;
    const bool valid_rounding = f3 <= 4 || f3 == DYNAMIC_ROUNDING;
    const auto unary = [&](Op op, bool valid) {
        in.op = valid ? from(op, half) : Op::illegal;
        in.rs2 = 0;
    };
    in.rounding = uint8_t(f3);
    if (format != 0 && format != 2)
        return;
    switch (f7 >> 2) {
    case 0x00: case 0x01: case 0x02: case 0x03:
        in.op = valid_rounding ? from(Op::fadd_s, (f7 >> 2) + half) : Op::illegal;
        break;
    case 0x0B: unary(Op::fsqrt_s, in.rs2 == 0 && valid_rounding); break;
    case 0x04: in.op = f3 <= 2 ? from(Op::fsgnj_s, f3 + half) : Op::illegal; break;
    case 0x05: in.op = f3 <= 1 ? from(Op::fmin_s, f3 + half) : Op::illegal; break;
    case 0x08: unary(Op::fcvt_s_h, in.rs2 == (half ? 0 : 2) && valid_rounding); break;
    case 0x14:
        in.op = f3 <= 2 ? from(f3 == 2 ? Op::feq_s : f3 == 1 ? Op::flt_s : Op::fle_s, half) : Op::illegal;
        break;
    case 0x18: unary(from(Op::fcvt_w_s, in.rs2 & 1), in.rs2 <= 1 && valid_rounding); break;
    case 0x1A: unary(from(Op::fcvt_s_w, in.rs2 & 1), in.rs2 <= 1 && valid_rounding); break;
    case 0x1C: unary(Op::fclass_s, in.rs2 == 0 && f3 == 1); break;
    default: break;
    }
}

void decode_word(uint32_t w, Insn &in)
{
    const uint32_t f3 = bits(w, 14, 12), f7 = w >> 25;
    const uint8_t rd = uint8_t(bits(w, 11, 7)), rs1 = uint8_t(bits(w, 19, 15)), rs2 = uint8_t(bits(w, 24, 20));
    switch (w & 0x7F) {
    case 0x37: in = {.op = Op::lui, .rd = rd, .imm = w & 0xFFFFF000}; break;
    case 0x17: in = {.op = Op::auipc, .rd = rd, .imm = w & 0xFFFFF000}; break;
    case 0x6F: in = {.op = Op::jal, .rd = rd, .imm = imm_j(w)}; break;
    case 0x67: in = {.op = f3 ? Op::illegal : Op::jalr, .rd = rd, .rs1 = rs1, .imm = imm_i(w)}; break;
    case 0x63: in = {.op = branch_op(f3), .rs1 = rs1, .rs2 = rs2, .imm = imm_b(w)}; break;
    case 0x03: in = {.op = load_op(f3), .rd = rd, .rs1 = rs1, .imm = imm_i(w)}; break;
    case 0x23: in = {.op = f3 < 3 ? from(Op::sb, f3) : Op::illegal, .rs1 = rs1, .rs2 = rs2, .imm = imm_s(w)}; break;
    case 0x13:
        in = {.op = immediate_op(f3, f7), .rd = rd, .rs1 = rs1, .imm = f3 == 1 || f3 == 5 ? rs2 : imm_i(w)};
        break;
    case 0x33: in = {.op = register_op(f3, f7), .rd = rd, .rs1 = rs1, .rs2 = rs2}; break;
    case 0x0F: in = {.op = f3 == 0 ? Op::fence : f3 == 1 ? Op::fence_i : Op::illegal}; break;
    case 0x73:
        in = {.op = system_op(w, f3), .rd = rd, .rs1 = f3 & 4 ? uint8_t(0) : rs1, .rounding = rs1, .imm = w >> 20};
        break;
    case 0x43: case 0x47: case 0x4B: case 0x4F:
        if ((f7 & 1) == 0 && (f3 <= 4 || f3 == DYNAMIC_ROUNDING))
            in = {.op = from(Op::fmadd_s, bits(w, 3, 2) + (f7 & 2 ? HALF : 0)), .rd = rd, .rs1 = rs1, .rs2 = rs2,
                  .rs3 = uint8_t(w >> 27), .rounding = uint8_t(f3)};
        break;
    case 0x53:
        in = {.rd = rd, .rs1 = rs1, .rs2 = rs2};
        decode_fp(w, in);
        break;
    default: break;
    }
}

uint32_t r_type(uint32_t f7, uint32_t rs2, uint32_t rs1, uint32_t f3, uint32_t rd)
{
    return f7 << 25 | rs2 << 20 | rs1 << 15 | f3 << 12 | rd << 7 | 0x33;
}

uint32_t i_type(uint32_t imm, uint32_t rs1, uint32_t f3, uint32_t rd, uint32_t opcode)
{
    return imm << 20 | rs1 << 15 | f3 << 12 | rd << 7 | opcode;
}

uint32_t store_word(uint32_t imm, uint32_t rs2, uint32_t rs1)
{
    return (imm >> 5) << 25 | rs2 << 20 | rs1 << 15 | 2 << 12 | (imm & 31) << 7 | 0x23;
}

uint32_t jump(uint32_t imm, uint32_t rd)
{
    return (imm >> 20 & 1) << 31 | (imm >> 1 & 0x3FF) << 21 | (imm >> 11 & 1) << 20 | (imm >> 12 & 0xFF) << 12 |
           rd << 7 | 0x6F;
}

uint32_t branch(uint32_t imm, uint32_t rs1, uint32_t f3)
{
    return (imm >> 12 & 1) << 31 | (imm >> 5 & 0x3F) << 25 | rs1 << 15 | f3 << 12 | (imm >> 1 & 0xF) << 8 |
           (imm >> 11 & 1) << 7 | 0x63;
}

uint32_t expand_quadrant0(uint32_t c)
{
    const uint32_t rd = 8 + bits(c, 4, 2), rs1 = 8 + bits(c, 9, 7);
    const uint32_t offset = bits(c, 5, 5) << 6 | bits(c, 12, 10) << 3 | bits(c, 6, 6) << 2;
    switch (c >> 13) {
    case 0: { // c.addi4spn
        const uint32_t imm = bits(c, 10, 7) << 6 | bits(c, 12, 11) << 4 | bits(c, 5, 5) << 3 | bits(c, 6, 6) << 2;
        return imm ? i_type(imm, 2, 0, rd, 0x13) : 0;
    }
    case 2: return i_type(offset, rs1, 2, rd, 0x03);
    case 6: return store_word(offset, rd, rs1);
    default: return 0;
    }
}

uint32_t expand_arithmetic(uint32_t c)
{
    const uint32_t rd = 8 + bits(c, 9, 7), rs2 = 8 + bits(c, 4, 2), shift = bits(c, 6, 2);
    constexpr uint32_t f3[] = {0, 4, 6, 7}; // sub, xor, or, and
    switch (bits(c, 11, 10)) {
    case 0: return bits(c, 12, 12) ? 0 : i_type(shift, rd, 5, rd, 0x13);
    case 1: return bits(c, 12, 12) ? 0 : i_type(0x400 | shift, rd, 5, rd, 0x13);
    case 2: return i_type(sign_extend(bits(c, 12, 12) << 5 | shift, 6), rd, 7, rd, 0x13);
    default:
        if (bits(c, 12, 12))
            return 0;
        return r_type(bits(c, 6, 5) ? 0 : 0x20, rs2, rd, f3[bits(c, 6, 5)], rd);
    }
}

uint32_t expand_quadrant1(uint32_t c)
{
    const uint32_t rd = bits(c, 11, 7), imm6 = sign_extend(bits(c, 12, 12) << 5 | bits(c, 6, 2), 6);
    const uint32_t target = sign_extend(bits(c, 12, 12) << 11 | bits(c, 8, 8) << 10 | bits(c, 10, 9) << 8 |
                                            bits(c, 6, 6) << 7 | bits(c, 7, 7) << 6 | bits(c, 2, 2) << 5 |
                                            bits(c, 11, 11) << 4 | bits(c, 5, 3) << 1, 12);
    const uint32_t near = sign_extend(bits(c, 12, 12) << 8 | bits(c, 6, 5) << 6 | bits(c, 2, 2) << 5 |
                                          bits(c, 11, 10) << 3 | bits(c, 4, 3) << 1, 9);
    switch (c >> 13) {
    case 0: return i_type(imm6, rd, 0, rd, 0x13);
    case 1: return jump(target, 1);
    case 2: return i_type(imm6, 0, 0, rd, 0x13);
    case 3: {
        if (imm6 == 0)
            return 0;
        const uint32_t sp_imm = sign_extend(bits(c, 12, 12) << 9 | bits(c, 4, 3) << 7 | bits(c, 5, 5) << 6 |
                                                bits(c, 2, 2) << 5 | bits(c, 6, 6) << 4, 10);
        return rd == 2 ? i_type(sp_imm, 2, 0, 2, 0x13) : imm6 << 12 | rd << 7 | 0x37;
    }
    case 4: return expand_arithmetic(c);
    case 5: return jump(target, 0);
    default: return branch(near, 8 + bits(c, 9, 7), c >> 13 == 6 ? 0 : 1);
    }
}

uint32_t expand_quadrant2(uint32_t c)
{
    const uint32_t rd = bits(c, 11, 7), rs2 = bits(c, 6, 2), bit12 = bits(c, 12, 12);
    switch (c >> 13) {
    case 0: return bit12 ? 0 : i_type(rs2, rd, 1, rd, 0x13);
    case 2: return rd ? i_type(bits(c, 3, 2) << 6 | bit12 << 5 | bits(c, 6, 4) << 2, 2, 2, rd, 0x03) : 0;
    case 4:
        if (rs2)
            return r_type(0, rs2, bit12 ? rd : 0, 0, rd);
        if (!rd)
            return bit12 ? 0x00100073 : 0; // c.ebreak
        return i_type(0, rd, 0, bit12, 0x67);
    case 6: return store_word(bits(c, 8, 7) << 6 | bits(c, 12, 9) << 2, rs2, 2);
    default: return 0;
    }
}

} // namespace

Insn decode(uint32_t word)
{
    Insn in;
    const bool compressed = (word & 3) != 3;
    const uint32_t raw = compressed ? word & 0xFFFF : word;
    switch (word & 3) {
    case 0: word = expand_quadrant0(raw); break;
    case 1: word = expand_quadrant1(raw); break;
    case 2: word = expand_quadrant2(raw); break;
    default: break;
    }
    decode_word(word, in);
    if (in.op == Op::illegal)
        in = {.imm = raw};
    in.bytes = compressed ? 2 : 4;
    in.cost = COST[uint8_t(in.op)];
    return in;
}

} // namespace soc
