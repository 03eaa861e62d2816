"""``Add(MatMul(x, w), bias[N])`` -> ``Gemm(x, w, bias)``: the engine starts its accumulation from the bias."""

from __future__ import annotations

from dataclasses import replace

from ..ir import Graph, Node, prune


def fuse_bias(graph: Graph) -> Graph:
    """Fuses where the product is a matrix of weights times rows and nobody else reads it."""
    producers, users = graph.producers(), graph.users()

    def fused(node: Node) -> Node:
        if node.op != "Add":
            return node
        for product, bias in (node.inputs, node.inputs[::-1]):
            matmul = producers.get(product)
            if matmul is None or matmul.op != "MatMul" or len(users[product]) != 1 or product in graph.outputs:
                continue
            w = graph.type(matmul.inputs[1])
            if len(w.shape) == 2 and graph.type(bias).shape == w.shape[1:] and graph.type(bias).dtype == w.dtype:
                return Node("Gemm", (*matmul.inputs, bias), node.outputs, {}, matmul.source or node.source)
        return node

    return prune(replace(graph, nodes=tuple(map(fused, graph.nodes))))
