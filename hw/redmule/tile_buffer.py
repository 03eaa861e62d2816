"""Storage of one operand tile, twice: one bank is filled while the other is used."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

ELEMENT_BITS = 16


def position(bank: Value, index: Value, depth: int) -> Value:
    """Place of column ``index`` of ``bank`` in a row that holds both banks of ``depth`` columns side by side."""
    if depth & (depth - 1) == 0:
        return Cat(index[: (depth - 1).bit_length()], bank)
    return Mux(bank, index + depth, index)


class TileBuffer(wiring.Component):
    """Two banks of ``rows`` x ``cols`` binary16 elements, written and read by row or by column.

    ``write`` and ``read`` name the orientations that are built: "row", "col" or "both" (then ``*_by_col`` chooses).
    Writes take effect at the clock edge; reads are combinational.

    Members:
        write_en, write_bank, write_index, write_by_col, write_data: a line in; element 0 in the low bits.
        read_bank, read_index, read_by_col, read_data: a line out.
    """

    def __init__(self, rows: int, cols: int, *, write: str, read: str) -> None:
        self.rows, self.cols, self.write, self.read = rows, cols, write, read
        index_bits = max(1, (max(rows, cols) - 1).bit_length())
        self.line = {"row": cols, "col": rows, "both": max(rows, cols)}
        super().__init__(
            {
                "write_en": In(1),
                "write_bank": In(1),
                "write_index": In(index_bits),
                "write_by_col": In(1),
                "write_data": In(ELEMENT_BITS * self.line[write]),
                "read_bank": In(1),
                "read_index": In(index_bits),
                "read_by_col": In(1),
                "read_data": Out(ELEMENT_BITS * self.line[read]),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        row_bits = self.cols * ELEMENT_BITS
        store = [Signal(2 * row_bits, name=f"row{r}", reset_less=True) for r in range(self.rows)]
        self._build_write(m, store, row_bits)
        rows = Array(half for bank in (0, 1) for half in (row.word_select(bank, row_bits) for row in store))
        by_row = rows[position(self.read_bank, self.read_index, self.rows)]
        place = position(self.read_bank, self.read_index, self.cols)
        by_col = Cat(row.word_select(place, ELEMENT_BITS) for row in store)
        chosen = {"row": by_row, "col": by_col, "both": Mux(self.read_by_col, by_col, by_row)}[self.read]
        m.d.comb += self.read_data.eq(chosen)
        return m

    def _build_write(self, m: Module, store: list[Signal], row_bits: int) -> None:
        by_col = {"row": 0, "col": 1, "both": self.write_by_col}[self.write]
        with m.If(self.write_en):
            if self.write != "row":
                place = position(self.write_bank, self.write_index, self.cols)
                with m.If(by_col), m.Switch(place):
                    for column in range(2 * self.cols):
                        with m.Case(column):
                            m.d.sync += [
                                row.word_select(column, ELEMENT_BITS).eq(
                                    self.write_data.word_select(r, ELEMENT_BITS)
                                )
                                for r, row in enumerate(store)
                            ]
            if self.write != "col":
                with m.If(~by_col if self.write == "both" else 1), m.Switch(self.write_index):
                    for r, row in enumerate(store):
                        with m.Case(r):
                            m.d.sync += row.word_select(self.write_bank, row_bits).eq(self.write_data)
