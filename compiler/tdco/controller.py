"""How long a schedule takes with the controller that issues it: the runtime's loop (sw/runtime/run.c) in modelled time.

The scheduler places commands as if each could start when what it waits for has finished. On the cluster one core, the
controller, does everything about commands by itself, one thing at a time: it sees what has finished, reads the next
command of a queue, starts it. Where commands are short, that is what a step waits for.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import ceil

from .codegen_c import waits
from .cost import Costs
from .kernel_cycles import call_cycles
from .order import CALL, GEMM, IN, KINDS, L3, OUT, kind_of
from .program import Copy, GemmJob, KernelCall, Move, Schedule

BEGIN_CYCLES, END_CYCLES = 2490, 300
"""Until the first command is looked at, with instruction caches cold, and from the last one's end to the program's."""
LOOK_CYCLES, FINISHED_CYCLES, TRY_CYCLES = 26, 33, 40
"""A turn of the loop; more of it for each queue that has advanced; seeing whether a command may start."""
STAGE_CYCLES = {IN: 197, OUT: 197, GEMM: 280, CALL: 73, L3: 150}
"""Reading a command of each queue, in L2."""
LIKE_LAST_CYCLES = 75
"""Less for a job of the shape and strides of the one before."""
WAITS_CYCLES = 52
"""More where it waits for several queues."""
START_CYCLES = {IN: 60, OUT: 60, GEMM: 20, CALL: 25, L3: 30}
BEFORE_CYCLES = {IN: 20, OUT: 20, GEMM: 10, CALL: 60, L3: 10}
"""From then until it works: what the DMA needs, what the cores take to wake up."""
NEXT_CALL_CYCLES, CALL_DONE_CYCLES = 146, 30
"""From a call's end to the start of the next one, which the cores read first, and until the controller hears of it."""
WAKE_CYCLES = 20
ROOM = {IN: 8, OUT: 8, GEMM: 4, CALL: 2, L3: 1}
"""Commands of a queue that may be started and not finished (tdco_port_room)."""
WAITS = {
    IN: (0.0, 0.09, 0.0, 0.18, 0.0),
    OUT: (0.04, 0.0, 0.0, 0.24, 0.0),
    GEMM: (0.025, 0.025, 0.017, 0.025, 0.0),
    CALL: (0.01, 0.01, 0.0, 0.02, 0.0),
    L3: (0.0,) * 5,
}
"""How much longer a command takes if commands of each queue work beside it all the time: a bank of L1 serves one."""
BURST_BYTES, BURST_CYCLES = 256, 1.2
"""Of a copy from L1, which the DMA reads in bursts: more cycles for each."""


@dataclass
class _Queue:
    """``blocked_by``: the queue that the staged command waits for; ``free``: when its resource has nothing to do."""

    commands: list[int] = field(default_factory=list)
    issued: int = 0
    finished: int = 0
    staged: int | None = None
    blocked_by: int = 0
    free: int = 0


def step_cycles(schedule: Schedule, costs: Costs) -> int:
    """Cycles of a step as the platform soc counts them; ``schedule`` has its final ``after``."""
    return _Controller(schedule, costs).run()


class _Controller:
    def __init__(self, schedule: Schedule, costs: Costs) -> None:
        self.schedule, self.costs = schedule, costs
        self.queues = [_Queue() for _ in KINDS]
        self.waits = waits(schedule)
        self.now = BEGIN_CYCLES
        self.ends: list[tuple[int, int]] = []  # when a command of a queue will have finished
        self.called: set[str] = set()
        self.last_shape: tuple[int, ...] = ()  # of the job staged last
        for index, command in enumerate(schedule.commands):
            self.queues[kind_of(command.op)].commands.append(index)

    def run(self) -> int:
        while True:
            self.now += LOOK_CYCLES
            self._retry(self._advanced())
            if not self._stage_one():
                if not self.ends:
                    return self.now + END_CYCLES
                self.now = max(self.now, self.ends[0][0] + WAKE_CYCLES)

    def _advanced(self) -> set[int]:
        """The queues whose commands have finished since the last look."""
        advanced = set()
        while self.ends and self.ends[0][0] <= self.now:
            _, kind = heappop(self.ends)
            self.queues[kind].finished += 1
            advanced.add(kind)
        self.now += FINISHED_CYCLES * len(advanced)
        return advanced

    def _retry(self, advanced: Collection[int]) -> None:
        for kind, queue in enumerate(self.queues):
            if queue.staged is not None and queue.blocked_by in advanced:
                self._try_start(kind, queue)

    def _stage_one(self) -> bool:
        for kind in reversed(range(len(KINDS))):
            queue = self.queues[kind]
            if queue.staged is None and queue.issued < len(queue.commands):
                queue.staged = queue.commands[queue.issued]
                self.now += self._stage_cycles(kind, queue.staged)
                self._try_start(kind, queue)
                return True
        return False

    def _stage_cycles(self, kind: int, index: int) -> int:
        op = self.schedule.commands[index].op
        cycles = STAGE_CYCLES[kind] + WAITS_CYCLES * (sum(map(bool, self.waits[index])) > 1)
        if isinstance(op, GemmJob):
            shape = (op.m, op.n, op.x_stride, op.w_stride, op.y_stride, op.z_stride)
            cycles -= LIKE_LAST_CYCLES * (shape == self.last_shape)
            self.last_shape = shape
        return cycles

    def _try_start(self, kind: int, queue: _Queue) -> None:
        assert queue.staged is not None
        self.now += TRY_CYCLES
        for other, count in enumerate(self.waits[queue.staged]):
            if self.queues[other].finished < count:
                queue.blocked_by = other
                return
        if queue.issued >= queue.finished + ROOM[kind]:
            queue.blocked_by = kind
            return
        self.now += START_CYCLES[kind]
        begin = self.now + BEFORE_CYCLES[kind]
        if kind == CALL:
            begin = max(begin, queue.free + NEXT_CALL_CYCLES)
        begin = max(begin, queue.free)
        queue.free = begin + self._cycles(queue.staged, kind, begin)
        heappush(self.ends, (queue.free + CALL_DONE_CYCLES * (kind == CALL), kind))
        queue.issued += 1
        queue.staged = None

    def _cycles(self, index: int, kind: int, begin: int) -> int:
        """Of a command that begins to work at ``begin``, as what works beside it then holds it up."""
        command = self.schedule.commands[index]
        op = command.op
        after = any(kind_of(self.schedule.commands[j].op) == kind for j in command.after)
        first = isinstance(op, KernelCall) and op.symbol not in self.called
        if isinstance(op, KernelCall):
            self.called.add(op.symbol)
        cycles = self._alone(op, after, first)
        if not cycles:
            return 0
        beside = [1.0 if k == kind else min(1.0, max(0, q.free - begin) / cycles) for k, q in enumerate(self.queues)]
        return round(cycles * (1 + sum(w * b for w, b in zip(WAITS[kind], beside, strict=True))))

    def _alone(self, op: GemmJob | KernelCall | Copy | Move, after: bool, first: bool) -> float:
        """Of a command if nothing works beside it."""
        cfg = self.costs.cfg
        if isinstance(op, GemmJob):
            return self.costs.job(op, after)
        if isinstance(op, KernelCall):
            return call_cycles(op, cfg.cores, first)
        if isinstance(op, Move):
            return cfg.l3_startup_cycles + op.bytes * cfg.l3_cycles_per_byte
        dense = op.stride_bytes == op.row_bytes
        rows, row_bytes = (1, op.rows * op.row_bytes) if dense else (op.rows, op.row_bytes)
        bursts = 0 if op.to_l1 else BURST_CYCLES * ceil(row_bytes / BURST_BYTES)
        return rows * (ceil(row_bytes / cfg.dma_bytes_per_cycle) + bursts)
