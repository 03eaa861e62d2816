"""Low-rank adapters (Hu et al., arXiv:2106.09685): a frozen matrix W acts as W + scale . B . A; B and A are trained.

Weights that multiply the same input share one A, their ranks one below the other: together they fill a tile of the
engine that a single rank of 4 would leave mostly empty. The B side is added to the base product, which the scheduler
may turn into an accumulating job.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from zlib import crc32

import numpy as np

from ..errors import TdcoError
from ..ir import Builder, Graph, Node, Value

A_SUFFIX, B_SUFFIX = ".lora_a", ".lora_b"
PRODUCTS = ("MatMul", "Gemm")


@dataclass(frozen=True)
class Adapter:
    """Of ``targets``, which multiply the same input: target i acts as W_i + scale . B_i . A[i*rank:(i+1)*rank].

    ``a`` names A [len(targets)*rank, inputs], ``b`` names every B_i [outputs_i, rank]. ``transposed`` says of every
    target whether it is stored [outputs, inputs], as torch's layers are.
    """

    targets: tuple[str, ...]
    transposed: tuple[bool, ...]
    a: str
    b: tuple[str, ...]
    rank: int
    scale: float

    @property
    def names(self) -> tuple[str, ...]:
        return (self.a, *self.b)

    def share(self, target: int) -> slice:
        """The rows of A that belong to a target."""
        return slice(target * self.rank, (target + 1) * self.rank)


def find_adapters(graph: Graph, targets: Sequence[str], rank: int, alpha: float) -> tuple[Adapter, ...]:
    """Adapters for ``targets`` in ``graph``, in the model's order; one for all targets of the same input.

    Raises:
        TdcoError: a target is no matrix that multiplies one input, or smaller than the rank.
    """
    groups: dict[str, list[tuple[str, bool]]] = {}
    for name in targets:
        node, transposed = _product(graph, name)
        if rank > min(graph.type(name).shape):
            raise TdcoError(f"rank {rank} is above the smaller side of {name}, {graph.type(name)}", hint="lower r")
        groups.setdefault(node.inputs[0], []).append((name, transposed))
    adapters = []
    for group in groups.values():
        names, forms = zip(*group, strict=True)
        a, b = _shared_name(names) + A_SUFFIX, tuple(name + B_SUFFIX for name in names)
        adapters.append(Adapter(names, forms, a, b, rank, alpha / rank))
    return tuple(adapters)


def _product(graph: Graph, name: str) -> tuple[Node, bool]:
    """The only node that multiplies its input by the weight ``name``, and whether the weight is transposed before."""
    users = graph.users()
    found = [(n, False) for n in users[name] if n.op in PRODUCTS and n.inputs[1] == name]
    turned = [n.outputs[0] for n in users[name] if n.op == "Transpose"]
    found += [(n, True) for t in turned for n in users[t] if n.op in PRODUCTS and n.inputs[1] == t]
    if len(graph.type(name).shape) != 2 or len(found) != 1:
        raise TdcoError(
            f"{name} {graph.type(name)} has no adapter: {len(found)} matrix products use it",
            hint="targets are matrices that one linear layer uses",
        )
    return found[0]


def _shared_name(names: Sequence[str]) -> str:
    """``blocks.0.q+k+v.weight`` for the three of them: what they do not share is joined by +."""
    parts = [n.split(".") for n in names]
    if len({len(p) for p in parts}) > 1:
        return "+".join(names)
    return ".".join("+".join(dict.fromkeys(column)) for column in zip(*parts, strict=True))


def initial(adapter: Adapter, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """The adapter's tensors before the first step, by name; ``shapes`` are the targets'.

    A is Gaussian with the standard deviation 1/rank, seeded by its name. B is zero, so the adapted model is the base
    model at first, and A's size decides how fast it moves: with +-1/sqrt(inputs), as torch draws a linear layer, the
    adapters of CCT-2 learn several times more slowly than its head, whose learning rate cannot be higher.
    """
    sides = [
        shapes[t] if turned else shapes[t][::-1] for t, turned in zip(adapter.targets, adapter.transposed, strict=True)
    ]
    inputs = sides[0][1]
    draw = np.random.default_rng(crc32(adapter.a.encode())).standard_normal((len(sides) * adapter.rank, inputs))
    tensors = {adapter.a: (draw / adapter.rank).astype(np.float16)}
    return tensors | {
        name: np.zeros((side[0], adapter.rank), np.float16) for name, side in zip(adapter.b, sides, strict=True)
    }


def attach(graph: Graph, adapters: Sequence[Adapter]) -> Graph:
    """``graph`` with ``adapters`` beside their targets, their tensors as further parameters."""
    b = Builder(graph)
    b.nodes = []
    products = {id(_product(graph, t)[0]): (adapter, i) for adapter in adapters for i, t in enumerate(adapter.targets)}
    shapes = {target: graph.type(target).shape for adapter in adapters for target in adapter.targets}
    for adapter in adapters:
        for name, array in initial(adapter, shapes).items():
            b.constant(name, array, source=name)
    hidden: dict[str, str] = {}
    for node in graph.nodes:
        if id(node) not in products:
            b.nodes.append(node)
            continue
        adapter, i = products[id(node)]
        if adapter.a not in hidden:
            hidden[adapter.a] = _hidden(b, adapter, node)
        part = hidden[adapter.a]
        if len(adapter.targets) > 1:
            axis = len(b.type(part).shape) - 1
            rows = adapter.share(i)
            attrs = {"starts": (rows.start,), "ends": (rows.stop,), "axes": (axis,)}
            part = b.add1("Slice", [part], attrs, f"{adapter.b[i]}.in", node.source)
        name = adapter.b[i]
        base = b.fresh(f"{node.outputs[0]}.base")
        b.values[base] = Value(base, b.type(node.outputs[0]), node.source)
        b.nodes.append(replace(node, outputs=(base,)))
        turned = b.add1("Transpose", [name], {"perm": (1, 0)}, f"{name}.t", node.source)
        delta = b.add1("MatMul", [part, turned], name=f"{name}.out", source=node.source)
        b.nodes.append(Node("Add", (base, delta), node.outputs, {}, node.source))
    return b.graph()


def _hidden(b: Builder, adapter: Adapter, node: Node) -> str:
    """scale . x . A^T, of all targets side by side."""
    x, a = node.inputs[0], adapter.a
    turned = b.add1("Transpose", [a], {"perm": (1, 0)}, f"{a}.t", node.source)
    h = b.add1("MatMul", [x, turned], name=f"{a}.out", source=node.source)
    if adapter.scale == 1:
        return h
    scale = b.constant(f"{a}.scale", np.array(adapter.scale, np.float32), "f32")
    return b.add1("Mul", [h, scale], name=f"{a}.scaled", source=node.source)
