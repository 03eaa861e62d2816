"""Values that lie idle between the forward and the backward pass are computed a second time instead of being kept."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from math import inf

from ..ir import Graph, Node, Value, verify
from ..ops import get_op

MAX_VALUES = 64
"""Computed again for one plan, at most."""
MAX_CHAIN = 4
"""Nodes that are computed again for one value, at most: longer chains cost more than L3."""
MIN_SAVED_BYTES = 1024
"""Of the peak, for a second computation to be worth a kernel call."""
HEAD_START_NODES = 14
"""How far ahead of its first reader something may be computed again; the attribute ``behind`` names what to wait for.
Without, the scheduler would run ahead and fill the room that was won; more brings nothing."""
TIED_TO_THEIR_PLACE = ("Due", "Finite")
"""Operators whose result depends on when they run: on flags of the engine and counters of the step."""


@dataclass(frozen=True)
class Recomputed:
    """``nodes`` (by their first outputs) compute something a second time, so that ``bytes`` of ``tensor`` need not be
    kept at the peak; modelled to take ``cycles`` of engine or cores."""

    tensor: str
    bytes: int
    cycles: int
    nodes: tuple[str, ...]


def rematerialise(
    graph: Graph,
    homes: Collection[str],
    cycles: Mapping[str, int],
    excess_bytes: int,
    cycles_per_byte: float = inf,
) -> tuple[Graph, tuple[Recomputed, ...]]:
    """``graph`` with values recomputed until its peak is ``excess_bytes`` lower, or as low as this way can bring it.

    A memory plan says which tensors have a home in L2 (``homes``: the storages) and how long each node takes
    (``cycles``, by its first output). At the peak, the value that saves the most bytes per cycle goes first; products
    are computed again only when nothing else is left, and nothing that takes more than ``cycles_per_byte``. Values keep
    their bits: the same operators on the same inputs.
    """
    found: list[Recomputed] = []
    target = 0
    for _ in range(MAX_VALUES):
        lives = _Lives(graph, homes)
        target = target or lives.peak_bytes - excess_bytes
        if lives.peak_bytes <= target:
            break
        options = [
            o for o in _options(lives, cycles)
            if o.saved_bytes >= max(MIN_SAVED_BYTES, o.cycles / cycles_per_byte)
        ]  # fmt: skip
        if not options:
            break
        best = min(options, key=lambda o: (o.product, -o.saved_bytes / max(1, o.cycles), o.value))
        known = graph.values
        graph = verify(_recompute(graph, best.nodes, best.before, lives.peak))
        new = [name for node in graph.nodes for name in node.outputs if name not in known]
        copies = tuple(n.outputs[0] for n in graph.nodes if n.outputs[0] in new and not get_op(n.op).view)
        found.append(Recomputed(best.value, best.saved_bytes, best.cycles, copies))
        homes = {*homes, *new}
    return graph, tuple(found)


@dataclass(frozen=True)
class _Option:
    value: str
    nodes: tuple[int, ...]
    before: int
    saved_bytes: int
    cycles: int
    product: bool


class _Lives:
    """When values with a home in L2 are live, counted in nodes; views count as what they are views of."""

    def __init__(self, graph: Graph, homes: Collection[str]) -> None:
        self.graph = graph
        self.root = {name: name for name in graph.values}
        self.made: dict[str, int] = {}
        self.read: dict[str, list[int]] = {}
        for place, node in enumerate(graph.nodes):
            view = get_op(node.op).view
            for name in dict.fromkeys(filter(None, node.inputs)):
                if not view:
                    self.read.setdefault(self.root[name], []).append(place)
            for name in node.outputs:
                self.root[name] = self.root[node.inputs[0]] if view else name
                if not view:
                    self.made[name] = place
        self.replaced = {state: self.made[self.root[new]] for state, new in graph.updates.items()}
        kept = {self.root[n] for n in (*graph.inputs, *graph.outputs, *graph.constants, *graph.state)}
        kept |= {self.root[n] for n in graph.updates.values()}
        self.kept = frozenset(kept)
        self.homes = {self.root[name] for name in homes if name in self.root} - kept
        live = [0] * len(graph.nodes)
        for name in self.homes:
            for place in range(self.made[name], self.last(name) + 1):
                live[place] += graph.type(name).bytes
        self.peak_bytes = max(live, default=0)
        self.peak = live.index(self.peak_bytes) if live else 0

    def last(self, name: str) -> int:
        return max(self.read.get(name, ()), default=self.made[name])

    def is_live(self, name: str, place: int) -> bool:
        return name in self.kept or self.made[name] <= place <= self.last(name)


def _options(lives: _Lives, cycles: Mapping[str, int]) -> Iterator[_Option]:
    """What could be computed again behind the peak rather than be kept there."""
    graph, peak = lives.graph, lives.peak
    for name in sorted(lives.homes):
        places = lives.read.get(name, [])
        later = [place for place in places if place > peak]
        if lives.made[name] >= peak or peak in places or not later:
            continue
        nodes = _chain(lives, name, later[0])
        if not nodes:
            continue
        inputs = {lives.root[i] for place in nodes for i in graph.nodes[place].inputs if i} - lives.kept
        longer = {i for i in inputs if lives.made[i] not in nodes and not lives.is_live(i, peak)}
        idle = {
            out
            for place in nodes
            for out in lives.homes.intersection(graph.nodes[place].outputs)
            if lives.is_live(out, peak) and not any(peak <= place < later[0] for place in lives.read.get(out, ()))
        }
        saved = sum(graph.type(out).bytes for out in idle) - sum(graph.type(i).bytes for i in longer)
        price = sum(cycles.get(graph.nodes[place].outputs[0], 0) for place in nodes)
        yield _Option(name, nodes, later[0], saved, price, any(get_op(graph.nodes[p].op).flop for p in nodes))


def _chain(lives: _Lives, name: str, before: int) -> tuple[int, ...]:
    """The nodes that compute ``name`` from what there is in front of node ``before``; none if that is impossible."""
    graph, found, wanted = lives.graph, set(), [name]
    while wanted:
        place = lives.made[wanted.pop()]
        node = graph.nodes[place]
        found.add(place)
        if len(found) > MAX_CHAIN or get_op(node.op).update or node.op in TIED_TO_THEIR_PLACE:
            return ()
        for root in {lives.root[i] for i in node.inputs if i}:
            if lives.replaced.get(root, before) < before:
                return ()
            if not lives.is_live(root, before) and lives.made[root] not in found:
                wanted.append(root)
    return tuple(sorted(found))


def _recompute(graph: Graph, places: Collection[int], before: int, peak: int) -> Graph:
    """``graph`` with the nodes at ``places`` once more in front of the one at ``before``, for it and all behind it.
    They wait until the one at ``peak`` is done, if not longer."""
    values = dict(graph.values)
    producers = graph.producers()
    renamed: dict[str, str] = {}
    added: list[Node] = []
    computing = [place for place in range(peak, before) if not get_op(graph.nodes[place].op).view]
    behind = {"behind": graph.nodes[computing[-HEAD_START_NODES:][0]].outputs[0]}

    def copy(node: Node) -> None:
        for name in node.outputs:
            again = _fresh(values, name)
            values[again] = Value(again, values[name].type, values[name].source, values[name].perm)
            renamed[name] = again
        outputs = tuple(renamed[name] for name in node.outputs)
        attrs = node.attrs if get_op(node.op).view else {**node.attrs, **behind}
        added.append(replace(node, inputs=tuple(map(current, node.inputs)), outputs=outputs, attrs=attrs))

    def current(name: str) -> str:
        """What stands for ``name`` now, through views too."""
        node = producers.get(name)
        if name not in renamed and node and get_op(node.op).view and current(node.inputs[0]) != node.inputs[0]:
            copy(node)
        return renamed.get(name, name)

    for place in sorted(places):
        copy(graph.nodes[place])
    later: set[str] = set()
    for node in graph.nodes[before:]:
        later.update(node.outputs)
        for name in filter(None, node.inputs):
            if name not in later:
                current(name)
    rest = [replace(n, inputs=tuple(renamed.get(i, i) for i in n.inputs)) for n in graph.nodes[before:]]
    return replace(graph, nodes=(*graph.nodes[:before], *added, *rest), values=values)


def _fresh(values: Mapping[str, Value], name: str) -> str:
    again, n = f"{name}.again", 2
    while again in values:
        again, n = f"{name}.again.{n}", n + 1
    return again
