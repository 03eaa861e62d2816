"""Address generation: the lines of one operand in the order in which the engine's tiles need them.

A matrix is stored as lines (``stride`` bytes apart) of consecutive elements. Of the two dimensions of an operand one
is walked fast (*inner*), one slowly (*outer*): X is (m outer, k inner), W (n outer, k inner), Y and Z (m, n). Whether
a stored line runs along the inner or the outer dimension is what the transposition flags say. A *block* is one fill
of a buffer bank: up to one tile of the outer by one of the inner dimension. There are no multipliers: every address
is an earlier one plus a stride or a constant.
"""

from dataclasses import dataclass

from amaranth.hdl import Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.data import StructLayout
from amaranth.lib.wiring import In, Out
from tdco_spec import HwConfig

from .job import JOB

ELEMENT_BYTES = 2


@dataclass(frozen=True)
class Operand:
    """How one operand is walked.

    ``again`` and ``around`` name the dimension the operand does not have but is read again for: inside the outer loop
    (X, for every tile of N) or around it (W, for every tile of M). ``inner_lines``: stored lines follow one another
    along the inner dimension when the ``trans`` flag is 0.
    """

    name: str
    outer: str
    inner: str
    trans: str
    inner_lines: bool
    again: str = ""
    around: str = ""


OPERANDS = {
    o.name: o
    for o in (
        Operand("x", "m", "k", "trans_x", inner_lines=False, again="n"),
        Operand("w", "n", "k", "trans_w", inner_lines=True, around="m"),
        Operand("y", "m", "n", "trans_z", inner_lines=False),
        Operand("z", "m", "n", "trans_z", inner_lines=False),
    )
}


def line_layout(cfg: HwConfig) -> StructLayout:
    """One line of a block: ``count`` elements from byte ``addr``, the ``index``-th of its block."""
    return StructLayout(
        {
            "addr": unsigned(32),
            "count": unsigned(cfg.tile_cols.bit_length()),
            "index": unsigned(max(1, (cfg.tile_cols - 1).bit_length())),
            "inner_lines": 1,
            "broadcast": 1,
            "last_of_block": 1,
            "last_of_job": 1,
        }
    )


class Walker(wiring.Component):
    """Walks one operand of one job after the other.

    Members:
        jobs: taken one at a time.
        lines: the lines of the job, ``line_layout``.
    """

    def __init__(self, cfg: HwConfig, operand: Operand) -> None:
        self.operand = operand
        tiles = {"m": cfg.rows, "n": cfg.tile_cols, "k": cfg.tile_cols}
        dimensions = [d for d in (operand.inner, operand.again, operand.outer, operand.around) if d]
        self.tile = {d: tiles[d] for d in dimensions}
        self.size = {d: Signal(16, name=f"{d}_size", reset_less=True) for d in dimensions}
        self.left = {d: Signal(16, name=f"{d}_left", reset_less=True) for d in dimensions}
        # left <= tile, kept beside ``left`` because every line's length and address hang on it.
        self.last = {d: Signal(name=f"{d}_last", reset_less=True) for d in dimensions}
        super().__init__({"jobs": In(stream.Signature(JOB)), "lines": Out(stream.Signature(line_layout(cfg)))})

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        o, line, last = self.operand, self.lines.payload, self.last
        busy = Signal()
        inner_lines, column = (Signal(name=name, reset_less=True) for name in ("inner_lines", "column"))
        length = {d: Mux(last[d], self.left[d], self.tile[d])[: len(line.count)] for d in (o.inner, o.outer)}
        m.d.comb += [
            self.jobs.ready.eq(~busy),
            self.lines.valid.eq(busy),
            line.count.eq(Mux(column, 1, Mux(inner_lines, length[o.outer], length[o.inner]))),
            line.inner_lines.eq(inner_lines),
            line.broadcast.eq(column),
            line.last_of_block.eq(line.index + 1 == Mux(inner_lines, length[o.inner], length[o.outer])),
        ]
        take = Signal()
        m.d.comb += take.eq(self.jobs.valid & self.jobs.ready)
        self._walk(m, busy, inner_lines, column, take)
        with m.If(take):
            flags = self.jobs.payload.flags
            m.d.sync += [
                busy.eq(1),
                inner_lines.eq(flags[o.trans] ^ o.inner_lines),
                column.eq(flags.y_column if o.name == "y" else 0),
                *(register[d].eq(self.jobs.payload[d]) for register in (self.size, self.left) for d in self.size),
                *(self.last[d].eq(self.jobs.payload[d] <= self.tile[d]) for d in self.size),
            ]
        return m

    def _walk(self, m: Module, busy: Signal, inner_lines: Signal, column: Signal, take: Signal) -> None:
        """Addresses and counts, a line at a time."""
        o, line, last = self.operand, self.lines.payload, self.last
        address, block, outer, outer_next, base, stride = (
            Signal(32, name=name, reset_less=True)
            for name in ("address", "block", "outer", "outer_next", "base", "stride")
        )
        first_inner = Signal(reset_less=True)
        index = Signal(len(line.index), reset_less=True)
        line_after = (address + stride)[:32]
        # A tile further along the lines, unless a line is a single broadcast element.
        along = {d: Mux(column, 0, ELEMENT_BYTES * self.tile[d]) for d in (o.inner, o.outer)}
        inner_after = Mux(inner_lines, line_after, block + along[o.inner])
        # Across the lines: where the first block of this round ended.
        outer_after = Mux(inner_lines, outer + along[o.outer], Mux(first_inner, line_after, outer_next))
        again = ~last[o.again] if o.again else Const(0)
        around = last[o.outer] if o.around else Const(0)
        target = Mux(again, outer, Mux(around, base, outer_after))
        job_end = last[o.inner] & ~again & last[o.outer] & (last[o.around] if o.around else 1)
        m.d.comb += [line.addr.eq(address), line.index.eq(index), line.last_of_job.eq(line.last_of_block & job_end)]

        with m.If(self.lines.valid & self.lines.ready):
            with m.If(~line.last_of_block):
                m.d.sync += [index.eq(index + 1), address.eq(line_after)]
            with m.Else():
                m.d.sync += [index.eq(0), first_inner.eq(last[o.inner]), *self._count_down(o.inner)]
                with m.If(first_inner):
                    m.d.sync += outer_next.eq(line_after)
                with m.If(~last[o.inner]):
                    m.d.sync += [address.eq(inner_after), block.eq(inner_after)]
                with m.Else():
                    m.d.sync += [address.eq(target), block.eq(target), outer.eq(target), busy.eq(~job_end)]
                    if o.again:
                        m.d.sync += self._count_down(o.again)
                    with m.If(~again):
                        m.d.sync += self._count_down(o.outer)
                    if o.around:
                        with m.If(around):
                            m.d.sync += self._count_down(o.around)
        with m.If(take):
            job = self.jobs.payload
            start = job[f"{o.name}_addr"]
            m.d.sync += [register.eq(start) for register in (address, block, outer, base)]
            m.d.sync += [stride.eq(job[f"{o.name}_stride"]), first_inner.eq(1), index.eq(0)]

    def _count_down(self, d: str) -> list[Value]:
        """The statements that a tile of dimension ``d`` is done; after the last one it starts over."""
        last, left, size, tile = self.last[d], self.left[d], self.size[d], self.tile[d]
        return [left.eq(Mux(last, size, left - tile)), last.eq(Mux(last, size <= tile, left <= 2 * tile))]
