"""Transposes move towards the outputs until they meet and cancel.

``Relu(Transpose(x))`` -> ``Transpose(Relu(x))``, sums likewise; ``Transpose(Transpose(x))`` -> one or none. The
transposes that the importer puts around NHWC convolutions and poolings vanish this way.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..ir import Builder, Graph, Node, prune

UNARY = {"Relu", "Gelu"}
BINARY = {"Add", "Mul"}
REDUCE = {"ReduceMean", "ReduceSum"}
Moved = tuple[str, tuple[int, ...]]


def sink_transposes(graph: Graph) -> Graph:
    """``graph`` with every transpose as late as possible: in front of the first node that needs the order."""
    b = Builder(graph)
    b.nodes = []
    moved: dict[str, Moved] = {}
    emitted: dict[Moved, str] = {}

    def emit(name: str) -> str:
        """A name that holds the value ``name``, transposed only now if it was moved."""
        if name not in moved:
            return name
        source, perm = moved[name]
        if perm == tuple(range(len(perm))):
            return source
        if moved[name] not in emitted:
            b.nodes.append(Node("Transpose", (source,), (name,), {"perm": perm}, graph.values[name].source))
            emitted[moved[name]] = name
        return emitted[moved[name]]

    for node in graph.nodes:
        if node.op == "Transpose" and node.outputs[0] not in graph.outputs:
            source, perm = moved.get(node.inputs[0], (node.inputs[0], tuple(range(len(node.attrs["perm"])))))
            moved[node.outputs[0]] = (source, tuple(perm[p] for p in node.attrs["perm"]))
            continue
        if node.op in REDUCE and node.inputs[0] in moved and node.outputs[0] not in graph.outputs:
            source, perm = moved[node.inputs[0]]
            axes = tuple(sorted(perm[d] for d in node.attrs["axes"]))
            out = b.add1(node.op, [source], {**node.attrs, "axes": axes}, f"{node.outputs[0]}.moved", node.source)
            kept = range(len(perm)) if node.attrs.get("keepdims", 1) else [d for d in range(len(perm)) if d not in axes]
            order = tuple(kept.index(d) for d in perm if d in kept)
            moved[node.outputs[0]] = (out, order)
            continue
        common = _common_perm(graph, node, moved)
        if common and node.outputs[0] not in graph.outputs:
            inputs = [moved[i][0] if i in moved else i for i in node.inputs]
            out = b.add1(node.op, inputs, node.attrs, f"{node.outputs[0]}.moved", node.source)
            moved[node.outputs[0]] = (out, common)
        else:
            inputs = [emit(i) if i else "" for i in node.inputs]
            b.nodes.append(Node(node.op, tuple(inputs), node.outputs, node.attrs, node.source))
    return prune(b.graph())


def _common_perm(graph: Graph, node: Node, moved: dict[str, Moved]) -> tuple[int, ...] | None:
    """The order that all operands of an elementwise ``node`` share (single elements aside), or None."""
    if node.op not in UNARY | BINARY:
        return None
    operands: Sequence[str] = [i for i in node.inputs if graph.type(i).size > 1]
    perms = {moved[i][1] if i in moved else None for i in operands}
    shapes = {graph.type(i).shape for i in operands}
    return perms.pop() if len(perms) == 1 and len(shapes) == 1 else None
