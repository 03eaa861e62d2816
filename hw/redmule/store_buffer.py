"""The Z buffer: columns come from the array, columns or rows go to memory."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from tdco_spec import HwConfig

from .fp import FORMATS, FP16, narrow
from .tile_buffer import TileBuffer


class StoreBuffer(wiring.Component):
    """Double-buffered result tile. On the way in sums are rounded to binary16, then goes ReLU.

    Members:
        room, claim: a bank is free; the array starts to fill it.
        write_en, write_bank, write_index, write_last, relu, rows, column: a column comes in; ``rows`` exist.
        ready: a whole block waits. read_index, read_row, read_data: a row or a column of it. free: it is stored.
        nonfinite: an element that came in is an infinity or NaN. overflow: rounding made one of a finite sum.
    """

    def __init__(self, cfg: HwConfig) -> None:
        self.cfg = cfg
        self.acc = FORMATS[cfg.acc]
        self.storage = TileBuffer(cfg.tile_cols, cfg.rows)  # a line is a column of Z
        index_bits = len(self.storage.write_index)
        super().__init__(
            {
                "room": Out(1),
                "claim": In(1),
                "write_en": In(1),
                "write_bank": In(1),
                "write_index": In(index_bits),
                "write_last": In(1),
                "relu": In(1),
                "rows": In(cfg.rows),
                "column": In(self.acc.width * cfg.rows),
                "ready": Out(1),
                "read_index": In(index_bits),
                "read_row": In(1),
                "read_data": Out(16 * cfg.tile_cols),
                "free": In(1),
                "nonfinite": Out(1),
                "overflow": Out(1),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.storage = storage = self.storage
        claimed = Signal(range(3))
        complete = Array(Signal(name=f"complete{bank}") for bank in (0, 1))
        read_bank = Signal(init=1)  # the bank that is written first
        elements = [self.column.word_select(r, self.acc.width) for r in range(self.cfg.rows)]
        if self.acc == FP16:
            nonfinite = [e[FP16.frac_bits : -1].all() for e in elements]
        else:
            narrowed = (narrow(m, e, f"z_{r}") for r, e in enumerate(elements))
            elements, nonfinite, too_large = map(list, zip(*narrowed, strict=True))
            m.d.sync += self.overflow.eq(self.write_en & (Cat(too_large) & self.rows).any())
        # A NaN has no sign here, so ReLU is a question of the sign alone.
        results = Cat(Mux(self.relu & e[-1], 0, e) for e in elements)
        special = Cat(n & ~(self.relu & e[-1]) for e, n in zip(elements, nonfinite, strict=True))
        m.d.comb += [
            self.room.eq(claimed < 2),
            storage.write_en.eq(self.write_en),
            storage.write_bank.eq(self.write_bank),
            storage.write_index.eq(self.write_index),
            storage.write_data.eq(results),
            storage.read_bank.eq(read_bank),
            storage.read_index.eq(self.read_index),
            storage.read_by_col.eq(self.read_row),
            self.read_data.eq(storage.read_data),
            self.ready.eq(complete[read_bank]),
        ]
        m.d.sync += [
            claimed.eq(claimed + self.claim - self.free),
            self.nonfinite.eq(self.write_en & (special & self.rows).any()),
        ]
        with m.If(self.write_en & self.write_last):
            m.d.sync += complete[self.write_bank].eq(1)
        with m.If(self.free):
            m.d.sync += [complete[read_bank].eq(0), read_bank.eq(~read_bank)]
        return m
