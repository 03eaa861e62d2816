"""``Add(y, product)`` -> ``Gemm`` that starts from y: the engine sums up, whether a residual or a gradient's parts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..ir import Builder, Graph, Node, prune


def fuse_sum(graph: Graph) -> Graph:
    """Fuses where the product is one of rows and a matrix, nobody else reads it, and y is there before it.

    A product that starts from a tensor already passes y on to the product that made this one, and so on. One that
    starts from a bias starts from its sum with y instead.
    """
    b = Builder(graph)
    one = b.constant("one", np.ones(1))
    places: list[list[Node]] = [[node] for node in graph.nodes]
    at = {name: place for place, node in enumerate(graph.nodes) for name in node.outputs}
    users = graph.users()

    def beginning(y: str, product: str) -> int | None:
        """The place of the product that ``product`` begins with, if it may start from ``y``."""
        place = at.get(product, -1)
        if place <= at.get(y, -1) or len(users[product]) != 1 or product in graph.outputs:
            return None
        node = places[place][-1]
        if node.op not in ("Gemm", "MatMul") or node.attrs or len(graph.type(node.inputs[1]).shape) != 2:
            return None
        start = node.inputs[2:]
        return beginning(y, start[0]) if start and b.type(start[0]) == b.type(y) else place

    def started(node: Node, y: str) -> list[Node]:
        """``node`` from ``y`` on, behind the nodes it then needs."""
        b.nodes = []
        if node.op == "Gemm":
            y = b.add1("AddBias", [y, node.inputs[2], one], {}, f"{node.outputs[0]}.start", node.source)
        return [*b.nodes, replace(node, op="Gemm", inputs=(*node.inputs[:2], y))]

    for place, node in enumerate(graph.nodes):
        if node.op != "Add" or any(graph.type(i) != graph.type(node.outputs[0]) for i in node.inputs):
            continue
        for y, product in (node.inputs, node.inputs[::-1]):
            first = beginning(y, product)
            if first is not None:
                places[first] = [*places[first][:-1], *started(places[first][-1], y)]
                last = places[at[product]]
                last[-1] = replace(last[-1], outputs=node.outputs)
                at[node.outputs[0]], places[place] = at[product], []
                break
    b.nodes = [node for nodes in places for node in nodes]
    return prune(b.graph())
