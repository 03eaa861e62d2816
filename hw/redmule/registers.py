"""The register file, built from the tables of ``tdco_spec``: job registers, lock, flags, counters."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from tdco_spec import JOB_REGISTERS, REGISTERS, STATUS_FLAGS, HwConfig

from .job import JOB, JOB_ID_BITS

ADDRESS_BITS = 10
QUEUE_FULL, LOCKED = 0xFFFF_FFFF, 0xFFFF_FFFE
COUNTED = ("cycles_busy", "stall_x", "stall_w", "stall_yz", "stall_port", "granted", "jobs")


class RegisterPort(wiring.Signature):
    """Register access as its user sees it: a request is taken in its cycle, ``rdata`` is there in the next one."""

    def __init__(self) -> None:
        super().__init__({"req": Out(1), "we": Out(1), "addr": Out(ADDRESS_BITS), "wdata": Out(32), "rdata": In(32)})


class Registers(wiring.Component):
    """Job registers, control and status.

    Members:
        cfg: the register port.
        trigger, illegal, job: commit the job registers; they break a rule.
        clear: SOFT_CLEAR, in the cycle of the write. clearing: the engine is being cleared; nothing counts.
        full, count, next_id, running, busy: state of the queue; the engine.
        flags_set: events of STATUS_FLAGS. macs: multiply-accumulates to add.
        count_<c>: add one to counter <c>.
    """

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__(
            {
                "cfg": In(RegisterPort()),
                "trigger": Out(1),
                "illegal": Out(1),
                "job": Out(JOB),
                "clear": Out(1),
                "clearing": In(1),
                "full": In(1),
                "count": In(JOB_ID_BITS),
                "next_id": In(JOB_ID_BITS),
                "running": In(JOB_ID_BITS),
                "busy": In(1),
                "flags_set": In(len(STATUS_FLAGS)),
                "macs": In((hw.rows * hw.tile_cols).bit_length()),
                **{f"count_{name}": In(1) for name in COUNTED},
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        bus = self.cfg
        address = bus.addr & ~3
        read, write = bus.req & ~bus.we, bus.req & bus.we
        at = {name: address == register.offset for name, register in REGISTERS.items()}

        job_words = {r.name: Signal(32, name=r.name.lower()) for r in JOB_REGISTERS}
        for name, word in job_words.items():
            with m.If(write & at[name]):
                m.d.sync += word.eq(bus.wdata)
        job = Signal(JOB)
        m.d.comb += [
            job.as_value().eq(Cat(job_words.values())),
            self.job.eq(job),
            self.illegal.eq(self._breaks_a_rule(job)),
            self.trigger.eq(write & at["TRIGGER"] & ~self.full),
            self.clear.eq(write & at["SOFT_CLEAR"]),
        ]

        locked = Signal()
        acquired = Mux(locked, LOCKED, Mux(self.full, QUEUE_FULL, self.next_id))
        with m.If(read & at["ACQUIRE"] & ~self.full):
            m.d.sync += locked.eq(1)
        with m.If((write & at["TRIGGER"]) | self.clear):
            m.d.sync += locked.eq(0)

        flags = Signal(len(STATUS_FLAGS))
        written = Mux(write & at["FLAGS"], bus.wdata[: len(flags)], 0)
        m.d.sync += flags.eq(Mux(self.clearing, 0, (flags & ~written) | self.flags_set))

        values: dict[str, Value] = {
            **job_words,
            **self._counters(m),
            "ACQUIRE": acquired,
            "STATUS": Cat(self.count, self.busy),
            "RUNNING_JOB": self.running,
            "ID": Signal(32, name="id", init=self.hw.hash),
            "FLAGS": flags,
        }
        values["FINISHED"] = values["JOBS"]
        with m.If(read), m.Switch(address):
            for name, register in REGISTERS.items():
                if "r" in register.access:
                    with m.Case(register.offset):
                        m.d.sync += bus.rdata.eq(values[name])
            with m.Default():
                m.d.sync += bus.rdata.eq(0)
        return m

    def _breaks_a_rule(self, job: Value) -> Value:
        """A zero size, or an odd address or stride; Y's count only when it is read."""
        odd = [job[f"{o}_{part}"][0] for o in "xwz" for part in ("addr", "stride")]
        odd_y = (job.y_addr[0] | job.y_stride[0]) & job.flags.y
        return (job.m == 0) | (job.n == 0) | (job.k == 0) | Cat(odd).any() | odd_y

    def _counters(self, m: Module) -> dict[str, Value]:
        counters: dict[str, Value] = {}
        for name in COUNTED:
            counter = Signal(32, name=name)
            with m.If(self.clearing):
                m.d.sync += counter.eq(0)
            with m.Elif(getattr(self, f"count_{name}")):
                m.d.sync += counter.eq(counter + 1)
            counters[name.upper()] = counter
        macs = Signal(64)
        m.d.sync += macs.eq(Mux(self.clearing, 0, macs + self.macs))
        return {**counters, "MACS_LO": macs[:32], "MACS_HI": macs[32:]}
