"""Array side: walks the tiles of each job and decides, slot by slot, whether the array goes on.

Slots start at *boundaries*, every ``pipe + 1`` enabled cycles. Inside a tile a missing operand stops the whole array,
because returning sums cannot wait; between tiles the array runs on empty, so that the last sums always come out.
"""

from amaranth.hdl import Module, Mux, Signal, Value, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.data import StructLayout
from amaranth.lib.wiring import In, Out
from tdco_spec import HwConfig

from .job import JOB


class Sequencer(wiring.Component):
    """Schedule of the array.

    Members:
        jobs: taken one at a time.
        x_arrived, x_complete, w_arrived, w_complete, y_complete: state of the next blocks, as `LoadBuffer` has it.
        z_room: a bank of the Z buffer is free.
        en, load, first, live_rows, live_cols: to the array. real: the slot is a step of K, not padding.
        k_index: which column of the X block, which row of the W block. <operand>_by_col: stored lines run across it.
        chunk_done: the slot is the last one of the X and W blocks. slot: a real slot is taken in this cycle.
        y_take, y_free: start and end of a Y block. y_index, y_use: column of it that the array takes in the next cycle,
            if any. y_ahead: of the block that has not been taken yet.
        z_claim, z_bank, z_index, z_write, z_last: start of a Z block; column of it that leaves the array; its last one.
        z_rows, z_relu: rows of it that exist; ReLU is wanted.
        macs: multiply-accumulates on matrix elements begun in the cycle before.
        stall_x, stall_w, stall_yz: a slot that was due could not be taken, for this reason.
    """

    def __init__(self, cfg: HwConfig) -> None:
        self.cfg = cfg
        line_bits = cfg.tile_cols.bit_length()
        index_bits = max(1, (cfg.tile_cols - 1).bit_length())
        outputs = {
            **dict.fromkeys(("en", "first", "real", "x_by_col", "w_by_col", "y_by_col", "chunk_done", "slot"), 1),
            **dict.fromkeys(("y_take", "y_ahead", "y_use", "y_free"), 1),
            **dict.fromkeys(("z_claim", "z_bank", "z_write", "z_last", "z_relu", "stall_x", "stall_w", "stall_yz"), 1),
            **dict.fromkeys(("k_index", "y_index", "z_index"), index_bits),
            "load": cfg.cols,
            "live_rows": cfg.rows,
            "z_rows": cfg.rows,
            "live_cols": cfg.tile_cols,
            "macs": (cfg.rows * cfg.tile_cols).bit_length(),
        }
        inputs = {"x_arrived": line_bits, "w_arrived": line_bits, "x_complete": 1, "w_complete": 1, "y_complete": 1}
        super().__init__(
            {
                "jobs": In(stream.Signature(JOB)),
                **{name: In(width) for name, width in inputs.items()},
                "z_room": In(1),
                **{name: Out(width) for name, width in outputs.items()},
            }
        )
        self.size = {d: Signal(16, name=f"{d}_size", reset_less=True) for d in "mnk"}
        self.left = {d: Signal(16, name=f"{d}_left", reset_less=True) for d in "mnk"}
        # left <= step, kept beside ``left``: much hangs on it.
        self.step = {"m": cfg.rows, "n": cfg.tile_cols, "k": 1}
        self.last = {d: Signal(name=f"{d}_last", reset_less=True) for d in "mnk"}
        self.tile_layout = StructLayout(
            {"rows": unsigned(cfg.rows.bit_length()), "cols": unsigned(line_bits), "relu": 1}
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        tile = Signal(self.tile_layout)
        tile_end, begin = Signal(), Signal()
        self.walk = {name: Signal(name=name) for name in ("active", "inside", "ready", "issue", "boundary")}
        y_options = self._walk_tiles(m, tile, begin, tile_end)
        z_due = self._collect_z(m, tile, tile_end)
        self._step(m, begin, z_due)
        self._stream_y(m, begin, *y_options)
        return m

    def _walk_tiles(self, m: Module, tile: Value, begin: Signal, tile_end: Signal) -> tuple[Signal, Value]:
        """Position in the job. ``begin``, ``tile_end``: the first, the last slot of a tile is taken.

        Returns whether the job has a Y, and whether its stored lines run across the tile's columns.
        """
        cfg, walk, left, last = self.cfg, self.walk, self.left, self.last
        use_y, relu, lines_x, lines_w, lines_y = (
            Signal(name=n, reset_less=True) for n in ("use_y", "relu", "lines_x", "lines_w", "lines_y")
        )
        column = Signal(range(cfg.cols), reset_less=True)
        index = Signal(len(self.k_index), reset_less=True)
        begun = Signal()

        m.d.comb += [
            self.jobs.ready.eq(~walk["active"]),
            tile.rows.eq(Mux(last["m"], left["m"], cfg.rows)),
            tile.cols.eq(Mux(last["n"], left["n"], cfg.tile_cols)),
            tile.relu.eq(relu),
            self.live_rows.eq((1 << tile.rows) - 1),
            self.live_cols.eq((1 << tile.cols) - 1),
            self.real.eq(left["k"] != 0),
            self.k_index.eq(index),
            self.x_by_col.eq(~lines_x),
            self.w_by_col.eq(~lines_w),
            walk["inside"].eq(walk["active"] & begun),
            begin.eq(walk["issue"] & ~begun),
            tile_end.eq(walk["issue"] & (column == cfg.cols - 1) & last["k"]),
            self.slot.eq(walk["issue"] & self.real),
            self.chunk_done.eq(self.slot & (last["k"] | (index == cfg.tile_cols - 1))),
            *(self.load[c].eq(walk["issue"] & (column == c)) for c in range(cfg.cols)),
            self.y_take.eq(begin & use_y),
        ]
        self._check_operands(m, lines_x, lines_w, begun | ~use_y)
        macs = Mux(self.slot, tile.rows * tile.cols, 0)
        m.d.sync += self.macs.eq(macs)
        with m.If(walk["issue"]):
            m.d.sync += [begun.eq(1), column.eq(Mux(column == cfg.cols - 1, 0, column + 1))]
        with m.If(self.slot):
            m.d.sync += index.eq(Mux(self.chunk_done, 0, index + 1))
        with m.If(tile_end):
            m.d.sync += begun.eq(0)
        self._count_down(m, tile_end)
        with m.If(self.jobs.valid & self.jobs.ready):
            job = self.jobs.payload
            m.d.sync += [
                walk["active"].eq(1),
                begun.eq(0),
                column.eq(0),
                index.eq(0),
                *(register[d].eq(job[d]) for register in (self.size, left) for d in "mnk"),
                *(last[d].eq(job[d] <= self.step[d]) for d in "mnk"),
                use_y.eq(job.flags.y),
                relu.eq(job.flags.relu),
                lines_x.eq(job.flags.trans_x),
                lines_w.eq(~job.flags.trans_w),
                lines_y.eq(job.flags.trans_z),
            ]
        return use_y, ~lines_y

    def _count_down(self, m: Module, tile_end: Signal) -> None:
        """What is left of each dimension; when nothing is, the job is done."""
        step, size, left, last = self.step, self.size, self.left, self.last
        with m.If(self.slot):
            m.d.sync += [left["k"].eq(left["k"] - 1), last["k"].eq(left["k"] <= 2)]
        with m.If(tile_end):
            m.d.sync += [left["k"].eq(size["k"]), last["k"].eq(size["k"] <= 1)]
            m.d.sync += left["n"].eq(Mux(last["n"], size["n"], left["n"] - step["n"]))
            m.d.sync += last["n"].eq(Mux(last["n"], size["n"] <= step["n"], left["n"] <= 2 * step["n"]))
            with m.If(last["n"]):
                m.d.sync += [left["m"].eq(left["m"] - step["m"]), last["m"].eq(left["m"] <= 2 * step["m"])]
                with m.If(last["m"]):
                    m.d.sync += self.walk["active"].eq(0)

    def _check_operands(self, m: Module, lines_x: Value, lines_w: Value, no_y: Value) -> None:
        """Whether the next slot has what it needs, and who is to blame if not."""
        walk = self.walk
        # A line of the block in the direction of K can be used before the block is complete.
        x_ok = self.x_complete | (lines_x & (self.k_index < self.x_arrived)) | ~self.real
        w_ok = self.w_complete | (lines_w & (self.k_index < self.w_arrived)) | ~self.real
        due = walk["boundary"] & walk["active"]
        m.d.comb += [
            walk["ready"].eq(walk["active"] & x_ok & w_ok & (no_y | self.y_complete)),
            self.stall_x.eq(due & ~x_ok),
            self.stall_w.eq(due & x_ok & ~w_ok),
            self.stall_yz.eq(due & x_ok & w_ok & ~walk["issue"]),
        ]

    def _step(self, m: Module, begin: Signal, z_due: Signal) -> None:
        """The array's clock enable and the phase within a slot."""
        walk = self.walk
        slot_cycles = self.cfg.pipe + 1
        phase = Signal(range(slot_cycles), init=slot_cycles - 1)
        blocked = z_due & ~self.z_room
        busy = walk["issue"] | walk["inside"] | z_due | self.z_busy
        m.d.comb += [
            walk["boundary"].eq(phase == slot_cycles - 1),
            walk["issue"].eq(walk["boundary"] & walk["ready"] & ~blocked),
            self.en.eq(~(walk["boundary"] & (blocked | (walk["inside"] & ~walk["ready"])))),
        ]
        with m.If(self.en):
            with m.If(~walk["boundary"]):
                m.d.sync += phase.eq(phase + 1)
            with m.Elif(busy):  # an idle array waits at the boundary
                m.d.sync += phase.eq(0)

    def _stream_y(self, m: Module, begin: Signal, use_y: Signal, by_col: Value) -> None:
        """After the first slot of a tile the array takes a column of Y (or zeros) each cycle, then its own sums.

        The array keeps a column of Y in a register, so columns are read a cycle ahead: the first one with the slot.
        """
        inside = Signal(name="y_inside")  # y_index != 0, kept beside it: what is read hangs on it
        last = Signal()
        use, stored_by_col, freeing = (Signal(name=name) for name in ("y_using", "y_stored_by_col", "y_freeing"))
        m.d.comb += [
            last.eq((inside | begin) & (self.y_index == self.cfg.tile_cols - 1)),
            self.y_ahead.eq(~inside),
            self.y_use.eq(Mux(inside, use, use_y)),
            self.y_by_col.eq(Mux(inside, stored_by_col, by_col)),
            self.y_free.eq(self.en & freeing),
        ]
        with m.If(self.en):
            m.d.sync += [self.first.eq(inside | begin), freeing.eq(last & self.y_use)]
            with m.If(inside | begin):
                m.d.sync += [self.y_index.eq(Mux(last, 0, self.y_index + 1)), inside.eq(~last)]
            with m.If(begin):
                m.d.sync += [use.eq(use_y), stored_by_col.eq(by_col)]

    def _collect_z(self, m: Module, tile: Value, tile_end: Signal) -> Signal:
        """One slot after the last of a tile its sums begin to leave the array. Returns that this is due."""
        due = Signal()
        due_tile = Signal(self.tile_layout, reset_less=True)
        current = Signal(self.tile_layout, reset_less=True)
        self.z_busy = Signal()
        m.d.comb += [
            self.z_claim.eq(self.walk["boundary"] & due & self.z_room),
            self.z_write.eq(self.en & self.z_busy & (self.z_index < current.cols)),
            self.z_last.eq(self.z_index + 1 == current.cols),
            self.z_rows.eq((1 << current.rows) - 1),
            self.z_relu.eq(current.relu),
        ]
        with m.If(self.en & self.z_busy):
            m.d.sync += self.z_index.eq(self.z_index + 1)
            with m.If(self.z_index == self.cfg.tile_cols - 1):
                m.d.sync += [self.z_busy.eq(0), self.z_index.eq(0)]
        with m.If(self.z_claim & self.en):
            m.d.sync += [
                due.eq(0),
                self.z_busy.eq(1),
                self.z_index.eq(0),
                current.eq(due_tile),
                self.z_bank.eq(self.z_bank ^ 1),
            ]
        with m.If(tile_end):
            m.d.sync += [due.eq(1), due_tile.eq(tile)]
        return due
