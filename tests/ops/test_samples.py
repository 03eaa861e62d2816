"""Every operator, by its own samples: types, gradient, host C, tiling. A new operator needs no edit here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from math import sqrt
from zlib import crc32

import numpy as np
import pytest
import torch
from tdco.domain import Domain
from tdco.errors import TdcoError
from tdco.ir import DTYPES, Builder, Graph, Node, TensorType, evaluate
from tdco.ops import OpDef, Sample, all_ops

from .harness import Layout, run_node, sample_arrays, sample_types, stored, tiles
from .torch_reference import TORCH

OPS = all_ops()
TOLERANCE: dict[str, float] = {"GeluGrad": 2**-8}
"""Host C against eval, relative to the largest element, where the general rule of ``tolerance`` is too tight: in the
tails, where GELU's gradient is small, the density's absolute error of 2^-13 counts (see fpmath.h)."""
ERRORS = {"KahanSGD": 1}
"""The output that is a rounding error itself, of the first output."""

CASES = [pytest.param(op, s, id=f"{op.name}-{n}") for op in OPS.values() for n, s in enumerate(op.samples)]
DEVICE_CASES = [c for c in CASES if c.values[0].lower]
GRAD_CASES = [c for c in CASES if c.values[0].grad]


def seeded(op: OpDef, sample: Sample) -> np.random.Generator:
    return np.random.default_rng(crc32(f"{op.name} {sample.attrs} {sample_types(sample)}".encode()))


def node_of(op: OpDef, sample: Sample) -> tuple[Node, list[TensorType | None], tuple[TensorType, ...]]:
    types = sample_types(sample)
    out_types = op.infer(types, sample.attrs)
    names = tuple("" if t is None else f"in{n}" for n, t in enumerate(types))
    return Node(op.name, names, tuple(f"out{n}" for n in range(len(out_types))), sample.attrs), types, out_types


def tolerance(op: OpDef, types: Sequence[TensorType | None], out: Sequence[TensorType], sample: Sample) -> float:
    """fp16 storage costs 2^-11 of the largest element, once; a chain of K fp16 MACs sqrt(K) times as much."""
    if op.name in TOLERANCE:
        return TOLERANCE[op.name]
    macs = op.flop(types, out, sample.attrs) // 2 if op.flop else 0
    return 2**-10 * sqrt(max(1, macs / max(1, out[0].size)))


@pytest.mark.parametrize("op", OPS.values(), ids=OPS)
def test_definition_is_complete(op: OpDef) -> None:
    assert op.samples, f"{op.name} has no samples"
    assert bool(op.domain) == bool(op.lower)
    assert op.view or op.lower, f"{op.name} is neither a view nor does it lower to commands"
    assert not op.grad or op.name in TORCH, f"{op.name} has a gradient but no entry in torch_reference.TORCH"


@pytest.mark.parametrize(("op", "sample"), CASES)
def test_infer_gives_the_shapes_of_eval(op: OpDef, sample: Sample) -> None:
    node, _, out_types = node_of(op, sample)
    for dtype in (np.float32, np.float64):
        arrays = [
            a if a is None or a.dtype.kind != "f" else a.astype(dtype)
            for a in sample_arrays(sample, seeded(op, sample))
        ]
        results = op.eval(arrays, node.attrs)
        assert [r.shape for r in results] == [t.shape for t in out_types]
        for result, type in zip(results, out_types, strict=True):
            floating = DTYPES[type.dtype].kind == "f"
            assert result.dtype == (dtype if floating else DTYPES[type.dtype]), "eval computes in its inputs' precision"


def gradient_graph(op: OpDef, sample: Sample, output: int) -> tuple[Graph, list[str], list[str | None], list[bool]]:
    """(graph of ``op`` and its gradient through ``output``, input names, gradient names, which were wanted)."""
    b = Builder()
    types = sample_types(sample)
    names = ["" if t is None else b.input(f"in{n}", t) for n, t in enumerate(types)]
    outs = b.add(op.name, names, sample.attrs)
    wanted = [t is not None and DTYPES[t.dtype].kind == "f" and n not in op.frozen for n, t in enumerate(types)]
    dys: list[str | None] = [None] * len(outs)
    dys[output] = b.input("dy", b.type(outs[output]))
    assert op.grad
    grads = list(op.grad(b, b.nodes[-1], dys, wanted))
    assert len(grads) == len(names)
    return b.graph(), names, grads, wanted


def float_outputs(op: OpDef, sample: Sample) -> list[int]:
    return [n for n, t in enumerate(node_of(op, sample)[2]) if DTYPES[t.dtype].kind == "f"]


@pytest.mark.parametrize(("op", "sample"), GRAD_CASES)
def test_gradient_against_finite_differences_and_torch(op: OpDef, sample: Sample) -> None:
    for output in float_outputs(op, sample):
        try:
            graph, names, grads, wanted = gradient_graph(op, sample, output)
        except TdcoError:
            assert output > 0, "only a secondary output may refuse a gradient"
            continue
        rng = seeded(op, sample)
        arrays = sample_arrays(sample, rng)
        dy = rng.normal(0, 1, graph.type("dy").shape)
        feeds = {n: a for n, a in zip(names, arrays, strict=True) if a is not None}
        env = evaluate(graph, {**feeds, "dy": dy}, np.float64)
        by_torch = torch_gradients(op, sample, arrays, output, dy)
        for n, grad in enumerate(grads):
            if not wanted[n]:
                continue
            array = arrays[n]
            assert array is not None
            got = env[grad] if grad else np.zeros_like(array)
            assert got.shape == array.shape, f"gradient of input {n}"
            check_finite_differences(op, sample, arrays, n, output, dy, got)
            np.testing.assert_allclose(
                got, by_torch[n], rtol=0, atol=1e-9 * max(1.0, np.abs(by_torch[n]).max(initial=0)), err_msg=f"input {n}"
            )


def check_finite_differences(
    op: OpDef, sample: Sample, arrays: list[np.ndarray | None], n: int, output: int, dy: np.ndarray, got: np.ndarray
) -> None:
    """Central differences of sum(output * dy) at up to 40 elements of input ``n``."""
    x = arrays[n]
    assert x is not None
    step = 1e-6
    elements = np.random.default_rng(n).permutation(x.size)[:40]
    for element in elements:
        losses = []
        for sign in (1, -1):
            moved = x.copy()
            moved.flat[element] += sign * step
            inputs = [*arrays[:n], moved, *arrays[n + 1 :]]
            losses.append(float(np.sum(op.eval(inputs, sample.attrs)[output] * dy)))
        slope = (losses[0] - losses[1]) / (2 * step)
        assert abs(slope - got.flat[element]) <= 1e-6 * max(1.0, np.abs(got).max()), f"input {n}, element {element}"


def torch_gradients(
    op: OpDef, sample: Sample, arrays: list[np.ndarray | None], output: int, dy: np.ndarray
) -> list[np.ndarray]:
    tensors = torch_inputs(arrays)
    result = TORCH[op.name](tensors, sample.attrs)
    torch.autograd.backward(result[output], torch.from_numpy(np.asarray(dy)))
    return [np.zeros(0) if t is None else (np.zeros(t.shape) if t.grad is None else t.grad.numpy()) for t in tensors]


def torch_inputs(arrays: list[np.ndarray | None]) -> list[torch.Tensor | None]:
    return [None if a is None else torch.tensor(a, requires_grad=a.dtype.kind == "f", dtype=None) for a in arrays]


@pytest.mark.parametrize(("op", "sample"), [c for c in CASES if c.values[0].name in TORCH])
def test_value_against_torch(op: OpDef, sample: Sample) -> None:
    arrays = sample_arrays(sample, seeded(op, sample))
    for mine, theirs in zip(
        op.eval(arrays, sample.attrs), TORCH[op.name](torch_inputs(arrays), sample.attrs), strict=True
    ):
        theirs = theirs.detach().numpy()
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-9 * max(1.0, np.abs(theirs).max(initial=0)))


@pytest.mark.parametrize(("op", "sample"), DEVICE_CASES)
def test_host_c_against_eval(op: OpDef, sample: Sample) -> None:
    node, types, out_types = node_of(op, sample)
    inputs = stored(sample_arrays(sample, seeded(op, sample)), types)
    outputs = run_node(node, inputs, types, out_types)
    exact = op.eval([a if a is None or a.dtype.kind != "f" else a.astype(np.float32) for a in inputs], sample.attrs)
    bound = tolerance(op, types, out_types, sample)
    for n, (got, want, type) in enumerate(zip(outputs, exact, out_types, strict=True)):
        assert got.dtype == DTYPES[type.dtype]
        if got.dtype.kind != "f":
            np.testing.assert_array_equal(got, want)
            continue
        whole = exact[0] if ERRORS.get(op.name) == n else want
        limit = (bound if type.dtype == "f16" else bound / 256) * max(np.abs(whole).max(initial=0), 2.0**-14)
        np.testing.assert_allclose(got.astype(np.float32), want, rtol=0, atol=limit, err_msg=f"output {n}")


@pytest.mark.parametrize(("op", "sample"), DEVICE_CASES)
def test_bits_do_not_depend_on_tiles_cores_or_layout(op: OpDef, sample: Sample) -> None:
    node, types, out_types = node_of(op, sample)
    rng = seeded(op, sample)
    inputs = stored(sample_arrays(sample, rng), types)
    untiled = run_node(node, inputs, types, out_types)
    assert op.domain
    domain = op.domain(node, types, out_types)
    assert_same_bits(untiled, run_node(node, inputs, types, out_types, cores=1), "1 core")
    for _ in range(4):
        sizes = random_sizes(domain, rng)
        layouts = (
            []
            if domain.dense
            else [random_layout(t, domain.innermost(n), rng) for n, t in enumerate((*types, *out_types))]
        )
        tiled = run_node(node, inputs, types, out_types, sizes, cores=int(rng.integers(1, 9)), layouts=layouts)
        assert_same_bits(untiled, tiled, f"tiles {sizes}, layouts {layouts}")


@pytest.mark.parametrize(("op", "sample"), [c for c in DEVICE_CASES if c.values[1].attrs.get("relu")])
def test_only_complete_sums_are_rectified(op: OpDef, sample: Sample) -> None:
    """The bits are those of the product without ``relu``, rectified: whatever the tiles, no sum is cut at zero."""
    node, types, out_types = node_of(op, sample)
    rng = seeded(op, sample)
    inputs = stored(sample_arrays(sample, rng), types)
    plain = replace(node, attrs={k: v for k, v in node.attrs.items() if k != "relu"})
    (want,) = run_node(plain, inputs, types, out_types)
    assert op.domain and (want < 0).any()
    for sizes in ({}, random_sizes(op.domain(node, types, out_types), rng)):
        assert_same_bits([np.maximum(want, 0) + np.float16(0)], run_node(node, inputs, types, out_types, sizes), "relu")


def random_sizes(domain: Domain, rng: np.random.Generator, most_tiles: int = 60) -> dict[str, int]:
    """Tile sizes for at most ``most_tiles`` tiles, leftovers likely."""
    while True:
        sizes = {loop.name: int(rng.integers(1, max(1, loop.extent) + 1)) for loop in domain.loops}
        if sum(1 for _ in tiles(domain, sizes)) <= most_tiles:
            return sizes


def random_layout(type: TensorType | None, innermost: int, rng: np.random.Generator) -> Layout | None:
    """A storage order that keeps one of the last ``innermost`` dimensions innermost, perhaps with gaps; None for 0."""
    if type is None or not innermost:
        return None
    rank = len(type.shape)
    while True:
        order = tuple(int(d) for d in rng.permutation(rank))
        if not order or order[-1] >= rank - innermost:
            return Layout(order, int(rng.integers(0, 2)))


def assert_same_bits(want: list[np.ndarray], got: list[np.ndarray], how: str) -> None:
    for n, (a, b) in enumerate(zip(want, got, strict=True)):
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes(), f"output {n} differs with {how}"


@pytest.mark.parametrize(("op", "sample"), [c for c in CASES if c.values[0].view])
def test_view_and_unview_against_eval(op: OpDef, sample: Sample) -> None:
    """Reading the input's storage through the view's strides gives eval, for any storage order; so does unview."""
    _, types, (out_type,) = node_of(op, sample)
    (x,), (in_type,) = sample_arrays(sample, seeded(op, sample)), types
    assert op.view and in_type and x is not None
    want = op.eval([x], sample.attrs)[0]
    found = 0
    for order in permutations(range(x.ndim)):
        storage, strides = store(x, order)
        view = op.view(in_type, out_type, sample.attrs, strides)
        if view is not None:
            found += 1
            np.testing.assert_array_equal(look(storage, *view, out_type.shape), want)
    assert found, "no storage order makes this a view"
    for order in permutations(range(want.ndim)):
        storage, strides = store(want, order)
        through = op.unview(in_type, out_type, sample.attrs, strides) if op.unview else None
        if through is not None:
            np.testing.assert_array_equal(look(storage, 0, through, in_type.shape), x)


def store(array: np.ndarray, order: Sequence[int]) -> tuple[np.ndarray, tuple[int, ...]]:
    """(flat storage with the dimensions in ``order``, strides in elements)."""
    strides, step = [0] * array.ndim, 1
    for d in reversed(order):
        strides[d] = step
        step *= array.shape[d]
    return array.transpose(order).ravel(), tuple(strides)


def look(storage: np.ndarray, offset: int, strides: tuple[int, ...], shape: tuple[int, ...]) -> np.ndarray:
    size = storage.itemsize
    return np.ndarray(shape, storage.dtype, storage.tobytes(), offset * size, tuple(s * size for s in strides))
