"""Verilog of the engine."""

from amaranth.back import verilog
from amaranth.lib import wiring
from tdco_spec import HwConfig

from .array import FMA_MODULE
from .fp import Fma
from .top import Engine


def emit(cfg: HwConfig) -> str:
    """The engine of ``cfg`` as Verilog; the top module is ``redmule``. The same configuration gives the same text."""
    return emit_fma(cfg) + convert(Engine(cfg), "redmule")


def emit_fma(cfg: HwConfig) -> str:
    """The multiply-adder of ``cfg`` alone, module ``FMA_MODULE``."""
    text = convert(Fma(cfg.pipe), FMA_MODULE)
    # Verilator would inline it into the array: measured, that builds 1.6 times slower and runs no faster.
    head, ports, body = text.partition(");\n")
    return f"{head}{ports}  /* verilator no_inline_module */\n{body}"


def convert(component: wiring.Component, name: str) -> str:
    """``component`` as Verilog text without source locations, top module ``name``."""
    return verilog.convert(component, name=name, emit_src=False, strip_internal_attrs=True)
