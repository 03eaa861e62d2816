"""The GEMM engine: Z[M,N] = X[M,K] . W[K,N] + Y[M,N] in binary16, sums in binary16 or binary32."""

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from tdco_spec import STATUS_FLAGS, HwConfig

from .array import Array
from .job import JOB_ID_BITS
from .job_queue import JobQueue
from .load_buffer import LoadBuffer
from .registers import COUNTED, RegisterPort, Registers
from .sequencer import Sequencer
from .store_buffer import StoreBuffer
from .streamer import LOADS, MemoryPort, Streamer
from .walker import OPERANDS, Walker

PADDING = 0x8000  # -0; times +0 it is the identity of addition
FETCH_CYCLES = 4  # from the choice of a line to its use, at an idle port


class Engine(wiring.Component):
    """The whole engine.

    Members:
        cfg: register port. tcdm: memory port.
        evt, evt_job: one cycle for each job that is finished, its last store granted; the job's id.
        busy: jobs are in the queue, or a request is up.
    """

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__(
            {
                "cfg": In(RegisterPort()),
                "tcdm": Out(MemoryPort(hw.port_words)),
                "evt": Out(1),
                "evt_job": Out(JOB_ID_BITS),
                "busy": Out(1),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        hw = self.hw
        m = Module()
        m.submodules.registers = self.registers = Registers(hw)
        m.submodules.streamer = self.streamer = Streamer(hw)
        clear = self.registers.clear
        # The queue is cleared at once, everything behind it a cycle later, when no job can reach it.
        clear_later = Signal()
        m.d.sync += clear_later.eq(clear)
        clearing = clear | clear_later
        m.d.comb += [self.streamer.clear.eq(clearing), self.registers.clearing.eq(clearing)]
        self.queue = JobQueue(hw)
        m.submodules.queue = ResetInserter(clear)(self.queue)

        def add(name: str, unit: wiring.Component) -> wiring.Component:
            m.submodules[name] = ResetInserter(clear_later)(unit)
            return unit

        self.walkers = {name: add(f"walk_{name}", Walker(hw, operand)) for name, operand in OPERANDS.items()}
        self.buffers = {name: add(f"buffer_{name}", LoadBuffer(hw.tile_cols, streamed=name == "y")) for name in LOADS}
        self.store = add("buffer_z", StoreBuffer(hw))
        self.sequencer = add("sequencer", Sequencer(hw))
        self.array = add("array", Array(hw))

        connect(m, flipped(self.cfg), self.registers.cfg)
        connect(m, self.streamer.tcdm, flipped(self.tcdm))
        self._connect_jobs(m)
        self._connect_loads(m)
        self._connect_array(m)
        self._connect_stores(m)
        self._connect_status(m)
        return m

    def _connect_jobs(self, m: Module) -> None:
        queue, registers = self.queue, self.registers
        m.d.comb += [
            queue.push.eq(registers.trigger),
            queue.illegal.eq(registers.illegal),
            queue.job.eq(registers.job),
            queue.stored.eq(self.streamer.stored),
        ]
        for name, walker in self.walkers.items():
            connect(m, getattr(queue, f"{name}_jobs"), walker.jobs)
            connect(m, walker.lines, getattr(self.streamer, f"{name}_lines"))
        connect(m, queue.array_jobs, self.sequencer.jobs)

    def _connect_loads(self, m: Module) -> None:
        streamer = self.streamer
        for name in LOADS:
            buffer, lines = self.buffers[name], getattr(streamer, f"{name}_lines")
            m.d.comb += [
                getattr(streamer, f"{name}_can").eq(buffer.room),
                getattr(streamer, f"{name}_bank").eq(buffer.claim_bank),
                buffer.claim.eq(lines.valid & lines.ready & lines.payload.last_of_block),
                buffer.fill_en.eq(getattr(streamer, f"{name}_fill_en")),
                buffer.fill.eq(streamer.fill),
            ]
        m.d.comb += [
            streamer.x_urgent.eq(self.buffers["x"].urgent),
            streamer.y_urgent.eq(self.buffers["y"].urgent),
            streamer.w_urgent.eq(self._w_is_short(m)),
        ]

    def _w_is_short(self, m: Module) -> Signal:
        """Fewer steps of W are under way than the array uses up while one is fetched."""
        slots_per_fetch = 1 + -(-FETCH_CYCLES // (self.hw.pipe + 1))
        lines = self.streamer.w_lines
        line = lines.payload
        ahead = Signal(range(2 * self.hw.tile_cols + 1))
        short = Signal()
        # Every sum at once: whether the line is granted and whether a slot is taken is known last.
        longer = ahead + Mux(line.inner_lines, 1, Mux(line.last_of_block, line.count, 0))
        slot = self.sequencer.slot
        left = Mux(lines.valid & lines.ready, Mux(slot, longer - 1, longer), Mux(slot, ahead - 1, ahead))
        m.d.sync += ahead.eq(Mux(self.streamer.clear, 0, left))
        m.d.comb += short.eq(ahead < slots_per_fetch)
        return short

    def _connect_array(self, m: Module) -> None:
        array, sequencer, x, w, y = self.array, self.sequencer, *(self.buffers[name] for name in LOADS)
        padding = sum(PADDING << 16 * r for r in range(self.hw.rows))
        m.d.comb += [
            sequencer.x_arrived.eq(x.arrived),
            sequencer.x_complete.eq(x.complete),
            sequencer.w_arrived.eq(w.arrived),
            sequencer.w_complete.eq(w.complete),
            sequencer.y_complete.eq(y.complete),
            x.read_index.eq(sequencer.k_index),
            x.read_by_col.eq(sequencer.x_by_col),
            x.take.eq(sequencer.chunk_done),
            w.read_index.eq(sequencer.k_index),
            w.read_by_col.eq(sequencer.w_by_col),
            w.take.eq(sequencer.chunk_done),
            y.read_index.eq(sequencer.y_index),
            y.read_by_col.eq(sequencer.y_by_col),
            y.take.eq(sequencer.y_take),
            y.free.eq(sequencer.y_free),
            y.ahead.eq(sequencer.y_ahead),
            array.en.eq(sequencer.en),
            array.load.eq(sequencer.load),
            array.x.eq(Mux(sequencer.real, x.read_data, padding)),
            array.w.eq(Mux(sequencer.real, w.read_data, 0)),
            array.live_rows.eq(sequencer.live_rows),
            array.live_cols.eq(sequencer.live_cols),
            array.first.eq(sequencer.first),
            array.y.eq(Mux(sequencer.y_use, y.read_data, 0)),
        ]

    def _connect_stores(self, m: Module) -> None:
        store, sequencer, streamer = self.store, self.sequencer, self.streamer
        lines = streamer.z_lines
        m.d.comb += [
            sequencer.z_room.eq(store.room),
            store.claim.eq(sequencer.z_claim),
            store.write_en.eq(sequencer.z_write),
            store.write_bank.eq(sequencer.z_bank),
            store.write_index.eq(sequencer.z_index),
            store.write_last.eq(sequencer.z_last),
            store.relu.eq(sequencer.z_relu),
            store.rows.eq(sequencer.z_rows),
            store.column.eq(self.array.z),
            store.read_index.eq(lines.payload.index),
            store.read_row.eq(~lines.payload.inner_lines),
            store.free.eq(lines.valid & lines.ready & lines.payload.last_of_block),
            streamer.z_can.eq(store.ready),
            streamer.z_data.eq(store.read_data),
        ]

    def _connect_status(self, m: Module) -> None:
        queue, registers, streamer, sequencer = self.queue, self.registers, self.streamer, self.sequencer
        flags = {
            "OVERFLOW": self.array.overflow | self.store.overflow,
            "INVALID": self.array.invalid,
            "NONFINITE": self.store.nonfinite,
            "ILLEGAL": queue.done_illegal,
        }
        waiting = queue.count != 0
        counts = {
            "cycles_busy": waiting | self.evt,
            "stall_x": sequencer.stall_x,
            "stall_w": sequencer.stall_w,
            "stall_yz": sequencer.stall_yz,
            "stall_port": streamer.tcdm.req & ~streamer.tcdm.gnt,
            "granted": streamer.tcdm.req & streamer.tcdm.gnt,
            "jobs": queue.done,
        }
        m.d.comb += [
            registers.full.eq(queue.full),
            registers.count.eq(queue.count),
            registers.next_id.eq(queue.next_id),
            registers.running.eq(Mux(waiting, queue.oldest, self.evt_job)),
            registers.busy.eq(self.busy),
            registers.flags_set.eq(Cat(flags[name] for name in sorted(STATUS_FLAGS, key=STATUS_FLAGS.__getitem__))),
            registers.macs.eq(sequencer.macs),
            *(getattr(registers, f"count_{name}").eq(counts[name]) for name in COUNTED),
            self.busy.eq(waiting | ~streamer.idle),
        ]
        m.d.sync += self.evt.eq(queue.done & ~registers.clear)
        with m.If(registers.clear):
            m.d.sync += self.evt_job.eq(0)
        with m.Elif(queue.done):
            m.d.sync += self.evt_job.eq(queue.oldest)
