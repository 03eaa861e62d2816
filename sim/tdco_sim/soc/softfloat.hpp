// IEEE 754 binary16 and binary32 in integers, as RISC-V defines them: canonical NaN, tininess after rounding.
//
// A finite value is sign, exponent and a 64-bit significand with its leading one at bit 62: 1.fff * 2^exponent. Each
// operation forms an exact or sticky result in that form and rounds it once.
#ifndef TDCO_SOFTFLOAT_HPP
#define TDCO_SOFTFLOAT_HPP

#include <cstdint>

namespace soft {

enum Flags : uint32_t { NX = 1, UF = 2, OF = 4, DZ = 8, NV = 16 };
enum Rounding : uint32_t { RNE, RTZ, RDN, RUP, RMM };

template <int exponent_bits, int fraction_bits> struct Format {
    static constexpr int M = fraction_bits, width = 1 + exponent_bits + M, bias = (1 << (exponent_bits - 1)) - 1;
    static constexpr uint32_t exponent_max = (1u << exponent_bits) - 1, fraction_mask = (1u << M) - 1;
    static constexpr uint32_t sign_bit = 1u << (width - 1), infinity = exponent_max << M;
    static constexpr uint32_t nan = infinity | 1u << (M - 1), mask = sign_bit | (sign_bit - 1);
};
using F16 = Format<5, 10>;
using F32 = Format<8, 23>;

struct Context {
    uint32_t rounding = RNE, flags = 0;
};

constexpr uint64_t ONE = uint64_t(1) << 62;

struct Number {
    enum Kind : uint8_t { zero, finite, infinite, quiet, signaling } kind;
    bool sign;
    int exponent;
    uint64_t significand; // leading one at bit 62 when finite
    bool is_nan() const { return kind >= quiet; }
};

inline uint64_t shift_right_sticky(uint64_t value, int distance)
{
    if (distance <= 0)
        return value;
    return distance > 63 ? value != 0 : value >> distance | ((value << (64 - distance)) != 0);
}

template <class F> Number unpack(uint32_t bits)
{
    const bool sign = bits & F::sign_bit;
    const uint32_t exponent = bits >> F::M & F::exponent_max, fraction = bits & F::fraction_mask;
    if (exponent == F::exponent_max) {
        const bool quiet = fraction >> (F::M - 1);
        return {!fraction ? Number::infinite : quiet ? Number::quiet : Number::signaling, sign, 0, 0};
    }
    if (exponent)
        return {Number::finite, sign, int(exponent) - F::bias, ONE | uint64_t(fraction) << (62 - F::M)};
    if (!fraction)
        return {Number::zero, sign, 0, 0};
    const int lead = 31 - __builtin_clz(fraction);
    return {Number::finite, sign, 1 - F::bias - F::M + lead, uint64_t(fraction) << (62 - lead)};
}

inline bool rounds_up(uint64_t significand, int dropped_bits, bool sign, uint32_t rounding)
{
    const uint64_t rest = significand & ((uint64_t(1) << dropped_bits) - 1), half = uint64_t(1) << (dropped_bits - 1);
    switch (rounding) {
    case RNE: return rest > half || (rest == half && (significand >> dropped_bits & 1));
    case RDN: return sign && rest;
    case RUP: return !sign && rest;
    case RMM: return rest >= half;
    default: return false;
    }
}

// Rounds (-1)^sign * significand * 2^(exponent - 62), leading one at bit 62.
template <class F> uint32_t round(bool sign, int exponent, uint64_t significand, Context &c)
{
    constexpr int dropped = 62 - F::M, min_exponent = 1 - F::bias;
    const uint32_t sign_bits = sign ? F::sign_bit : 0;
    bool tiny = false;
    if (exponent < min_exponent) {
        // Tiny unless rounding with an unbounded exponent would reach the smallest normal number.
        tiny = exponent < min_exponent - 1 ||
               (significand >> dropped) + rounds_up(significand, dropped, sign, c.rounding) < uint64_t(2) << F::M;
        significand = shift_right_sticky(significand, min_exponent - exponent);
        exponent = min_exponent;
    }
    const bool inexact = significand & ((uint64_t(1) << dropped) - 1);
    uint64_t rounded = (significand >> dropped) + rounds_up(significand, dropped, sign, c.rounding);
    if (inexact)
        c.flags |= tiny ? NX | UF : NX;
    if (rounded >> (F::M + 1)) {
        rounded >>= 1;
        exponent++;
    }
    if (exponent > F::bias) {
        c.flags |= OF | NX;
        const bool to_infinity = c.rounding == RNE || c.rounding == RMM || c.rounding == (sign ? RDN : RUP);
        return sign_bits | (to_infinity ? F::infinity : F::infinity - 1);
    }
    if (!(rounded >> F::M)) // subnormal or zero: biased exponent 0
        return sign_bits | uint32_t(rounded);
    return sign_bits | uint32_t(exponent + F::bias) << F::M | (uint32_t(rounded) & F::fraction_mask);
}

template <class F> uint32_t normalize_and_round(bool sign, int exponent, uint64_t significand, Context &c)
{
    const int shift = __builtin_clzll(significand) - 1;
    if (shift < 0)
        return round<F>(sign, exponent + 1, shift_right_sticky(significand, 1), c);
    return round<F>(sign, exponent - shift, significand << shift, c);
}

template <class F> uint32_t pick_nan(Context &c, bool invalid)
{
    if (invalid)
        c.flags |= NV;
    return F::nan;
}

inline bool any_signaling(const Number &a, const Number &b)
{
    return a.kind == Number::signaling || b.kind == Number::signaling;
}

// Sum of two non-NaN numbers whose significands may carry any 63 bits.
template <class F> uint32_t sum(const Number &a, const Number &b, Context &c)
{
    if (a.kind == Number::infinite || b.kind == Number::infinite) {
        if (a.kind == b.kind && a.sign != b.sign)
            return pick_nan<F>(c, true);
        return ((a.kind == Number::infinite ? a.sign : b.sign) ? F::sign_bit : 0) | F::infinity;
    }
    if (a.kind == Number::zero && b.kind == Number::zero) {
        const bool sign = a.sign == b.sign ? a.sign : c.rounding == RDN;
        return sign ? F::sign_bit : 0;
    }
    if (a.kind == Number::zero)
        return round<F>(b.sign, b.exponent, b.significand, c);
    if (b.kind == Number::zero)
        return round<F>(a.sign, a.exponent, a.significand, c);
    const bool a_larger = a.exponent > b.exponent || (a.exponent == b.exponent && a.significand >= b.significand);
    const Number &large = a_larger ? a : b, &small = a_larger ? b : a;
    const uint64_t aligned = shift_right_sticky(small.significand, large.exponent - small.exponent);
    const uint64_t result = a.sign == b.sign ? large.significand + aligned : large.significand - aligned;
    if (!result)
        return c.rounding == RDN ? F::sign_bit : 0;
    return normalize_and_round<F>(large.sign, large.exponent, result, c);
}

// Exact product of two finite numbers of at most 24 significant bits.
inline Number product(const Number &a, const Number &b)
{
    const uint64_t high = (a.significand >> 31) * (b.significand >> 31); // leading one at bit 62 or 63
    const bool carry = high >> 63;
    return {Number::finite, a.sign != b.sign, a.exponent + b.exponent + carry, carry ? high >> 1 : high};
}

template <class F> uint32_t add(uint32_t a_bits, uint32_t b_bits, Context &c)
{
    const Number a = unpack<F>(a_bits), b = unpack<F>(b_bits);
    if (a.is_nan() || b.is_nan())
        return pick_nan<F>(c, any_signaling(a, b));
    return sum<F>(a, b, c);
}

template <class F> uint32_t sub(uint32_t a, uint32_t b, Context &c) { return add<F>(a, b ^ F::sign_bit, c); }

template <class F> uint32_t mul(uint32_t a_bits, uint32_t b_bits, Context &c)
{
    const Number a = unpack<F>(a_bits), b = unpack<F>(b_bits);
    if (a.is_nan() || b.is_nan())
        return pick_nan<F>(c, any_signaling(a, b));
    const uint32_t sign = a.sign != b.sign ? F::sign_bit : 0;
    if (a.kind == Number::infinite || b.kind == Number::infinite)
        return a.kind == Number::zero || b.kind == Number::zero ? pick_nan<F>(c, true) : sign | F::infinity;
    if (a.kind == Number::zero || b.kind == Number::zero)
        return sign;
    const Number p = product(a, b);
    return round<F>(p.sign, p.exponent, p.significand, c);
}

// a * b + c, rounded once.
template <class F> uint32_t fma(uint32_t a_bits, uint32_t b_bits, uint32_t c_bits, Context &context)
{
    const Number a = unpack<F>(a_bits), b = unpack<F>(b_bits), c = unpack<F>(c_bits);
    const bool infinite = a.kind == Number::infinite || b.kind == Number::infinite;
    const bool zero = a.kind == Number::zero || b.kind == Number::zero;
    if (infinite && zero)
        return pick_nan<F>(context, true); // even when c is a quiet NaN
    if (a.is_nan() || b.is_nan() || c.is_nan())
        return pick_nan<F>(context, any_signaling(a, b) || c.kind == Number::signaling);
    const bool sign = a.sign != b.sign;
    if (infinite)
        return sum<F>({Number::infinite, sign, 0, 0}, c, context);
    if (zero)
        return sum<F>({Number::zero, sign, 0, 0}, c, context);
    return sum<F>(product(a, b), c, context);
}

template <class F> uint32_t div(uint32_t a_bits, uint32_t b_bits, Context &c)
{
    const Number a = unpack<F>(a_bits), b = unpack<F>(b_bits);
    if (a.is_nan() || b.is_nan())
        return pick_nan<F>(c, any_signaling(a, b));
    const uint32_t sign = a.sign != b.sign ? F::sign_bit : 0;
    if (a.kind == b.kind && a.kind != Number::finite) // 0 / 0, inf / inf
        return pick_nan<F>(c, true);
    if (a.kind == Number::infinite)
        return sign | F::infinity;
    if (a.kind == Number::zero || b.kind == Number::infinite)
        return sign;
    if (b.kind == Number::zero) {
        c.flags |= DZ;
        return sign | F::infinity;
    }
    // 62-bit dividend over a 31-bit divisor: at least 31 quotient bits, the remainder only matters as not zero.
    const uint64_t divisor = b.significand >> 31, quotient = a.significand / divisor;
    const bool rest = a.significand % divisor;
    return normalize_and_round<F>(sign, a.exponent - b.exponent, quotient << 31 | rest, c);
}

template <class F> uint32_t sqrt(uint32_t a_bits, Context &c)
{
    const Number a = unpack<F>(a_bits);
    if (a.is_nan())
        return pick_nan<F>(c, a.kind == Number::signaling);
    if (a.kind == Number::zero || (a.kind == Number::infinite && !a.sign))
        return a_bits & F::mask;
    if (a.sign)
        return pick_nan<F>(c, true);
    const bool odd = a.exponent & 1;
    const uint64_t radicand = odd ? a.significand << 1 : a.significand; // in [2^62, 2^64)
    uint64_t root = 0;
    for (uint64_t bit = uint64_t(1) << 31; bit; bit >>= 1)
        if ((root | bit) * (root | bit) <= radicand)
            root |= bit;
    const bool rest = root * root != radicand;
    return round<F>(false, (a.exponent - odd) / 2, root << 31 | rest, c);
}

// Orders two numbers that are not NaN: -1, 0, 1.
template <class F> int order(uint32_t a, uint32_t b)
{
    const auto key = [](uint32_t bits) {
        const int32_t magnitude = int32_t(bits & (F::sign_bit - 1));
        return bits & F::sign_bit ? -magnitude : magnitude;
    };
    return (key(a) > key(b)) - (key(a) < key(b));
}

enum Comparison { EQ, LT, LE };

template <class F> uint32_t compare(uint32_t a_bits, uint32_t b_bits, Comparison comparison, Context &c)
{
    const Number a = unpack<F>(a_bits), b = unpack<F>(b_bits);
    if (a.is_nan() || b.is_nan()) {
        if (comparison != EQ || any_signaling(a, b)) // equality is quiet, the others signal
            c.flags |= NV;
        return 0;
    }
    const int o = order<F>(a_bits, b_bits);
    return comparison == EQ ? o == 0 : comparison == LT ? o < 0 : o <= 0;
}

// minimumNumber and maximumNumber: a NaN loses to a number, -0 < +0.
template <class F> uint32_t min_max(uint32_t a_bits, uint32_t b_bits, bool maximum, Context &c)
{
    const Number a = unpack<F>(a_bits), b = unpack<F>(b_bits);
    if (any_signaling(a, b))
        c.flags |= NV;
    if (a.is_nan() || b.is_nan())
        return a.is_nan() && b.is_nan() ? F::nan : (a.is_nan() ? b_bits : a_bits) & F::mask;
    const int o = order<F>(a_bits, b_bits);
    const bool a_less = o < 0 || (o == 0 && a.sign);
    return (a_less != maximum ? a_bits : b_bits) & F::mask;
}

template <class F> uint32_t classify(uint32_t bits)
{
    const Number a = unpack<F>(bits);
    if (a.is_nan())
        return a.kind == Number::quiet ? 1 << 9 : 1 << 8;
    const bool subnormal = a.kind == Number::finite && !(bits >> F::M & F::exponent_max);
    const int size = a.kind == Number::infinite ? 3 : a.kind == Number::zero ? 0 : subnormal ? 1 : 2;
    return 1u << (a.sign ? 3 - size : 4 + size);
}

// To a 32-bit integer; NaN and values out of range saturate and are invalid.
template <class F> uint32_t to_int(uint32_t bits, bool is_signed, Context &c)
{
    const Number a = unpack<F>(bits);
    const uint32_t largest = is_signed ? 0x7FFFFFFF : 0xFFFFFFFF, least = is_signed ? 0x80000000 : 0;
    if (a.kind == Number::zero)
        return 0;
    if (a.kind != Number::finite || a.exponent > 31) {
        c.flags |= NV;
        return a.is_nan() || !a.sign ? largest : least;
    }
    // integer part above 30 fraction bits; below 2^-2 everything is sticky
    const uint64_t fixed = shift_right_sticky(a.significand, 32 - a.exponent);
    const uint64_t magnitude = (fixed >> 30) + rounds_up(fixed, 30, a.sign, c.rounding);
    const uint64_t limit = a.sign ? (is_signed ? 0x80000000u : 0) : largest;
    if (magnitude > limit) {
        c.flags |= NV;
        return a.sign ? least : largest;
    }
    if (fixed & ((1u << 30) - 1))
        c.flags |= NX;
    return a.sign ? 0 - uint32_t(magnitude) : uint32_t(magnitude);
}

template <class F> uint32_t from_int(uint32_t value, bool is_signed, Context &c)
{
    const bool sign = is_signed && value >> 31;
    const uint64_t magnitude = sign ? 0 - value : value;
    return magnitude ? normalize_and_round<F>(sign, 62, magnitude, c) : 0;
}

template <class To, class From> uint32_t convert(uint32_t bits, Context &c)
{
    const Number a = unpack<From>(bits);
    const uint32_t sign = a.sign ? To::sign_bit : 0;
    if (a.is_nan())
        return pick_nan<To>(c, a.kind == Number::signaling);
    if (a.kind != Number::finite)
        return sign | (a.kind == Number::infinite ? To::infinity : 0);
    return round<To>(a.sign, a.exponent, a.significand, c);
}

} // namespace soft
#endif
