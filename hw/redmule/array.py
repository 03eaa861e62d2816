"""The FMA array: ``rows`` x ``cols`` multiply-adders whose row pipelines are the accumulators.

A slot is one step of K: a line of W and a column of X are loaded into one PE column, which then streams the
``tile_cols`` columns of the tile, one a cycle. PE column c+1 gets the next slot ``pipe + 1`` cycles later, just when
the first result of PE column c arrives; after the last PE column, results return to the first one, ``tile_cols``
cycles after they left it.
"""

from amaranth.hdl import Cat, ClockSignal, Instance, Module, Mux, ResetSignal, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from tdco_spec import HwConfig

from .fp import FORMATS, FP16, widen

FMA_MODULE = "redmule_fma"


class Array(wiring.Component):
    """Rows x cols FMAs with their operand registers. The FMAs are instances of one Verilog module, ``FMA_MODULE``.

    Members:
        en: clock enable of the whole array.
        load: per PE column, take a slot: ``x`` (one element a row), ``w`` (one line), ``live_rows`` and ``live_cols``
            (elements of Z that exist: only they raise flags).
        y: one element a row, for the cycle after. first: the first PE column takes it instead of the returning sums.
        z: the sums that leave the last PE column, one a row, in the accumulator's format.
        overflow, invalid: a live element raised the flag (one cycle, in the cycle after its sum left).
    """

    def __init__(self, cfg: HwConfig) -> None:
        self.cfg = cfg
        self.acc = FORMATS[cfg.acc]
        super().__init__(
            {
                "en": In(1),
                "load": In(cfg.cols),
                "x": In(16 * cfg.rows),
                "w": In(16 * cfg.tile_cols),
                "live_rows": In(cfg.rows),
                "live_cols": In(cfg.tile_cols),
                "first": In(1),
                "y": In(16 * cfg.rows),
                "z": Out(self.acc.width * cfg.rows),
                "overflow": Out(1),
                "invalid": Out(1),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        cfg, acc = self.cfg, self.acc
        sums: Value = Signal(acc.width * cfg.rows, name="sums_in")
        returning = Signal(acc.width * cfg.rows)
        y = Signal(acc.width * cfg.rows, reset_less=True)
        start: Value = self.y
        if acc != FP16:
            start = Cat(widen(m, self.y.word_select(r, FP16.width), f"y_{r}") for r in range(cfg.rows))
        with m.If(self.en):
            m.d.sync += y.eq(start)
        m.d.comb += sums.eq(Mux(self.first, y, returning))
        overflow, invalid = [], []
        for c in range(cfg.cols):
            x, w, live = self._operands(m, c)
            results = []
            live_out = self._delay(m, live, c)
            for r in range(cfg.rows):
                z = Signal(acc.width, name=f"z_{r}_{c}")
                raised = Signal(2, name=f"raised_{r}_{c}")
                m.submodules[f"fma_{r}_{c}"] = Instance(
                    FMA_MODULE,
                    i_clk=ClockSignal(),
                    i_rst=ResetSignal(),
                    i_en=self.en,
                    i_a=x.word_select(r, FP16.width),
                    i_b=w,
                    i_c=sums.word_select(r, acc.width),
                    o_z=z,
                    o_overflow=raised[0],
                    o_invalid=raised[1],
                )
                results.append(z)
                overflow.append(raised[0] & live_out[r])
                invalid.append(raised[1] & live_out[r])
            sums = Signal(acc.width * cfg.rows, name=f"sums_{c}")
            m.d.comb += sums.eq(Cat(results))
        m.d.comb += [returning.eq(sums), self.z.eq(sums)]
        # A stalled array would repeat its flags.
        m.d.sync += [self.overflow.eq(Cat(overflow).any() & self.en), self.invalid.eq(Cat(invalid).any() & self.en)]
        return m

    def _operands(self, m: Module, c: int) -> tuple[Signal, Value, Value]:
        """Operand registers of PE column ``c``: X stays, W moves on by an element a cycle."""
        cfg = self.cfg
        x = Signal(FP16.width * cfg.rows, name=f"x_{c}", reset_less=True)
        w = Signal(FP16.width * cfg.tile_cols, name=f"w_{c}", reset_less=True)
        rows = Signal(cfg.rows, name=f"live_rows_{c}")
        cols = Signal(cfg.tile_cols, name=f"live_cols_{c}")
        with m.If(self.en):
            with m.If(self.load[c]):
                m.d.sync += [x.eq(self.x), w.eq(self.w), rows.eq(self.live_rows), cols.eq(self.live_cols)]
            with m.Else():
                m.d.sync += [w.eq(w[FP16.width :]), cols.eq(cols[1:])]
        return x, w[: FP16.width], rows & cols[0].replicate(cfg.rows)

    def _delay(self, m: Module, value: Value, c: int) -> Value:
        """``value`` after the FMA's latency."""
        for stage in range(self.cfg.pipe + 1):
            delayed = Signal(len(value), name=f"live_{c}_{stage}")
            with m.If(self.en):
                m.d.sync += delayed.eq(value)
            value = delayed
        return value
