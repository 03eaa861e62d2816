"""``Add(y, product)`` -> ``Gemm`` that starts from y: the engine sums up, whether adapters or a gradient's parts."""

from __future__ import annotations

from dataclasses import replace

from ..ir import Graph, prune


def fuse_sum(graph: Graph) -> Graph:
    """Fuses where the product is one of rows and a matrix, nobody else reads it, and y is there before it.

    A product that starts from a tensor already passes y on to the product that made this one, and so on. One that
    starts from a bias cannot: the bias has y's place.
    """
    nodes, gone = list(graph.nodes), set()
    at = {name: place for place, node in enumerate(graph.nodes) for name in node.outputs}
    users = graph.users()

    def beginning(y: str, product: str) -> int | None:
        """The place of the product that ``product`` begins with, if it may start from ``y``."""
        place = at.get(product, -1)
        if place <= at.get(y, -1) or len(users[product]) != 1 or product in graph.outputs:
            return None
        node = nodes[place]
        if node.op not in ("Gemm", "MatMul") or node.attrs or len(graph.type(node.inputs[1]).shape) != 2:
            return None
        if node.op == "MatMul":
            return place
        start = node.inputs[2]
        return beginning(y, start) if graph.type(start) == graph.type(y) else None

    for place, node in enumerate(graph.nodes):
        if node.op != "Add" or any(graph.type(i) != graph.type(node.outputs[0]) for i in node.inputs):
            continue
        for y, product in (node.inputs, node.inputs[::-1]):
            first = beginning(y, product)
            if first is not None:
                last = at[node.outputs[0]] = at[product]
                nodes[first] = replace(nodes[first], op="Gemm", inputs=(*nodes[first].inputs, y))
                nodes[last] = replace(nodes[last], outputs=node.outputs)
                gone.add(place)
                break
    return prune(replace(graph, nodes=tuple(node for place, node in enumerate(nodes) if place not in gone)))
