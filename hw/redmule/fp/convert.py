"""Conversions between binary16 and binary32: exact one way, rounded to nearest even the other."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value

from .round import FP16, FP32, leading_zeros, round_nearest_even, shift_right

REBIAS = FP32.bias - FP16.bias


def widen(m: Module, half: Value, name: str) -> Value:
    """The binary32 of the same value; an infinity stays one, a NaN some NaN."""
    fraction, exponent = half[: FP16.frac_bits], half[FP16.frac_bits : -1]
    zero, places = leading_zeros(fraction)
    normalised = Signal(FP16.frac_bits, name=f"{name}_normalised")
    result = Signal(FP32.width, name=name)
    widened = Signal(FP32.exp_bits, name=f"{name}_exponent")
    m.d.comb += normalised.eq((fraction << 1) << places)
    with m.If(exponent.all()):
        m.d.comb += widened.eq((1 << FP32.exp_bits) - 1)
    with m.Elif(exponent.any()):
        m.d.comb += widened.eq(exponent + REBIAS)
    with m.Elif(~zero):
        m.d.comb += widened.eq(REBIAS - places)
    low_bits = Const(0, FP32.frac_bits - FP16.frac_bits)
    m.d.comb += result.eq(Cat(low_bits, Mux(exponent.any(), fraction, normalised), widened, half[-1]))
    return result


def narrow(m: Module, single: Value, name: str) -> tuple[Value, Value]:
    """A binary32 rounded to binary16, any NaN to the canonical one; and whether a finite value became infinite."""
    fraction, exponent = single[: FP32.frac_bits], single[FP32.frac_bits : -1]
    special = exponent.all()
    distance = Signal(range(REBIAS + 2), name=f"{name}_distance")  # to the right, below the smallest normal number
    with m.If(exponent <= REBIAS):
        m.d.comb += distance.eq(REBIAS + 1 - exponent)
    shifted, sticky = shift_right(m, Cat(fraction, exponent.any()), distance, name)
    tail = FP32.precision - FP16.precision - 1  # one digit below the last place goes to the rounding as it is
    rebiased = Signal(FP32.exp_bits, name=f"{name}_rebiased")
    m.d.comb += rebiased.eq(Mux(exponent <= REBIAS, 1, exponent - REBIAS))
    magnitude, too_large = round_nearest_even(m, FP16, shifted[tail:], shifted[:tail].any() | sticky, rebiased)
    result = Signal(FP16.width, name=name)
    with m.If(special & fraction.any()):
        m.d.comb += result.eq(FP16.nan)
    with m.Elif(special):
        m.d.comb += result.eq(Cat(Const(FP16.infinity, FP16.width - 1), single[-1]))
    with m.Else():
        m.d.comb += result.eq(Cat(magnitude, single[-1]))
    return result, too_large & ~special
