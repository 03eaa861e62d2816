"""``Finite`` of a gradient that the engine computed reads the engine's sticky flag first."""

from __future__ import annotations

from dataclasses import replace

from ..ir import Graph, Node
from ..ops import get_op

PRODUCTS = ("ConvWeightGrad", "Gemm", "MatMul")


def watch_flags(graph: Graph) -> Graph:
    """Sets ``engine`` where the gradient is a product, or a view of one: all its elements were some job's Z.

    What is looked at is the value behind the views, so that looks at the same are equal nodes.
    """
    producers = graph.producers()

    def watched(node: Node) -> Node:
        if node.op != "Finite":
            return node
        name, *others = node.inputs
        size, producer = graph.type(name).size, producers.get(name)
        while producer and get_op(producer.op).view:
            if graph.type(producer.inputs[0]).size == size:
                name = producer.inputs[0]
            producer = producers.get(producer.inputs[0])
        engine = {"engine": 1} if producer and producer.op in PRODUCTS else {}
        return replace(node, inputs=(name, *others), attrs=engine)

    return replace(graph, nodes=tuple(map(watched, graph.nodes)))
