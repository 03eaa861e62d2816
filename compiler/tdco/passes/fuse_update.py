"""``HalfSGD(w, MatMul(a, b))`` -> ``GemmUpdate(Factor(a), Factor(b), w)``: the engine adds the gradient to the weight.

The learning rate is in the factors, about half of it in each, so that neither becomes too small for fp16.
"""

from __future__ import annotations

from dataclasses import replace
from math import log2

from ..ir import Builder, Graph, Node, prune
from ..ops.sgd import rate


def fuse_update(graph: Graph) -> Graph:
    """Fuses where nobody but the look for overflow reads the gradient; both factors are looked at instead."""
    producers, users = graph.producers(), graph.users()
    b = Builder(replace(graph, nodes=()))

    def product_of(node: Node) -> Node | None:
        if node.op != "HalfSGD":
            return None
        _, grad, ok = node.inputs
        product, check = producers.get(grad), producers.get(ok)
        if product is None or product.op != "MatMul" or len(graph.type(grad).shape) != 2:
            return None
        alone = check is not None and check.op == "Finite" and len(check.inputs) == 1
        return product if alone and {id(n) for n in users[grad]} == {id(node), id(check)} else None

    def factor(name: str, oks: list[str], part: float, source: str) -> str:
        """The factor ``name`` times ``part``; of a transposed one what it is a view of, so that it stays in rows."""
        view = producers.get(name)
        if view and view.op == "Transpose":
            scaled = factor(view.inputs[0], oks, part, source)
            return b.add1("Transpose", [scaled], view.attrs, f"{name}.scaled", source)
        return b.add1("Factor", [name, *oks], {"rate": part}, f"{name}.scaled", source)

    for node in graph.nodes:
        if product := product_of(node):
            oks = [b.add1("Finite", [name], name=f"{name}.ok", source=node.source) for name in product.inputs]
            whole = rate(node.attrs)
            part = 2.0 ** round(log2(whole) / 2)
            parts = zip(product.inputs, (part, -whole / part), strict=True)
            factors = [factor(name, oks, share, node.source) for name, share in parts]
            node = replace(node, op="GemmUpdate", inputs=(*factors, node.inputs[0]), attrs={})
        b.nodes.append(node)
    return prune(b.graph())
