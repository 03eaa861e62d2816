// binary16 arithmetic on the machine's own binary64: values are exact in a double, and one addition rounds them.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "tdco_hw.h"

namespace tdco {

constexpr double MAX_FINITE = 65504.0;

template <typename To, typename From> To bit_cast(From from)
{
    static_assert(sizeof(To) == sizeof(From));
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}

inline double from_half(uint16_t half)
{
    const uint64_t magnitude = half & 0x7FFF, sign = uint64_t(half & 0x8000) << 48;
    double value;
    if (magnitude >= 0x7C00)
        value = magnitude == 0x7C00 ? std::numeric_limits<double>::infinity() : std::numeric_limits<double>::quiet_NaN();
    else if (magnitude >= 0x0400)
        value = bit_cast<double>((magnitude << 42) + (uint64_t(1023 - 15) << 52));
    else
        value = double(int32_t(magnitude)) * 0x1p-24;
    return bit_cast<double>(bit_cast<uint64_t>(value) | sign);
}

// The bits of a value that a binary16 holds exactly.
inline uint16_t to_half(double value)
{
    const uint64_t bits = bit_cast<uint64_t>(value), magnitude = bits & ~(uint64_t(1) << 63);
    const uint16_t sign = uint16_t(bits >> 48 & 0x8000);
    const double absolute = bit_cast<double>(magnitude);
    if (!(absolute <= MAX_FINITE))
        return absolute > MAX_FINITE ? sign | 0x7C00 : 0x7E00;
    if (absolute >= 0x1p-14)
        return sign | uint16_t((magnitude - (uint64_t(1023 - 15) << 52)) >> 42);
    return sign | uint16_t(int32_t(absolute * 0x1p24));
}

// Rounds to the nearest multiple of binary16's unit in the last place, ties to even; the exponent is unbounded above.
// D is double or a vector of doubles, I the signed integer of the same shape.
//
// Adding and taking away `anchor` rounds at the anchor's own unit in the last place. The anchor is 1.5 * 2^42 times the
// value's binade 2^e (2^-14 at least, below which binary16's steps stay 2^-24): its unit is 2^(e + 42 - 52) = 2^(e - 10),
// binary16's 11 bits; 1.5 keeps the sum in the anchor's binade whatever the value's sign; and as the anchor is an even
// number of units, the tie to even is the value's own. A result of zero gets its sign back at the end.
template <typename I, typename D> inline D round_to_half(D value)
{
    const I bits = bit_cast<I>(value);
    const D binade = bit_cast<D>(bits & (int64_t(0x7FF) << 52)), least = D{} + 0x1p-14;
    const D anchor = (binade > least ? binade : least) * 0x1.8p42;
    const D rounded = (value + anchor) - anchor;
    return bit_cast<D>(bit_cast<I>(rounded) | (bits & std::numeric_limits<int64_t>::min()));
}

// A finite value rounded to binary16, infinity and OVERFLOW in `flags` if it is too large; others pass.
inline double round_flagged(double value, uint32_t &flags)
{
    if (!std::isfinite(value))
        return value;
    const double rounded = round_to_half<int64_t>(value);
    if (std::fabs(rounded) <= MAX_FINITE)
        return rounded;
    flags |= TDCO_FLAG_OVERFLOW;
    return std::copysign(std::numeric_limits<double>::infinity(), rounded);
}

// acc + x * w with one rounding to the accumulator's format: binary16 in a double, or binary32. x and w hold binary16.
//
// The product is exact (22 bits). For binary32 the addition is the one rounding. For binary16, the sum in binary64
// rounded again to binary16 is still the exact sum rounded once: if it is inexact in binary64, its bits span more than 53
// places, so either
// - the product holds the top bit: acc's lowest bit is 2^-24 or more, so the sum is 2^28 or more and overflows anyway; or
// - acc holds the top bit, 2^e: the product's 22 bits reach below 2^(e - 52), so it is less than 2^(e - 30), while the
//   closest tie of binary16 is 2^(e - 12) away from acc: both ways give acc.
template <typename T> inline T mac(T acc, T x, T w, uint32_t &flags)
{
    const T product = x * w, sum = acc + product;
    if (std::isnan(sum) && !std::isnan(x) && !std::isnan(w) && (std::isnan(product) || !std::isnan(acc)))
        flags |= TDCO_FLAG_INVALID;
    return std::is_same_v<T, float> ? sum : T(round_flagged(sum, flags));
}

} // namespace tdco
