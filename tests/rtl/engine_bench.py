"""cocotb side of the engine's testbench: memory with grants as nasty as they come, protocol monitor, scoreboard.

Everything happens at the falling edge: there the engine's outputs are stable, and what is set there is what the next
rising edge sees. Environment: TDCO_CONFIG (JSON of HwConfig), TDCO_SEED, TDCO_QUEUES, TDCO_REPORT (JSON written),
TDCO_CORE_CYCLES (random queues for which the array needs more are left out).
"""

import itertools
import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge
from cocotb.utils import get_sim_time
from numpy.random import Generator
from numpy.typing import NDArray
from tdco_spec import REGISTERS, STATUS_FLAGS, HwConfig

from . import jobs as stimuli
from .jobs import ARENA_BYTES, Arena, Job, core_cycles, make_job, random_queue, reference_run

CFG = HwConfig(**json.loads(os.environ["TDCO_CONFIG"]))
SEED = int(os.environ["TDCO_SEED"])
QUEUES = int(os.environ["TDCO_QUEUES"])
REPORT = Path(os.environ["TDCO_REPORT"])
MOST_CORE_CYCLES = float(os.environ.get("TDCO_CORE_CYCLES", "inf"))
CLOCK_NS = 2
QUEUE_FULL, LOCKED = 0xFFFF_FFFF, 0xFFFF_FFFE
# With data there, the array is busy for two blocks of X at most before something must move on the port.
QUIET_CYCLES = 4 * CFG.tile_cols * (CFG.pipe + 1) + 100

Grant = Callable[[int], bool]
Granted = tuple[int, int, bool]  # a request: cycle, address, whether it is a store
Expected = tuple[NDArray[np.uint8], int]  # memory and STATUS_FLAGS


def always(_address: int) -> bool:
    return True


def random_grants(rng: Generator, arena: Arena) -> tuple[str, Grant]:
    """A stall model: none, random, bursts, one operand starved, one very long refusal."""
    kind = str(rng.choice(["none", "random", "bursts", "starved", "held"]))
    probability = float(rng.choice([0.1, 0.3, 0.7]))
    state = {"left": 1000 if kind == "held" else 0}
    low, high = sorted(rng.integers(0, max(arena.used, 1), 2).tolist())

    def grant(address: int) -> bool:
        if state["left"]:
            state["left"] -= 1
            return False
        if kind == "starved" and low <= address < high:
            return rng.random() < 0.1
        if kind in ("random", "bursts") and rng.random() < probability / (10 if kind == "bursts" else 1):
            state["left"] = int(rng.integers(0, 60)) if kind == "bursts" else 0
            return False
        return True

    return kind, always if kind == "none" else grant


class Bench:
    """Drives one engine and holds what it did wrong in ``errors``."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.rng = np.random.default_rng(SEED)
        self.arena = Arena(ARENA_BYTES)
        self.arena.reset(self.rng)
        self.grant: Grant = always
        self.errors: Counter[str] = Counter()
        self.events: list[tuple[int, int]] = []
        self.granted: list[Granted] = []
        self.refused = 0  # cycles of requests
        self.triggers: list[int] = []  # cycle of each
        self.mark = (0, 0, 0)  # how many of these three there were at the last snapshot
        self.cycle = 0
        self.moved = 0  # the last cycle in which a request was granted or refused, or a job ended
        self.granting = False
        self.answer: int | None = None
        self.waiting: tuple[int, ...] | None = None
        self.noise = [int.from_bytes(self.rng.bytes(4 * CFG.port_words), "little") for _ in range(64)]

    async def start(self) -> None:
        dut = self.dut
        dut.cfg__req.value = dut.cfg__we.value = dut.cfg__addr.value = dut.cfg__wdata.value = 0
        dut.tcdm__gnt.value = dut.tcdm__rdata.value = 0
        dut.rst.value = 1
        cocotb.start_soon(Clock(dut.clk, CLOCK_NS, unit="ns").start())
        for _ in range(3):
            await FallingEdge(dut.clk)
        dut.rst.value = 0
        cocotb.start_soon(self._run())
        cocotb.start_soon(self._record_events())
        await FallingEdge(dut.clk)

    def now(self) -> int:
        """Number of the current clock cycle, whichever of the coroutines runs first in it."""
        return int(get_sim_time("ns")) // CLOCK_NS

    async def _run(self) -> None:
        clock = FallingEdge(self.dut.clk)
        while True:
            await clock
            self.cycle += 1
            self._memory()

    async def _record_events(self) -> None:
        clock, event = FallingEdge(self.dut.clk), RisingEdge(self.dut.evt)
        while True:
            await event
            await clock
            while int(self.dut.evt.value):
                self.events.append((int(self.dut.evt_job.value), self.now()))
                self.moved = self.cycle
                await clock

    def _memory(self) -> None:
        dut = self.dut
        if self.answer is not None:
            dut.tcdm__rdata.value = self.answer
            self.answer = None
        if not int(dut.tcdm__req.value):
            if self.waiting is not None:
                self.errors["request withdrawn"] += 1
                self.waiting = None
            self._set_grant(self.cycle & 8 != 0)  # a grant without a request means nothing
            return
        write, address, enable = int(dut.tcdm__we.value), int(dut.tcdm__addr.value), int(dut.tcdm__be.value)
        data = int(dut.tcdm__wdata.value) if write else 0
        request = (write, address, enable, data)
        if self.waiting is not None and self.waiting != request:
            self.errors["request changed"] += 1
        granted = self.grant(address)
        self._set_grant(granted)
        self.moved = self.cycle
        self.waiting = None if granted else request
        self.refused += not granted
        if granted:
            self._transfer(write, address, enable, data)

    def _set_grant(self, granted: bool) -> None:
        if granted != self.granting:
            self.dut.tcdm__gnt.value = int(granted)
            self.granting = granted

    def _transfer(self, write: int, address: int, enable: int, data: int) -> None:
        arena = self.arena
        self.granted.append((self.now(), address, bool(write)))
        low = (enable & -enable).bit_length() - 1
        count = enable.bit_length() - low
        start, end = address + low, address + low + count
        if enable == 0 or enable != ((1 << count) - 1) << low or address & 3 or end > arena.size:
            self.errors["malformed request"] += 1
            return
        permission = arena.writable if write else arena.readable
        if permission.count(1, start, end) != count:
            self.errors["canary write" if write else "canary read"] += 1
            return
        if write:
            arena.data[start:end] = np.frombuffer(
                (data >> 8 * low & (1 << 8 * count) - 1).to_bytes(count, "little"), np.uint8
            )
        else:
            read = int.from_bytes(arena.data[start:end].tobytes(), "little")
            mask = ((1 << 8 * count) - 1) << 8 * low
            self.answer = self.noise[self.cycle & 63] & ~mask | read << 8 * low

    async def write(self, name: str, value: int) -> int:
        """Write a register; returns the cycle it was taken in."""
        dut = self.dut
        dut.cfg__req.value, dut.cfg__we.value = 1, 1
        dut.cfg__addr.value, dut.cfg__wdata.value = REGISTERS[name].offset, value & 0xFFFF_FFFF
        taken = self.now()
        await FallingEdge(dut.clk)
        dut.cfg__req.value = 0
        return taken

    async def read(self, name: str) -> int:
        dut = self.dut
        dut.cfg__req.value, dut.cfg__we.value, dut.cfg__addr.value = 1, 0, REGISTERS[name].offset
        await FallingEdge(dut.clk)
        dut.cfg__req.value = 0
        return int(dut.cfg__rdata.value)

    async def submit(self, job: Job) -> int:
        """Write the registers and trigger; returns the cycle of the trigger."""
        for name, value in job.registers.items():
            await self.write(name, value)
        self.triggers.append(await self.write("TRIGGER", 0))
        return self.triggers[-1]

    async def wait_for(self, events: int) -> None:
        """Wait until so many jobs have ended; complain if nothing moves on the port for too long."""
        self.moved = self.cycle
        while len(self.events) < events:
            await FallingEdge(self.dut.clk)
            if self.cycle - self.moved > QUIET_CYCLES:
                raise AssertionError(f"hang: nothing moved for {QUIET_CYCLES} cycles, {len(self.events)} jobs ended")

    async def run_queue(self, queue: Sequence[Job]) -> list[int]:
        """Run jobs as software does: acquire, write, trigger. Returns the ids they got."""
        first = len(self.events)
        ids = []
        for job in queue:
            self.moved = self.cycle
            while (job_id := await self.read("ACQUIRE")) == QUEUE_FULL:
                assert self.cycle - self.moved <= QUIET_CYCLES, "hang: the queue stays full"
            if await self.read("ACQUIRE") != LOCKED:
                self.errors["lock given twice"] += 1
            ids.append(job_id)
            await self.submit(job)
        await self.wait_for(first + len(queue))
        return ids

    async def check(
        self, queue: Sequence[Job], ids: list[int], first: int, before: dict[str, int], expected: Expected
    ) -> int:
        """Compare all that can be seen of a finished queue; returns the number of elements compared.

        ``before``: counters before the queue. ``expected``: memory and flags after it, by the reference.
        """
        got = [job_id for job_id, _ in self.events[first:]]
        if got != ids:
            self.errors["event order"] += 1
        granted, refused, triggered = (a - b for a, b in zip(self.seen(), self.mark, strict=True))
        busy = busy_cycles(self.triggers[-triggered:], [cycle for _, cycle in self.events[first:]])
        memory, flags = expected
        self.errors["mismatch"] += int((self.arena.data.view(np.uint16) != memory.view(np.uint16)).sum())
        after = await self.snapshot()
        if after["FLAGS"] != flags:
            self.errors["flags"] += 1
        if after["JOBS"] - before["JOBS"] != len(queue) or after["FINISHED"] != after["JOBS"]:
            self.errors["jobs counted"] += 1
        if after["MACS_LO"] - before["MACS_LO"] != sum(job.macs for job in queue):
            self.errors["macs counted"] += 1
        if after["STATUS"]:
            self.errors["busy after the end"] += 1
        for name, seen in (("GRANTED", granted), ("STALL_PORT", refused), ("CYCLES_BUSY", busy)):
            if after[name] - before[name] != seen:
                self.errors[f"{name} counted"] += 1
        return sum(job.z.size for job in queue if not job.illegal)

    def seen(self) -> tuple[int, int, int]:
        """Requests granted, cycles of refused ones, triggers."""
        return len(self.granted), self.refused, len(self.triggers)

    async def snapshot(self) -> dict[str, int]:
        self.mark = self.seen()
        names = ("JOBS", "FINISHED", "MACS_LO", "FLAGS", "STATUS", "CYCLES_BUSY", "GRANTED", "STALL_PORT")
        return {name: await self.read(name) for name in names}

    def report(self, section: str, value: Any) -> None:
        document = json.loads(REPORT.read_text()) if REPORT.exists() else {}
        REPORT.write_text(json.dumps({**document, section: value}))
        assert not +self.errors, dict(self.errors)


def busy_cycles(triggers: Sequence[int], events: Sequence[int]) -> int:
    """Cycles from each TRIGGER that finds all earlier jobs done to the last event before the next such."""
    total, start = 0, triggers[0]
    for trigger, end in zip(triggers[1:], events, strict=False):
        if trigger >= end:
            total, start = total + end - start, trigger
    return total + events[-1] - start


def operand_of(job: Job) -> Callable[[int, bool], str]:
    """Whose line a request is for, from its address and direction."""
    operands = {"X": job.x, "W": job.w, "Y": job.y}
    words = {name: set((at & ~3).flat) for name, at in operands.items() if at is not None}
    return lambda address, store: "Z" if store else next(name for name, own in words.items() if address in own)


SHAPES = [(1, 1, 1), (12, 16, 16), (48, 32, 32), (64, 64, 64), (96, 96, 96), (96, 96, 4), (33, 33, 33)]
FIXED = [(shape, flags) for shape in SHAPES for flags in (0, stimuli.Y)]
FIXED += [((48, 32, 32), stimuli.Y | trans) for trans in range(1, 8)]
FIXED += [((96, 96, 96), stimuli.Y | stimuli.TRANS_X | stimuli.TRANS_W | stimuli.TRANS_Z)]
ARRIVAL_CYCLES = 3  # from the grant of a line to the first slot that may use it
CHOICE_TO_SLOT_CYCLES = ARRIVAL_CYCLES + 1  # at an idle port
W_LINES_FIRST = 1 + -(-CHOICE_TO_SLOT_CYCLES // (CFG.pipe + 1))  # before X: what the array uses up while one is fetched
JOB_CYCLES = 2  # from TRIGGER to the first cycle in which a slot is due
TILES, MOST_TILES = 40, 400  # whose stalls are checked
LONGEST_CYCLES = 20_000  # of a fixed shape: small arrays leave out the large ones


@cocotb.test()
async def fixed_shapes(dut: Any) -> None:
    """Cycles from trigger to event at an ideal memory; the engine's own counter agrees."""
    bench = Bench(dut)
    await bench.start()
    table = []
    for shape, flags in FIXED:
        if core_cycles(CFG, shape) > LONGEST_CYCLES:
            continue
        bench.arena.reset(bench.rng)
        job = make_job(bench.rng, bench.arena, shape, flags, padded=False)
        await bench.write("FLAGS", 15)
        before, first = await bench.snapshot(), len(bench.events)
        next_id = len(bench.events) & 0xFF
        expected = reference_run([job], bench.arena.data, CFG.acc)
        trigger = await bench.submit(job)
        await bench.wait_for(first + 1)
        cycles = bench.events[-1][1] - trigger
        await bench.check([job], [next_id], first, before, expected)
        if (await bench.read("CYCLES_BUSY")) - before["CYCLES_BUSY"] != cycles:
            bench.errors["cycles counted"] += 1
        table.append({"shape": shape, "flags": flags, "cycles": cycles, "core": core_cycles(CFG, shape)})
    bench.report("fixed", table)


@cocotb.test()
async def one_tile(dut: Any) -> None:
    """The port at work on one tile: for each run of requests of one operand its first cycle, name and length."""
    bench = Bench(dut)
    await bench.start()
    job = make_job(bench.rng, bench.arena, (CFG.rows, CFG.tile_cols, CFG.tile_cols), stimuli.Y, padded=False)
    name_of = operand_of(job)
    bench.granted.clear()
    trigger = await bench.submit(job)
    await bench.wait_for(1)
    runs: list[tuple[int, str, int]] = []
    for cycle, address, store in bench.granted:
        name = name_of(address, store)
        if runs and runs[-1][1] == name:
            runs[-1] = (*runs[-1][:2], runs[-1][2] + 1)
        else:
            runs.append((cycle - trigger, name, 1))
    bench.report("tile", [*runs, (bench.events[-1][1] - trigger, "event", 1)])


@cocotb.test()
async def stalls(dut: Any) -> None:
    """The causes of stalls on one tile, against what the port's trace says of when each operand was there.

    Until each cause was there that there can be: the first lines of W come before X, so a tile that needs no more of
    them never waits for W alone.
    """
    bench = Bench(dut)
    await bench.start()
    names = ("STALL_X", "STALL_W", "STALL_YZ")
    possible = [name for name in names if name != "STALL_W" or CFG.tile_cols > W_LINES_FIRST]
    total = Counter[str]()
    for number in range(MOST_TILES):
        if number >= TILES and all(total[name] for name in possible):
            break
        rng = bench.rng = np.random.default_rng([SEED, number, 2])
        bench.arena.reset(rng)
        shape = tuple(int(rng.integers(1, most + 1)) for most in (CFG.rows, CFG.tile_cols, CFG.tile_cols))
        job = make_job(rng, bench.arena, shape, stimuli.Y * int(rng.integers(0, 2)), padded=False)
        _, bench.grant = random_grants(rng, bench.arena)
        before = [await bench.read(name) for name in names]
        bench.granted.clear()
        trigger, first = await bench.submit(job), len(bench.events)
        await bench.wait_for(first + 1)
        counted = [await bench.read(name) - was for name, was in zip(names, before, strict=True)]
        wanted = stalls_of_tile(job, trigger, bench.granted)
        if counted != wanted:
            bench.errors["stalls counted"] += 1
            cocotb.log.error("seed %d, tile %d, %s: stalls %s, not %s", SEED, number, shape, counted, wanted)
        total.update(dict(zip(names, counted, strict=True)))
    assert all(total[name] for name in possible), total
    bench.report("stalls", total)


def stalls_of_tile(job: Job, trigger: int, granted: Sequence[Granted]) -> list[int]:
    """Cycles in which a slot waits for X, for W but not X, for Y alone, in a job of one tile without transposes.

    ``granted``: its requests. All of X and Y must be there, and the slot's line of W.
    """
    there: dict[str, list[int]] = {name: [] for name in "XWYZ"}
    name_of = operand_of(job)
    for cycle, address, store in granted:
        there[name_of(address, store)].append(cycle - trigger + ARRIVAL_CYCLES)
    x, w, y = max(there["X"]), there["W"], max(there["Y"], default=0)
    waits, cycle = [0, 0, 0], JOB_CYCLES
    for line in w:
        for cause, ready in enumerate((x, line, y)):
            waits[cause] += max(ready - cycle, 0)
            cycle = max(ready, cycle)
        cycle += CFG.pipe + 1
    return waits


@cocotb.test()
async def random_queues(dut: Any) -> None:
    """Queues of random jobs under random grants."""
    bench = Bench(dut)
    await bench.start()
    compared, run, stalls, queues = 0, 0, Counter[str](), 0
    for number in itertools.count():
        if queues == QUEUES:
            break
        bench.rng = np.random.default_rng([SEED, number])
        bench.arena.reset(bench.rng)
        queue = random_queue(bench.rng, bench.arena, CFG, int(bench.rng.choice([1, 1, 2, 5, 7])))
        if sum(core_cycles(CFG, job.shape) for job in queue) > MOST_CORE_CYCLES:
            continue
        queues += 1
        await bench.write("FLAGS", 15)
        before, first = await bench.snapshot(), len(bench.events)
        kind, bench.grant = random_grants(bench.rng, bench.arena)
        expected = reference_run(queue, bench.arena.data, CFG.acc)
        errors = +bench.errors
        try:
            ids = await bench.run_queue(queue)
        except AssertionError as error:
            raise AssertionError(f"seed {SEED}, queue {number}, stall {kind}: {error}") from error
        compared += await bench.check(queue, ids, first, before, expected)
        if +bench.errors != errors:
            cocotb.log.error("seed %d, queue %d, stall %s: %s", SEED, number, kind, dict(bench.errors - errors))
        run, stalls[kind] = run + len(queue), stalls[kind] + len(queue)
    seen = {name: bench.errors[name] for name in bench.errors}
    bench.report("random", {"jobs": run, "stalls": stalls, "compared": compared, "errors": seen})
    assert compared > 0


@cocotb.test()
async def soft_clear(dut: Any) -> None:
    """At any moment: idle within bounded cycles, no late event or store, and the next job is right."""
    bench = Bench(dut)
    await bench.start()
    for number in range(max(QUEUES // 10, 5)):
        bench.rng = np.random.default_rng([SEED, number, 1])
        bench.arena.reset(bench.rng)
        _, bench.grant = random_grants(bench.rng, bench.arena)
        for _ in range(int(bench.rng.integers(1, CFG.queue_jobs + 1))):
            job = make_job(bench.rng, bench.arena, (20, 20, 20), int(bench.rng.integers(0, 64)) & ~stimuli.Y)
            await bench.submit(job)
        for _ in range(int(bench.rng.integers(0, 600))):
            await FallingEdge(dut.clk)
        await bench.write("SOFT_CLEAR", 0)
        first = len(bench.events)
        if number % 2:
            await clear_and_again(bench, job, first)
            continue
        bench.grant = always
        for _ in range(4):
            await FallingEdge(dut.clk)
        bench.arena.writable = bytearray(bench.arena.size)
        after = await bench.snapshot()
        if any(after.values()) or int(dut.busy.value):
            bench.errors["not cleared"] += 1
        job = make_job(bench.rng, bench.arena, (13, 17, 9), int(bench.rng.integers(0, 64)), "special")
        expected = reference_run([job], bench.arena.data, CFG.acc)
        ids = await bench.run_queue([job])
        await bench.check([job], ids, first, after, expected)
    bench.report("soft clears", max(QUEUES // 10, 5))


async def clear_and_again(bench: Bench, job: Job, first: int) -> None:
    """In the cycle after SOFT_CLEAR, trigger the job whose words are still in the registers."""
    await bench.write("TRIGGER", 0)
    expected, _ = reference_run([job], bench.arena.data, CFG.acc)
    await bench.wait_for(first + 1)
    if bench.events[first][0] != 0:
        bench.errors["event order"] += 1
    bench.errors["mismatch"] += int((bench.arena.load(job.z) != stimuli.load(expected, job.z)).sum())


@cocotb.test()
async def control(dut: Any) -> None:
    """Identity, registers that read back, a full queue, and registers rewritten while jobs wait."""
    bench = Bench(dut)
    await bench.start()
    assert await bench.read("ID") == CFG.hash
    job = make_job(bench.rng, bench.arena, (5, 6, 7), stimuli.Y | stimuli.Y_COLUMN)
    memory, _ = reference_run([job], bench.arena.data, CFG.acc)
    bench.grant = lambda _address: False
    for _ in range(CFG.queue_jobs):
        assert await bench.read("ACQUIRE") == len(bench.events) + (await bench.read("STATUS") & 0xFF)
        await bench.submit(job)
    for name, value in job.registers.items():
        assert await bench.read(name) == value & 0xFFFF_FFFF, name
    assert await bench.read("STATUS") == CFG.queue_jobs | 1 << 8
    assert await bench.read("ACQUIRE") == QUEUE_FULL
    await bench.write("TRIGGER", 0)  # ignored
    for name in job.registers:
        await bench.write(name, 0xFFFF_FFFF)  # of no effect on jobs in the queue
    assert await bench.read("RUNNING_JOB") == 0
    bench.grant = always
    await bench.wait_for(CFG.queue_jobs)
    assert [job_id for job_id, _ in bench.events] == list(range(CFG.queue_jobs))
    assert await bench.read("FINISHED") == CFG.queue_jobs
    assert await bench.read("RUNNING_JOB") == CFG.queue_jobs - 1
    bench.errors["mismatch"] += int((bench.arena.data != memory).sum())
    job = make_job(bench.rng, bench.arena, (3, 3, 40), 0)
    for operand in (job.x, job.w):
        bench.arena.store(
            operand, np.full(operand.shape, 0x5BFF, np.uint16)
        )  # nearly 256: the second product overflows
    await bench.submit(job)
    await bench.wait_for(CFG.queue_jobs + 1)
    flags = await bench.read("FLAGS")
    assert flags & STATUS_FLAGS["OVERFLOW"] and flags & STATUS_FLAGS["NONFINITE"], flags
    await bench.write("FLAGS", STATUS_FLAGS["OVERFLOW"])
    assert await bench.read("FLAGS") == flags & ~STATUS_FLAGS["OVERFLOW"]
    bench.report("control", True)
