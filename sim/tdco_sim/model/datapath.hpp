// The bits that move: operand tiles, sums and results. A slot's multiply-adds happen when it is taken, so sums, and the
// flags they raise, are there some cycles before the circuit has them; what is stored, and when, is the same.
#pragma once

#include "fp16.hpp"
#include "units.hpp"

namespace tdco::model {

#if TDCO_ACC_FP32
using Acc = float; // holds the accumulator's value and, exactly, those of X and W
using Bits = int32_t;
constexpr Acc LARGEST = std::numeric_limits<float>::max();
#else
using Acc = double;
using Bits = int64_t;
constexpr Acc LARGEST = MAX_FINITE;
#endif

struct Datapath {
    uint32_t flags = 0; // STATUS_FLAGS raised since they were last taken

    // The elements of a line of X, W or Y come in; the first one lies at `bytes`.
    void load(Stream operand, uint32_t bank, const Line &line, const uint8_t *bytes)
    {
        for (uint32_t i = 0; i < (line.broadcast ? TILE_COLS : line.count); i++) {
            uint16_t half;
            std::memcpy(&half, bytes + (line.broadcast ? 0 : 2 * i), sizeof half);
            const uint32_t outer = line.inner_lines ? i : line.index, inner = line.inner_lines ? line.index : i;
            (operand == X ? x[bank][inner][outer] : operand == W ? w[bank][inner][outer] : y[bank][outer][inner]) =
                Acc(from_half(half));
        }
    }

    // A tile begins from the Y block in `bank`, or from +0.
    void begin(bool has_y, uint32_t bank)
    {
        if (has_y)
            std::memcpy(sums, y[bank], sizeof sums);
        else
            std::memset(sums, 0, sizeof sums);
    }

    // Step `k` of the blocks of X and W in their banks.
    void multiply(const Tile &tile, uint32_t x_bank, uint32_t w_bank, uint32_t k)
    {
        Vector line[VECTORS];
        std::memcpy(line, w[w_bank][k], sizeof line);
        for (uint32_t r = 0; r < tile.rows; r++) {
            const Acc factor = x[x_bank][k][r];
            Vector row[VECTORS];
            IntVector finite = IntVector{} - 1;
            std::memcpy(row, sums[r], sizeof row);
            for (uint32_t v = 0; v < VECTORS; v++) {
                row[v] = round_sum(row[v] + line[v] * factor);
                const Vector size = bit_cast<Vector>(bit_cast<IntVector>(row[v]) & std::numeric_limits<Bits>::max());
                finite &= size <= LARGEST;
            }
            bool all_finite = true;
            for (uint32_t lane = 0; lane < LANES; lane++)
                all_finite &= finite[lane] != 0;
            if (all_finite)
                std::memcpy(sums[r], row, sizeof row);
            else // rare: once more, with infinities and flags
                for (uint32_t c = 0; c < tile.cols; c++)
                    sums[r][c] = mac(sums[r][c], factor, w[w_bank][k][c], flags);
        }
    }

    // The sums become the Z block in `bank`.
    void finish(const Tile &tile, uint32_t bank)
    {
        for (uint32_t r = 0; r < tile.rows; r++)
            for (uint32_t c = 0; c < tile.cols; c++) {
                uint16_t half = to_half(round_flagged(sums[r][c], flags));
                if (tile.relu && (half & 0x8000))
                    half = 0;
                if ((half & 0x7C00) == 0x7C00)
                    flags |= TDCO_FLAG_NONFINITE;
                z[bank][r][c] = half;
            }
    }

    // The elements of a line of Z go out; the first one to `bytes`.
    void store(uint32_t bank, const Line &line, uint8_t *bytes) const
    {
        for (uint32_t i = 0; i < line.count; i++)
            std::memcpy(bytes + 2 * i, line.inner_lines ? &z[bank][i][line.index] : &z[bank][line.index][i], 2);
    }

  private:
    static constexpr uint32_t VECTOR_BYTES = __BIGGEST_ALIGNMENT__, LANES = VECTOR_BYTES / sizeof(Acc);
    static constexpr uint32_t VECTORS = (TILE_COLS + LANES - 1) / LANES, WIDTH = VECTORS * LANES;
    typedef Acc Vector __attribute__((vector_size(VECTOR_BYTES)));
    typedef Bits IntVector __attribute__((vector_size(VECTOR_BYTES)));

    Acc x[BANKS][TILE_COLS][TILE_COLS] = {}, w[BANKS][TILE_COLS][WIDTH] = {}; // [k][m], [k][n]
    Acc y[BANKS][TILE_COLS][WIDTH] = {}, sums[TILE_COLS][WIDTH] = {};         // [m][n]
    uint16_t z[BANKS][ROWS][TILE_COLS] = {};

    static Vector round_sum(Vector sum)
    {
#if TDCO_ACC_FP32
        return sum;
#else
        return round_to_half<IntVector>(sum);
#endif
    }
};

} // namespace tdco::model
