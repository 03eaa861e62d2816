"""A double-buffered operand tile with its flow control: what may be requested, what has arrived, what may be used."""

from amaranth.hdl import Array, Module, Mux, Signal, unsigned
from amaranth.lib import wiring
from amaranth.lib.data import StructLayout
from amaranth.lib.wiring import In, Out

from .tile_buffer import ELEMENT_BITS, TileBuffer


def fill_layout(line_elements: int) -> StructLayout:
    """A line that arrives from memory, and where it goes."""
    return StructLayout(
        {
            "bank": 1,
            "index": unsigned(max(1, (line_elements - 1).bit_length())),
            "last": 1,
            "data": unsigned(line_elements * ELEMENT_BITS),
        }
    )


class LoadBuffer(wiring.Component):
    """Blocks of up to ``size`` lines of ``size`` elements go through two banks in order.

    A block is claimed while its lines are requested, filled line by line, taken into use and freed.

    ``streamed``: a block is read until it is freed; otherwise only until it is taken, and taking frees it.

    Members:
        room, claim, claim_bank: a block may be requested; its last line was; the bank it goes to.
        fill_en, fill: a line arrives.
        urgent: nothing has been requested for the next block to be taken.
        arrived: leading lines of the next block that are there; complete: all of them.
        take, free: the user starts or ends with a block.
        read_index, read_by_col, read_data: a line of the block in use or, ``ahead``, of the next one.
    """

    def __init__(self, size: int, *, streamed: bool) -> None:
        self.streamed = streamed
        self.storage = TileBuffer(size, size)
        super().__init__(
            {
                "room": Out(1),
                "urgent": Out(1),
                "claim": In(1),
                "claim_bank": Out(1),
                "fill_en": In(1),
                "fill": In(fill_layout(size)),
                "arrived": Out(size.bit_length()),
                "complete": Out(1),
                "take": In(1),
                "free": In(1),
                "ahead": In(1, init=1),
                "read_index": In(len(self.storage.read_index)),
                "read_by_col": In(1),
                "read_data": Out(len(self.storage.read_data)),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.storage = storage = self.storage
        claimed = Signal(range(3))
        next_bank = Signal()
        in_use = ~next_bank if self.streamed else next_bank
        arrived = Array(Signal(len(self.arrived), name=f"arrived{bank}") for bank in (0, 1))
        complete = Array(Signal(name=f"complete{bank}") for bank in (0, 1))
        m.d.comb += [
            self.room.eq(claimed < 2),
            self.urgent.eq(claimed == 0),
            self.arrived.eq(arrived[next_bank]),
            self.complete.eq(complete[next_bank]),
            storage.write_en.eq(self.fill_en),
            storage.write_bank.eq(self.fill.bank),
            storage.write_index.eq(self.fill.index),
            storage.write_data.eq(self.fill.data),
            storage.read_bank.eq(Mux(self.ahead, next_bank, in_use)),
            storage.read_index.eq(self.read_index),
            storage.read_by_col.eq(self.read_by_col),
            self.read_data.eq(storage.read_data),
        ]
        free = self.free if self.streamed else self.take
        m.d.sync += [
            claimed.eq(claimed + self.claim - free),
            self.claim_bank.eq(self.claim_bank ^ self.claim),
            next_bank.eq(next_bank ^ self.take),
        ]
        for bank in (0, 1):
            with m.If(free & (in_use == bank)):
                m.d.sync += [arrived[bank].eq(0), complete[bank].eq(0)]
            with m.If(self.fill_en & (self.fill.bank == bank)):
                m.d.sync += [arrived[bank].eq(self.fill.index + 1), complete[bank].eq(self.fill.last)]
        return m
