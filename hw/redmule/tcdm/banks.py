"""One bank of L1: a single-ported memory of 32-bit words with byte enables."""

from amaranth.hdl import Module, Mux, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from tdco_spec import HwConfig

from .ports import BankPort, bank_words

BANK_MODULE = "tcdm_bank"


class Bank(wiring.Component):
    """Reads or writes one row a cycle; instances are the Verilog module ``BANK_MODULE``, which a chip replaces by a
    compiled memory.

    Members: those of `BankPort`.
    """

    def __init__(self, cfg: HwConfig) -> None:
        self.words = bank_words(cfg)
        super().__init__(BankPort(cfg).flip())

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.words = words = Memory(shape=unsigned(32), depth=self.words, init=[])
        write, read = words.write_port(granularity=8), words.read_port()
        m.d.comb += [
            write.addr.eq(self.row),
            write.data.eq(self.wdata),
            write.en.eq(Mux(self.en & self.we, self.be, 0)),
            read.addr.eq(self.row),
            read.en.eq(self.en & ~self.we),
            self.rdata.eq(read.data),
        ]
        return m
