"""Integer reference models of the engine's arithmetic, independent of the RTL's algorithm.

Every binary16 value is an integer multiple of 2^-48 (the smallest product), so a*b + c is exact in 82-bit fixed point.
`fma_exact` does that with Python integers; `fma` is the same idea on numpy arrays with three 32-bit limbs.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tdco_sim.golden import exact
from tdco_spec import STATUS_FLAGS

NAN = 0x7E00
INF = 0x7C00
UNIT = 48  # fixed-point scale: integers count 2^-48
LIMB_MASK = np.int64(0xFFFF_FFFF)

U16 = NDArray[np.uint16]


class FmaResult(NamedTuple):
    z: int
    overflow: bool
    invalid: bool


def _fixed(bits: int, scale: int) -> int:
    """The finite binary16 ``bits`` as an integer multiple of 2^-scale."""
    exponent, fraction = bits >> 10 & 31, bits & 1023
    magnitude = (fraction if exponent == 0 else fraction | 1024) << (max(exponent, 1) - 25 + scale)
    return -magnitude if bits >> 15 else magnitude


def _round(value: int) -> int:
    """``value`` * 2^-48 as binary16, to nearest even; the sign of zero is the caller's."""
    magnitude = abs(value)
    drop = max(magnitude.bit_length() - 11, UNIT - 24)
    quotient, rest = divmod(magnitude, 1 << drop)
    half = 1 << (drop - 1)
    quotient += rest > half or (rest == half and quotient & 1)
    # quotient counts 2^(drop-48); its hidden bit (if any) adds one to the exponent field.
    bits = min(((drop - (UNIT - 24)) << 10) + quotient, INF)
    return bits | (value < 0) << 15


def fma_exact(a: int, b: int, c: int) -> FmaResult:
    """a*b + c on binary16 bit patterns, one rounding to nearest even."""
    is_nan = [v & 0x7FFF > INF for v in (a, b, c)]
    sign = (a ^ b) >> 15
    product_inf = (a & 0x7FFF == INF or b & 0x7FFF == INF) and not (is_nan[0] or is_nan[1])
    invalid = product_inf and (a & 0x7FFF == 0 or b & 0x7FFF == 0)
    invalid |= product_inf and c & 0x7FFF == INF and sign != c >> 15
    if any(is_nan) or invalid:
        return FmaResult(NAN, False, invalid)
    if product_inf:
        return FmaResult(INF | sign << 15, False, False)
    if c & 0x7FFF == INF:
        return FmaResult(c, False, False)
    total = _fixed(a, 24) * _fixed(b, 24) + _fixed(c, UNIT)
    if total == 0:
        return FmaResult((sign & c >> 15) << 15, False, False)
    z = _round(total)
    return FmaResult(z, z & 0x7FFF == INF, False)


def _significand(v: U16) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    bits = v.astype(np.int64)
    exponent = bits >> 10 & 31
    return np.where(exponent == 0, 0, 1024) | bits & 1023, np.maximum(exponent, 1)


def _limbs(value: NDArray[np.int64], shift: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """``value`` (< 2^24) << ``shift`` (< 96) as three 32-bit limbs, lowest first."""
    within, index = shift & 31, shift >> 5
    wide = value << within
    low, high = wide & LIMB_MASK, wide >> 32
    return [np.where(index == i, low, 0) + np.where(index == i - 1, high, 0) for i in range(3)]


def fma(a: U16, b: U16, c: U16) -> tuple[U16, NDArray[np.bool_], NDArray[np.bool_]]:
    """`fma_exact` on arrays of bit patterns (broadcast together): z, overflow, invalid."""
    a, b, c = np.broadcast_arrays(a, b, c)
    (ma, ea), (mb, eb), (mc, ec) = _significand(a), _significand(b), _significand(c)
    product_sign, c_sign = ((a ^ b) >> 15).astype(np.int64), (c >> 15).astype(np.int64)
    product, addend = _limbs(ma * mb, ea + eb - 2), _limbs(mc, ec + UNIT - 25)
    total = [p * (1 - 2 * product_sign) + q * (1 - 2 * c_sign) for p, q in zip(product, addend, strict=True)]
    total[1] += total[0] >> 32
    total[2] += total[1] >> 32
    negative = total[2] < 0
    low, middle, high = (np.where(negative, -t, t) for t in (total[0] & LIMB_MASK, total[1] & LIMB_MASK, total[2]))
    middle += low >> 32
    high += middle >> 32
    low, middle = low & LIMB_MASK, middle & LIMB_MASK
    z = _round_limbs(low, middle, high) | negative.astype(np.int64) << 15
    z = np.where((low | middle | high) == 0, (product_sign & c_sign) << 15, z)

    a_abs, b_abs, c_abs = a & 0x7FFF, b & 0x7FFF, c & 0x7FFF
    ab_nan = (a_abs > INF) | (b_abs > INF)
    product_inf = ((a_abs == INF) | (b_abs == INF)) & ~ab_nan
    invalid = product_inf & ((a_abs == 0) | (b_abs == 0) | ((c_abs == INF) & (product_sign != c_sign)))
    nan = ab_nan | (c_abs > INF) | invalid
    infinite = product_inf | (c_abs == INF)
    overflow = ((z & 0x7FFF) == INF) & ~nan & ~infinite
    z = np.where(c_abs == INF, c, z)
    z = np.where(product_inf, product_sign << 15 | INF, z)
    return np.where(nan, NAN, z).astype(np.uint16), overflow, invalid


def _round_limbs(low: NDArray[np.int64], middle: NDArray[np.int64], high: NDArray[np.int64]) -> NDArray[np.int64]:
    """Magnitude of three limbs, in 2^-48, as binary16 bits without sign."""
    # 2^18 and more overflows however it is rounded; below, all but the lowest 16 bits (only ever sticky) fit 50 bits.
    wide = np.minimum(high << 32 | middle, 1 << 34) << 16 | low >> 16
    sticky = (low & 0xFFFF) != 0
    length = np.frexp(wide.astype(np.float64))[1].astype(np.int64)
    drop = np.maximum(length - 11, 8)
    quotient = wide >> drop
    rest, half = wide & ((np.int64(1) << drop) - 1), np.int64(1) << (drop - 1)
    quotient += (rest > half) | ((rest == half) & (sticky | (quotient & 1 == 1)))
    return np.minimum(((drop - 8) << 10) + quotient, INF)


def gemm(x: U16, w: U16, y: U16 | None, relu: bool = False, acc: str = "fp16") -> tuple[U16, int]:
    """Z[M,N] = X[M,K] . W[K,N] + Y[M,N] in K order from Y (or +0), and the STATUS_FLAGS bits.

    Each step rounds to ``acc``; with "fp32" the sum is rounded to binary16 once more at the end.
    """
    z = np.zeros((len(x), w.shape[1]), np.uint16) if y is None else y
    flags = 0
    if acc == "fp32":
        z, flags = _gemm_fp32(x, w, z)
    else:
        for k in range(len(w)):
            z, overflow, invalid = fma(x[:, k : k + 1], w[k : k + 1], z)
            flags |= STATUS_FLAGS["OVERFLOW"] * bool(overflow.any()) | STATUS_FLAGS["INVALID"] * bool(invalid.any())
    if relu:
        z = np.where(z >> 15, 0, z).astype(np.uint16)
    return z, flags | STATUS_FLAGS["NONFINITE"] * bool(((z & INF) == INF).any())


def _gemm_fp32(x: U16, w: U16, y: U16) -> tuple[U16, int]:
    flags = 0
    sums = y.view(np.float16).astype(np.float32).view(np.uint32)
    for k in range(len(w)):
        column, line = (np.ascontiguousarray(np.broadcast_to(v, sums.shape)) for v in (x[:, k : k + 1], w[k : k + 1]))
        sums, raised = exact.fma(column, line, sums)
        flags |= int(np.bitwise_or.reduce(raised, axis=None))
    values = sums.view(np.float32)
    with np.errstate(over="ignore"):
        z = values.astype(np.float16).view(np.uint16)
    if (np.isfinite(values) & ((z & 0x7FFF) == INF)).any():
        flags |= STATUS_FLAGS["OVERFLOW"]
    return np.where(np.isnan(values), NAN, z).astype(np.uint16), flags
