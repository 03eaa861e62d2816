"""``Softmax(Mul(x, c))`` -> ``Softmax(x)`` with the attribute ``scale``; the product behind its gradient likewise."""

from __future__ import annotations

from dataclasses import replace

from ..ir import Graph, Node, prune


def fuse_scale(graph: Graph) -> Graph:
    """Fuses where the factor is a frozen, positive number and nobody else reads what lies between."""
    producers, users = graph.producers(), graph.users()

    def factor(node: Node | None) -> float:
        """What ``node`` multiplies its first operand by; 0: that is no positive number."""
        number = graph.constants.get(node.inputs[1]) if node is not None and node.op == "Mul" else None
        return max(0.0, float(number.item())) if number is not None and number.size == 1 else 0.0

    def with_factor(node: Node, c: float) -> Node:
        return replace(node, attrs={**node.attrs, "scale": c * node.attrs.get("scale", 1.0)})

    def fused(node: Node) -> Node:
        before = producers.get(node.inputs[0])
        if before is None or len(users[before.outputs[0]]) != 1 or before.outputs[0] in graph.outputs:
            return node
        if node.op == "Softmax" and (c := factor(before)):
            return replace(with_factor(node, c), inputs=before.inputs[:1])
        if before.op == "SoftmaxGrad" and (c := factor(node)):
            return replace(with_factor(before, c), outputs=node.outputs)
        return node

    return prune(replace(graph, nodes=tuple(map(fused, graph.nodes))))
