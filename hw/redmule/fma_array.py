"""Multiply-adders side by side and nothing else: the yardstick for the speed of simulating an engine."""

from amaranth.hdl import ClockSignal, Instance, Module, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .array import FMA_MODULE
from .fp import FP16


class FmaArray(wiring.Component):
    """``count`` multiply-adders that add up in ``acc_bits`` bits, operands registered as in the engine's array.

    Members: those of `Fma` but ``en``, each ``count`` times side by side.
    """

    def __init__(self, count: int, acc_bits: int) -> None:
        self.count = count
        self.inputs = {"a": FP16.width, "b": FP16.width, "c": acc_bits}
        self.outputs = {"z": acc_bits, "overflow": 1, "invalid": 1}
        members = {name: In(count * bits) for name, bits in self.inputs.items()}
        super().__init__({**members, **{name: Out(count * bits) for name, bits in self.outputs.items()}})

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        for i in range(self.count):
            pins = {}
            for name, bits in self.inputs.items():
                pins[f"i_{name}"] = operand = Signal(bits, name=f"{name}_{i}", reset_less=True)
                m.d.sync += operand.eq(getattr(self, name).word_select(i, bits))
            for name, bits in self.outputs.items():
                pins[f"o_{name}"] = result = Signal(bits, name=f"{name}_{i}")
                m.d.comb += getattr(self, name).word_select(i, bits).eq(result)
            m.submodules[f"fma_{i}"] = Instance(FMA_MODULE, i_clk=ClockSignal(), i_rst=ResetSignal(), i_en=1, **pins)
        return m
