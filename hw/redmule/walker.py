"""Address generation: the lines of one operand in the order in which the engine's tiles need them.

A matrix is stored as lines (``stride`` bytes apart) of consecutive elements. Of the two dimensions of an operand one is
walked fast (*inner*) and one slowly (*outer*): X is (m outer, k inner), W (n outer, k inner), Y and Z (m outer, n inner).
Whether a stored line runs along the inner or the outer dimension is what the transposition flags say. A *block* is one
fill of a buffer bank: up to ``outer tile`` x ``tile_cols`` elements, 16-bit. There are no multipliers: every address is
an earlier one plus a stride or a constant.
"""

from dataclasses import dataclass

from amaranth.hdl import Module, Mux, Signal, Value, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.data import StructLayout
from amaranth.lib.wiring import In, Out

from tdco_spec import HwConfig

from .job import JOB


@dataclass(frozen=True)
class Operand:
    """How one operand is walked. ``repeat`` is the tile dimension it does not have: "inside" the outer loop (X is read
    again for every tile of N) or "around" it (W, for every tile of M)."""

    name: str
    outer: str
    inner: str
    repeat: str | None
    repeat_place: str | None
    trans: str
    inner_lines: bool
    """Whether stored lines follow one another along the inner dimension when the ``trans`` flag is 0."""


OPERANDS = {
    o.name: o
    for o in (
        Operand("x", "m", "k", "n", "inside", "trans_x", inner_lines=False),
        Operand("w", "n", "k", "m", "around", "trans_w", inner_lines=True),
        Operand("y", "m", "n", None, None, "trans_z", inner_lines=False),
        Operand("z", "m", "n", None, None, "trans_z", inner_lines=False),
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
    """Walks one operand of one job.

    Members:
        jobs: taken one at a time.
        lines: the lines of the job, ``line_layout``.
    """

    def __init__(self, cfg: HwConfig, operand: Operand) -> None:
        self.cfg, self.operand = cfg, operand
        super().__init__(
            {
                "jobs": In(stream.Signature(JOB)),
                "lines": Out(stream.Signature(line_layout(cfg))),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        o, cfg = self.operand, self.cfg
        tile = {"m": cfg.rows, "n": cfg.tile_cols, "k": cfg.tile_cols}
        used = [d for d in (o.outer, o.inner, o.repeat) if d]
        size = {d: Signal(16, name=f"{d}_size", reset_less=True) for d in used}
        left = {d: Signal(16, name=f"{d}_left", reset_less=True) for d in used}
        last = {d: left[d] <= tile[d] for d in used}
        length = {d: Mux(last[d], left[d], tile[d])[: cfg.tile_cols.bit_length()] for d in used}

        stride = Signal(32, reset_less=True)
        inner_lines = Signal(reset_less=True)
        column = Signal(reset_less=True)
        address, block, outer, outer_next, base = (
            Signal(32, name=name, reset_less=True) for name in ("address", "block", "outer", "outer_next", "base")
        )
        first_inner = Signal(reset_less=True)
        index = Signal(range(cfg.tile_cols), reset_less=True)

        line = self.lines.payload
        last_line = index + 1 == Mux(inner_lines, length[o.inner], length[o.outer])
        step = self.lines.valid & self.lines.ready
        line_after = (address + stride)[:32]
        # Along the lines: a tile further, unless the line is a single broadcast element.
        inner_after = Mux(inner_lines, line_after, block + Mux(column, 0, 2 * tile[o.inner]))
        outer_after = Mux(
            inner_lines, outer + Mux(column, 0, 2 * tile[o.outer]), Mux(first_inner, line_after, outer_next)
        )
        busy = Signal()
        finished = Signal()
        m.d.comb += [
            self.jobs.ready.eq(~busy),
            self.lines.valid.eq(busy),
            line.addr.eq(address),
            line.count.eq(Mux(column, 1, Mux(inner_lines, length[o.outer], length[o.inner]))),
            line.index.eq(index),
            line.inner_lines.eq(inner_lines),
            line.broadcast.eq(column),
            line.last_of_block.eq(last_line),
            line.last_of_job.eq(finished),
        ]

        def jump(target: Value) -> list:
            return [address.eq(target), block.eq(target)]

        def advance(d: str) -> object:
            return left[d].eq(Mux(last[d], size[d], left[d] - tile[d]))

        m.d.comb += finished.eq(last_line & last[o.inner] & last[o.outer] & (last[o.repeat] if o.repeat else 1))
        with m.If(step & ~last_line):
            m.d.sync += [index.eq(index + 1), address.eq(line_after)]
        with m.If(step & last_line):
            m.d.sync += [index.eq(0), first_inner.eq(last[o.inner]), advance(o.inner)]
            with m.If(first_inner):
                m.d.sync += outer_next.eq(line_after)
            with m.If(~last[o.inner]):
                m.d.sync += jump(inner_after)
            if o.repeat_place == "inside":
                with m.Else():
                    m.d.sync += advance(o.repeat)
                    with m.If(~last[o.repeat]):
                        m.d.sync += jump(outer)
                    with m.Else():
                        m.d.sync += [*jump(outer_after), outer.eq(outer_after), advance(o.outer)]
            else:
                with m.Else():
                    m.d.sync += [*jump(outer_after), outer.eq(outer_after), advance(o.outer)]
                    if o.repeat_place == "around":
                        with m.If(last[o.outer]):
                            m.d.sync += [*jump(base), outer.eq(base), advance(o.repeat)]
            with m.If(finished):
                m.d.sync += busy.eq(0)

        with m.If(self.jobs.valid & self.jobs.ready):
            job = self.jobs.payload
            job_base = job[f"{o.name}_addr"]
            m.d.sync += [
                busy.eq(1),
                stride.eq(job[f"{o.name}_stride"]),
                inner_lines.eq(job.flags[o.trans] ^ o.inner_lines),
                column.eq(job.flags.y_column if o.name == "y" else 0),
                *jump(job_base),
                outer.eq(job_base),
                base.eq(job_base),
                first_inner.eq(1),
                index.eq(0),
                *(register[d].eq(job[d]) for register in (size, left) for d in used),
            ]
        return m
