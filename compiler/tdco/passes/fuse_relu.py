"""``Relu(product)`` -> the product with the attribute ``relu``: the engine rectifies on its way out."""

from __future__ import annotations

from dataclasses import replace

from ..ir import Graph, Node, prune

PRODUCTS = ("Conv", "Gemm", "MatMul")


def fuse_relu(graph: Graph) -> Graph:
    """Fuses where nobody else reads the product. The mask of a ReluGrad is read from Relu's output, which stays."""
    producers, users = graph.producers(), graph.users()
    fused: dict[str, Node] = {}
    for relu in graph.nodes:
        product = producers.get(relu.inputs[0]) if relu.op == "Relu" else None
        if product is None or product.op not in PRODUCTS or product.outputs[0] in graph.outputs:
            continue
        if len(users[product.outputs[0]]) == 1:
            fused[product.outputs[0]] = replace(product, outputs=relu.outputs, attrs={**product.attrs, "relu": 1})
    gone = {n.outputs[0] for n in fused.values()}
    nodes = (fused.get(n.outputs[0], n) for n in graph.nodes if n.outputs[0] not in gone)
    return prune(replace(graph, nodes=tuple(nodes)))
