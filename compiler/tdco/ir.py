"""The intermediate representation: a linear, typed graph. A training step is just a bigger graph.

Values are named; nodes read and write names. Passes are functions ``Graph -> Graph`` and never mutate their argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np

from .errors import TdcoError

Attrs = Mapping[str, Any]

DTYPES: dict[str, np.dtype] = {
    "f16": np.dtype(np.float16),
    "f32": np.dtype(np.float32),
    "i32": np.dtype(np.int32),
    "u8": np.dtype(np.uint8),
}


@dataclass(frozen=True)
class TensorType:
    """Shape and the dtype the tensor is *stored* in on the device; ``eval`` may compute in any precision."""

    shape: tuple[int, ...]
    dtype: str = "f16"

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.size * DTYPES[self.dtype].itemsize

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class Value:
    """A tensor of the graph. ``source`` is the name the user knows: the ONNX value or the PyTorch parameter.

    ``perm``: where a weight is stored in another order of dimensions than the user's, ``stored.transpose(perm)`` is the
    user's tensor.
    """

    name: str
    type: TensorType
    source: str = ""
    perm: tuple[int, ...] = ()

    def as_user(self, stored: np.ndarray) -> np.ndarray:
        """``stored``, this value's contents, in the user's order of dimensions."""
        return stored.transpose(self.perm) if self.perm else stored


@dataclass(frozen=True)
class Node:
    """``outputs = op(inputs; attrs)``; an absent optional input is the empty string. ``source``: the ONNX node."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Attrs = field(default_factory=dict)
    source: str = ""

    def __str__(self) -> str:
        attrs = "".join(f" {k}={v}" for k, v in sorted(self.attrs.items()))
        return f"{', '.join(self.outputs)} = {self.op}({', '.join(self.inputs)}){attrs}"


@dataclass(frozen=True)
class Graph:
    """A straight-line program over named tensors.

    Attributes:
        inputs: names fed anew at every step (image, label).
        outputs: names read after a step (loss, logits).
        constants: frozen tensors, by name.
        state: tensors that survive a step and their initial contents: trained weights, masters, optimizer slots.
        updates: state name -> the value that replaces it, written by an update node in the state's own storage.
        values: every name's ``Value``.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    values: Mapping[str, Value]
    constants: Mapping[str, np.ndarray] = field(default_factory=dict)
    state: Mapping[str, np.ndarray] = field(default_factory=dict)
    updates: Mapping[str, str] = field(default_factory=dict)

    def type(self, name: str) -> TensorType:
        return self.values[name].type

    def source(self, node: Node) -> str:
        """How the user knows ``node``: its ONNX name, else its first output."""
        return node.source or node.outputs[0]

    def users(self) -> dict[str, list[Node]]:
        """Every value name -> the nodes that read it, in order."""
        users: dict[str, list[Node]] = {name: [] for name in self.values}
        for node in self.nodes:
            for name in dict.fromkeys(filter(None, node.inputs)):
                users[name].append(node)
        return users

    def producers(self) -> dict[str, Node]:
        return {out: node for node in self.nodes for out in node.outputs}

    def __str__(self) -> str:
        lines = [f"graph {self.name}"]
        for kind, names in (("input", self.inputs), ("constant", self.constants), ("state", self.state)):
            lines += [f"  {kind} {n}: {self.type(n)}" for n in names]
        for node in self.nodes:
            types = ", ".join(str(self.type(o)) for o in node.outputs)
            lines.append(f"  {node} : {types}" + (f"  # {node.source}" if node.source else ""))
        lines += [f"  update {s} <- {v}" for s, v in self.updates.items()]
        lines += [f"  output {n}" for n in self.outputs]
        return "\n".join(lines) + "\n"


class Builder:
    """Grows a graph node by node; types are inferred as nodes are added. ``graph()`` freezes the result."""

    def __init__(self, base: Graph | None = None, name: str = "graph") -> None:
        base = base or Graph(name, (), (), (), {})
        self._base = base
        self.nodes: list[Node] = list(base.nodes)
        self.values: dict[str, Value] = dict(base.values)
        self.constants: dict[str, np.ndarray] = dict(base.constants)
        self.state: dict[str, np.ndarray] = dict(base.state)
        self.updates: dict[str, str] = dict(base.updates)
        self.inputs: list[str] = list(base.inputs)
        self.outputs: list[str] = list(base.outputs)

    def type(self, name: str) -> TensorType:
        return self.values[name].type

    def fresh(self, hint: str) -> str:
        """A name not yet taken: ``hint``, or ``hint.2``, ``hint.3``, ..."""
        name, n = hint, 2
        while name in self.values:
            name, n = f"{hint}.{n}", n + 1
        return name

    def input(self, name: str, type: TensorType, source: str = "") -> str:
        name = self._declare(name, type, source)
        self.inputs.append(name)
        return name

    def constant(self, name: str, array: np.ndarray, dtype: str = "f16", source: str = "") -> str:
        name = self._declare(name, TensorType(tuple(array.shape), dtype), source)
        self.constants[name] = array
        return name

    def add_state(self, name: str, array: np.ndarray, dtype: str, source: str = "", perm: tuple[int, ...] = ()) -> str:
        name = self._declare(name, TensorType(tuple(array.shape), dtype), source, perm)
        self.state[name] = array
        return name

    def _declare(self, name: str, type: TensorType, source: str, perm: tuple[int, ...] = ()) -> str:
        name = self.fresh(name)
        self.values[name] = Value(name, type, source, perm)
        return name

    def add(
        self,
        op: str,
        inputs: Sequence[str],
        attrs: Attrs | None = None,
        names: Sequence[str] = (),
        source: str = "",
    ) -> tuple[str, ...]:
        """Appends a node and returns its output names; ``names`` are hints for them, in order.

        Raises:
            TdcoError: the operator is unknown, or its ``infer`` rejects the input types.
        """
        from .ops import get_op  # the operator table imports this module

        attrs = dict(attrs or {})
        where = source or (names[0] if names else op)
        try:
            types = get_op(op).infer([self.type(n) if n else None for n in inputs], attrs)
        except TdcoError as e:
            raise TdcoError(e.what, e.where or f"{op} node {where}", e.hint) from None
        hints = list(names) + [f"{names[0] if names else op.lower()}.{i}" for i in range(len(names), len(types))]
        outputs = tuple(self._declare(h, t, source) for h, t in zip(hints, types, strict=False))
        self.nodes.append(Node(op, tuple(inputs), outputs, attrs, source))
        return outputs

    def add1(self, op: str, inputs: Sequence[str], attrs: Attrs | None = None, name: str = "", source: str = "") -> str:
        """``add`` for a node with one output."""
        return self.add(op, inputs, attrs, (name,) if name else (), source)[0]

    def graph(self) -> Graph:
        return replace(
            self._base,
            inputs=tuple(self.inputs),
            outputs=tuple(self.outputs),
            nodes=tuple(self.nodes),
            values=dict(self.values),
            constants=dict(self.constants),
            state=dict(self.state),
            updates=dict(self.updates),
        )


def prune(graph: Graph) -> Graph:
    """``graph`` without nodes, constants and values that no output or update needs."""
    needed = set(graph.outputs) | set(graph.updates.values())
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            kept.append(node)
            needed.update(filter(None, node.inputs))
    kept.reverse()
    names = needed | set(graph.inputs) | {o for n in kept for o in n.outputs}
    names |= set(graph.updates)
    return replace(
        graph,
        nodes=tuple(kept),
        values={k: v for k, v in graph.values.items() if k in names},
        constants={k: v for k, v in graph.constants.items() if k in names},
        state={k: v for k, v in graph.state.items() if k in names},
    )


def verify(graph: Graph) -> Graph:
    """Returns ``graph`` if it is legal.

    Legal: every name is defined once and before its use, every node's types are what ``infer`` says, state is
    changed only through ``updates`` by an update operator, and nothing reads a state tensor, or a view of it, after
    its update.

    Raises:
        TdcoError: the first broken rule, with the node.
    """
    from .ops import get_op

    defined = {*graph.inputs, *graph.constants, *graph.state}
    new_to_state = {v: s for s, v in graph.updates.items()}
    updated: dict[str, Node] = {}
    base: dict[str, str] = {}  # a view -> the value whose storage it shares
    for node in graph.nodes:
        op = get_op(node.op)
        where = f"{node.op} node {graph.source(node)}"
        for name in filter(None, node.inputs):
            if name not in defined:
                raise TdcoError(f"reads {name!r}, which nothing before it defines", where)
            if base.get(name, name) in updated:
                raise TdcoError(
                    f"reads {name!r} after its update by {graph.source(updated[base.get(name, name)])}",
                    where,
                    "move the update behind every reader",
                )
        types = op.infer([graph.type(n) if n else None for n in node.inputs], node.attrs)
        for out, type in zip(node.outputs, types, strict=True):
            if out in defined:
                raise TdcoError(f"defines {out!r} a second time", where)
            if graph.type(out) != type:
                raise TdcoError(f"{out!r} is {graph.type(out)} but {node.op} gives {type}", where)
            if out in new_to_state:
                if not op.update:
                    raise TdcoError(f"changes state {new_to_state[out]!r} but is no update operator", where)
                updated[new_to_state[out]] = node
            elif op.update:
                raise TdcoError(f"computes {out!r}, which replaces no state", where, "add it to the graph's updates")
            defined.add(out)
        if op.view:
            base[node.outputs[0]] = base.get(node.inputs[0], node.inputs[0])
    _require_defined(graph.outputs, defined, "output")
    _require_defined(graph.updates.values(), defined, "update")
    return graph


def _require_defined(names: Iterable[str], defined: set[str], kind: str) -> None:
    for name in names:
        if name not in defined:
            raise TdcoError(f"{kind} {name!r} is never computed", "graph")


def evaluate(
    graph: Graph, feeds: Mapping[str, np.ndarray], dtype: type[np.floating] = np.float32
) -> dict[str, np.ndarray]:
    """Runs ``graph`` with every operator's ``eval`` in ``dtype`` and returns all values, updated state included.

    ``feeds`` maps input names (and, to override their contents, state or constant names) to arrays.
    """
    from .ops import get_op

    env: dict[str, np.ndarray] = {}
    for name, array in {**graph.constants, **graph.state, **feeds}.items():
        floating = np.issubdtype(np.asarray(array).dtype, np.floating)
        env[name] = np.asarray(array, dtype=dtype if floating else None)
    for node in graph.nodes:
        results = get_op(node.op).eval([env[n] if n else None for n in node.inputs], node.attrs)
        env.update(zip(node.outputs, results, strict=True))
    return env
