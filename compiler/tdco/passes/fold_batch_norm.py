"""A batch normalisation behind a convolution, both frozen -> the convolution with other filters and a bias."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from ..ir import Graph, Node, TensorType, Value, prune

CONVOLUTIONS = ("Conv", "DepthwiseConv")


def fold_batch_norm(graph: Graph, trained: Collection[str]) -> Graph:
    """Folds where convolution and normalisation have no tensor in ``trained`` and nobody else reads between them.

    The filters may be read through transposes and reshapes that keep the output channels apart: they are computed now.
    """
    from ..ops import get_op

    producers, users = graph.producers(), graph.users()
    constants, values = dict(graph.constants), dict(graph.values)

    def frozen(name: str) -> np.ndarray | None:
        """The value of ``name`` if it follows from frozen weights alone."""
        if name in graph.constants:
            return None if name in trained else graph.constants[name]
        node = producers.get(name)
        if node is None or get_op(node.op).view is None:
            return None
        array = frozen(node.inputs[0])
        return None if array is None else get_op(node.op).eval([array], node.attrs)[0]

    def folded(node: Node) -> Node:
        conv = producers.get(node.inputs[0]) if node.op == "BatchNormalization" else None
        if conv is None or conv.op not in CONVOLUTIONS or len(users[node.inputs[0]]) > 1:
            return node
        if node.inputs[0] in graph.outputs:
            return node
        found = [frozen(name) for name in (conv.inputs[1], *node.inputs[1:], *filter(None, conv.inputs[2:]))]
        if any(array is None for array in found):
            return node
        w, scale, shift, mean, rstd, *bias = (np.asarray(a, np.float64) for a in found)
        factor = scale * rstd
        names = (f"{conv.inputs[1]}.folded", f"{node.inputs[2]}.folded")
        for name, array, like in zip(
            names, (w * factor, shift + ((bias[0] if bias else 0.0) - mean) * factor), (conv.inputs[1], node.inputs[2]),
            strict=True,
        ):  # fmt: skip
            constants[name] = array
            values[name] = Value(name, TensorType(array.shape), graph.values[like].source)
        return replace(conv, inputs=(conv.inputs[0], *names), outputs=node.outputs)

    nodes = tuple(map(folded, graph.nodes))
    return prune(replace(graph, nodes=nodes, constants=constants, values=values))
