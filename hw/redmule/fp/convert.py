"""Conversions between binary16 and binary32: exact one way, rounded to nearest even the other."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value

from .round import FP16, FP32, leading_zeros, round_nearest_even, shift_right

REBIAS = FP32.bias - FP16.bias
SHIFT_BITS = FP16.precision.bit_length()


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


def narrow(m: Module, single: Value, name: str) -> tuple[Value, Value, Value]:
    """A binary32 rounded to binary16, any NaN to the canonical one; whether that is an infinity or NaN; and whether a
    finite value became one.

    It is rounded both as a normal number, which needs no shift, and as a subnormal one, which needs no exponent.
    """
    fraction, exponent = single[: FP32.frac_bits], single[FP32.frac_bits : -1]
    special = exponent.all()
    small = exponent <= REBIAS
    tail = FP32.precision - FP16.precision - 1  # one digit below the last place goes to the rounding as it is
    significand = Cat(fraction, Const(1, 1))

    normal, too_large = round_nearest_even(
        m, FP16, significand[tail:], significand[:tail].any(), (exponent - REBIAS)[: FP32.exp_bits]
    )
    # One place further for each step of the exponent down; beyond what SHIFT_BITS can say nothing is left.
    shifted, sticky = shift_right(m, significand[1:], (REBIAS - exponent)[:SHIFT_BITS], name)
    subnormal, _ = round_nearest_even(
        m, FP16, Cat(shifted, Const(0, 1))[tail:], shifted[:tail].any() | sticky | fraction[0], Const(1, 1)
    )
    vanishes = exponent + (1 << SHIFT_BITS) <= REBIAS

    nonfinite = too_large & ~small
    magnitude = Mux(small, Mux(vanishes, 0, subnormal), normal)
    result = Signal(FP16.width, name=name)
    m.d.comb += result.eq(Mux(special & fraction.any(), FP16.nan, Cat(magnitude, single[-1])))
    return result, nonfinite, nonfinite & ~special
