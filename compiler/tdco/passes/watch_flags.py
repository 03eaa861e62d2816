"""``Finite`` of a gradient that the engine computed reads the engine's sticky flag first."""

from __future__ import annotations

from dataclasses import replace

from ..ir import Graph, Node
from ..ops import get_op

PRODUCTS = ("ConvWeightGrad", "Gemm", "MatMul")


def watch_flags(graph: Graph) -> Graph:
    """Sets ``engine`` where the gradient is a product, or a view of one: all its elements were some job's Z."""
    producers = graph.producers()

    def watched(node: Node) -> Node:
        producer = producers.get(node.inputs[0]) if node.op == "Finite" else None
        while producer and get_op(producer.op).view:
            producer = producers.get(producer.inputs[0])
        return replace(node, attrs={"engine": 1}) if producer and producer.op in PRODUCTS else node

    return replace(graph, nodes=tuple(map(watched, graph.nodes)))
