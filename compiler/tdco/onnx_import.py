"""ONNX -> Graph: constants folded, spellings of one thing normalised to one operator, storage fp16, static shapes.

The operators themselves are translated in ``onnx_ops``; this file reads the model, folds and recognises patterns.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from .errors import TdcoError, TdcoWarning
from .ir import Builder, Graph, TensorType, prune, verify

_DTYPES = {"f": "f16", "i": "i32", "u": "u8"}
FLOATS = ("float16", "float32", "float64")
"""What a floating-point tensor may be in the model; it is stored as f16 whichever it is."""


@dataclass(frozen=True)
class OnnxNode:
    """An ONNX node with its attributes as Python values; ``proto`` is kept for folding."""

    type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Any]
    name: str
    proto: onnx.NodeProto | None = None

    @property
    def where(self) -> str:
        return f"{self.type} node {self.name or self.outputs[0]}"

    def input(self, index: int) -> str:
        """The name of input ``index``, empty when absent."""
        return self.inputs[index] if index < len(self.inputs) else ""


@dataclass
class Import:
    """The state of one import: the graph so far and what is known about each ONNX value.

    ``known``: values whose contents are known now. ``names``: the graph's name of an ONNX value.
    """

    builder: Builder
    known: dict[str, np.ndarray]
    opsets: tuple[onnx.OperatorSetIdProto, ...]
    names: dict[str, str] = field(default_factory=dict)

    def tensor(self, name: str) -> str:
        """The graph's name of ONNX value ``name``; a known value becomes a constant."""
        if name not in self.names:
            if name not in self.known:
                raise TdcoError(f"reads {name!r}, which nothing defines")
            self.names[name] = self.constant(name, self.known[name])
        return self.names[name]

    def constant(self, name: str, array: np.ndarray) -> str:
        """A constant of the model that is no weight; a single number, such as a scale, is stored as fp32."""
        dtype = "f32" if array.size == 1 and array.dtype.kind == "f" else _storage(array.dtype, name)
        return self.builder.constant(name, array, dtype)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.known[name].shape) if name in self.known else self.builder.type(self.tensor(name)).shape

    def value(self, name: str, what: str) -> np.ndarray:
        """The contents of a value that must be known at compile time, such as a shape."""
        if name not in self.known:
            raise TdcoError(f"its {what} {name!r} is computed from data", hint="only constant ones are supported")
        return self.known[name]


def import_onnx(
    model: onnx.ModelProto,
    parameters: Mapping[str, np.ndarray] | None = None,
    name: str = "",
    batch: int | None = None,
    buffers: Mapping[str, np.ndarray] | None = None,
    trained: Collection[str] = (),
    several_inputs: bool = False,
) -> Graph:
    """The forward graph of ``model``.

    ``parameters`` binds graph inputs to weights (a training export), ``buffers`` to tensors that are never trained;
    initialisers are weights as well. A symbolic dimension of the one remaining input becomes ``batch``, by default 1;
    an input without one has its own batch and no other. Weights are constants of the graph under their own names.
    ``trained``: the weights that a training graph, which may have several inputs, is known to update;
    ``several_inputs`` allows them elsewhere.

    Raises:
        TdcoError: an unsupported operator or form of it (named with its node), or an ill-formed model.
    """
    graph = model.graph
    initialisers = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    weights = {k: v for k, v in initialisers.items() if v.dtype.kind == "f" and v.ndim} | dict(parameters or {})
    buffers = buffers or {}
    defined = {*initialisers, *weights, *buffers, *(i.name for i in graph.input)}
    nodes = sort_nodes([_parse(n) for n in graph.node], defined)
    if not trained:
        _warn_shared(initialisers.keys() & weights.keys(), nodes)
    # A model file does not say what is a weight: a single number may as well be a setting that has to be folded.
    known = {k: v for k, v in initialisers.items() if (v.size == 1 and k not in trained) or k not in weights}
    state = Import(Builder(name=name or graph.name or "model"), known, tuple(model.opset_import))
    for k, v in weights.items():
        state.names[k] = state.builder.constant(k, v, _storage(v.dtype, k), source=k)
    for k, v in buffers.items():
        state.names[k] = state.builder.constant(k, v, _storage(v.dtype, k))
    fed = [i for i in graph.input if i.name not in {*weights, *initialisers, *buffers}]
    if len(fed) != 1 and not trained and not several_inputs:
        raise TdcoError(f"has {len(fed)} inputs: {', '.join(i.name for i in fed)}", name, "give it one input tensor")
    for value in fed:
        state.names[value.name] = state.builder.input(value.name, _input_type(value, batch), value.name)
    outputs = [o.name for o in graph.output]
    nodes = [n for n in nodes if not _fold(state, n)]
    for rewrite in (_recognise_gelu, _recognise_layer_norm):
        nodes = _live(rewrite(nodes, state.known), outputs)
    for node in nodes:
        _lower(state, node)
    state.builder.outputs = [state.tensor(o) for o in outputs]
    return verify(_name_outputs(prune(state.builder.graph()), outputs))


def _name_outputs(graph: Graph, names: Sequence[str]) -> Graph:
    """``graph`` whose computed outputs bear their ONNX names."""
    computed = {o for n in graph.nodes for o in n.outputs}
    taken = graph.values.keys() - graph.outputs
    new = {o: name for o, name in zip(graph.outputs, names, strict=True) if o in computed and name not in taken}

    def renamed(values: Iterable[str]) -> tuple[str, ...]:
        return tuple(new.get(v, v) for v in values)

    nodes = tuple(replace(n, inputs=renamed(n.inputs), outputs=renamed(n.outputs)) for n in graph.nodes)
    values = {new.get(k, k): replace(v, name=new.get(k, k)) for k, v in graph.values.items()}
    return replace(graph, nodes=nodes, values=values, outputs=renamed(graph.outputs))


def _lower(state: Import, node: OnnxNode) -> None:
    from .onnx_ops import lower  # it imports the types above

    if _fold(state, node):
        return
    try:
        results = lower(state, node)
    except TdcoError as e:
        raise TdcoError(e.what, e.where or node.where, e.hint) from None
    for onnx_name, result in zip(node.outputs, results, strict=False):
        state.names[onnx_name] = result


def _parse(proto: onnx.NodeProto) -> OnnxNode:
    attrs = {a.name: helper.get_attribute_value(a) for a in proto.attribute}
    return OnnxNode(proto.op_type, tuple(proto.input), tuple(proto.output), attrs, proto.name, proto)


def sort_nodes(nodes: Sequence[OnnxNode], defined: Iterable[str]) -> list[OnnxNode]:
    """``nodes`` in topological order, as close to their own order as that allows.

    Raises:
        TdcoError: a node reads a value that nothing defines, or the nodes form a cycle.
    """
    defined = set(defined)
    produced = {o for n in nodes for o in n.outputs}
    ordered: list[OnnxNode] = []
    pending = list(nodes)
    while pending:
        blocked: list[OnnxNode] = []
        for node in pending:
            if all(i in defined for i in node.inputs if i):
                ordered.append(node)
                defined.update(node.outputs)
            else:
                blocked.append(node)
        if len(blocked) == len(pending):
            missing = next(i for i in blocked[0].inputs if i and i not in defined)
            reason = "of a cycle" if missing in produced else "which nothing defines"
            raise TdcoError(f"reads {missing!r}, {reason}", blocked[0].where)
        pending = blocked
    return ordered


def _input_type(value: onnx.ValueInfoProto, batch: int | None) -> TensorType:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        raise TdcoError("has no shape", f"input {value.name}", "export the model with static shapes")
    fixed = [d.dim_value for d in tensor.shape.dim]
    if batch and fixed and all(fixed) and fixed[0] != batch:
        what = f"has the fixed shape {fixed}, so that its batch cannot be {batch}"
        raise TdcoError(what, f"input {value.name}", "export the model with a free first dimension")
    shape = tuple(n or batch or 1 for n in fixed)
    return TensorType(shape, _storage(helper.tensor_dtype_to_np_dtype(tensor.elem_type), value.name))


def _storage(dtype: np.dtype, name: str) -> str:
    if dtype.kind not in _DTYPES or (dtype.kind == "f" and dtype.name not in FLOATS):
        raise TdcoError(f"has element type {dtype}", name, "supported: float16 to float64 and integers")
    return _DTYPES[dtype.kind]


def _warn_shared(initialisers: set[str], nodes: Iterable[OnnxNode]) -> None:
    users = Counter(i for n in nodes for i in set(n.inputs) & initialisers)
    shared = sorted(name for name, count in users.items() if count > 1)
    if shared:
        warnings.warn(
            f"several nodes share these initialisers, so training one trains all its users: {', '.join(shared)} "
            "(torch.onnx merges tensors of equal value; give tdco the PyTorch module to keep them apart)",
            TdcoWarning,
            stacklevel=3,
        )


def _fold(state: Import, node: OnnxNode) -> bool:
    """Evaluates ``node`` into ``state.known`` if everything it needs is known; says whether it did."""
    known, inputs = state.known, [i for i in node.inputs if i]
    if node.type == "Shape":
        if node.inputs[0] not in state.names and node.inputs[0] not in known:
            return False  # not lowered yet; asked again then
        shape = state.shape(node.inputs[0])[node.attrs.get("start", 0) : node.attrs.get("end", None)]
        known[node.outputs[0]] = np.array(shape, np.int64)
        return True
    if node.type == "CastLike" and node.inputs[0] in known:
        known[node.outputs[0]] = known[node.inputs[0]]  # a float stays one: storage is decided by the graph
        return True
    if node.proto is None or not all(i in known for i in inputs):
        return False
    names = [helper.make_empty_tensor_value_info(n) for n in dict.fromkeys(inputs)]
    outputs = [helper.make_empty_tensor_value_info(n) for n in node.outputs]
    body = helper.make_graph([node.proto], "fold", names, outputs)
    single = helper.make_model(body, opset_imports=list({o.domain: o for o in state.opsets}.values()))
    results = ReferenceEvaluator(single).run(None, {i: known[i] for i in inputs})
    known.update(zip(node.outputs, map(np.asarray, results), strict=True))
    return True


def _scalar(known: Mapping[str, np.ndarray], name: str) -> float | None:
    return float(known[name].reshape(())) if name in known and known[name].size == 1 else None


def _consumer(nodes: Sequence[OnnxNode], name: str) -> OnnxNode | None:
    """The only node that reads ``name``, or None."""
    users = [n for n in nodes if name in n.inputs]
    return users[0] if len(users) == 1 else None


def _recognise_gelu(nodes: list[OnnxNode], known: Mapping[str, np.ndarray]) -> list[OnnxNode]:
    """``x * 0.5 * (1 + erf(x / sqrt 2))`` -> ``Gelu(x)``, in any order of the factors (exporters below opset 20)."""
    producers = {o: n for n in nodes for o in n.outputs}
    for erf in [n for n in nodes if n.type == "Erf"]:
        inner = producers.get(erf.inputs[0])
        scaled = _linear(inner, known)
        plus_one = _consumer(nodes, erf.outputs[0])
        if inner is None or scaled is None or plus_one is None or plus_one.type != "Add":
            continue
        x, scale = scaled
        ones = [_scalar(known, i) for i in plus_one.inputs if i != erf.outputs[0]]
        if ones != [1.0] or abs(scale - 0.5**0.5) > 1e-4:
            continue
        last = _gelu_product(nodes, known, producers, x, plus_one)
        if last is not None:
            gelu = OnnxNode("Gelu", (x,), last.outputs, {}, last.name)
            nodes = [gelu if n is last else n for n in nodes]
    return nodes


def _gelu_product(
    nodes: Sequence[OnnxNode],
    known: Mapping[str, np.ndarray],
    producers: Mapping[str, OnnxNode],
    x: str,
    node: OnnxNode,
) -> OnnxNode | None:
    """The node that completes ``0.5 * x * node``, following products from ``node``; None if there is none."""
    factor, seen_x = 1.0, 0
    while (factor, seen_x) != (0.5, 1):
        user = _consumer(nodes, node.outputs[0])
        if user is None or user.type not in ("Mul", "Div") or seen_x > 1:
            return None
        other = next((i for i in user.inputs if i != node.outputs[0]), "")
        constant = _scalar(known, other)
        half_x = _linear(producers.get(other), known)
        if constant is not None:
            factor *= constant if user.type == "Mul" else 1 / constant
        elif user.type == "Mul" and other == x:
            seen_x += 1
        elif user.type == "Mul" and half_x is not None and half_x[0] == x:
            seen_x, factor = seen_x + 1, factor * half_x[1]
        else:
            return None
        node = user
    return node


def _linear(node: OnnxNode | None, known: Mapping[str, np.ndarray]) -> tuple[str, float] | None:
    """(x, c) if ``node`` computes ``c * x`` or ``x / (1/c)`` with a scalar constant."""
    if node is None or node.type not in ("Mul", "Div"):
        return None
    a, b = node.inputs
    left, right = _scalar(known, a), _scalar(known, b)
    if right is not None:
        return a, right if node.type == "Mul" else 1 / right
    if left is not None and node.type == "Mul":
        return b, left
    return None


def _recognise_layer_norm(nodes: list[OnnxNode], known: Mapping[str, np.ndarray]) -> list[OnnxNode]:
    """``d / sqrt(mean(d^2) + eps) * gamma + beta`` with ``d = x - mean(x)`` -> LayerNormalization (below opset 17)."""
    producers = {o: n for n in nodes for o in n.outputs}

    def made_by(name: str, *types: str) -> OnnxNode | None:
        node = producers.get(name)
        return node if node is not None and node.type in types else None

    for div in [n for n in nodes if n.type == "Div"]:
        centred, root = made_by(div.inputs[0], "Sub"), made_by(div.inputs[1], "Sqrt")
        total = made_by(root.inputs[0], "Add") if root else None
        gain = _consumer(nodes, div.outputs[0])
        shift = _consumer(nodes, gain.outputs[0]) if gain else None
        if not (centred and total and gain and shift) or (gain.type, shift.type) != ("Mul", "Add"):
            continue
        eps = next((e for i in total.inputs if (e := _scalar(known, i)) is not None), None)
        variance = next((v for i in total.inputs if (v := made_by(i, "ReduceMean"))), None)
        square = made_by(variance.inputs[0], "Pow", "Mul") if variance else None
        mean = made_by(centred.inputs[1], "ReduceMean")
        if eps is None or not (variance and square and mean) or square.inputs[0] != div.inputs[0]:
            continue
        squared = square.inputs[1] == square.inputs[0] or _scalar(known, square.inputs[1]) == 2
        axes = [_last_axis(n, known) for n in (mean, variance)]
        if not squared or mean.inputs[0] != centred.inputs[0] or axes != [True, True]:
            continue
        gamma = next(i for i in gain.inputs if i != div.outputs[0])
        beta = next(i for i in shift.inputs if i != gain.outputs[0])
        attrs = {"axis": -1, "epsilon": eps}
        norm = OnnxNode("LayerNormalization", (mean.inputs[0], gamma, beta), shift.outputs, attrs, shift.name)
        nodes = [norm if n is shift else n for n in nodes]
    return nodes


def _last_axis(node: OnnxNode, known: Mapping[str, np.ndarray]) -> bool:
    axes = node.attrs.get("axes")
    if axes is None and node.input(1) in known:
        axes = known[node.input(1)].tolist()
    return list(axes or []) == [-1] and node.attrs.get("keepdims", 1) == 1


def _live(nodes: Sequence[OnnxNode], outputs: Iterable[str]) -> list[OnnxNode]:
    """The nodes that ``outputs`` depend on, in order: a rewrite leaves the nodes it replaced without a reader."""
    needed, kept = set(outputs), []
    for node in reversed(nodes):
        if needed.intersection(node.outputs):
            kept.append(node)
            needed.update(node.inputs)
    return kept[::-1]
