"""A weight that is only ever read transposed is stored that way: its gradient and its update then need no transpose."""

from __future__ import annotations

from dataclasses import replace

from ..ir import Graph, Node, TensorType, prune


def store_as_read(graph: Graph) -> Graph:
    """``Transpose(w)`` -> ``w``, stored in that order; ``Value.perm`` keeps the way back to the user's order.

    A matrix stays as it is: the engine reads either orientation for nothing. So do weights with any other reader.
    """
    users = graph.users()
    constants, values = dict(graph.constants), dict(graph.values)
    same: dict[str, str] = {}
    for name, array in graph.constants.items():
        perms = {n.attrs["perm"] if n.op == "Transpose" else None for n in users[name]}
        perm = perms.pop() if len(perms) == 1 else None
        turned = [n.outputs[0] for n in users[name]]
        if perm is None or array.ndim <= 2 or values[name].perm or any(t in graph.outputs for t in turned):
            continue
        stored = array.transpose(perm).copy()
        back = tuple(sorted(range(array.ndim), key=lambda d, perm=perm: perm[d]))  # type: ignore[misc]
        constants[name] = stored
        values[name] = replace(values[name], type=TensorType(stored.shape, graph.type(name).dtype), perm=back)
        same |= dict.fromkeys(turned, name)

    def renamed(node: Node) -> Node:
        return replace(node, inputs=tuple(same.get(i, i) for i in node.inputs))

    nodes = tuple(renamed(n) for n in graph.nodes if n.outputs[0] not in same)
    return prune(replace(graph, nodes=nodes, constants=constants, values=values))
