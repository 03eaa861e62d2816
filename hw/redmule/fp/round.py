"""Binary floating-point formats, and the two steps that end every operation: normalise, round.

Both are combinational and take exact values: an unsigned significand plus a sticky bit for everything below it.
"""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value


@dataclass(frozen=True)
class FloatFormat:
    """An IEEE 754 binary interchange format."""

    exp_bits: int
    frac_bits: int

    @property
    def width(self) -> int:
        return 1 + self.exp_bits + self.frac_bits

    @property
    def bias(self) -> int:
        return (1 << (self.exp_bits - 1)) - 1

    @property
    def precision(self) -> int:
        """Bits of the significand, the hidden one included."""
        return self.frac_bits + 1

    @property
    def infinity(self) -> int:
        """Bits of +infinity."""
        return ((1 << self.exp_bits) - 1) << self.frac_bits

    @property
    def nan(self) -> int:
        """Bits of the canonical quiet NaN: positive, only the top fraction bit set."""
        return self.infinity | 1 << (self.frac_bits - 1)


FP16 = FloatFormat(exp_bits=5, frac_bits=10)
FP32 = FloatFormat(exp_bits=8, frac_bits=23)
FORMATS = {"fp16": FP16, "fp32": FP32}


def shift_right(m: Module, value: Value, distance: Value, name: str) -> tuple[Value, Value]:
    """``value``, ``distance`` places to the right, and whether anything fell off. Low digits first: they come first."""
    width = len(value)
    lost: list[Value] = []
    for digit in range(len(distance)):
        step = min(1 << digit, width)
        shifted = Signal(width, name=f"{name}_by{1 << digit}")
        m.d.comb += shifted.eq(Mux(distance[digit], value[step:], value))
        lost.append(distance[digit] & value[:step].any())
        value = shifted
    return value, Cat(lost).any()


def normalise(m: Module, value: Value, limit: Value, name: str) -> tuple[Signal, Value]:
    """Shift ``value`` left until its top bit is set, but by ``limit`` places at most (gradual underflow).

    Returns the shifted value and the number of places. The limit enters as a one in the scanned copy: scanning for the
    first one then stops at whichever comes first.
    """
    width = len(value)
    marker = Signal(width, name=f"{name}_marker")
    with m.If(limit < width):
        m.d.comb += marker.eq(Const(1 << (width - 1), width) >> limit)
    _, places = leading_zeros(value | marker)
    shifted = value
    for digit in reversed(range(len(places))):
        step = min(1 << digit, width)
        after = Signal(width, name=f"{name}_by{1 << digit}")
        m.d.comb += after.eq(Mux(places[digit], Cat(Const(0, step), shifted[: width - step]), shifted))
        shifted = after
    return shifted, places


def leading_zeros(value: Value) -> tuple[Value, Value]:
    """Whether ``value`` is zero, and the number of zeros above its first one (undefined if there is none)."""
    if len(value) == 1:
        return ~value, Const(0, 0)
    low = 1 << (len(value) - 1).bit_length() - 1
    upper, lower = value[-low:], value[:-low]
    empty, count = leading_zeros(upper)
    rest_empty, rest = leading_zeros(lower)
    return empty & rest_empty, Cat(Mux(empty, rest, count)[: len(count)], empty)


def round_nearest_even(
    m: Module, fmt: FloatFormat, value: Value, sticky: Value, exponent: Value
) -> tuple[Signal, Value]:
    """Round a normalised ``value`` (top bit: weight of ``exponent``, biased) to ``fmt``, ties to even.

    A top bit of zero means subnormal: the exponent field is then 0 and ``exponent`` must be 1. Returns the exponent and
    fraction fields of the result, and whether it overflowed (the fields then hold infinity).
    """
    precision = fmt.precision
    significand = value[len(value) - precision :]
    tail = Cat(sticky, value[: len(value) - precision])
    up = tail[-1] & (tail[:-1].any() | significand[0])
    normal = significand[-1]
    rounded = Signal(fmt.frac_bits + len(exponent) + 1, name="rounded")
    m.d.comb += rounded.eq(Cat(significand[:-1], Mux(normal, exponent, 0)) + up)
    overflow = rounded[fmt.frac_bits :] >= (1 << fmt.exp_bits) - 1
    magnitude = Signal(fmt.width - 1, name="magnitude")
    m.d.comb += magnitude.eq(Mux(overflow, fmt.infinity, rounded))
    return magnitude, overflow
