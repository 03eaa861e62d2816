"""Which views cost nothing, who owns the memory, and where a copy is unavoidable."""

from __future__ import annotations

from collections.abc import Iterator

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from tdco.errors import TdcoError
from tdco.ir import Builder, TensorType, verify
from tdco.layout import View, assign_layout
from tdco.transfer import Region, copies, overlap, row_major, storage_order

from .device import toy_ops


@pytest.fixture(autouse=True, scope="module")
def _toys() -> Iterator[None]:
    with toy_ops():
        yield


def transposed(b: Builder, name: str, *perm: int) -> str:
    return b.add1("Transpose", [name], {"perm": perm or (1, 0)}, f"{name}.t")


def heads(b: Builder, name: str) -> str:
    return transposed(b, b.add1("Reshape", [name], {"shape": (64, 2, 64)}), 1, 0, 2)


def test_attention_needs_no_copy_forward_or_backward() -> None:
    b = Builder(name="attention")
    x = b.input("x", TensorType((64, 128)))
    w = {name: b.constant(f"w{name}", np.zeros((128, 128))) for name in "qkvp"}
    q, k, v = (heads(b, b.add1("MatMul", [x, w[name]], name=name)) for name in "qkv")
    scores = b.add1("ToyMix", [b.add1("MatMul", [q, transposed(b, k, 0, 2, 1)])], name="scores")
    mixed = b.add1("MatMul", [scores, v], name="mixed")
    joined = b.add1("Reshape", [transposed(b, mixed, 1, 0, 2)], {"shape": (64, 128)}, "joined")
    y = b.add1("MatMul", [joined, w["p"]], name="y")
    dy = b.input("dy", TensorType((64, 128)))
    d_mixed = heads(b, b.add1("MatMul", [dy, transposed(b, w["p"])], name="d_joined"))
    d_scores = b.add1("ToyMix", [b.add1("MatMul", [d_mixed, transposed(b, v, 0, 2, 1)])], name="d_scores")
    gradients = {
        "v": b.add1("MatMul", [transposed(b, scores, 0, 2, 1), d_mixed], name="dv"),
        "q": b.add1("MatMul", [d_scores, k], name="dq"),
        "k": b.add1("MatMul", [transposed(b, d_scores, 0, 2, 1), q], name="dk"),
    }
    for name, gradient in gradients.items():
        flat = b.add1("Reshape", [transposed(b, gradient, 1, 0, 2)], {"shape": (64, 128)}, f"d{name}.flat")
        b.outputs.append(b.add1("MatMul", [transposed(b, x), flat], name=f"dw{name}"))
    b.outputs.append(y)
    _, layout = assign_layout(verify(b.graph()))
    assert layout.copies == ()
    assert layout.views["mixed"].strides == (64, 128, 1), "the producer writes the heads side by side"
    assert layout.views["joined"] == View(layout.views["mixed"].storage, 0, (128, 1))
    for name in "qkv":
        assert layout.views[f"d{name}"].strides == (64, 128, 1)


def test_a_transposed_constant_is_a_view() -> None:
    b = Builder()
    w = b.constant("w", np.zeros((32, 48)))
    b.outputs.append(b.add1("MatMul", [b.input("x", TensorType((20, 48))), transposed(b, w)], name="y"))
    _, layout = assign_layout(verify(b.graph()))
    assert layout.views["w.t"] == View("w", 0, (1, 48)) and not layout.copies


def test_a_dense_kernel_gets_a_copy_of_a_transposed_tensor() -> None:
    b = Builder()
    turned = transposed(b, b.constant("x", np.zeros((32, 48))))
    b.outputs += [b.add1("ToyMix", [turned], name=name) for name in ("y", "z")]
    graph, layout = assign_layout(verify(b.graph()))
    assert layout.copies == ("x.t.dense",), "one copy serves both users"
    assert [n.op for n in graph.nodes] == ["Transpose", "Contiguous", "ToyMix", "ToyMix"]
    verify(graph)


def test_a_small_tensor_is_gathered_instead() -> None:
    b = Builder()
    b.outputs.append(b.add1("ToyMix", [transposed(b, b.constant("x", np.zeros((48, 16))))], name="y"))
    assert assign_layout(verify(b.graph()))[1].copies == ()


def test_an_input_is_fed_in_the_order_its_reader_wants() -> None:
    b = Builder()
    image = transposed(b, b.input("image", TensorType((1, 3, 32, 32))), 0, 2, 3, 1)
    b.outputs.append(b.add1("ToyMix", [image], name="y"))
    _, layout = assign_layout(verify(b.graph()))
    assert layout.copies == () and layout.views["image"].strides == (3072, 1, 96, 3)


def test_an_output_keeps_its_name_and_is_dense() -> None:
    b = Builder()
    x = b.input("x", TensorType((32, 48)))
    b.outputs.append(transposed(b, b.add1("ToyMix", [x], name="y")))
    graph, layout = assign_layout(verify(b.graph()))
    assert graph.outputs == ("y.t",)
    assert layout.views["y.t"].strides == (32, 1)
    assert layout.copies == ("y.t",), "ToyMix cannot write through a transposed view"


def test_an_update_lives_in_its_state() -> None:
    b = Builder()
    weight = b.add_state("w", np.zeros((4, 4)), "f16")
    master = b.add_state("m", np.zeros((4, 4)), "f32")
    new, new_master = b.add("ToyStep", [weight, master, b.input("dw", TensorType((4, 4)))])
    b.updates |= {weight: new, master: new_master}
    _, layout = assign_layout(verify(b.graph()))
    assert layout.views[new] == View("w", 0, (4, 1)) and layout.views[new_master] == View("m", 0, (4, 1))


def test_an_output_may_not_view_what_the_step_updates() -> None:
    b = Builder()
    weight = b.add_state("w", np.zeros((4, 4)), "f16")
    master = b.add_state("m", np.zeros((4, 4)), "f32")
    rows = b.add1("Slice", [weight], {"starts": (0,), "ends": (2,), "axes": (0,)}, "rows")
    new, new_master = b.add("ToyStep", [weight, master, b.input("dw", TensorType((4, 4)))])
    b.updates |= {weight: new, master: new_master}
    b.outputs.append(rows)
    with pytest.raises(TdcoError, match=r"output 'rows' is a view of 'w', which the step updates"):
        assign_layout(verify(b.graph()))


UNTOUCHED = 0xEE
shapes = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)


@settings(max_examples=300, deadline=None)
@given(shape=shapes, data=st.data())
def test_copies_move_every_element_once(shape: tuple[int, ...], data: st.DataObject) -> None:
    """A tile of any strided view arrives dense, in the order that was chosen."""
    perm = data.draw(st.permutations(range(len(shape))))
    full = tuple(n + data.draw(st.integers(0, 2)) for n in shape)
    stored = np.arange(np.prod(full), dtype=np.uint16).reshape([full[p] for p in perm])
    stored = (stored % 200) * 0x0101  # no byte is UNTOUCHED
    tensor = stored.transpose(np.argsort(perm))  # shape ``full``, strided
    strides = tuple(s // 2 for s in tensor.strides)
    start = tuple(data.draw(st.integers(0, f - n)) for f, n in zip(full, shape, strict=True))
    part = tensor[tuple(slice(s, s + n) for s, n in zip(start, shape, strict=True))]
    order = storage_order(full, strides, data.draw(st.integers(0, 2)))
    l1, memory = np.full(part.nbytes, UNTOUCHED, np.uint8), stored.reshape(-1).view(np.uint8)
    base = 2 * sum(i * s for i, s in zip(start, strides, strict=True))
    for offset, region in copies(shape, strides, order, 2):
        for row in range(region.rows):
            at = base + region.offset + row * region.stride
            to = offset + row * region.row_bytes
            assert (l1[to : to + region.row_bytes] == UNTOUCHED).all(), "two copies write one byte"
            l1[to : to + region.row_bytes] = memory[at : at + region.row_bytes]
    np.testing.assert_array_equal(l1.view(np.uint16).reshape([shape[d] for d in order]), part.transpose(order))


def test_a_long_copy_is_cut_at_the_dma_limit() -> None:
    parts = list(copies((3, 200_000), (300_000, 1), (0, 1), 2))
    assert all(r.rows * r.row_bytes <= 131_071 for _, r in parts)
    assert sum(r.rows * r.row_bytes for _, r in parts) == 3 * 400_000
    assert sorted(o for o, _ in parts)[0] == 0


regions = st.builds(Region, st.integers(0, 60), st.integers(1, 12), st.integers(1, 5), st.integers(0, 16))


@settings(max_examples=500, deadline=None)
@given(a=regions, b=regions)
def test_overlap_never_misses_a_common_byte(a: Region, b: Region) -> None:
    def touched(r: Region) -> set[int]:
        return {r.offset + row * r.stride + i for row in range(r.rows) for i in range(r.row_bytes)}

    common = bool(touched(a) & touched(b))
    assert overlap(a, b) or not common
    comparable = a.stride == b.stride >= max(a.row_bytes, b.row_bytes)
    one_column = a._replace(offset=0) == b._replace(offset=0)
    if comparable and one_column and a.offset // a.stride == b.offset // b.stride:
        assert overlap(a, b) == common


def test_heads_side_by_side_do_not_overlap() -> None:
    assert not overlap(Region(0, 128, 64, 256), Region(128, 128, 64, 256))
    assert row_major((2, 3, 4)) == (12, 4, 1)
