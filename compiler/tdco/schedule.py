"""Units of work -> commands in issue order, by list scheduling in modelled time.

The engine, the cores and the two channels of the DMA each take their commands in order; among the units that could
start soonest on a resource, the one with the longest way to the end of the step goes first. L1 is a cache of blocks
whose future is known: a block stays while it has users and the room is not worth more to another; where a block is put
decides how early it can be fetched, so a good place is one that has been free for long.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf
from typing import NamedTuple

from .cost import HOP_CYCLES, Costs
from .l1 import L1, Held, Segment, copies_of
from .program import Buffer, Command
from .transfer import Region, overlap
from .units import Block, Unit, Use, commands_of
from .work import aligned

PATIENCE_CYCLES = 400
"""How much later a more urgent unit may start than the first that could."""
ENGINE, RESULTS = "the engine first", "results first"
"""What may go first however urgent the rest: on cores that the engine waits for, what leads to its next unit soonest;
or anywhere what no other unit waits for, so that the DMA can begin to write it."""
FULL_SHARE = 0.85
"""Of L1 that unfinished results and the operands of the oldest node may take: gaps between blocks need some too."""
FAR_UNITS = 48
"""A block with no user among so many next units goes to L2 as soon as it is complete, so that it can be dropped."""
FLAG_BYTES = 16
"""A block of up to so many, as of a flag, stays: a copy of it takes as long as one of much more."""
LARGE_SHARE = 1 / 8
"""Of L1: blocks from here on are put at its start, smaller ones at its end, and room for one is hard to find."""
REFETCH_WEIGHT = 0.25
"""What a cycle of the DMA counts against a cycle of waiting, when a block is dropped for another."""


class NoRoom(Exception):
    """The blocks that have to be in L1 together do not fit."""


@dataclass(frozen=True)
class Planned:
    """Commands in issue order (without ``after``), the L1 buffers they use with their offsets, and the modelled cycles.

    ``busy`` are the modelled cycles of engine, cores, copies in and copies out. ``tried``: the cycles of every order
    that was looked at. Cycles are the scheduler's until the order is judged."""

    commands: tuple[Command, ...]
    buffers: Mapping[str, Buffer]
    offsets: Mapping[str, int]
    cycles: int
    busy: tuple[int, int, int, int]
    tried: tuple[tuple[str, int], ...] = ()


class Order(NamedTuple):
    """How to choose among units.

    ``ahead``: how many nodes they may run ahead of the oldest unfinished one. ``first``: what goes first. ``slack``:
    places are better that are free so many cycles before they can be filled, since what uses them now may take longer
    than modelled; and what a cycle less of that counts against a cycle of waiting.
    """

    ahead: int
    first: str = ""
    slack: tuple[int, float] = (0, 0.0)

    def __str__(self) -> str:
        cycles, weight = self.slack
        early = f"places free {cycles} cycles early ({weight})" if cycles else ""
        return ", ".join(filter(None, (str(self.ahead), self.first, early)))


@dataclass(frozen=True)
class Step:
    """What is known of a step before its units have an order.

    Of blocks: their ``users`` and ``writers``, whether they go home (``goes_home``), their ``sizes`` in bytes, the
    cycles of moving them, and the ``spans`` of their storage that they lie in. Of units: ``urgency``, the ``ways`` to
    the engine, their ``followers``.
    """

    blocks: Mapping[str, Block]
    units: Sequence[Unit]
    users: Mapping[str, Sequence[int]]
    writers: Mapping[str, int]
    goes_home: Mapping[str, str]
    sizes: Mapping[str, int]
    move_cycles: Mapping[str, int]
    spans: Mapping[str, tuple[int, int]]
    urgency: Sequence[int]
    ways: Sequence[int]
    followers: Sequence[Sequence[int]]


def look_at(blocks: Mapping[str, Block], units: Sequence[Unit], costs: Costs, stay: Collection[str]) -> Step:
    units = _wait_for_whole_blocks(units, blocks)
    users: dict[str, list[int]] = {}
    writers: dict[str, int] = {}
    followers: list[list[int]] = [[] for _ in units]
    for index, unit in enumerate(units):
        for use in unit.uses:
            users.setdefault(use.block, []).append(index)
            if use.write:
                writers[use.block] = writers.get(use.block, 0) + 1
        for other in unit.before:
            followers[other].append(index)
    return Step(
        blocks,
        units,
        users,
        writers,
        _homecoming(units, blocks, stay),
        {name: aligned(block.bytes) for name, block in blocks.items()},
        {name: costs.copies(r for _, r in block.parts) for name, block in blocks.items()},
        {name: (b.parts[0][1].offset, max(r.end for _, r in b.parts)) for name, b in blocks.items() if b.parts},
        _urgency(units),
        _ways_to_engine(units),
        followers,
    )


class Scheduler:
    def __init__(self, step: Step, costs: Costs, order: Order) -> None:
        self.step, self.costs, self.ahead, self.first = step, costs, order.ahead, order.first
        self.slack_cycles, self.slack_weight = order.slack
        self.blocks, self.units, self.goes_home = step.blocks, step.units, step.goes_home
        self.urgency, self.way = step.urgency, step.ways
        self.users = {name: list(users) for name, users in step.users.items()}
        self.writers = dict(step.writers)
        self.missing = [len(unit.before) for unit in self.units]
        self.large_bytes = int(LARGE_SHARE * (costs.cfg.l1_bytes - costs.cfg.l1_reserved_bytes))
        self.l1 = L1(costs.cfg.l1_reserved_bytes, costs.cfg.l1_bytes)
        self.held: dict[str, Held] = {}
        self.home: dict[str, list[tuple[int, int, int]]] = {}
        self.arrived: dict[str, dict[str, int]] = {}  # by storage and block, as long as nothing is sent there
        self.done = [False] * len(self.units)
        self.oldest = 0  # unit that is not done
        self.inputs_done = [0] * len(self.units)  # when the units before it are, and it knows
        self.place = [0] * len(self.units)  # number of an engine's unit's first command
        self.fence = 0  # place of the last unit that waited for all jobs before it
        self.free = {True: 0, False: 0}  # engine, cores
        self.in_free = self.out_free = 0
        self.busy = {"engine": 0, "cores": 0, "in": 0, "out": 0}
        self.commands: list[Command] = []
        self.placed: list[Held] = []

    def run(self) -> Planned:
        """Schedules all units.

        Raises:
            NoRoom: what must be in L1 together does not fit.
        """
        ready = {index for index, missing in enumerate(self.missing) if not missing}
        while ready:
            limit = self.units[self.oldest].node + self.ahead
            near = [i for i in ready if self.units[i].node <= limit]
            index = self._place_one(self._admitted(near) if self.ahead else [min(ready)])
            ready.remove(index)
            for follower in self.step.followers[index]:
                self.missing[follower] -= 1
                if not self.missing[follower]:
                    ready.add(follower)
        buffers = {h.name: Buffer(h.name, h.block.bytes, "l1", h.block.storage or h.block.name) for h in self.placed}
        offsets = {held.name: held.offset for held in self.placed}
        cycles = max(*self.free.values(), self.in_free, self.out_free)
        busy = (self.busy["engine"], self.busy["cores"], self.busy["in"], self.busy["out"])
        return Planned(tuple(self.commands), buffers, offsets, cycles, busy)

    def _admitted(self, near: Sequence[int]) -> list[int]:
        """Of the units ``near``, those that leave enough room for the oldest node: what a unit begins to compute stays
        in L1 until it is complete."""
        node = self.units[self.oldest].node
        begun = {h.block.name for h in self.held.values() if h.writing}
        size = self.step.sizes
        stays = sum(size[name] for name in begun)
        needs = max(
            (sum(size[u.block] for u in self.units[i].uses if u.block not in begun) for i in near
             if self.units[i].node == node),
            default=0,
        )  # fmt: skip
        room = int(FULL_SHARE * (self.costs.cfg.l1_bytes - self.costs.cfg.l1_reserved_bytes))
        admitted = []
        for i in near:
            begins = sum(size[u.block] for u in self.units[i].uses if u.write and u.block not in begun)
            if self.units[i].node == node or not begins or stays + begins + needs <= room:
                admitted.append(i)
        return admitted

    def _place_one(self, candidates: Collection[int]) -> int:
        """Schedules the best of the candidates whose blocks find room, and returns it."""
        starts = {index: self._start(index) for index in candidates}
        known: set[int] = set()
        while starts:
            index = self._next(starts)
            if index in known:
                self._place_unit(index, starts[index])
                return index
            known.add(index)
            try:
                starts[index] = self._start_with_room(index, starts[index])
            except NoRoom as e:
                failure = e
                del starts[index]
        raise failure

    def _next(self, starts: Mapping[int, int]) -> int:
        """The unit to start next: on the resource that can start one first, the most urgent that can start then.

        What frees L1 comes before what fills it, but for what the engine waits for.
        """
        if self.first == RESULTS:
            results = {i: start for i, start in starts.items() if not self.step.followers[i]}
            starts = results or starts
        best: tuple[int, int] | None = None
        for on_engine in (True, False):
            mine = [(start, i) for i, start in starts.items() if self.units[i].on_engine == on_engine]
            if not mine:
                continue
            first = min(mine)[0]
            soon = [i for start, i in mine if start <= first + PATIENCE_CYCLES]
            starving = self.first == ENGINE and not on_engine and (best is None or first < best[0])
            ways = {i: self.way[i] if starving else 0 for i in soon}
            urgent = min(
                soon, key=lambda i: (ways[i], not self.units[i].early, not self._frees(i), -self.urgency[i], i)
            )
            if best is None or first < best[0]:
                best = (first, urgent)
        assert best
        return best[1]

    def _start_with_room(self, index: int, start: int) -> int:
        """When the unit could start, with the wait for its blocks' places, each as if the others had theirs.

        Raises:
            NoRoom: a block finds none.
        """
        unit = self.units[index]
        busy = {use.block for use in unit.uses}
        missing = [use for use in unit.uses if use.block not in self.held]
        scores = self._scores(busy, index) if missing else []
        for use in missing:
            block = self.blocks[use.block]
            cycles, earliest = self._fetch(block, use.read)
            free_at, _, _ = self._room(block, start - cycles, earliest, busy, scores)
            ready = free_at
            if cycles:
                ready = max(earliest, free_at + HOP_CYCLES) + cycles + HOP_CYCLES
            start = max(start, ready)
        return start

    def _frees(self, index: int) -> bool:
        """Whether the unit helps to free L1: it goes on with a sum, or uses up a large result that L2 does not have."""
        for use in self.units[index].uses:
            held = self.held.get(use.block)
            if held and use.read and (held.writing if use.write else self._only_here(held)):
                return True
        return False

    def _only_here(self, held: Held) -> bool:
        block = held.block
        return (
            held.dirty and not held.writing and block.bytes >= self.large_bytes and not self.goes_home.get(block.name)
        )

    def _start(self, index: int) -> int:
        """When the unit could start, if what it needs finds room at once."""
        unit = self.units[index]
        start = max(self.free[unit.on_engine], self.inputs_done[index])
        for use in unit.uses:
            if use.read:
                held = self.held.get(use.block)
                start = max(start, held.ready if held else self._fetched(self.blocks[use.block], self.in_free))
        return start

    def _waits_for_jobs(self, index: int) -> bool:
        """Whether the first job of a unit will have the AFTER flag: no job since the last one that had it will do."""
        return any(
            self.units[other].on_engine and self.place[other] >= self.fence for other in self.units[index].before
        )

    def _fetched(self, block: Block, begin: int) -> int:
        """When the block would be in L1 if its copies could start at ``begin``."""
        if not block.storage:
            return begin
        at_home = self._at_home(block)
        return max(begin, at_home) + self.step.move_cycles[block.name] + HOP_CYCLES

    def _at_home(self, block: Block) -> int:
        """When all of the block's content is in L2."""
        arrived = self.arrived.setdefault(block.storage, {})
        if block.name not in arrived:
            written = self.home.get(block.storage, ())
            low, end = self.step.spans[block.name]
            arrived[block.name] = max((time for a, z, time in written if a < end and low < z), default=0)
        return arrived[block.name]

    def _place_unit(self, index: int, start: int) -> None:
        unit = self.units[index]
        names: dict[str, str] = {}
        busy = {use.block for use in unit.uses}
        for use in sorted(unit.uses, key=self._placing):
            held = self.held.get(use.block) or self._allocate(
                self.blocks[use.block], use.read, start, busy, unit, index
            )
            start = max(start, held.ready)
            names[use.block] = held.name
        cycles = unit.cycles
        if unit.on_engine:
            if follows := self._waits_for_jobs(index):
                cycles += unit.after_cycles
            self.place[index] = len(self.commands)
            if follows or unit.waits:
                self.fence = self.place[index]
        end = start + cycles
        self.free[unit.on_engine] = end
        self.busy["engine" if unit.on_engine else "cores"] += cycles
        self.done[index] = True
        while self.oldest < len(self.done) and self.done[self.oldest]:
            self.oldest += 1
        for follower in self.step.followers[index]:
            hop = 0 if self.units[follower].on_engine == unit.on_engine else HOP_CYCLES
            self.inputs_done[follower] = max(self.inputs_done[follower], end + hop)
        self.commands += commands_of(unit, names)
        for use in sorted(unit.uses, key=lambda u: u.write):  # what is written makes older copies worthless
            self._used(self.held[use.block], use, end, unit.node)

    def _placing(self, use: Use) -> tuple[bool, bool, bool]:
        """What finds room first: of blocks not held, one that takes half of L1, then what is fetched."""
        huge = 2 * self.blocks[use.block].bytes >= self.costs.cfg.l1_bytes
        return use.block in self.held, not huge, not use.read

    def _used(self, held: Held, use: Use, end: int, node: int) -> None:
        """Notes a use that ends at ``end``: sends results home, and drops what nobody needs any more."""
        name = held.block.name
        held.busy_until = max(held.busy_until, end)
        users = self.users[name]
        while users and self.done[users[0]]:
            users.pop(0)
        if use.write:
            self.writers[name] -= 1
            held.writing = self.writers[name] > 0
            held.dirty = True
            if held.block.storage:
                self._invalidate(held, use)
            if self.goes_home.get(name) == "parts":
                self._send(held, [(r.offset, r) for r in use.regions], node)
                held.dirty = held.writing
            elif not held.writing and held.block.storage and (self.goes_home.get(name) or self._far(held)):
                self._send(held, held.block.parts, node)
                held.dirty = False
        if not users:
            self._drop(held)

    def _far(self, held: Held) -> bool:
        """Whether the next users come late enough for the block to leave L1 in between."""
        left = [i for i in held.users if not self.done[i]]
        if not left or held.block.bytes <= FLAG_BYTES:
            return False
        return any(b - a > FAR_UNITS for a, b in pairwise([self.oldest, *left]))

    def _invalidate(self, held: Held, use: Use) -> None:
        """Other blocks with the old content of what was written are worth nothing now."""
        for other in [h for h in self.held.values() if h is not held and h.block.storage == held.block.storage]:
            if any(overlap(r, written) for _, r in other.block.parts for written in use.regions):
                assert not other.dirty
                self._drop(other)

    def _drop(self, held: Held) -> None:
        self.l1.release(held, held.busy_until)
        del self.held[held.block.name]

    def _send(self, held: Held, parts: Sequence[tuple[int, Region]], node: int) -> None:
        """Copies ``parts`` of a block to L2."""
        cycles = self.costs.copies(r for _, r in parts)
        begin = max(self.out_free, held.busy_until + HOP_CYCLES)
        self.out_free = held.busy_until = begin + cycles
        self.busy["out"] += cycles
        self.commands += copies_of(held, parts, node, to_l1=False)
        self.arrived.pop(held.block.storage, None)
        self.home.setdefault(held.block.storage, []).extend((r.offset, r.end, self.out_free) for _, r in parts)

    def _fetch(self, block: Block, read: bool) -> tuple[int, int]:
        """(cycles of fetching the block, when that could begin at the earliest); zeros if nothing is fetched."""
        if not read or not block.storage:
            return 0, 0
        return self.step.move_cycles[block.name], max(self.in_free, self._at_home(block))

    def _room(
        self,
        block: Block,
        needed: int,
        earliest: int,
        busy: Collection[str],
        scores: Sequence[tuple[int, float]],
    ) -> tuple[int, int, list[Segment]]:
        """(cycle from which it is free, offset, segments) of the best place for ``block``: of the cheapest, a large one
        takes the first and a small one the last. ``scores``: of all segments.

        Raises:
            NoRoom: there is none.
        """
        least = inf
        found: tuple[int, int, list[Segment]] | None = None
        segments = self.l1.segments
        begin, wanted = max(needed, earliest), (earliest or needed) - self.slack_cycles
        most = inf  # cycles of fetching again, where there is something better beyond that
        for offset, first, last in self.l1.windows(aligned(block.bytes), block.bytes >= self.large_bytes):
            free_at, again = 0, 0.0
            for at, cycles in scores[first : last + 1]:
                again += cycles
                if again >= most:
                    break
                free_at = at if at > free_at else free_at
            else:
                late: float = free_at - begin if free_at > begin else 0
                if self.slack_weight and free_at > wanted:
                    late += self.slack_weight * (free_at - wanted)
                cost = late + REFETCH_WEIGHT * again if self.ahead else 0
                if cost < least:
                    least, found = cost, (free_at, offset, segments[first : last + 1])
                    most = cost / REFETCH_WEIGHT
                if cost == 0:
                    break
        if found is None:
            live = sorted((h.block.bytes, n) for n, h in self.held.items() if n in busy or h.writing)
            raise NoRoom(f"{block.name} ({block.bytes} bytes) finds no room beside {live[-4:]}")
        return found

    def _allocate(self, block: Block, read: bool, needed: int, busy: Collection[str], unit: Unit, index: int) -> Held:
        """A place in L1 for ``block``, and its content if it is ``read``; others may have to leave."""
        cycles, earliest = self._fetch(block, read)
        if not self.ahead:  # one node after the other, each with L1 to itself
            for held in [h for n, h in self.held.items() if n not in busy and not h.writing]:
                self._evict(held, unit.node)
        _, offset, segments = self._room(block, needed - cycles, earliest, busy, self._scores(busy, index))
        for held in {id(s.held): s.held for s in segments if s.held}.values():
            self._evict(held, unit.node)
        free_at = 0
        for start, end, at in [(s.start, s.end, s.free_at) for s in self.l1.segments if s.held is None]:
            if start < offset + block.bytes and offset < end:
                free_at = max(free_at, at)
        name = f"{block.name}#{len(self.placed)}"
        ready = free_at
        held = Held(block, name, offset, self.users[block.name], self.step.move_cycles[block.name], ready, ready)
        self.l1.take(held)
        self.held[block.name] = held
        self.placed.append(held)
        if cycles:
            begin = max(earliest, free_at + HOP_CYCLES)
            self.in_free = begin + cycles
            self.busy["in"] += cycles
            held.ready = held.busy_until = self.in_free + HOP_CYCLES
            self.commands += copies_of(held, block.parts, unit.node, to_l1=True)
        elif self.writers.get(block.name):
            held.writing = True
        return held

    def _scores(self, busy: Collection[str], index: int) -> list[tuple[int, float]]:
        """Of every segment: when it is free, and what it costs to fetch again what must leave it for unit ``index``;
        infinite if it cannot be had."""
        scores = []
        for segment in self.l1.segments:
            held = segment.held
            if held is None:
                scores.append((segment.free_at, 0.0))
            elif held.writing or held.block.name in busy:
                scores.append((0, inf))
            else:
                again = held.fetch_cycles * (1 + held.dirty) * (1 + 40 / (1 + abs(held.users[0] - index)))
                scores.append((max(held.busy_until, self.out_free + held.fetch_cycles if held.dirty else 0), again))
        return scores

    def _evict(self, held: Held, node: int) -> None:
        if held.dirty:
            self._send(held, held.block.parts, node)
        self._drop(held)


def _homecoming(units: Sequence[Unit], blocks: Mapping[str, Block], stay: Collection[str]) -> dict[str, str]:
    """Blocks whose content must go to L2, since it is read there; in "parts", as each is computed, or "whole"."""
    readers: dict[str, dict[str, Region]] = {}
    strided: set[str] = set()
    written: set[str] = set()
    for unit in units:
        for use in unit.uses:
            if use.read and blocks[use.block].storage:
                readers.setdefault(use.space, {})[use.block] = _hull(blocks[use.block])
            if use.write and blocks[use.block].storage:
                written.add(use.block)
                if use.block != use.space or use.read or not all(r.dense for r in use.regions):
                    strided.add(use.block)

    def read_elsewhere(block: Block) -> bool:
        others = readers.get(block.storage, {}).items()
        return any(name != block.name and overlap(hull, _hull(block)) for name, hull in others)

    return {
        name: "whole" if name in strided else "parts"
        for name in sorted(written)
        if blocks[name].storage in stay or read_elsewhere(blocks[name])
    }


def _hull(block: Block) -> Region:
    """From the first byte of its storage that the block holds to the last."""
    low = min(r.offset for _, r in block.parts)
    return Region(low, max(r.end for _, r in block.parts) - low)


def _wait_for_whole_blocks(units: Sequence[Unit], blocks: Mapping[str, Block]) -> list[Unit]:
    """A unit that reads a storage through another block than those it was written through waits for all writers of
    these: a block goes to L2 when it is complete, and is fetched from there when all of it has come."""
    writers: dict[str, dict[str, list[int]]] = {}
    found = []
    for index, unit in enumerate(units):
        before = set(unit.before)
        for use in unit.uses:
            for block, at in writers.get(use.space, {}).items():
                if use.read and block != use.block and overlap(_hull(blocks[block]), _hull(blocks[use.block])):
                    before.update(at)
        for use in unit.uses:
            if use.write and blocks[use.block].storage:
                writers.setdefault(use.space, {}).setdefault(use.block, []).append(index)
        found.append(replace(unit, before=tuple(sorted(before))))
    return found


def _ways_to_engine(units: Sequence[Unit]) -> list[int]:
    """Cycles of the shortest chain of units on the cores from each one to a unit on the engine."""
    ways = [sum(unit.cycles for unit in units)] * len(units)
    for index in range(len(units) - 1, -1, -1):
        rest = 0 if units[index].on_engine else ways[index]
        for other in units[index].before:
            ways[other] = min(ways[other], units[other].cycles + rest)
    return ways


def _urgency(units: Sequence[Unit]) -> list[int]:
    """Cycles of the longest chain of units from each one's node to the end of the step: the tiles of a node go in their
    order."""
    urgency = [unit.cycles for unit in units]
    for index in range(len(units) - 1, -1, -1):
        for other in units[index].before:
            hop = 0 if units[other].on_engine == units[index].on_engine else HOP_CYCLES
            urgency[other] = max(urgency[other], units[other].cycles + hop + urgency[index])
    nodes: dict[int, int] = {}
    for unit, cycles in zip(units, urgency, strict=True):
        nodes[unit.node] = max(nodes.get(unit.node, 0), cycles)
    return [nodes[unit.node] for unit in units]
