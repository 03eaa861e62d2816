"""What the memory of a step is for: every placement with its category, and the peaks of what comes and goes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .ir import Graph
from .l3 import at_home
from .layout import Layout
from .optimizer import CARRY, MASTER
from .program import MemoryPlan

PERSISTENT = ("parameters", "masters", "optimizer")
DYNAMIC = ("activations", "gradients", "temporaries")
"""What a step computes and forgets: in the forward pass, in the backward pass, and within one node."""
WITHIN_A_NODE = ("Contiguous", "Finite", "Due")
"""Operators whose results are no tensors of the model: copies for one user, and flags."""


@dataclass(frozen=True)
class Life:
    """``bytes`` at byte ``offset`` of ``level`` hold (part of) ``tensor`` from command ``first`` to ``last``."""

    tensor: str
    category: str
    level: str
    offset: int
    bytes: int
    first: int
    last: int


def lives(graph: Graph, layout: Layout, plan: MemoryPlan) -> list[Life]:
    """Every placement of ``plan``, in the order in which they begin."""
    category = _categories(graph, layout)
    found = []
    for p in plan.placements.values():
        b = p.buffer
        kind = category.get(at_home(b.tensor), "temporaries")
        if b.tensor != at_home(b.tensor) and kind in PERSISTENT:
            kind = "temporaries"
        found.append(Life(b.tensor, kind, b.level, p.offset, b.bytes, p.first, p.last))
    return sorted(found, key=lambda life: (life.first, life.level, life.offset))


def footprint(graph: Graph, found: Sequence[Life]) -> dict[str, Any]:
    """Bytes of a step by category.

    ``dynamic_peak_bytes``: the most that L1 and L2 together hold of what comes and goes, a tensor that lies in both
    counted in both, and what L2 holds of a tensor at home in L3. ``dynamic_bound_bytes``: the same with every tensor
    counted once, from its first command to its last: no placement of this schedule could do with less.
    ``total_bytes``: what persists, in L2 or L3, and the peak.
    """
    kept = {c: sum(life.bytes for life in found if life.category == c and life.level != "l1") for c in PERSISTENT}
    dynamic = [life for life in found if life.category in DYNAMIC and life.level != "l3"]
    peak, at = _peak(dynamic)
    return {
        **{f"{category}_bytes": n for category, n in kept.items()},
        "dynamic_peak_bytes": peak,
        "dynamic_bound_bytes": _peak(_once(graph, dynamic))[0],
        "dynamic_at_peak": {
            c: sum(life.bytes for life in dynamic if life.category == c and life.first <= at <= life.last)
            for c in DYNAMIC
        },
        "total_bytes": sum(kept.values()) + peak,
    }


def over_time(found: Iterable[Life]) -> list[tuple[int, int]]:
    """(command, bytes live from it on), wherever they change."""
    changes: dict[int, int] = {}
    for life in found:
        changes[life.first] = changes.get(life.first, 0) + life.bytes
        changes[life.last + 1] = changes.get(life.last + 1, 0) - life.bytes
    live, steps = 0, []
    for at in sorted(changes):
        live += changes[at]
        steps.append((at, live))
    return steps


def _peak(found: Iterable[Life]) -> tuple[int, int]:
    """The most bytes live at once, and the first command where they are."""
    at, live = max(over_time(found), key=lambda step: (step[1], -step[0]), default=(0, 0))
    return live, at


def _once(graph: Graph, found: Iterable[Life]) -> list[Life]:
    """Every tensor as one life of its whole size; parts of nothing that has a name, like scratch, stay as they are."""
    whole: dict[str, Life] = {}
    rest = []
    for life in found:
        if life.tensor not in graph.values:
            rest.append(life)
            continue
        known = whole.get(life.tensor, life)
        first, last = min(known.first, life.first), max(known.last, life.last)
        size = graph.type(life.tensor).bytes
        whole[life.tensor] = Life(life.tensor, life.category, "", 0, size, first, last)
    return [*whole.values(), *rest]


def _categories(graph: Graph, layout: Layout) -> Mapping[str, str]:
    """The category of every storage. What depends on the gradient of the loss is a gradient."""
    found = dict.fromkeys(graph.constants, "parameters")
    for name in graph.state:
        trained = graph.type(name).dtype == "f16" and not name.endswith(CARRY)
        found[name] = "masters" if name.endswith(MASTER) else "parameters" if trained else "optimizer"
    gradients: set[str] = set()
    temporaries: set[str] = set()
    for node in graph.nodes:
        if node.op.endswith("LossGrad") or gradients.intersection(node.inputs):
            gradients.update(node.outputs)
        if node.op in WITHIN_A_NODE:
            temporaries.update(node.outputs)
    for view in layout.views.values():
        name = view.storage
        computed = "temporaries" if name in temporaries else "gradients" if name in gradients else "activations"
        found.setdefault(name, computed)
    return found
