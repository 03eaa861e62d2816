// The inner loop of golden: a block of sums that advance together, one fused multiply-add each per step of K.
#pragma once

#include "fp16.hpp"

#ifdef __F16C__
#include <immintrin.h>
#endif

#if defined(__AVX512F__) && !TDCO_ACC_FP32 && !defined(TDCO_PORTABLE)
#define TDCO_AVX512_HALF 1
#else
#define TDCO_AVX512_HALF 0
#endif

namespace tdco {

// Stored: holds X, W and the accumulator's values exactly. Exact: what `mac` computes with.
#if TDCO_ACC_FP32
using Stored = float;
using Exact = float;
#elif TDCO_AVX512_HALF
using Stored = float;
using Exact = double;
#else
using Stored = double;
using Exact = double;
#endif

constexpr uint32_t VECTOR_BYTES = __BIGGEST_ALIGNMENT__, LANES = VECTOR_BYTES / sizeof(Stored);
constexpr uint32_t ROWS = 4, VECTORS = 2, COLS = VECTORS * LANES; // of a block: enough sums in flight to hide latency
typedef Stored Vector __attribute__((vector_size(VECTOR_BYTES)));

struct Block {
    Stored sums[ROWS][COLS];
    bool finite; // no sum on the way was too large, infinite or NaN
};

#if TDCO_AVX512_HALF

// acc + x * w rounded once to binary16, an infinity or a NaN for ever where it is too large.
//
// The sum rounded up and down brackets the exact one; where they differ, the shorter with its last bit set is the sum
// rounded to odd, which rounds a second time as if it had not been rounded before (24 bits are more than 11 + 1). Zeros
// of both signs compare equal, and the shorter is the positive one, as a sum to nearest has it.
inline Vector advance(Vector acc, Vector x, Vector w, Vector &)
{
    const __m512 up = _mm512_fmadd_round_ps(__m512(x), __m512(w), __m512(acc), _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC);
    const __m512 down = _mm512_fmadd_round_ps(__m512(x), __m512(w), __m512(acc), _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    const __m512i shorter = _mm512_min_epu32(_mm512_castps_si512(up), _mm512_castps_si512(down));
    const __mmask16 inexact = _mm512_cmp_ps_mask(up, down, _CMP_NEQ_UQ);
    const __m512i odd = _mm512_mask_or_epi32(shorter, inexact, shorter, _mm512_set1_epi32(1));
    const __m256i half = _mm512_cvtps_ph(_mm512_castsi512_ps(odd), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    return Vector(_mm512_cvtph_ps(half));
}

#else

using Bits = std::conditional_t<sizeof(Stored) == 4, int32_t, int64_t>;
typedef Bits IntVector __attribute__((vector_size(VECTOR_BYTES)));

// acc + x * w, rounded once but to an unbounded exponent; `worst` keeps the largest magnitude, or the NaN, it met.
inline Vector advance(Vector acc, Vector x, Vector w, Vector &worst)
{
    Vector sum = acc + w * x;
#if !TDCO_ACC_FP32
    sum = round_to_half<IntVector>(sum);
#endif
    const Vector size = bit_cast<Vector>(bit_cast<IntVector>(sum) & std::numeric_limits<Bits>::max());
    worst = worst >= size ? worst : size; // a NaN is taken, and the sum keeps it
    return sum;
}

#endif

constexpr Stored LARGEST = TDCO_ACC_FP32 ? Stored(std::numeric_limits<float>::max()) : Stored(MAX_FINITE);

// sums += x . w over `k` steps; x has ROWS lines of k, w k lines of COLS.
inline void multiply(Block &block, const Stored *x, const Stored *w, uint32_t k)
{
    Vector sums[ROWS][VECTORS], worst[ROWS][VECTORS] = {};
    std::memcpy(sums, block.sums, sizeof sums);
    for (uint32_t step = 0; step < k; step++) {
        Vector line[VECTORS];
        std::memcpy(line, w + size_t(step) * COLS, sizeof line);
        for (uint32_t i = 0; i < ROWS; i++)
            for (uint32_t v = 0; v < VECTORS; v++)
                sums[i][v] = advance(sums[i][v], x[size_t(i) * k + step] - Vector{}, line[v], worst[i][v]);
    }
    std::memcpy(block.sums, sums, sizeof sums);
    block.finite = true;
    for (uint32_t i = 0; i < ROWS; i++)
        for (uint32_t v = 0; v < VECTORS; v++)
            for (uint32_t lane = 0; lane < LANES; lane++)
                block.finite &= std::fabs(sums[i][v][lane]) <= LARGEST && worst[i][v][lane] <= LARGEST;
}

// The binary16 of a finite block's sum.
inline uint16_t finished(Stored sum, uint32_t &flags)
{
#if TDCO_AVX512_HALF
    (void)flags;
    return _cvtss_sh(sum, _MM_FROUND_TO_NEAREST_INT); // exact
#else
    return to_half(round_flagged(sum, flags));
#endif
}

// `count` binary16, `step` bytes apart.
inline void load_line(const uint8_t *from, int64_t step, uint32_t count, Stored *to)
{
    for (uint32_t i = 0; i < count; i++, from += step) {
        uint16_t half;
        std::memcpy(&half, from, sizeof half);
#ifdef __F16C__
        to[i] = Stored(_cvtsh_ss(half));
#else
        to[i] = Stored(from_half(half));
#endif
    }
}

} // namespace tdco
