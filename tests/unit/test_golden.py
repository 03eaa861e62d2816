"""The golden engine against exact references that share nothing with it: integers, and fractions at the corners."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray
from tdco_sim import golden
from tdco_sim.engine import L1_BASE, Engine, job_words
from tdco_sim.errors import SimError
from tdco_spec import JOB_FLAGS, STATUS_FLAGS, get_config

OVERFLOW, INVALID, NONFINITE, ILLEGAL = (STATUS_FLAGS[f] for f in ("OVERFLOW", "INVALID", "NONFINITE", "ILLEGAL"))
NAN, INF = 0x7E00, 0x7C00

# Zero, subnormals, the borders of the binades that matter, ties, the largest values, infinity, both kinds of NaN.
CORNERS = [0, 1, 2, 3, 0x1FF, 0x200, 0x3FE, 0x3FF, 0x400, 0x401, 0x7FF, 0x800, 0x0BFF, 0x1000, 0x1400, 0x1401, 0x2BFF]
CORNERS += [0x3400, 0x37FF, 0x3800, 0x3801, 0x3BFE, 0x3BFF, 0x3C00, 0x3C01, 0x3C02, 0x3FFF, 0x4000, 0x4400, 0x5BFF]
CORNERS += [0x63FF, 0x6400, 0x6800, 0x77FF, 0x7800, 0x7BFE, 0x7BFF, INF, 0x7C01, 0x7DFF, NAN, 0x7FFF]
CORNERS += [bits | 0x8000 for bits in CORNERS]


def exact(bits: int) -> Fraction:
    exponent, fraction = bits >> 10 & 31, bits & 0x3FF
    value = Fraction(fraction + (1024 if exponent else 0)) * Fraction(2) ** (max(exponent, 1) - 25)
    return -value if bits & 0x8000 else value


def fraction_fma(a: int, b: int, c: int) -> int:
    """The bits of a*b + c by exact rational arithmetic; IEEE 754 section 6 for everything that is not finite."""

    def is_nan(x: int) -> bool:
        return x & 0x7FFF > INF

    def is_inf(x: int) -> bool:
        return x & 0x7FFF == INF

    product_sign = (a ^ b) & 0x8000
    if is_nan(a) or is_nan(b) or is_nan(c):
        return NAN
    if is_inf(a) or is_inf(b):
        opposite = is_inf(c) and c & 0x8000 != product_sign
        return NAN if a & 0x7FFF == 0 or b & 0x7FFF == 0 or opposite else product_sign | INF
    if is_inf(c):
        return c
    total = exact(a) * exact(b) + exact(c)
    if total == 0:
        both_negative = product_sign and c == 0x8000
        return 0x8000 if both_negative and (a & 0x7FFF == 0 or b & 0x7FFF == 0) else 0
    sign, magnitude = (0x8000, -total) if total < 0 else (0, total)
    step = Fraction(2) ** -24
    while magnitude / step >= 2048:
        step *= 2
    magnitude = round(magnitude / step) * step  # Python rounds halves to even
    if magnitude >= 65536:
        return sign | INF
    return sign | next(h for h in (int(np.float16(float(magnitude)).view(np.uint16)),) if exact(h) == magnitude)


def integer_fma(a: NDArray[np.uint16], b: NDArray[np.uint16], c: NDArray[np.uint16]) -> tuple[np.ndarray, np.ndarray]:
    """Bits and STATUS_FLAGS of a*b + c elementwise, in 64-bit integers with a sticky last bit."""
    a, b, c = (np.asarray(x, np.int64) for x in np.broadcast_arrays(a, b, c))

    def split(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # value = significand * 2^exponent
        exponent, fraction = x >> 10 & 31, x & 0x3FF
        significand = fraction + np.where(exponent > 0, 1024, 0)
        return np.where(x & 0x8000, -significand, significand), np.maximum(exponent, 1) - 25

    (sig_a, exp_a), (sig_b, exp_b), (sig_c, exp_c) = split(a), split(b), split(c)
    sig_p, exp_p = sig_a * sig_b, exp_a + exp_b
    lowest = -10_000
    exp_p, exp_c = np.where(sig_p == 0, lowest, exp_p), np.where(sig_c == 0, lowest, exp_c)
    unit = np.maximum(np.minimum(exp_p, exp_c), np.maximum(exp_p, exp_c) - 36)

    def align(significand: np.ndarray, exponent: np.ndarray) -> np.ndarray:
        left, right = np.clip(exponent - unit, 0, 40), np.clip(unit - exponent, 0, 40)
        kept = significand >> right
        return np.where(kept << right != significand, kept | 1, kept) << left

    total = align(sig_p, exp_p) + align(sig_c, exp_c)
    magnitude = np.abs(total)
    bit_length = sum((magnitude >= 1 << i).astype(np.int64) for i in range(62))
    step = np.maximum(bit_length + unit - 11, -24)  # exponent of the result's last place
    drop = np.clip(step - unit, 0, 62)
    quotient, rest, half = magnitude >> drop, magnitude & ((1 << drop) - 1), np.where(drop > 0, 1 << drop >> 1, 1)
    rounded = np.where(drop > 0, quotient, magnitude << np.clip(unit - step, 0, 40))
    rounded = rounded + ((rest > half) | ((rest == half) & (quotient & 1 == 1)))
    carried = rounded == 2048
    rounded, step = np.where(carried, 1024, rounded), np.where(carried, step + 1, step)
    bits = np.where(rounded < 1024, rounded, (step + 25 << 10) + rounded - 1024)
    overflow = (rounded >= 1024) & (step + 25 >= 31)
    sign = np.where(total < 0, 0x8000, 0)
    sign = np.where(total == 0, (a ^ b) & c & 0x8000, sign)
    result = np.where(total == 0, 0, np.where(overflow, INF, bits)) | sign

    size_a, size_b, size_c = a & 0x7FFF, b & 0x7FFF, c & 0x7FFF
    nan = (size_a > INF) | (size_b > INF) | (size_c > INF)
    inf_p, inf_c = (size_a == INF) | (size_b == INF), size_c == INF
    sign_p = (a ^ b) & 0x8000
    invalid = inf_p & ((size_a == 0) | (size_b == 0))
    invalid |= inf_p & inf_c & (sign_p != c & 0x8000) & ~nan
    result = np.where(inf_c, c, result)
    result = np.where(inf_p, sign_p | INF, result)
    result = np.where(nan | invalid, NAN, result)
    finite = ~(nan | inf_p | inf_c)
    return result.astype(np.uint16), np.where(finite & overflow, OVERFLOW, 0) | np.where(invalid, INVALID, 0)


def near(bits: NDArray[np.uint16], rng: np.random.Generator) -> NDArray[np.uint16]:
    """Values whose exponent is close to that of ``bits``, either sign, often with few significant digits."""
    exponent = np.clip((bits >> 10 & 31).astype(np.int64) + rng.integers(-14, 15, bits.shape), 0, 30)
    fraction = rng.integers(0, 1024, bits.shape) & (-1 << rng.integers(0, 11, bits.shape))
    return (rng.integers(0, 2, bits.shape) << 15 | exponent << 10 | fraction).astype(np.uint16)


def test_references_agree(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 1 << 16, (2, 2000)).astype(np.uint16)
    c = near(integer_fma(a, b, np.uint16(0))[0], rng)
    assert [fraction_fma(*map(int, abc)) for abc in zip(a, b, c, strict=True)] == integer_fma(a, b, c)[0].tolist()


@pytest.mark.parametrize("path", ["scalar", "gemm"])
def test_corners(path: str) -> None:
    corners = np.array(CORNERS, np.uint16)
    a, b, c = np.meshgrid(corners, corners, corners, indexing="ij")
    expected, flags = integer_fma(a, b, c)
    if path == "scalar":
        bits, raised = golden.fma(a, b, c)
        np.testing.assert_array_equal(raised, flags)
    else:
        bits = np.stack([golden.gemm(corners[:, None], corners[None], ci) for ci in c.transpose(2, 0, 1)], 2)
    np.testing.assert_array_equal(bits, expected)


def test_corners_by_fractions() -> None:
    picked = np.array([*CORNERS[::5], 0x8000, 0x7BFF, 0xFBFF, 0x0001, 0x3C00], np.uint16)
    for a, b in itertools.combinations_with_replacement(picked.tolist(), 2):
        expected = [fraction_fma(a, b, c) for c in picked.tolist()]
        assert golden.fma(np.uint16(a), np.uint16(b), picked)[0].tolist() == expected, (hex(a), hex(b))


def test_overflow_threshold() -> None:
    one, largest = np.float16(1), np.float16(65504)
    bits, flags = golden.fma(one, largest, np.array([15.99, 16, -15.99, 32], np.float16))  # 65520 is the tie
    assert bits.tolist() == [0x7BFF, INF, 0x7BFF, INF]
    assert (flags & OVERFLOW > 0).tolist() == [False, True, False, True]


@pytest.mark.parametrize("number", range(2))
def test_random_fma(number: int, seed: int) -> None:
    """A million with a free choice of a and b, and c where it matters: close to the product."""
    rng = np.random.default_rng((seed, number))
    a, b = rng.integers(0, 1 << 16, (2, 1_000_000)).astype(np.uint16)
    c = near(integer_fma(a, b, np.uint16(0))[0], rng)
    bits, flags = golden.fma(a, b, c)
    expected, expected_flags = integer_fma(a, b, c)
    np.testing.assert_array_equal(bits, expected)
    np.testing.assert_array_equal(flags, expected_flags)


def test_random_outer_products(seed: int) -> None:
    """The same through the vectorised path: Z[i,j] = x_i * w_j + y_ij, a million of them."""
    rng = np.random.default_rng(seed)
    x, w = rng.integers(0, INF, (2, 1000)).astype(np.uint16) | rng.integers(0, 2, (2, 1000)).astype(np.uint16) << 15
    x, w = np.sort(x), w  # whole blocks of small and of large products, so that most blocks stay finite
    y = near(integer_fma(x[:, None], w[None], np.uint16(0))[0], rng)
    np.testing.assert_array_equal(golden.gemm(x[:, None], w[None], y), integer_fma(x[:, None], w[None], y)[0])


def chain(x: NDArray[np.uint16], w: NDArray[np.uint16], start: NDArray[np.uint16]) -> tuple[NDArray[np.uint16], int]:
    """Z and flags by the reference, one rounding per step of K."""
    total, flags = start, 0
    for k in range(x.shape[1]):
        total, raised = integer_fma(x[:, k, None], w[None, k, :], total)
        flags |= int(np.bitwise_or.reduce(raised, axis=None))
    return total, flags


def random_values(rng: np.random.Generator, shape: tuple[int, ...], kind: str) -> NDArray[np.uint16]:
    if kind == "normal":
        return rng.normal(size=shape).astype(np.float16).view(np.uint16)
    if kind == "small":
        return (rng.normal(size=shape) * 2.0**-10).astype(np.float16).view(np.uint16)
    if kind == "large":
        return (rng.normal(size=shape) * 200).astype(np.float16).view(np.uint16)
    if kind == "zeros":
        return np.array([0, 0x8000, 0x3C00, 0xBC00, 0, 0x8000], np.uint16)[rng.integers(0, 6, shape)]
    return rng.integers(0, 1 << 16, shape).astype(np.uint16)


class Placed:
    """A matrix of ``lines`` x ``length`` halves somewhere in ``l1``; its stride may be odd words or negative."""

    def __init__(self, rng: np.random.Generator, l1: NDArray[np.uint8], at: int, lines: int, length: int) -> None:
        self.stride = 2 * (length + int(rng.integers(0, 4))) * (1 if rng.integers(0, 2) else -1)
        first = at + 2 * int(rng.integers(0, 8)) + (0 if self.stride > 0 else -self.stride * (lines - 1))
        self.addr, self.l1 = L1_BASE + first, l1
        line = first + self.stride * np.arange(lines)[:, None]
        self.bytes = line[..., None] + 2 * np.arange(length)[None, :, None] + np.arange(2)

    def read(self) -> NDArray[np.uint16]:
        return np.ascontiguousarray(self.l1[self.bytes]).view(np.uint16)[..., 0]

    def write(self, values: NDArray[np.uint16]) -> None:
        self.l1[self.bytes] = np.ascontiguousarray(values)[..., None].view(np.uint8)


@pytest.mark.parametrize("number", range(120))
def test_jobs(number: int, seed: int) -> None:
    """Random sizes, flags, strides and alignments: exactly Z changes, to exactly the reference's bits and flags. A
    third of them on the loop for machines without AVX-512."""
    rng = np.random.default_rng((seed, number))
    m, n, k = (int(rng.integers(1, 41 if number % 3 else 8)) for _ in range(3))
    flags = {name for name in JOB_FLAGS if rng.integers(0, 2)}
    kind = ("normal", "small", "large", "zeros", "any")[number % 5]
    l1 = rng.integers(0, 256, 1 << 16).astype(np.uint8)

    def stored(trans: str, rows: int, cols: int) -> tuple[int, int]:
        return (cols, rows) if trans in flags else (rows, cols)

    z_lines, z_length = stored("TRANS_Z", m, n)
    in_place = bool({"Y"} <= flags and "Y_COLUMN" not in flags and rng.integers(0, 2))
    placed = {
        "x": Placed(rng, l1, 0x0100, *stored("TRANS_X", m, k)),
        "w": Placed(rng, l1, 0x4000, *stored("TRANS_W", k, n)),
        "z": Placed(rng, l1, 0x8000, z_lines, z_length),
    }
    y_length = 1 if "Y_COLUMN" in flags else z_length
    placed["y"] = placed["z"] if in_place else Placed(rng, l1, 0xC000, z_lines, y_length)
    for operand in placed.values():
        operand.write(random_values(rng, operand.bytes.shape[:2], kind))
    strides = {name: operand.stride for name, operand in placed.items()}
    y_stored = placed["y"].read()
    if not in_place and rng.integers(0, 3) == 0:
        strides["y"], y_stored = 0, y_stored[:1]

    x, w = (placed[name].read() for name in "xw")
    x, w = x.T if "TRANS_X" in flags else x, w.T if "TRANS_W" in flags else w
    y_stored = (
        np.broadcast_to(y_stored, (z_lines, z_length)) if "Y" in flags else np.zeros((z_lines, z_length), np.uint16)
    )
    expected, expected_flags = chain(x, w, y_stored.T if "TRANS_Z" in flags else y_stored)
    if "RELU" in flags:
        expected = np.where((expected & 0x8000 > 0) & (expected & 0x7FFF <= INF), 0, expected).astype(np.uint16)
    if (expected & INF == INF).any():
        expected_flags |= NONFINITE
    before = l1.copy()
    placed["z"].write(expected.T if "TRANS_Z" in flags else expected)
    wanted = l1.copy()
    l1[:] = before

    engine = Engine(golden.build(get_config("rm_12x4"), portable=number % 3 == 1), l1)
    raised = engine.run(job_words((m, n, k), {name: o.addr for name, o in placed.items()}, strides, sorted(flags)))
    np.testing.assert_array_equal(l1, wanted)
    assert raised == expected_flags
    assert (engine.stats.jobs, engine.stats.macs) == (1, m * n * k)
    assert engine.id == get_config("rm_12x4").hash
    engine.close()


def test_fp32_accumulator(seed: int) -> None:
    """Each MAC rounds to binary32, and Z once more: numpy's float32 does the same, as the products are exact."""
    rng = np.random.default_rng(seed)
    for m, n, k, scale in ((5, 70, 33, 1.0), (9, 3, 200, 1e-3), (4, 32, 64, 100.0)):
        x, w, y = ((rng.normal(size=s) * scale).astype(np.float16) for s in ((m, k), (k, n), (m, n)))
        total = y.astype(np.float32)
        for i in range(k):
            total = total + x[:, i, None].astype(np.float32) * w[None, i].astype(np.float32)
        with np.errstate(over="ignore"):
            expected = total.astype(np.float16)
        np.testing.assert_array_equal(golden.gemm(x, w, y, acc="fp32").view(np.uint16), expected.view(np.uint16))


def test_illegal_jobs_are_refused() -> None:
    l1 = np.arange(256, dtype=np.uint8)
    engine = Engine(golden.build(get_config("rm_12x4")), l1)
    strides = dict.fromkeys("xwz", 2)
    addrs = {"x": L1_BASE, "w": L1_BASE + 16, "z": L1_BASE + 32}
    for shape in ((0, 1, 1), (1, 0, 1), (1, 1, 0)):
        assert engine.run(job_words(shape, addrs, strides)) == ILLEGAL
    assert engine.run(job_words((1, 1, 1), addrs | {"w": L1_BASE + 17}, strides)) == ILLEGAL
    assert engine.run(job_words((1, 1, 1), addrs, strides | {"z": 3})) == ILLEGAL
    assert engine.stats.macs == 0 and (l1 == np.arange(256)).all()
    engine.close()


@pytest.mark.parametrize("operand", "xwyz")
def test_access_outside_l1_is_an_error(operand: str) -> None:
    l1 = np.zeros(4096, np.uint8)
    engine = Engine(golden.build(get_config("rm_12x4")), l1)
    addrs = {name: L1_BASE + 512 * i for i, name in enumerate("xwyz")}
    strides = dict.fromkeys("xwyz", 8)
    engine.run(job_words((4, 4, 4), addrs, strides, ["Y"]))
    engine.run(job_words((4, 4, 4), addrs | {operand: L1_BASE + 4096 - 32}, strides, ["Y"]))
    for addr in (L1_BASE + 4096 - 30, L1_BASE - 2):
        with pytest.raises(SimError, match=rf"{operand.upper()} of job 4x4x4 .* outside L1 0x10000000\.\.0x10001000"):
            engine.run(job_words((4, 4, 4), addrs | {operand: addr}, strides, ["Y"]))
    with pytest.raises(SimError, match=f"{operand.upper()} of job"):
        engine.run(job_words((4, 4, 4), addrs, strides | {operand: -1024}, ["Y"]))
    engine.close()
