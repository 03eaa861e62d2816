"""``SGD(master, MatMul(a[M,1], b[1,N]))`` -> ``OuterSGD(master, a, b)``: of one sample, the cores make the gradient."""

from __future__ import annotations

from dataclasses import replace

from ..ir import Builder, Graph, Node, prune


def fuse_outer(graph: Graph) -> Graph:
    """Fuses where nobody but the look for overflow reads the gradient; both factors are looked at instead."""
    producers, users = graph.producers(), graph.users()
    b = Builder(replace(graph, nodes=()))
    flags: dict[str, str] = {}

    def finite(name: str, source: str) -> str:
        if name not in flags:
            flags[name] = b.add1("Finite", [name], name=f"{name}.ok", source=source)
        return flags[name]

    def fused(node: Node) -> Node:
        if node.op != "SGD":
            return node
        master, grad, ok = node.inputs
        product, check = producers.get(grad), producers.get(ok)
        if product is None or product.op != "MatMul" or graph.type(product.inputs[0]).shape[1:] != (1,):
            return node
        if (
            check is None
            or check.op != "Finite"
            or len(check.inputs) > 1
            or {id(n) for n in users[grad]} != {id(node), id(check)}
        ):
            return node
        oks = [finite(name, node.source) for name in product.inputs]
        return replace(node, op="OuterSGD", inputs=(master, *product.inputs, *oks))

    for node in graph.nodes:
        new = fused(node)  # its flags come first
        b.nodes.append(new)
    return prune(b.graph())
