"""Storage of one operand tile, twice: one bank is filled while the other is used."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

ELEMENT_BITS = 16


class TileBuffer(wiring.Component):
    """Two banks of ``lines`` lines of ``elements`` binary16 elements, written by line, read by line or by column.

    A write takes effect at the clock edge; reads are combinational.

    Members:
        write_en, write_bank, write_index, write_data: a line in; element 0 in the low bits.
        read_bank, read_index, read_by_col, read_data: a line out, or element ``read_index`` of every line.
    """

    def __init__(self, lines: int, elements: int) -> None:
        self.lines, self.elements = lines, elements
        index_bits = max(1, (max(lines, elements) - 1).bit_length())
        super().__init__(
            {
                "write_en": In(1),
                "write_bank": In(1),
                "write_index": In(index_bits),
                "write_data": In(ELEMENT_BITS * elements),
                "read_bank": In(1),
                "read_index": In(index_bits),
                "read_by_col": In(1),
                "read_data": Out(ELEMENT_BITS * max(lines, elements)),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        shape = unsigned(ELEMENT_BITS * self.elements)
        m.submodules.store = store = Memory(shape=shape, depth=2 << len(self.read_index), init=[])
        write = store.write_port()
        m.d.comb += [
            write.en.eq(self.write_en),
            write.addr.eq(Cat(self.write_index, self.write_bank)),
            write.data.eq(self.write_data),
        ]
        line = store.read_port(domain="comb")
        m.d.comb += line.addr.eq(Cat(self.read_index, self.read_bank))
        bank = []
        for i in range(self.lines):
            port = store.read_port(domain="comb")
            m.d.comb += port.addr.eq(Cat(Const(i, len(self.read_index)), self.read_bank))
            bank.append(port.data)
        # A case for each column: simulators run it many times faster than shifts of whole lines.
        column = Signal(ELEMENT_BITS * self.lines)
        with m.Switch(self.read_index):
            for c in range(self.elements):
                with m.Case(c):
                    m.d.comb += column.eq(Cat(data.word_select(c, ELEMENT_BITS) for data in bank))
        m.d.comb += self.read_data.eq(Mux(self.read_by_col, column, line.data))
        return m
