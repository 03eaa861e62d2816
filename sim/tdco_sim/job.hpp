// A job as the engines see it: its registers decoded, and where its operands lie in L1.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <string>

#include "tdco_hw.h"

namespace tdco {

// A matrix in memory: element (i, j) lies at addr + i * row_step + j * col_step.
struct Operand {
    const char *name;
    int64_t addr, row_step, col_step;
    uint32_t rows, cols;

    int64_t at(uint32_t i, uint32_t j) const { return addr + i * row_step + j * col_step; }
    int64_t lowest() const { return addr + std::min<int64_t>(0, row_step * (rows - 1)); }
    int64_t end() const { return addr + std::max<int64_t>(0, row_step * (rows - 1)) + col_step * (cols - 1) + 2; }
    Operand transposed() const { return {name, addr, col_step, row_step, cols, rows}; }
};

struct Job {
    uint32_t m, n, k, flags;
    bool illegal;
    Operand x, w, y, z; // as stored: one row per line

    bool has(uint32_t flag) const { return (flags & flag) != 0; }

    // `words` are the job registers in their order.
    explicit Job(const uint32_t *words)
    {
        auto word = [&](uint32_t offset) { return words[(offset - TDCO_REG_X_ADDR) / 4]; };
        m = word(TDCO_REG_M_N) & 0xFFFF;
        n = word(TDCO_REG_M_N) >> 16;
        k = word(TDCO_REG_K_FLAGS) & 0xFFFF;
        flags = word(TDCO_REG_K_FLAGS) >> 16;
        auto operand = [&](const char *name, uint32_t addr, uint32_t stride, bool transposed, uint32_t rows, uint32_t cols) {
            return Operand{name, word(addr), int32_t(word(stride)), 2, transposed ? cols : rows, transposed ? rows : cols};
        };
        x = operand("X", TDCO_REG_X_ADDR, TDCO_REG_X_STRIDE, has(TDCO_JOB_TRANS_X), m, k);
        w = operand("W", TDCO_REG_W_ADDR, TDCO_REG_W_STRIDE, has(TDCO_JOB_TRANS_W), k, n);
        y = operand("Y", TDCO_REG_Y_ADDR, TDCO_REG_Y_STRIDE, has(TDCO_JOB_TRANS_Z), m, n);
        z = operand("Z", TDCO_REG_Z_ADDR, TDCO_REG_Z_STRIDE, has(TDCO_JOB_TRANS_Z), m, n);
        if (has(TDCO_JOB_Y_COLUMN))
            y.col_step = 0;
        illegal = m == 0 || n == 0 || k == 0;
        for (const Operand *o : {&x, &w, &y, &z})
            illegal |= (o != &y || has(TDCO_JOB_Y)) && ((o->addr | o->row_step) & 1);
    }

    // Empty if every operand lies in [base, base + bytes), else which does not.
    std::string outside(uint32_t base, uint32_t bytes) const
    {
        for (const Operand *o : {&x, &w, &y, &z}) {
            if (o == &y && !has(TDCO_JOB_Y))
                continue;
            if (o->lowest() < base || o->end() > int64_t(base) + bytes)
                return std::string(o->name) + " of job " + describe() + " spans " + hex(o->lowest()) + ".."
                    + hex(o->end()) + ", outside L1 " + hex(base) + ".." + hex(int64_t(base) + bytes);
        }
        return {};
    }

    std::string describe() const
    {
        return std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k) + " (X " + hex(x.addr) + ", W "
            + hex(w.addr) + ", Z " + hex(z.addr) + ", flags " + hex(flags) + ")";
    }

    static std::string hex(int64_t value)
    {
        char text[24];
        std::snprintf(text, sizeof text, "%s0x%llX", value < 0 ? "-" : "", (unsigned long long)(value < 0 ? -value : value));
        return text;
    }
};

} // namespace tdco
