"""Verilog of the engine and of L1."""

from amaranth.back import verilog
from amaranth.lib import wiring
from tdco_spec import HwConfig

from .array import FMA_MODULE
from .fma_array import FmaArray
from .fp import FORMATS, Fma
from .tcdm import Bank, EngineTcdm, Tcdm
from .tcdm.banks import BANK_MODULE
from .top import Engine


def emit(cfg: HwConfig) -> str:
    """The engine of ``cfg`` as Verilog; the top module is ``redmule``. The same configuration gives the same text."""
    return emit_fma(cfg) + convert(Engine(cfg), "redmule")


def emit_tcdm(cfg: HwConfig) -> str:
    """L1 of ``cfg``, interconnect and banks; the top module is ``tcdm``."""
    return _emit_bank(cfg) + convert(Tcdm(cfg), "tcdm")


def emit_engine_tcdm(cfg: HwConfig) -> str:
    """The engine on L1; the top module is ``redmule_tcdm``."""
    return emit_fma(cfg) + _emit_bank(cfg) + convert(EngineTcdm(cfg), "redmule_tcdm")


def emit_fma(cfg: HwConfig) -> str:
    """The multiply-adder of ``cfg`` alone, module ``FMA_MODULE``."""
    text = convert(Fma(cfg.pipe, FORMATS[cfg.acc]), FMA_MODULE)
    # Verilator would inline it into the array: measured, that builds 1.6 times slower and runs no faster.
    head, ports, body = text.partition(");\n")
    return f"{head}{ports}  /* verilator no_inline_module */\n{body}"


def emit_fma_array(cfg: HwConfig) -> str:
    """As many multiply-adders as ``cfg`` has, and nothing else; the top module is ``fma_array``."""
    return emit_fma(cfg) + convert(FmaArray(cfg.fmas, 32 if cfg.acc == "fp32" else 16), "fma_array")


def _emit_bank(cfg: HwConfig) -> str:
    # A simulator's loader and debugger look into the memory.
    head, declaration, body = convert(Bank(cfg), BANK_MODULE).partition("  reg [31:0] words [")
    size, semicolon, body = body.partition(";")
    return f"{head}{declaration}{size} /* verilator public_flat_rw */{semicolon}{body}"


def convert(component: wiring.Component, name: str) -> str:
    """``component`` as Verilog text without source locations, top module ``name``."""
    return verilog.convert(component, name=name, emit_src=False, strip_internal_attrs=True)
