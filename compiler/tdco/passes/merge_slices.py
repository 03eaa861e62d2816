"""The gradients of slices that together make up a tensor -> one ``Concat``, instead of a sum of padded zeros."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..ir import Graph, Node, prune


def merge_slices(graph: Graph) -> Graph:
    """``Add(SliceGrad(a), SliceGrad(b))`` -> ``Concat(a, b)`` where the slices lie side by side and leave no gap."""
    producers = graph.producers()
    users = {name: len(nodes) for name, nodes in graph.users().items()}

    def merged(node: Node) -> Node:
        parts = _parts(node, producers, users) if node.op == "Add" else None
        if not parts or any(len(p.attrs["axes"]) > 1 or p.attrs["axes"] != parts[0].attrs["axes"] for p in parts):
            return node
        (axis,) = parts[0].attrs["axes"]
        parts = sorted(parts, key=lambda p: p.attrs["starts"])
        at = 0
        for part in parts:
            if part.attrs["starts"] != (at,) or graph.type(part.inputs[0]).dtype != graph.type(node.outputs[0]).dtype:
                return node
            at += graph.type(part.inputs[0]).shape[axis]
        if at != graph.type(node.outputs[0]).shape[axis]:
            return node
        return Node("Concat", tuple(p.inputs[0] for p in parts), node.outputs, {"axis": axis}, node.source)

    return prune(replace(graph, nodes=tuple(map(merged, graph.nodes))))


def _parts(node: Node, producers: Mapping[str, Node], users: Mapping[str, int]) -> list[Node] | None:
    """The slice gradients that a tree of additions sums up; None if it sums up anything else."""
    found: list[Node] = []
    for name in node.inputs:
        part = producers.get(name)
        if part is None or users[name] != 1:
            return None
        if part.op == "SliceGrad":
            found.append(part)
        elif part.op == "Add" and (inner := _parts(part, producers, users)):
            found += inner
        else:
            return None
    return found
