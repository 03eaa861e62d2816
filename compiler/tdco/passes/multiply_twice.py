"""``SGD(master, MatMul(x, w), Finite(..))`` -> ``ProductUpdate(x, w, master, ProductFinite(x, w))``, and other updates.

Whether a gradient overflows must be known before the first element is updated. One that had to be held until then would
fill L1, or go to L2 and come back twice; where K is small, the engine makes it twice in less time.
"""

from __future__ import annotations

from dataclasses import replace

from ..cost import Costs
from ..ir import Graph, Node, TensorType, prune
from ..ops import get_op
from ..program import GemmJob, Ref
from ..transfer import Region

PASSES = 3
"""Of a gradient through the DMA if it is stored: out, in to be looked at, in for the update."""
LEAST_SHARE = 1 / 8
"""Of L1: smaller gradients are held there."""


def multiply_twice(graph: Graph, costs: Costs) -> Graph:
    """Rewrites where nobody but the update and the look for overflow reads the gradient, and it pays."""
    producers, users = graph.producers(), graph.users()

    def product_of(node: Node) -> tuple[Node, int] | None:
        """The product that ``node``, an update or a look, should make itself, and which input that is."""
        for at, name in enumerate(node.inputs):
            product, readers = producers.get(name), users[name]
            if product is None or product.op != "MatMul" or product.attrs or name in graph.outputs:
                continue
            updates = [reader for reader in readers if get_op(reader.op).update]
            checks = [reader for reader in readers if reader.op == "Finite"]
            x, w = (graph.type(factor) for factor in product.inputs)
            if len(updates) == len(checks) == 1 and len(readers) == 2 and _pays(x, w, graph.type(name), costs):
                return product, at
        return None

    def fused(node: Node) -> Node:
        found = product_of(node)
        if found is None:
            return node
        product, at = found
        others = (*node.inputs[:at], *node.inputs[at + 1 :])
        op = "ProductFinite" if node.op == "Finite" else "ProductUpdate"
        attrs = {**node.attrs, "body": node.op, "at": at}
        return replace(node, op=op, inputs=(*product.inputs, *others), attrs=attrs)

    return prune(replace(graph, nodes=tuple(map(fused, graph.nodes))))


def _pays(x: TensorType, w: TensorType, grad: TensorType, costs: Costs) -> bool:
    """Whether the product is large, and a second one cheaper than moving it; its factors must fit L1."""
    if len(grad.shape) != 2 or grad.bytes < LEAST_SHARE * costs.cfg.l1_bytes:
        return False
    if max(x.bytes, w.bytes) > costs.whole_bytes:
        return False
    (m, k), n = x.shape, w.shape[1]
    job = GemmJob(
        m=m, n=n, k=k, x=Ref("x"), w=Ref("w"), z=Ref("z"), trans_x=True,
        x_stride=x.bytes // k, w_stride=w.bytes // k, z_stride=grad.bytes // m,
    )  # fmt: skip
    return costs.op(job) < PASSES * costs.copies([Region(0, grad.bytes)])
