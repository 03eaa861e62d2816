"""The memory port: one request a cycle at most, chosen among the lines that can go.

The chosen line is registered, so a request is stable until it is granted. Data of a granted read arrive one cycle
later, a halfword off if the line is: they are rotated here. Bytes outside the line are neither asked for nor written.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.data import StructLayout
from amaranth.lib.wiring import In, Out
from tdco_spec import HwConfig

from .load_buffer import fill_layout
from .walker import line_layout

LOADS = ("x", "w", "y")
STREAMS = (*LOADS, "z")


class MemoryPort(wiring.Signature):
    """TCDM initiator: up to ``port_words`` consecutive words a request.

    ``req`` with ``we``, ``addr`` (word-aligned bytes), ``be`` and ``wdata`` stay until ``gnt``; ``rdata`` follows one
    cycle after the grant of a read. ``be`` says which bytes are meant, in reads too.
    """

    def __init__(self, port_words: int) -> None:
        super().__init__(
            {
                "req": Out(1),
                "gnt": In(1),
                "we": Out(1),
                "addr": Out(32),
                "be": Out(4 * port_words),
                "wdata": Out(32 * port_words),
                "rdata": In(32 * port_words),
            }
        )


class Streamer(wiring.Component):
    """Arbitrates four streams of lines onto the memory port.

    Members:
        <s>_lines: lines to move; <s>_can: one may go now; <s>_urgent: the array will wait for it.
        <load>_bank: where the block goes; z_data: the elements of the line of Z, first one low.
        <load>_fill_en, fill: a line arrived.
        stored: the last store of a job was granted.
        idle: no request is up. clear: forget everything but the request that is up.
    """

    def __init__(self, cfg: HwConfig) -> None:
        self.cfg = cfg
        lines = stream.Signature(line_layout(cfg))
        super().__init__(
            {
                **{f"{s}_lines": In(lines) for s in STREAMS},
                **{f"{s}_can": In(1) for s in STREAMS},
                **{f"{s}_urgent": In(1) for s in LOADS},
                **{f"{s}_bank": In(1) for s in LOADS},
                **{f"{s}_fill_en": Out(1) for s in LOADS},
                "fill": Out(fill_layout(cfg.tile_cols)),
                "z_data": In(16 * cfg.tile_cols),
                "stored": Out(1),
                "idle": Out(1),
                "clear": In(1),
                "tcdm": Out(MemoryPort(cfg.port_words)),
            }
        )
        # What the answer to a request needs; all zero for a request nobody waits for.
        fill = fill_layout(cfg.tile_cols)
        self.tag_layout = StructLayout(
            {
                **dict.fromkeys(STREAMS, 1),
                "bank": 1,
                "index": fill["index"].shape,
                "last": 1,
                "half": 1,
                "broadcast": 1,
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        tcdm = self.tcdm
        line = Signal(line_layout(self.cfg))
        tag = Signal(self.tag_layout)
        chosen = self._arbitrate(m, line, tag)
        pending = Signal(self.tag_layout)
        ready = Signal()
        accept = Signal()
        m.d.comb += [
            ready.eq(~tcdm.req | tcdm.gnt),
            accept.eq(ready & ~self.clear),
            self.idle.eq(~tcdm.req),
            self.stored.eq(tcdm.req & tcdm.gnt & pending.z & pending.last),
            *(getattr(self, f"{s}_lines").ready.eq(accept & chosen[s]) for s in STREAMS),
        ]
        half = line.addr[1]
        halfwords = 2 * self.cfg.port_words
        below = Signal(halfwords)
        m.d.comb += below.eq(((Const(1) << line.count) - 1)[:halfwords])
        mask = Mux(half, Cat(Const(0, 1), below), below)
        data = Mux(half, Cat(Const(0, 16), self.z_data), self.z_data)
        with m.If(ready):
            m.d.sync += [
                tcdm.req.eq(accept & Cat(chosen.values()).any()),
                tcdm.we.eq(chosen["z"]),
                tcdm.addr.eq(Cat(Const(0, 2), line.addr[2:])),
                tcdm.be.eq(Cat(bit.replicate(2) for bit in mask[:halfwords])),
                tcdm.wdata.eq(data),
                pending.eq(tag),
            ]
        with m.If(self.clear):
            m.d.sync += pending.eq(0)
        self._answer(m, pending)
        return m

    def _arbitrate(self, m: Module, line: Value, tag: Value) -> dict[str, Signal]:
        """Choose a stream: what the array waits for first, then stores, then prefetches."""
        can = {s: getattr(self, f"{s}_lines").valid & getattr(self, f"{s}_can") for s in STREAMS}
        chosen = {s: Signal(name=f"choose_{s}") for s in STREAMS}
        order = [(s, can[s] & getattr(self, f"{s}_urgent")) for s in ("w", "x", "y")]
        order += [(s, can[s]) for s in ("z", "x", "y", "w")]
        for i, (s, wanted) in enumerate(order):
            with m.If(wanted) if i == 0 else m.Elif(wanted):
                payload = getattr(self, f"{s}_lines").payload
                m.d.comb += [
                    chosen[s].eq(1),
                    line.eq(payload),
                    tag[s].eq(1),
                    tag.bank.eq(getattr(self, f"{s}_bank") if s != "z" else 0),
                    tag.index.eq(payload.index),
                    tag.last.eq(payload.last_of_job if s == "z" else payload.last_of_block),
                    tag.half.eq(payload.addr[1]),
                    tag.broadcast.eq(payload.broadcast),
                ]
        return chosen

    def _answer(self, m: Module, pending: Value) -> None:
        """Two registers: one waits for the data with the tag, one holds both while the line goes to its buffer."""
        waiting = Signal(self.tag_layout)
        answer = Signal(self.tag_layout)
        rdata = Signal(len(self.tcdm.rdata), reset_less=True)
        granted = self.tcdm.req & self.tcdm.gnt
        m.d.sync += [
            waiting.eq(Mux(granted & ~self.clear, pending.as_value(), 0)),
            answer.eq(Mux(self.clear, 0, waiting.as_value())),
        ]
        with m.If(waiting.as_value().any()):
            m.d.sync += rdata.eq(self.tcdm.rdata)
        line_bits = 16 * self.cfg.tile_cols
        aligned = Signal(line_bits)
        m.d.comb += [
            aligned.eq(Mux(answer.half, rdata[16:], rdata)),
            self.fill.bank.eq(answer.bank),
            self.fill.index.eq(answer.index),
            self.fill.last.eq(answer.last),
            self.fill.data.eq(Mux(answer.broadcast, aligned[:16].replicate(self.cfg.tile_cols), aligned)),
            *(getattr(self, f"{s}_fill_en").eq(answer[s]) for s in LOADS),
        ]
