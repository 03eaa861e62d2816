"""``Transpose(MatMul(x, w))`` -> ``MatMul(w.t, x.t)``: a gradient is made in the order of the weight it belongs to.

So it is cut along the same rows as its update, and a tile of one is a tile of the other.
"""

from __future__ import annotations

from dataclasses import replace

from ..ir import Builder, Graph, Node, prune

SWAP = (1, 0)


def turn_products(graph: Graph) -> Graph:
    """Turns products of two matrices that nobody reads but a transpose."""
    producers, users = graph.producers(), graph.users()
    b = Builder(replace(graph, nodes=()))

    def transposed(node: Node | None) -> bool:
        return node is not None and node.op == "Transpose" and tuple(node.attrs["perm"]) == SWAP

    def turned(name: str, source: str) -> str:
        producer = producers.get(name)
        if producer and transposed(producer):
            return producer.inputs[0]
        return b.add1("Transpose", [name], {"perm": SWAP}, f"{name}.t", source)

    for node in graph.nodes:
        product = producers.get(node.inputs[0]) if transposed(node) else None
        if (
            product is not None
            and product.op == "MatMul"
            and not product.attrs
            and len(users[node.inputs[0]]) == 1
            and node.inputs[0] not in graph.outputs
        ):
            x, w = product.inputs
            node = replace(product, inputs=(turned(w, node.source), turned(x, node.source)), outputs=node.outputs)
        b.nodes.append(node)
    return prune(b.graph())
