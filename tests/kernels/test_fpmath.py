"""fpmath.h: its stated errors against float64, its special values, and the same bits from gcc and clang."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.special import ndtr

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
MAP(exp_below, tdco_exp_below(x))
MAP(rsqrt_, tdco_rsqrt(x))
MAP(cdf, tdco_normal(x).cdf)
MAP(pdf, tdco_normal(x).pdf)
MAP(canonical, tdco_canonical(x))
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


def halves(limit: float) -> np.ndarray:
    """Every finite binary16 with |x| <= limit: the arguments GELU has."""
    x = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
    return x[np.abs(x) <= limit]  # a NaN compares false


def density(x: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * x * x) / np.sqrt(2 * np.pi)


EXP = np.concatenate([every(-87.33654, -1e-9, 211), every(1e-9, 88.72283, 211)])
LOG = np.concatenate([every(2.0**-126, 3.4e38, 997), every(0.5, 2.0, 3)])
RSQRT = np.concatenate([every(2.0**-126, 3.4e38, 997), every(1.0, 4.0, 3)])
BELOW = every(-30, -1e-9, 97)
TAIL = halves(5.999)[halves(5.999) < 0]
ARGUMENTS = {"exp_": EXP, "exp_below": BELOW, "log_": LOG, "rsqrt_": RSQRT, "cdf": halves(65504), "pdf": halves(65504)}


@pytest.mark.parametrize(
    ("function", "x", "reference", "bound"),
    [
        ("exp_", EXP, np.exp, 1.0),
        ("log_", LOG, np.log, 1.0),
        ("rsqrt_", RSQRT, lambda x: 1 / np.sqrt(x), 2.1),
        ("exp_below", np.append(BELOW, [-31, -np.inf]), lambda x: np.exp(np.maximum(x, -30)), 2.0 ** (24 - 17)),
        ("cdf", TAIL[TAIL >= -2], ndtr, 2.0 ** (24 - 16)),
        ("cdf", TAIL[TAIL >= -4], ndtr, 2.0 ** (24 - 12)),
        ("cdf", TAIL, ndtr, 2.0 ** (24 - 9)),
        ("cdf", -TAIL, ndtr, 2.0 ** (24 - 16)),
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


def test_density_is_as_stated(build: Callable[[str], ctypes.CDLL]) -> None:
    x = halves(65504)
    error = np.abs(call(build("gcc"), "pdf", x) - density(x.astype(np.float64)))
    print(f"pdf: {error.max():.2e}")
    assert error.max() < 2.0**-13


def test_cdf_from_6_on_is_0_or_1(build: Callable[[str], ctypes.CDLL]) -> None:
    x = np.concatenate([every(-np.inf, -6, 4099), every(6, np.inf, 4099)])
    np.testing.assert_array_equal(call(build("gcc"), "cdf", x), x > 0)


@pytest.mark.parametrize(
    ("function", "x", "want"),
    [
        ("exp_", [0.0, -0.0, -np.inf, np.inf, np.nan, -87.34, -65504, 88.73], [1, 1, 0, np.inf, np.nan, 0, 0, np.inf]),
        ("exp_below", [np.nan], [np.nan]),
        ("log_", [1.0, np.inf, np.nan], [0, np.inf, np.nan]),
        ("rsqrt_", [np.nan], [np.nan]),
        ("cdf", [0.0, -0.0, -np.inf, np.inf, np.nan, 3e38, -3e38], [0.5, 0.5, 0, 1, np.nan, 1, 0]),
        ("pdf", [-np.inf, np.inf, np.nan, 3e38], [0, 0, np.nan, 0]),
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
