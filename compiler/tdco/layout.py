"""Where every tensor's elements lie: which value owns the memory, and which values are strided views of it.

View operators (``OpDef.view``) cost nothing. The values they connect form a tree whose root a computing node wrote;
all of it shares one storage. Normally the root owns it, row-major. Where a forward view is impossible (a reshape of
a transposed tensor), a value further down may own it, and the root is written through strides (``OpDef.unview``).
A graph input counts as written too, by whoever feeds it: program.json gives its strides. Constants and state are always
row-major. What neither owner solves is copied by a ``Contiguous`` node.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice

from .errors import TdcoError
from .ir import Graph, Node, Value
from .ops import get_op
from .transfer import copies, is_row_major, moves_in_rows, row_major, storage_order

GATHER_COPIES = 16
"""Transfers up to which the DMA gathers a tensor element by element, rather than having it made contiguous first."""


@dataclass(frozen=True)
class View:
    """Elements of ``storage``, the value that owns the memory; ``offset`` and ``strides`` in elements."""

    storage: str
    offset: int
    strides: tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """``views``: every value's. ``copies``: the nodes' outputs that exist only to make a view contiguous."""

    views: Mapping[str, View]
    copies: tuple[str, ...] = ()

    def storages(self) -> tuple[str, ...]:
        """The values that own memory, in a fixed order."""
        return tuple(dict.fromkeys(v.storage for v in self.views.values()))


def assign_layout(graph: Graph) -> tuple[Graph, Layout]:
    """``graph`` with every view operator resolved, and a view for each value.

    The returned graph has ``Contiguous`` nodes where a view is impossible or where a node would have to gather it
    element by element; it computes the same values under the same output names.

    Raises:
        TdcoError: an output is a view of state that the step updates.
    """
    inserted: list[str] = []
    while True:
        views, fault = _try_views(graph)
        if fault is None:
            _require_current_outputs(graph, views)
            return graph, Layout(views, tuple(inserted))
        assert fault.value not in inserted, f"{fault} is contiguous already"
        graph, copy = _insert_contiguous(graph, fault)
        inserted.append(copy)


@dataclass(frozen=True)
class _Fault:
    """``user`` cannot take ``value`` as the view it is; None: ``value`` is a graph output that is not dense."""

    value: str
    user: Node | None


def is_view(node: Node) -> bool:
    """Whether ``node`` only renames elements of its input and costs nothing."""
    return get_op(node.op).view is not None


def _try_views(graph: Graph) -> tuple[dict[str, View], _Fault | None]:
    """Views of all values; up to the first fault, if there is one."""
    views: dict[str, View] = {}
    users = _users(graph)
    state_of = {new: state for state, new in graph.updates.items()}
    fixed = [*graph.constants, *graph.state]
    for root in (*graph.inputs, *fixed, *(out for node in graph.nodes if not is_view(node) for out in node.outputs)):
        own = View(state_of.get(root, root), 0, row_major(graph.type(root).shape))
        tree, fault = _spread(graph, root, own, users)
        if fault and root not in fixed and root not in state_of:
            for owner, strides in _other_owners(graph, root, users):
                other, other_fault = _spread(graph, root, View(owner, 0, strides), users)
                if other_fault is None:
                    tree, fault = other, None
                    break
        views.update(tree)
        if fault:
            return views, fault
    return views, None


@dataclass(frozen=True)
class _Users:
    """Of a value: the view nodes on it, and the nodes that move it through L1, with ``Domain.innermost`` of it."""

    views: tuple[Node, ...] = ()
    nodes: tuple[tuple[Node, int], ...] = ()
    output: bool = False


def _users(graph: Graph) -> dict[str, _Users]:
    views: dict[str, list[Node]] = {name: [] for name in graph.values}
    nodes: dict[str, list[tuple[Node, int]]] = {name: [] for name in graph.values}
    for node in graph.nodes:
        op = get_op(node.op)
        if op.view:
            views[node.inputs[0]].append(node)
            continue
        assert op.domain, f"operator {node.op} has neither view nor domain"
        in_types = [graph.type(n) if n else None for n in node.inputs]
        domain = op.domain(node, in_types, [graph.type(n) for n in node.outputs])
        for position, (name, dims) in enumerate(zip((*node.inputs, *node.outputs), domain.operands, strict=True)):
            if name and dims is not None:
                nodes[name].append((node, domain.innermost(position)))
    return {n: _Users(tuple(views[n]), tuple(nodes[n]), n in graph.outputs) for n in graph.values}


def _other_owners(graph: Graph, root: str, users: Mapping[str, _Users]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every value below ``root`` that could own the storage, with the strides ``root`` is then written through."""
    chains: list[tuple[Node, ...]] = [(node,) for node in users[root].views]
    while chains:
        chain = chains.pop(0)
        owner = chain[-1].outputs[0]
        chains += [(*chain, node) for node in users[owner].views]
        strides: tuple[int, ...] | None = row_major(graph.type(owner).shape)
        for node in reversed(chain):
            unview = get_op(node.op).unview
            ins, outs = graph.type(node.inputs[0]), graph.type(node.outputs[0])
            strides = unview(ins, outs, node.attrs, strides) if unview and strides is not None else None
        if strides is not None and graph.type(owner).size == graph.type(root).size:
            yield owner, tuple(strides)


def _spread(graph: Graph, root: str, view: View, users: Mapping[str, _Users]) -> tuple[dict[str, View], _Fault | None]:
    """The views of ``root`` and all values below it, and the first user that cannot take its view."""
    views, fault, pending = {root: view}, None, [root]
    while pending:
        value = pending.pop(0)
        at, type = views[value], graph.type(value)
        for node, innermost in users[value].nodes:
            if node.op != "Contiguous" and _scattered(type.shape, at.strides, innermost):
                fault = fault or _Fault(value, node)
        if users[value].output and not is_row_major(type.shape, at.strides):
            fault = fault or _Fault(value, None)
        for node in users[value].views:
            op = get_op(node.op)
            assert op.view
            found = op.view(type, graph.type(node.outputs[0]), node.attrs, at.strides)
            if found is None:
                fault = fault or _Fault(value, node)
                continue
            views[node.outputs[0]] = View(view.storage, at.offset + found[0], tuple(found[1]))
            pending.append(node.outputs[0])
    return views, fault


def _scattered(shape: tuple[int, ...], strides: tuple[int, ...], innermost: int) -> bool:
    """Whether the DMA could bring the tensor to L1 only in many transfers of single elements."""
    if moves_in_rows(shape, strides, innermost):
        return False
    transfers = copies(shape, strides, storage_order(shape, strides, innermost), 1)
    return sum(1 for _ in islice(transfers, GATHER_COPIES + 1)) > GATHER_COPIES


def _insert_contiguous(graph: Graph, fault: _Fault) -> tuple[Graph, str]:
    """``graph`` with a dense copy of the value for the user (and all later users) that cannot take its view."""
    value = graph.values[fault.value]
    if fault.user is None:
        return _copy_output(graph, value)
    copy = replace(value, name=_fresh(graph, f"{value.name}.dense"))
    at = graph.nodes.index(fault.user)
    later = tuple(
        replace(node, inputs=tuple(copy.name if n == value.name else n for n in node.inputs))
        for node in graph.nodes[at:]
    )
    node = Node("Contiguous", (value.name,), (copy.name,), source=value.source)
    return replace(graph, nodes=(*graph.nodes[:at], node, *later), values={**graph.values, copy.name: copy}), copy.name


def _copy_output(graph: Graph, value: Value) -> tuple[Graph, str]:
    """Renames the strided value and gives its name to a dense copy at the end, so that outputs keep their names."""
    strided = replace(value, name=_fresh(graph, f"{value.name}.strided"))

    def rename(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(strided.name if n == value.name else n for n in names)

    nodes = tuple(replace(node, inputs=rename(node.inputs), outputs=rename(node.outputs)) for node in graph.nodes)
    node = Node("Contiguous", (strided.name,), (value.name,), source=value.source)
    return replace(graph, nodes=(*nodes, node), values={**graph.values, strided.name: strided}), value.name


def _fresh(graph: Graph, hint: str) -> str:
    name, n = hint, 2
    while name in graph.values:
        name, n = f"{hint}.{n}", n + 1
    return name


def _require_current_outputs(graph: Graph, views: Mapping[str, View]) -> None:
    """An output is read after the step: a view of state would show what the update left there."""
    for name in graph.outputs:
        root = views[name].storage
        if root in graph.updates and name != root and name not in graph.updates.values():
            raise TdcoError(f"output {name!r} is a view of {root!r}, which the step updates", "graph")
