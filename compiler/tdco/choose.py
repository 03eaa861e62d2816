"""Chooses among an operator's ways to compute the same: the fewest modelled cycles of engine and cores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from .cost import Costs
from .ir import Attrs, Graph, Node
from .layout import Layout
from .ops import get_op
from .tile import compute_cycles
from .work import describe

JOB_ISSUE_CYCLES = 400
"""From one engine job's start to the next one's, however short it is: the controller's turn for a command. Measured on
soc: a 3x3 convolution of 3 channels by taps, whose jobs take the engine 125 cycles, starts one every 360 or 453."""


def choose_ways(graph: Graph, layout: Layout, costs: Costs) -> Graph:
    """``graph`` with the attributes of the cheapest of its operators' ``choices``, every node taken as one tile."""
    known: dict[str, Attrs] = {}
    issued = replace(costs, job=lambda job, after: max(costs.job(job, after), JOB_ISSUE_CYCLES))

    def cycles(node: Node, choice: Mapping[str, object]) -> float:
        work = describe(graph, layout, replace(node, attrs={**node.attrs, **choice}))
        return compute_cycles(work, {loop.name: loop.extent for loop in work.domain.loops}, issued)

    def chosen(node: Node) -> Node:
        choices = get_op(node.op).choices
        if not choices:
            return node
        types = [str(graph.type(name)) for name in (*node.inputs, *node.outputs) if name]
        key = f"{node.op} {types} {sorted(node.attrs.items())}"
        if key not in known:
            known[key] = min(choices, key=lambda choice: cycles(node, choice))
        return replace(node, attrs={**node.attrs, **known[key]})

    return replace(graph, nodes=tuple(map(chosen, graph.nodes)))
