"""Fused multiply-add z = a*b + c with one rounding (to nearest even), subnormals kept, NaN canonical.

a and b are binary16; c and z are in the accumulator's format. One wide alignment window is used:

    | c, shifted right by `distance` ... | 2 zeros | product, 22 bits | guard |

so that a product below the window's top never needs shifting, and everything of c that falls off the right end is one
sticky bit. The guard is wide enough that the sticky bit is never the only thing below the rounding position:
a product without leading zeros loses at most one bit to cancellation, and a product that has them meets a c beyond the
window only if c's format reaches below the product's.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .round import FP16, FloatFormat, normalise, round_nearest_even, shift_right

PRODUCT_BITS = 2 * FP16.precision
GAP_BITS = 2
SPLIT = 6
# Register levels after multiply/align, add and normalise, for pipe = 0..3. Further registers follow the multiplier.
BORDERS = ((0, 0, 0), (0, 1, 0), (1, 1, 0), (1, 1, 1))


class Fma(wiring.Component):
    """Fused multiply-add, latency ``pipe + 1`` enabled cycles: ``pipe`` internal registers and the output's.

    Members:
        en: clock enable of every register.
        a, b: binary16 operands. c: addend, z: result, in ``acc``.
        overflow: the operands were finite and z is infinite. invalid: infinity times zero, or infinity minus infinity.
    """

    def __init__(self, pipe: int, acc: FloatFormat = FP16) -> None:
        self.acc = acc
        self.borders = BORDERS[pipe] if pipe < len(BORDERS) else (1 + pipe - 3, 1, 1)
        self.guard_bits = 3 if acc.precision <= FP16.precision else acc.precision + 2
        super().__init__(
            {
                "en": In(1),
                "a": In(FP16.width),
                "b": In(FP16.width),
                "c": In(acc.width),
                "z": Out(acc.width),
                "overflow": Out(1),
                "invalid": Out(1),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        state = self._multiply_align(m)
        for step, registers in zip((self._add, self._normalise, self._round), self.borders, strict=True):
            for _ in range(registers):
                state = self._register(m, state)
            state = step(m, state)
        for name, value in self._register(m, state).items():
            m.d.comb += getattr(self, name).eq(value)
        return m

    def _register(self, m: Module, state: dict[str, Value]) -> dict[str, Value]:
        registered: dict[str, Value] = {}
        for name, value in state.items():
            register = Signal(len(value), name=f"{name}_q", reset_less=True)
            with m.If(self.en):
                m.d.sync += register.eq(value)
            registered[name] = register
        return registered

    def _multiply_align(self, m: Module) -> dict[str, Value]:
        acc = self.acc
        exp_max = (1 << FP16.exp_bits) - 1
        sign, exponent, significand, zero, inf, nan = {}, {}, {}, {}, {}, {}
        for name, fmt in (("a", FP16), ("b", FP16), ("c", acc)):
            operand = getattr(self, name)
            frac, exp = operand[: fmt.frac_bits], operand[fmt.frac_bits : -1]
            special = exp == ((1 << fmt.exp_bits) - 1)
            sign[name] = operand[-1]
            exponent[name] = Cat(exp[0] | ~exp.any(), exp[1:])
            significand[name] = Cat(frac, exp.any())
            zero[name] = ~operand[:-1].any()
            inf[name] = special & ~frac.any()
            nan[name] = special & frac.any()

        # Two factors of half the digits: their sum is one more operand of the addition that follows anyway.
        low = Signal(FP16.precision + SPLIT)
        high = Signal(PRODUCT_BITS - SPLIT)
        product_sign = sign["a"] ^ sign["b"]
        product_inf = inf["a"] | inf["b"]
        product_zero = zero["a"] | zero["b"]
        m.d.comb += [
            low.eq(significand["a"] * significand["b"][:SPLIT]),
            high.eq(significand["a"] * significand["b"][SPLIT:]),
        ]

        # Exponents are compared with c's leading bit at the window's top. A product of zero must not push c out.
        offset = acc.bias + acc.precision + PRODUCT_BITS + GAP_BITS - 1 - 2 * (FP16.bias + FP16.frac_bits)
        product_top = Signal(range(2 * exp_max + offset + 1))
        distance = Signal(signed(len(product_top) + 1))
        m.d.comb += [
            product_top.eq(exponent["a"] + exponent["b"] + offset),
            distance.eq(exponent["a"] + exponent["b"] + offset - exponent["c"]),  # not by way of product_top: shorter
        ]
        c_on_top = (distance < 0) | product_zero
        opposite = inf["c"] & (product_sign ^ sign["c"]) & ~nan["a"] & ~nan["b"]
        invalid = product_inf & (product_zero | opposite)
        unshifted = Cat(Const(0, self.guard_bits + PRODUCT_BITS + GAP_BITS), significand["c"])
        shifted, fell_off = shift_right(m, unshifted, distance[:-1], "align")
        aligned = Signal(len(unshifted))
        m.d.comb += aligned.eq(Mux(c_on_top, unshifted, shifted))
        return {
            "low": low,
            "high": high,
            "aligned": aligned,
            "c_sticky": fell_off & ~c_on_top,
            "top": Mux(c_on_top, exponent["c"], product_top),
            "product_sign": product_sign,
            "c_sign": sign["c"],
            "nan": nan["a"] | nan["b"] | nan["c"] | invalid,
            "inf": product_inf | inf["c"],
            "inf_sign": Mux(product_inf, product_sign, sign["c"]),
            "invalid": invalid,
        }

    def _add(self, m: Module, s: dict[str, Value]) -> dict[str, Value]:
        width = len(s["aligned"])
        subtract = s["product_sign"] ^ s["c_sign"]
        low = Cat(Const(0, self.guard_bits), s["low"])
        high = Cat(Const(0, self.guard_bits + SPLIT), s["high"])
        limit = Signal(len(s["top"]))
        # Both signs of a difference at once. What c lost below the window is a borrow from product - c.
        addend = s["aligned"] ^ subtract.replicate(width)
        carry_in = subtract & ~s["c_sticky"]
        onto_product = Signal(width + 2)
        from_c = Signal(signed(width + 1))
        m.d.comb += [
            onto_product.eq(Cat(Const(1, 1), low) + Cat(Const(0, 1), high) + Cat(carry_in, addend)),
            from_c.eq(s["aligned"] - low - high),
            limit.eq(s["top"] - 1),
        ]
        c_larger = subtract & ~from_c[-1]
        state = {name: s[name] for name in ("c_sticky", "top", "nan", "inf", "inf_sign", "invalid")}
        return {
            **state,
            "limit": limit,
            "magnitude": Mux(c_larger, from_c[:width], onto_product[1 : width + 1]),
            "sign": Mux(subtract & ~c_larger, s["product_sign"], s["c_sign"]),
            "zero_sign": s["product_sign"] & s["c_sign"],
        }

    def _normalise(self, m: Module, s: dict[str, Value]) -> dict[str, Value]:
        value, places = normalise(m, s["magnitude"], s["limit"], "norm")
        keep = self.acc.precision + 2
        state = {name: s[name] for name in ("sign", "zero_sign", "nan", "inf", "inf_sign", "invalid")}
        return {
            **state,
            "value": value[len(value) - keep :],
            "sticky": s["c_sticky"] | value[: len(value) - keep].any(),
            "exponent": (s["top"] - places)[: len(s["top"])],
        }

    def _round(self, m: Module, s: dict[str, Value]) -> dict[str, Value]:
        magnitude, too_large = round_nearest_even(m, self.acc, s["value"], s["sticky"], s["exponent"])
        zero = ~(s["value"].any() | s["sticky"])
        z = Signal(self.acc.width)
        with m.If(s["nan"]):
            m.d.comb += z.eq(self.acc.nan)
        with m.Elif(s["inf"]):
            m.d.comb += z.eq(Cat(Const(self.acc.infinity, self.acc.width - 1), s["inf_sign"]))
        with m.Else():
            m.d.comb += z.eq(Cat(magnitude, Mux(zero, s["zero_sign"], s["sign"])))
        return {"z": z, "overflow": too_large & ~s["nan"] & ~s["inf"], "invalid": s["invalid"]}
