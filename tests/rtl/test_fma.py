"""The multiply-adder against exact integer arithmetic: directed corners, then random vectors in bulk."""

import os
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import redmule.verilog
from amaranth.sim import Simulator, SimulatorContext
from redmule.fp import Fma
from tdco_sim import rtl
from tdco_sim.errors import SimError
from tdco_sim.golden import exact
from tdco_sim.vectors import bench_fma, random_vectors
from tdco_spec import STATUS_FLAGS, get_config

from . import reference
from .reference import U16

# Zeros, the smallest and largest subnormals and normals, one and its neighbours, infinities, quiet and signalling NaN.
CORNERS = [0, 1, 2, 0x3FE, 0x3FF, 0x400, 0x401, 0x7FF, 0x800, 0x3BFF, 0x3C00, 0x3C01, 0x77FF, 0x7BFE, 0x7BFF]
CORNERS += [0x7C00, 0x7C01, 0x7E00, 0x7FFF]
CORNERS += [c | 0x8000 for c in CORNERS]


def corner_vectors() -> tuple[U16, U16, U16]:
    grid = np.meshgrid(CORNERS, CORNERS, CORNERS)
    a, b, c = (axis.ravel().astype(np.uint16) for axis in grid)
    return a, b, c


def random_vectors_f16(count: int, seed: int) -> tuple[U16, U16, U16]:
    """A mix: any bits; similar exponents; subnormals and specials; c close to -a*b (cancellation); ties."""
    rng = np.random.default_rng(seed)
    a, b, c = (rng.integers(0, 1 << 16, count).astype(np.uint16) for _ in range(3))
    kind = rng.integers(0, 6, count)
    for v in (a, b, c):
        special = rng.choice(CORNERS, count).astype(np.uint16)
        v[:] = np.where((kind == 1) & (rng.random(count) < 0.5), special, v)
        v[:] = np.where(kind == 2, (v & 0x83FF) | rng.integers(11, 20, count) << 10, v)
        v[:] = np.where(kind == 3, v & 0x87FF, v)
    product = reference.fma(a, b, np.zeros_like(c))[0]
    c[:] = np.where(kind == 4, (product ^ 0x8000) + rng.integers(-2, 3, count), c)
    short = (rng.integers(0, 1 << 16, count) & 0xFFC0).astype(np.uint16)
    a[:], b[:] = np.where(kind == 5, a & 0xFFF0, a), np.where(kind == 5, short, b)
    return a, b, c


def test_array_reference_is_exact(seed: int) -> None:
    a, b, c = (np.concatenate(pair) for pair in zip(corner_vectors(), random_vectors_f16(30_000, seed), strict=True))
    results = [reference.fma_exact(*map(int, vector)) for vector in zip(a, b, c, strict=True)]
    for got, name in zip(reference.fma(a, b, c), ("z", "overflow", "invalid"), strict=True):
        np.testing.assert_array_equal(got, [getattr(result, name) for result in results])


@pytest.mark.parametrize(
    ("a", "b", "c", "z"),
    [
        (0x3C00, 0x3C00, 0x1000, 0x3C00),  # 1 + 2^-11: a tie, to even
        (0x3C00, 0x3C01, 0x1000, 0x3C02),  # the same tie above an odd value
        (0x3C00, 0x3C00, 0x1001, 0x3C01),  # just above the tie
        (0x7BFF, 0x3C00, 0x4C00, 0x7C00),  # the largest number and half its last place: infinity
        (0x0001, 0x3800, 0x0000, 0x0000),  # half the smallest subnormal: a tie, to zero
        (0x0001, 0x3801, 0x0000, 0x0001),
        (0x0001, 0x8001, 0x0000, 0x8000),  # underflow keeps the sign
        (0x3C00, 0xBC00, 0x3C00, 0x0000),  # exact cancellation is +0
        (0x8000, 0x0000, 0x8000, 0x8000),  # padding leaves -0
        (0x8000, 0x0000, 0x0000, 0x0000),
        (0x7C00, 0x0000, 0x3C00, 0x7E00),
        (0x7C00, 0x3C00, 0xFC00, 0x7E00),
        (0x3C00, 0x7C01, 0x3C00, 0x7E00),
    ],
)
def test_reference_known_values(a: int, b: int, c: int, z: int) -> None:
    assert reference.fma_exact(a, b, c).z == z


@pytest.mark.parametrize("pipe", [0, 1, 2, 3, 5])
def test_latency_and_enable(pipe: int, seed: int) -> None:
    """Results come out pipe + 1 enabled cycles later, and nothing moves while the enable is low."""
    a, b, c = random_vectors_f16(60, seed)
    expected = [reference.fma_exact(*map(int, vector)) for vector in zip(a, b, c, strict=True)]
    fma = Fma(pipe)

    async def bench(ctx: SimulatorContext) -> None:
        rng = np.random.default_rng(seed)
        enabled = 0
        while enabled < len(a) + pipe:
            enable = int(rng.integers(0, 2))
            index = min(enabled, len(a) - 1)
            for signal, value in ((fma.en, enable), (fma.a, a[index]), (fma.b, b[index]), (fma.c, c[index])):
                ctx.set(signal, int(value))
            await ctx.tick()
            enabled += enable
            if enabled > pipe:
                got = (ctx.get(fma.z), bool(ctx.get(fma.overflow)), bool(ctx.get(fma.invalid)))
                assert got == expected[enabled - pipe - 1]

    simulator = Simulator(fma)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()


ACC32 = replace(get_config("rm_12x4_acc32"), name="acc32", rows=4)


def fixed(bits: int, exp_bits: int, frac_bits: int) -> int:
    """A finite number as an integer multiple of 2^-149, binary32's smallest."""
    exponent, fraction = bits >> frac_bits & (1 << exp_bits) - 1, bits & (1 << frac_bits) - 1
    bias = (1 << exp_bits - 1) - 1
    magnitude = (fraction | (exponent > 0) << frac_bits) << max(exponent, 1) - bias - frac_bits + 149
    return -magnitude if bits >> exp_bits + frac_bits else magnitude


def fma_f32(a: int, b: int, c: int) -> int:
    """Bits of a*b + c for binary16 a, b and binary32 c, all finite, in integers: one rounding to binary32."""
    total = (fixed(a, 5, 10) * fixed(b, 5, 10) >> 149) + fixed(c, 8, 23)
    if total == 0:
        return ((a ^ b) >> 15 & c >> 31) << 31
    magnitude = abs(total)
    drop = max(magnitude.bit_length() - 24, 0)
    quotient, rest = divmod(magnitude, 1 << drop)
    quotient += 2 * rest > 1 << drop or (2 * rest == 1 << drop and quotient & 1)
    return min((drop << 23) + quotient, 0x7F800000) | (total < 0) << 31


def test_exact_f32_is_exact(seed: int) -> None:
    """The reference of the bench against integers, products and sums that cancel, underflow and tie included."""
    given = random_vectors(ACC32, 20_000, seed)
    finite = (given.a & 0x7C00 != 0x7C00) & (given.b & 0x7C00 != 0x7C00) & (given.c >> 23 & 255 != 255)
    rows = np.flatnonzero(finite)[::3]
    wanted = [fma_f32(*map(int, vector)) for vector in zip(given.a[rows], given.b[rows], given.c[rows], strict=True)]
    np.testing.assert_array_equal(given.z[rows], wanted)


def test_exact_f16_is_exact(seed: int) -> None:
    a, b, c = (np.concatenate(pair) for pair in zip(corner_vectors(), random_vectors_f16(200_000, seed), strict=True))
    z, overflow, invalid = reference.fma(a, b, c)
    bits, flags = exact.fma(a, b, c)
    np.testing.assert_array_equal(bits, z)
    np.testing.assert_array_equal(flags, overflow * STATUS_FLAGS["OVERFLOW"] + invalid * STATUS_FLAGS["INVALID"])


@pytest.mark.parametrize("pipe", [0, 3])
def test_f32_accumulator_on_rtl(pipe: int, seed: int) -> None:
    cfg = replace(ACC32, pipe=pipe)
    result = bench_fma(rtl.build_fma(redmule.verilog.emit_fma(cfg), cfg), cfg, count=300_000, seed=seed)
    assert (result["mismatches_rtl"], result["mismatches_golden"]) == (0, 0), result["examples"]
    assert result["vectors"] > 300_000


@pytest.fixture(scope="module")
def fma_library() -> Path:
    cfg = replace(get_config("rm_12x4"), name="pipe0", rows=4, pipe=0)
    return rtl.build_fma(redmule.verilog.emit_fma(cfg), cfg)


FILE_CONFIG = replace(get_config("rm_12x4"), name="pipe0", rows=4, pipe=0)
TESTFLOAT = "3C00 3C00 3C00 4000 00\n7BFF 4000 0000 7C00 05\n7C00 0000 3C00 7E00 10\n7D01 3C00 3C00 7E00 10\n"


def test_vectors_from_files(fma_library: Path, tmp_path: Path, seed: int) -> None:
    text, arrays = tmp_path / "vectors.txt", tmp_path / "vectors.npz"
    text.write_text(TESTFLOAT)
    result = bench_fma(fma_library, FILE_CONFIG, vectors=text)
    assert [result[k] for k in ("vectors", "mismatches_rtl", "mismatches_golden")] == [4, 0, 0]
    text.write_text(TESTFLOAT.replace("4000 00", "4001 00").replace("7C00 05", "7C00 00"))
    result = bench_fma(fma_library, FILE_CONFIG, vectors=text)
    assert [result[k] for k in ("vectors", "mismatches_rtl", "mismatches_golden")] == [4, 2, 2]
    assert result["examples"][0] == {"a": "3C00", "b": "3C00", "c": "3C00", "z": "4000", "expected": "4001"}
    a, b, c = random_vectors_f16(1000, seed)
    z = reference.fma(a, b, c)[0]
    z[7] ^= 1
    np.savez(arrays, a=a, b=b, c=c, z=z)
    result = bench_fma(fma_library, FILE_CONFIG, vectors=arrays)
    assert [result[k] for k in ("vectors", "mismatches_rtl", "mismatches_golden")] == [1000, 1, 1]


LEVEL_1_VECTORS = 6_133_248  # of TestFloat's f16_mulAdd


@pytest.mark.slow
def test_testfloat(tmp_path: Path) -> None:
    """The file that TDCO_TESTFLOAT names, whole: what docs/engine.md says testfloat_gen writes."""
    name = os.environ.get("TDCO_TESTFLOAT")
    if not name:
        reason = "TestFloat did not run: TDCO_TESTFLOAT names no file (docs/engine.md, The multiply-adder, tells how)"
        warnings.warn(reason, stacklevel=1)
        pytest.skip(reason)
    cfg = get_config("rm_12x4")
    result = bench_fma(rtl.build_fma(redmule.verilog.emit_fma(cfg), cfg), cfg, vectors=Path(name))
    print(f"TestFloat: {result['vectors']:,} vectors")
    assert (result["mismatches_rtl"], result["mismatches_golden"]) == (0, 0), result["examples"]
    assert result["vectors"] >= LEVEL_1_VECTORS, "the file is not whole"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no vectors"),
        ("3C00 3C00 3C00\n", "line 1: is no vector"),
        ("3C00 3C00 3C00 4000\n3C00 3C00 3C00 4000 00\n", "line 2: is no vector"),
        ("3C00 3C00 3C00 14000\n", "line 1: is no vector"),
        ("3C00 3C00 3C00 hello\n", "line 1: is no vector"),
        ("\xff\xfe", "is no vector"),
        ("PK\x03\x04 truncated", "cannot be read as npz"),
    ],
)
def test_malformed_text(fma_library: Path, tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "vectors"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(SimError, match=message):
        bench_fma(fma_library, FILE_CONFIG, vectors=path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": 3, "b": 3, "c": 3}, "has no array z"),
        ({"a": 3, "b": 3, "c": 3, "z": 2}, "array z is uint16 of shape"),
        ({"a": 0, "b": 0, "c": 0, "z": 0}, "holds no vectors"),
    ],
)
def test_malformed_npz(fma_library: Path, tmp_path: Path, arrays: dict[str, int], message: str) -> None:
    path = tmp_path / "vectors.npz"
    np.savez(path, **{name: np.zeros(size, np.uint16) for name, size in arrays.items()})
    with pytest.raises(SimError, match=message):
        bench_fma(fma_library, FILE_CONFIG, vectors=path)
    np.savez(path, **{name: np.zeros(3, np.float16) for name in "abcz"})
    with pytest.raises(SimError, match="array a is float16"):
        bench_fma(fma_library, FILE_CONFIG, vectors=path)


def test_files_are_for_binary16_sums(fma_library: Path, tmp_path: Path) -> None:
    with pytest.raises(SimError, match="accumulates in fp32"):
        bench_fma(fma_library, ACC32, vectors=tmp_path / "vectors")


def check_on_rtl(pipe: int, a: U16, b: U16, c: U16) -> None:
    cfg = replace(get_config("rm_12x4"), name=f"pipe{pipe}", rows=4, pipe=pipe)
    library = rtl.build_fma(redmule.verilog.emit_fma(cfg), cfg)
    z, flags = rtl.fma(library, a, b, c, pipe + 1)
    expected, overflow, invalid = reference.fma(a, b, c)
    np.testing.assert_array_equal(z, expected)
    np.testing.assert_array_equal(flags, overflow * STATUS_FLAGS["OVERFLOW"] + invalid * STATUS_FLAGS["INVALID"])


@pytest.mark.parametrize("pipe", [0, 1, 3])
def test_corners_on_rtl(pipe: int) -> None:
    check_on_rtl(pipe, *corner_vectors())


def test_a_million_random_vectors_on_rtl(seed: int) -> None:
    check_on_rtl(3, *random_vectors_f16(1_200_000, seed))


@pytest.mark.slow
def test_ten_million_random_vectors_on_rtl(seed: int) -> None:
    for part in range(10):
        check_on_rtl(3, *random_vectors_f16(1_000_000, 1000 * seed + part))


@pytest.mark.slow
def test_ten_million_random_vectors_with_f32_accumulator(seed: int) -> None:
    library = rtl.build_fma(redmule.verilog.emit_fma(ACC32), ACC32)
    for part in range(10):
        result = bench_fma(library, ACC32, count=1_000_000, seed=1000 * seed + part)
        assert (result["mismatches_rtl"], result["mismatches_golden"]) == (0, 0), result["examples"]
