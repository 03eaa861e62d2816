"""What the planner chose for a step, node by node and as a whole, from its own figures."""

from __future__ import annotations

from math import ceil
from typing import Any

from .budget import PlannedStep
from .cost import Costs
from .ir import Graph, Node
from .layout import is_view
from .program import Copy, GemmJob, KernelCall, Move
from .work import describe

RESOURCES = ("engine", "cores", "copies in", "copies out")


def explain(planned: PlannedStep, costs: Costs) -> dict[str, Any]:
    """The choices, as tables of plain values.

    - ``nodes``: of each node that computes, its modelled ``engine_cycles`` and ``cores_cycles``, the ``tile`` (size by
      loop) and how many ``tiles``; which operand of a product takes the engine's ``rows``; what was ``fused`` into it;
      whether it computes something ``again``; the bytes ``fetched`` into L1 for it, ``sent`` back to L2 and ``moved``
      between L2 and L3, and the ``home`` of its result: l1 if it never leaves;
    - ``tried``: modelled cycles by order, if L2 had room for all, see ``schedule.Order``; the fewest won, or one of
      hardly more in less memory;
    - ``busy``: modelled cycles by resource, and ``bound``, the resource that works most;
    - ``l3``: tensors at home in L3, with their bytes.
    """
    schedule = planned.schedule
    nodes = {index: _node(planned, costs, index) for index, n in enumerate(planned.graph.nodes) if not is_view(n)}
    for command in schedule.commands:
        row = nodes[command.node]
        op = command.op
        if isinstance(op, Copy):
            row["fetched" if op.to_l1 else "sent"] += op.rows * op.row_bytes
        elif isinstance(op, GemmJob):
            row["engine_cycles"] += costs.op(op)
            row["rows"] |= {"W" if op.trans_z else "X"}
        elif isinstance(op, Move):
            row["moved"] += op.bytes
        elif isinstance(op, KernelCall):
            row["cores_cycles"] += costs.op(op)
    for row in nodes.values():
        row["rows"] = " and ".join(sorted(row["rows"]))
    busy = dict(zip(RESOURCES, schedule.busy, strict=True))
    return {
        "nodes": list(nodes.values()),
        "tried": dict(schedule.tried),
        "cycles": schedule.cycles,
        "busy": busy,
        "bound": max(busy, key=lambda name: busy[name]),
        "l3": {p.buffer.tensor: p.buffer.bytes for p in planned.memory.placements.values() if p.buffer.level == "l3"},
    }


def _node(planned: PlannedStep, costs: Costs, index: int) -> dict[str, Any]:
    """What is known of a node without its commands."""
    graph, node, tiling = planned.graph, planned.graph.nodes[index], planned.tilings[index]
    loops = describe(graph, planned.layout, node, costs.whole_bytes).domain.loops
    tiles = 1
    for loop in loops:
        tiles *= ceil(loop.extent / tiling.sizes[loop.name])
    places = planned.memory.placements
    storages = {planned.layout.views[name].storage for name in node.outputs}
    homes = {places[name].buffer.level for name in storages if name in places}
    return {
        "node": index,
        "op": node.op,
        "name": node.outputs[0],
        "engine_cycles": 0,
        "cores_cycles": 0,
        "tiles": tiles,
        "tile": {name: size for name, size in tiling.sizes.items() if size > 1},
        "rows": set(),
        "fused": _fused(graph, node),
        "again": any(node.outputs[0] in r.nodes for r in planned.recomputed),
        "fetched": 0,
        "sent": 0,
        "moved": 0,
        "home": " and ".join(sorted(homes)) if homes else "l1",
    }


def _fused(graph: Graph, node: Node) -> list[str]:
    """What a node does beside its operator's own work."""
    found = [name for name in ("relu", "scale") if node.attrs.get(name)]
    if node.op == "Gemm":
        y, z = graph.type(node.inputs[2]), graph.type(node.outputs[0])
        found.append("sum" if y.shape == z.shape else "bias")
    return found
