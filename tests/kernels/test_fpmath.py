"""fpmath.h: its stated errors against float64, its special values, and the same bits from gcc and clang."""

from __future__ import annotations

import ctypes
import math
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import pytest

SW = Path(__file__).parents[2] / "sw"
FLAGS = [
    "-std=c11",
    "-ffp-contract=off",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-shared",
    "-fPIC",
]
FLAGS += [f"-I{SW / part}" for part in ("kernels", "runtime", "port/host")]
COMPILERS = {
    "gcc": ["gcc", "-O2"],
    "gcc -O0": ["gcc", "-O0"],
    "gcc -O3 -march=native": ["gcc", "-O3", "-march=native"],
    "clang": [sys.executable, "-m", "ziglang", "cc", "-O2"],
}
SOURCE = """
#include "fpmath.h"
#include "port.h"
#define MAP(name, expression) \\
    void name(const float *from, float *to, uint32_t n) \\
    { for (uint32_t i = 0; i < n; i++) { const float x = from[i]; to[i] = expression; } }
MAP(exp_, tdco_exp(x))
MAP(log_, tdco_log(x))
MAP(exp2_, tdco_exp2(x))
MAP(rsqrt_, tdco_rsqrt(x))
MAP(canonical, tdco_canonical(x))
void fma_(const float *from, float *to, uint32_t n)
{ for (uint32_t i = 0; i < n; i++) to[i] = tdco_fma(from[3 * i], from[3 * i + 1], from[3 * i + 2]); }
void max_(const float *from, float *to, uint32_t n)
{ for (uint32_t i = 0; i < n; i++) to[i] = tdco_max(from[2 * i], from[2 * i + 1]); }
"""


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], ctypes.CDLL]:
    folder = tmp_path_factory.mktemp("fpmath")
    source = folder / "fpmath.c"
    source.write_text(SOURCE)

    @cache
    def build(compiler: str) -> ctypes.CDLL:
        library = folder / f"{compiler.replace(' ', '')}.so"
        subprocess.run([*COMPILERS[compiler], *FLAGS, str(source), "-o", str(library)], check=True)
        return ctypes.CDLL(str(library))

    return build


def call(library: ctypes.CDLL, function: str, x: np.ndarray) -> np.ndarray:
    x = np.ascontiguousarray(x, np.float32)
    y = np.empty_like(x)
    pointers = [a.ctypes.data_as(ctypes.c_void_p) for a in (x, y)]
    getattr(library, function)(*pointers, ctypes.c_uint32(len(x)))
    return y


def ulps(got: np.ndarray, want: np.ndarray) -> float:
    """The largest error in units of the last place of ``want``, a normal binary32 number rounded from float64."""
    _, exponent = np.frexp(np.abs(want))
    return float(np.max(np.abs(got.astype(np.float64) - want) / np.ldexp(1.0, exponent - 24)))


def every(low: float, high: float, stride: int = 1) -> np.ndarray:
    """Every ``stride``-th binary32 in [low, high], both of one sign, ``high`` included."""
    first, last = sorted(int(np.float32(v).view(np.uint32)) for v in (low, high))
    return np.append(np.arange(first, last, stride, dtype=np.uint32), np.uint32(last)).view(np.float32)


EXP = np.concatenate([every(-87.33654, -1e-9, 211), every(1e-9, 88.72283, 211)])
LOG = np.concatenate([every(2.0**-126, 3.4e38, 997), every(0.5, 2.0, 3)])
RSQRT = np.concatenate([every(2.0**-126, 3.4e38, 997), every(1.0, 4.0, 3)])
EXP2 = np.concatenate([every(-125.99, -1e-9, 211), every(1e-9, 126.99, 211)])
ARGUMENTS = {"exp_": EXP, "exp2_": EXP2, "log_": LOG, "rsqrt_": RSQRT}


@pytest.mark.parametrize(
    ("function", "x", "reference", "bound"),
    [
        ("exp_", EXP, np.exp, 1.0),
        ("log_", LOG, np.log, 1.0),
        ("rsqrt_", RSQRT, lambda x: 1 / np.sqrt(x), 2.1),
        ("exp2_", EXP2, np.exp2, 2.0 ** (24 - 17)),
    ],
)
def test_error_is_as_stated(
    build: Callable[[str], ctypes.CDLL],
    function: str,
    x: np.ndarray,
    reference: Callable[[np.ndarray], np.ndarray],
    bound: float,
) -> None:
    error = ulps(call(build("gcc"), function, x), reference(x.astype(np.float64)))
    print(f"{function}: {error:.3f} ulp over {len(x)} arguments")
    assert error <= bound


@pytest.mark.parametrize(
    ("function", "x", "want"),
    [
        ("exp_", [0.0, -0.0, -np.inf, np.inf, np.nan, -87.34, -65504, 88.73], [1, 1, 0, np.inf, np.nan, 0, 0, np.inf]),
        ("exp2_", [np.nan], [np.nan]),
        ("log_", [1.0, np.inf, np.nan], [0, np.inf, np.nan]),
        ("rsqrt_", [np.nan], [np.nan]),
    ],
)
def test_special_values(build: Callable[[str], ctypes.CDLL], function: str, x: list[float], want: list[float]) -> None:
    np.testing.assert_array_equal(call(build("gcc"), function, np.array(x)), np.array(want, np.float32))


def test_canonical_nan(build: Callable[[str], ctypes.CDLL]) -> None:
    patterns = np.array([0xFFC00000, 0x7F800001, 0x7FC12345, 0x7F800000, 0x80000000, 0x3F800000], np.uint32)
    got = call(build("gcc"), "canonical", patterns.view(np.float32)).view(np.uint32)
    assert got.tolist() == [0x7FC00000] * 3 + patterns[3:].tolist()


@pytest.mark.parametrize("compiler", [c for c in COMPILERS if c != "gcc"])
@pytest.mark.parametrize("function", ARGUMENTS)
def test_compilers_agree_on_every_bit(build: Callable[[str], ctypes.CDLL], compiler: str, function: str) -> None:
    x = ARGUMENTS[function][::3]
    assert call(build("gcc"), function, x).tobytes() == call(build(compiler), function, x).tobytes()


def triples(count: int) -> np.ndarray:
    """Operands a, b, c of a * b + c: any bits, sums that cancel, sums that lie a little off a tie, special values."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 1 << 32, (count, 3), dtype=np.uint32)
    plain = rng.normal(0, 1, (count, 3)).astype(np.float32)
    cancel = plain.copy()
    cancel[:, 2] = -cancel[:, 0] * cancel[:, 1] * rng.choice([1, 1 + 2.0**-22, 2.0**-20], count).astype(np.float32)
    tie = np.stack([1 + 2.0 ** -rng.integers(1, 24, count), 1 + 2.0 ** -rng.integers(1, 24, count), plain[:, 2]], 1)
    tie[:, 2] = np.ldexp(np.sign(plain[:, 2]), rng.integers(-60, 30, count))
    special = rng.choice(np.array([0, -0.0, np.inf, -np.inf, np.nan, 1, 2.0**-149, 3.4e38, -1]), (count, 3))
    return np.concatenate([bits.view(np.float32), plain, cancel, tie.astype(np.float32), special.astype(np.float32)])


def exact_fma(a: float, b: float, c: float) -> float:
    """a * b + c of finite numbers, rounded once to binary32, in integers: all are multiples of 2^-298."""
    value = Fraction(a) * Fraction(b) + Fraction(c)
    if value == 0:
        return a * b + c  # the sign of zero is that of binary64, in which nothing is lost
    exponent = max(abs(value.numerator).bit_length() - value.denominator.bit_length() - 24, -149)
    while abs(value) >= Fraction(2) ** (exponent + 24):
        exponent += 1
    units = round(value / Fraction(2) ** exponent)  # to nearest, ties to even
    return math.copysign(math.inf, units) if abs(units) * 2.0**exponent >= 2.0**128 else math.ldexp(units, exponent)


@pytest.mark.parametrize("compiler", COMPILERS)
def test_fma_is_rounded_once(build: Callable[[str], ctypes.CDLL], compiler: str) -> None:
    x = triples(4000)
    got = np.empty(len(x), np.float32)
    build(compiler).fma_(x.ctypes.data_as(ctypes.c_void_p), got.ctypes.data_as(ctypes.c_void_p), len(x))
    with np.errstate(all="ignore"):
        wide = x[:, 0].astype(np.float64) * x[:, 1] + x[:, 2]
    finite = np.isfinite(x).all(axis=1)
    want = np.array([exact_fma(*map(float, row)) if ok else w for row, ok, w in zip(x, finite, wide, strict=True)])
    np.testing.assert_array_equal(got, want.astype(np.float32))
    zero = got == 0
    np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(want[zero]))


@pytest.mark.parametrize("compiler", COMPILERS)
def test_max_orders_zeros_and_leaves_out_nan(build: Callable[[str], ctypes.CDLL], compiler: str) -> None:
    values = np.array([0.0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 2.0**-149], np.float32)
    x = np.array(np.meshgrid(values, values)).T.reshape(-1, 2).copy()
    got = np.empty(len(x), np.float32)
    build(compiler).max_(x.ctypes.data_as(ctypes.c_void_p), got.ctypes.data_as(ctypes.c_void_p), len(x))
    want = np.fmax(x[:, 0], x[:, 1])
    want[(x == 0).all(axis=1) & ~np.signbit(x).all(axis=1)] = 0.0
    assert [0x7FC00000 if np.isnan(w) else int(w.view(np.uint32)) for w in want] == got.view(np.uint32).tolist()
