"""A node that reads only frozen tensors is computed now, once, instead of at every step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..ir import Graph, Node, Value, prune
from ..ops import get_op


def fold_constants(graph: Graph) -> Graph:
    """``w' = Transpose(w)``, ``w`` frozen -> the constant ``w'``, where it takes the place of ``w`` in memory.

    A constant that has other readers stays: folding would keep it twice.
    """
    users = graph.users()
    constants = dict(graph.constants)
    values = dict(graph.values)
    nodes: list[Node] = []
    for node in graph.nodes:
        inputs = [i for i in node.inputs if i]
        foldable = inputs and all(i in constants and len(users[i]) == 1 for i in inputs)
        if not foldable or any(o in graph.outputs for o in node.outputs):
            nodes.append(node)
            continue
        results = get_op(node.op).eval([constants[i] if i else None for i in node.inputs], node.attrs)
        for name, array in zip(node.outputs, results, strict=True):
            constants[name] = np.ascontiguousarray(array)
            values[name] = Value(name, graph.type(name), graph.values[inputs[0]].source)
    return prune(replace(graph, nodes=tuple(nodes), constants=constants, values=values))
