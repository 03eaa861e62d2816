"""The queue of jobs and the places in it of the units that work on them, each at its own pace."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.data import StructLayout
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from tdco_spec import HwConfig

from .job import JOB, JOB_ID_BITS

LOADERS = ("x", "w", "y")
UNITS = (*LOADERS, "array", "z")


class JobQueue(wiring.Component):
    """Holds ``queue_jobs`` jobs from their commit to their last store.

    A loader does not get an AFTER job before every earlier job has stored. Illegal jobs pass every unit by.

    Members:
        push, illegal, job: commit a job; only while not ``full``.
        <unit>_jobs: the jobs for that unit, in order.
        stored: the last store of the oldest job was granted.
        done, done_illegal: a job left the queue in this cycle; it was refused.
        count, oldest, next_id: jobs held, id of the oldest one, id the next one will get.
    """

    def __init__(self, cfg: HwConfig) -> None:
        self.cfg = cfg
        self.at = {unit: Signal(JOB_ID_BITS, name=f"{unit}_at") for unit in UNITS}  # id of the unit's next job
        super().__init__(
            {
                "push": In(1),
                "illegal": In(1),
                "job": In(JOB),
                "full": Out(1),
                **{f"{unit}_jobs": Out(stream.Signature(JOB)) for unit in UNITS},
                "stored": In(1),
                "done": Out(1),
                "done_illegal": Out(1),
                "count": Out(JOB_ID_BITS),
                "oldest": Out(JOB_ID_BITS),
                "next_id": Out(JOB_ID_BITS),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        # Places are a power of two, so that ids wrap where places do.
        index_bits = max(1, (self.cfg.queue_jobs - 1).bit_length())
        entry = StructLayout({"job": JOB, "illegal": 1})
        m.submodules.jobs = jobs = Memory(shape=entry, depth=1 << index_bits, init=[])
        write = jobs.write_port()
        m.d.comb += [
            self.count.eq(self.next_id - self.oldest),
            self.full.eq(self.count >= self.cfg.queue_jobs),
            write.en.eq(self.push),
            write.addr.eq(self.next_id),
            write.data.job.eq(self.job),
            write.data.illegal.eq(self.illegal),
        ]
        m.d.sync += self.next_id.eq(self.next_id + self.push)
        for unit in UNITS:
            jobs_out = getattr(self, f"{unit}_jobs")
            at = self.at[unit]
            read = jobs.read_port(domain="comb")
            job, refused = read.data.job, read.data.illegal
            pending = Signal(name=f"{unit}_pending")
            skip = Signal(name=f"{unit}_skip")
            hold = job.flags.after & (at != self.oldest) if unit in LOADERS else 0
            m.d.comb += [
                read.addr.eq(at),
                pending.eq(at != self.next_id),
                jobs_out.valid.eq(pending & ~refused & ~skip & ~hold),
                jobs_out.payload.eq(job),
            ]
            if unit == "z":
                m.d.comb += [
                    skip.eq(refused & (at == self.oldest)),
                    self.done_illegal.eq(pending & skip),
                    self.done.eq(self.stored | self.done_illegal),
                ]
            else:
                m.d.comb += skip.eq(refused | (~job.flags.y if unit == "y" else 0))
            with m.If(pending & (skip | (jobs_out.valid & jobs_out.ready))):
                m.d.sync += at.eq(at + 1)
        with m.If(self.done):
            m.d.sync += self.oldest.eq(self.oldest + 1)
        return m
