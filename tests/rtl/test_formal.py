"""Proofs by temporal induction on small instances: order of the job queue, stability of memory requests.

A proof is a component whose assertions must hold in every reachable state, for all inputs that its assumptions allow.
"""

from dataclasses import replace
from pathlib import Path

import pytest
from amaranth.hdl import Assert, Assume, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.data import StructLayout
from amaranth.lib.wiring import In
from redmule.job import JOB, JOB_ID_BITS
from redmule.job_queue import LOADERS, UNITS, JobQueue
from redmule.streamer import LOADS, STREAMS, Streamer
from tdco_spec import HwConfig, get_config

from .proof import prove

SMALL = replace(get_config("rm_12x4"), name="small", rows=1, cols=1, pipe=1, queue_jobs=2)


class ObservedQueue(JobQueue):
    """A queue that also shows the jobs it holds: ``entries`` are pairs of a place and what is there."""

    def __init__(self, cfg: HwConfig) -> None:
        super().__init__(cfg)
        entry = StructLayout({"job": JOB, "illegal": 1})
        self.entries = [(Signal(JOB_ID_BITS), Signal(entry, name=f"entry_{i}")) for i in range(cfg.queue_jobs)]

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        for place, entry in self.entries:
            port = m.submodules.jobs.read_port(domain="comb")
            m.d.comb += [port.addr.eq(place), entry.eq(port.data)]
        return m


class QueueProof(wiring.Component):
    """Every unit is handed the jobs it needs, each once, in the order of their triggers; no AFTER job too early.

    Job number i carries i as its M. Assumed: jobs are pushed only into a queue with room, and a job is stored only if
    it is legal and every unit was handed it that needs it.
    """

    def __init__(self, cfg: HwConfig) -> None:
        self.queue = ObservedQueue(cfg)
        self.jobs = cfg.queue_jobs
        self.place_bits = max(1, (cfg.queue_jobs - 1).bit_length())
        inputs = ("push", "illegal", "y", "after", "stored", *(f"{unit}_ready" for unit in UNITS))
        super().__init__({name: In(1) for name in inputs})

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        queue = self.queue
        m.submodules.queue = queue
        pushed, done, in_flight = (Signal(JOB_ID_BITS, name=name) for name in ("pushed", "done", "in_flight"))
        self.kinds = {kind: Signal(1 << self.place_bits, name=f"was_{kind}") for kind in ("illegal", "y", "after")}
        with m.If(self.push):
            m.d.sync += pushed.eq(pushed + 1)
            m.d.sync += [self.was(kind, pushed).eq(getattr(self, kind)) for kind in self.kinds]
        m.d.sync += done.eq(done + queue.done)
        m.d.comb += [
            in_flight.eq(pushed - done),
            queue.push.eq(self.push),
            queue.illegal.eq(self.illegal),
            queue.job.m.eq(pushed),
            queue.job.flags.y.eq(self.y),
            queue.job.flags.after.eq(self.after),
            queue.stored.eq(self.stored),
            Assume(~(self.push & queue.full)),
            Assume(~self.stored | ((in_flight != 0) & ~self.was("illegal", done))),
            Assert(queue.next_id == pushed),
            Assert(queue.oldest == done),
            Assert(queue.count == in_flight),
            Assert(in_flight <= self.jobs),
            Assert(queue.full == (in_flight == self.jobs)),
            Assert(~queue.done_illegal | ((in_flight != 0) & self.was("illegal", done))),
        ]
        for i, (number, held) in enumerate(queue.entries):  # what the queue holds is what was pushed
            flags = held.job.flags
            right = (held.job.m == number) & (held.illegal == self.was("illegal", number))
            right &= (flags.y == self.was("y", number)) & (flags.after == self.was("after", number))
            m.d.comb += [number.eq(done + i), Assert((in_flight <= i) | right)]
        for unit in UNITS:
            self._check_unit(m, unit, done, in_flight)
        return m

    def was(self, kind: str, number: Value) -> Value:
        """The job numbered so, of those in flight, was pushed as illegal, with Y or with AFTER."""
        return self.kinds[kind].bit_select(number[: self.place_bits], 1)

    def _check_unit(self, m: Module, unit: str, done: Signal, in_flight: Signal) -> None:
        queue = self.queue
        out = getattr(queue, f"{unit}_jobs")
        number = out.payload.m[:JOB_ID_BITS]
        handed, take = Signal(JOB_ID_BITS, name=f"{unit}_handed"), Signal(name=f"{unit}_take")
        past, ahead = Signal(JOB_ID_BITS, name=f"{unit}_past"), Signal(JOB_ID_BITS, name=f"{unit}_ahead")

        def not_needed(job: Value) -> Value:
            return self.was("illegal", job) | (~self.was("y", job) if unit == "y" else 0)

        m.d.comb += [
            out.ready.eq(getattr(self, f"{unit}_ready")),
            take.eq(out.valid & out.ready),
            past.eq(handed - done),  # jobs in flight that were handed over, or passed by
            ahead.eq(queue.at[unit] - done),
            Assume(~self.stored | (past != 0) | not_needed(done)),
            Assert(ahead <= in_flight),
            Assert(past <= ahead),
            Assert(~take | ((number == queue.at[unit]) & (ahead < in_flight) & ~not_needed(number))),
        ]
        if unit in LOADERS:
            m.d.comb += Assert(~take | ~self.was("after", number) | (number == done))
        for i in range(self.jobs):  # passed by are only jobs it does not need
            m.d.comb += Assert((past > i) | (ahead <= i) | not_needed((done + i)[:JOB_ID_BITS]))
        with m.If(take):
            m.d.sync += handed.eq(number + 1)
        with m.Elif(queue.done & (past == 0)):
            m.d.comb += Assert(not_needed(done))
            m.d.sync += handed.eq(done + 1)


class NeverFull(QueueProof):
    """Asserts too much: that the queue is never full with an AFTER job at its head."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        m.d.comb += Assert(~(self.queue.full & self.was("after", self.queue.oldest)))
        return m


class RequestProof(wiring.Component):
    """A request stays as it is until it is granted; none begins in or after a cycle of ``clear``.

    All of the streamer's inputs are free.
    """

    def __init__(self, cfg: HwConfig) -> None:
        self.streamer = Streamer(cfg)
        free = {f"{s}_can": 1 for s in STREAMS} | {f"{s}_urgent": 1 for s in LOADS} | {f"{s}_bank": 1 for s in LOADS}
        free |= {f"{s}_valid": 1 for s in STREAMS} | {"clear": 1, "gnt": 1, "z_data": 16 * cfg.tile_cols}
        self.lines = {s: len(getattr(self.streamer, f"{s}_lines").payload.as_value()) for s in STREAMS}
        super().__init__({name: In(width) for name, width in free.items()} | {s: In(n) for s, n in self.lines.items()})

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.streamer = streamer = self.streamer
        tcdm = streamer.tcdm
        for s in STREAMS:
            lines = getattr(streamer, f"{s}_lines")
            m.d.comb += [lines.valid.eq(getattr(self, f"{s}_valid")), lines.payload.as_value().eq(getattr(self, s))]
        for name in (*(f"{s}_can" for s in STREAMS), *(f"{s}_{p}" for s in LOADS for p in ("urgent", "bank"))):
            m.d.comb += getattr(streamer, name).eq(getattr(self, name))
        m.d.comb += [streamer.clear.eq(self.clear), streamer.z_data.eq(self.z_data), tcdm.gnt.eq(self.gnt)]
        refused, cleared = Signal(), Signal()
        m.d.sync += [refused.eq(tcdm.req & ~tcdm.gnt), cleared.eq(self.clear)]
        m.d.comb += [Assert(~refused | tcdm.req), Assert(~cleared | refused | ~tcdm.req)]
        for name in ("we", "addr", "be", "wdata"):
            now = getattr(tcdm, name)
            before = Signal(len(now), name=f"{name}_before")
            m.d.sync += before.eq(now)
            m.d.comb += Assert(~refused | (now == before))
        return m


@pytest.mark.parametrize("queue_jobs", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_jobs_are_handed_out_in_order(tmp_path: Path, queue_jobs: int) -> None:
    assert prove(QueueProof(replace(SMALL, queue_jobs=queue_jobs)), tmp_path) == ""


@pytest.mark.parametrize(("rows", "cols", "pipe"), [(1, 1, 1), (3, 2, 1)])
def test_requests_are_stable_until_granted(tmp_path: Path, rows: int, cols: int, pipe: int) -> None:
    assert prove(RequestProof(replace(SMALL, rows=rows, cols=cols, pipe=pipe)), tmp_path) == ""


def test_a_proof_can_fail(tmp_path: Path) -> None:
    assert "proof did fail" in prove(NeverFull(SMALL), tmp_path)
