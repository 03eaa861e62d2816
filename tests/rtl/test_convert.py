"""Conversions between binary16 and binary32 against numpy's."""

import numpy as np
from amaranth.hdl import Cat, Module, Signal
from amaranth.sim import Simulator
from redmule.fp import FP16, FP32, narrow, widen

RANDOM = 2000
FP16_INFINITY = 0x7C00


def run(m: Module, inputs: Signal, outputs: list[Signal], values: np.ndarray) -> np.ndarray:
    """What the circuit answers to each value, [len(values), len(outputs)]."""
    answers = []

    async def bench(ctx) -> None:
        for value in values.tolist():
            ctx.set(inputs, value)
            answers.append([ctx.get(output) for output in outputs])

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()
    return np.array(answers, dtype=np.uint32)


def canonical(halves: np.ndarray) -> np.ndarray:
    nan = (halves & 0x7FFF) > FP16_INFINITY
    return np.where(nan, FP16.nan, halves).astype(np.uint32)


def test_narrow_rounds_to_nearest_even(seed: int) -> None:
    """Bits at random, and every kind of binary16: itself, halfway to the next one, and beside both."""
    rng = np.random.default_rng(seed)
    halves = np.concatenate(
        [np.arange(40), np.arange(1000, 1060), np.arange(0x7BE0, 0x7C00), rng.integers(0, 0x7C00, 300)]
    )
    exact = halves.astype(np.uint16).view(np.float16).astype(np.float32)
    above = np.where(halves == FP16_INFINITY - 1, np.float32(65536), (halves + 1).astype(np.uint16).view(np.float16))
    bits = np.concatenate([exact, (exact + above.astype(np.float32)) / 2]).astype(np.float32).view(np.uint32)
    bits = np.concatenate([bits, bits + 1, np.maximum(bits, 1) - 1, [0x7F800000, 0x7F800001, 0x7FFFFFFF, 0x7F7FFFFF]])
    near = rng.integers(90 << FP32.frac_bits, 150 << FP32.frac_bits, RANDOM)  # where binary16's exponents are
    bits = np.concatenate([bits, near, rng.integers(0, 1 << 31, RANDOM)])
    bits = (bits | rng.integers(0, 2, bits.size) << 31).astype(np.uint32)

    m = Module()
    single, outputs = Signal(FP32.width), [Signal(FP16.width), Signal(), Signal()]
    m.d.comb += Cat(outputs).eq(Cat(narrow(m, single, "z")))
    half, nonfinite, overflow = run(m, single, outputs, bits).T
    with np.errstate(over="ignore"):
        expected = canonical(bits.view(np.float32).astype(np.float16).view(np.uint16))
    infinite = (expected & 0x7FFF) >= FP16_INFINITY
    assert half.tolist() == expected.tolist()
    assert nonfinite.tolist() == infinite.astype(int).tolist()
    assert overflow.tolist() == (infinite & np.isfinite(bits.view(np.float32))).astype(int).tolist()


def test_widen_is_exact(seed: int) -> None:
    """Every subnormal number, and others at random."""
    rng = np.random.default_rng(seed)
    halves = np.concatenate([np.arange(0x400), np.arange(0x8000, 0x8400), rng.integers(0, 1 << 16, RANDOM)])
    m = Module()
    half, single = Signal(FP16.width), Signal(FP32.width)
    m.d.comb += single.eq(widen(m, half, "x"))
    answers = run(m, half, [single], halves)[:, 0].view(np.float32)
    expected = halves.astype(np.uint16).view(np.float16).astype(np.float32)
    number = ~np.isnan(expected)
    assert np.isnan(answers[~number]).all()
    assert answers[number].view(np.uint32).tolist() == expected[number].view(np.uint32).tolist()
