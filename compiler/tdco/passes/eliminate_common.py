"""Two nodes (or two constants of tdco's own making) that give the same -> one."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import Any

from ..ir import Graph, Node, prune
from ..ops import get_op


def eliminate_common(graph: Graph) -> Graph:
    """Keeps the first of equal nodes. Weights stay apart even when equal: each may be trained."""
    same: dict[str, str] = {}
    seen: dict[Hashable, tuple[str, ...]] = {}
    for name, array in graph.constants.items():
        if not graph.values[name].source:
            contents: Hashable = (graph.type(name), array.tobytes(), str(array.dtype))
            same[name] = seen.setdefault(contents, (name,))[0]
    nodes: list[Node] = []
    for node in graph.nodes:
        node = replace(node, inputs=tuple(same.get(i, i) for i in node.inputs))
        key: Hashable = (node.op, node.inputs, tuple((k, _frozen(v)) for k, v in sorted(node.attrs.items())))
        outputs = seen.setdefault(key, node.outputs)
        keeps_name = get_op(node.op).update or any(o in graph.outputs for o in node.outputs)
        if outputs is node.outputs or keeps_name:
            nodes.append(node)
        else:
            same.update(zip(node.outputs, outputs, strict=True))
    return prune(replace(graph, nodes=tuple(nodes)))


def _frozen(value: Any) -> Hashable:
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value
