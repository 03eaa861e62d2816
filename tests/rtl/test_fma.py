"""The multiply-adder against exact integer arithmetic: directed corners, then random vectors in bulk."""

from dataclasses import replace

import numpy as np
import pytest
import redmule.verilog
from amaranth.sim import Simulator, SimulatorContext
from redmule.fp import Fma
from tdco_sim import rtl
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


def random_vectors(count: int, seed: int) -> tuple[U16, U16, U16]:
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


def test_array_reference_is_exact() -> None:
    a, b, c = (np.concatenate(pair) for pair in zip(corner_vectors(), random_vectors(30_000, 1), strict=True))
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
def test_latency_and_enable(pipe: int) -> None:
    """Results come out pipe + 1 enabled cycles later, and nothing moves while the enable is low."""
    a, b, c = random_vectors(60, pipe)
    expected = [reference.fma_exact(*map(int, vector)) for vector in zip(a, b, c, strict=True)]
    fma = Fma(pipe)

    async def bench(ctx: SimulatorContext) -> None:
        rng = np.random.default_rng(pipe)
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


def test_a_million_random_vectors_on_rtl() -> None:
    check_on_rtl(3, *random_vectors(1_200_000, seed=2))


@pytest.mark.slow
def test_ten_million_random_vectors_on_rtl() -> None:
    for seed in range(10, 20):
        check_on_rtl(3, *random_vectors(1_000_000, seed))
