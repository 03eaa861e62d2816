"""Tiles cover the work once, fit L1, and are chosen by modelled cycles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from tdco.cost import core_formula, default_costs
from tdco.errors import TdcoError
from tdco.ir import Builder, Graph, TensorType, verify
from tdco.layout import assign_layout
from tdco.program import Copy, GemmJob
from tdco.tile import choose_tiling
from tdco.work import Tiling, describe, ranges, read_storages, tile_bytes
from tdco_spec import get_config

from .device import compile_graph, small, toy_ops

CFG = get_config("rm_12x4")


@pytest.fixture(autouse=True, scope="module")
def _toys() -> Iterator[None]:
    with toy_ops():
        yield


def product(m: int, n: int, k: int, heads: int = 0) -> Graph:
    lead = (heads,) if heads else ()
    b = Builder(name="product")
    x, w = b.input("x", TensorType((*lead, m, k))), b.constant("w", np.zeros((*lead, k, n)), source="layer.weight")
    b.outputs.append(b.add1("MatMul", [x, w], name="z", source="layer"))
    return verify(b.graph())


def tiling(graph: Graph, l1_bytes: int = 120_000) -> Tiling:
    return choose_tiling(*assign_layout(graph), default_costs(small(CFG, l1_bytes)))[0]


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    m=st.integers(1, 150),
    n=st.integers(1, 150),
    k=st.integers(1, 150),
    heads=st.integers(0, 2),
    l1_bytes=st.sampled_from([3_000, 20_000, 120_000]),
)
def test_tiles_fit_and_cover_every_product_once(m: int, n: int, k: int, heads: int, l1_bytes: int) -> None:
    graph, layout = assign_layout(product(m, n, k, heads))
    chosen = choose_tiling(graph, layout, default_costs(small(CFG, l1_bytes)))[0]
    work = describe(graph, layout, graph.nodes[0])
    assert sum(tile_bytes(a, chosen.sizes) for a in work.accesses if a) <= l1_bytes
    done = np.zeros([loop.extent for loop in work.domain.loops], np.uint8)
    unfinished: set[tuple] = set()
    for loops, first, last in ranges(work.domain, chosen):
        done[tuple(slice(s, s + n) for s, n in (loops[loop.name] for loop in work.domain.loops))] += 1
        output = tuple(span for name, span in loops.items() if name != "k")
        assert first == (output not in unfinished) and len(unfinished | {output}) == 1, "one output tile at a time"
        unfinished = set() if last else {output}
    assert (done == 1).all() and not unfinished


def test_sums_are_cut_only_for_want_of_room() -> None:
    assert tiling(product(64, 128, 128)).sizes["k"] == 128
    assert tiling(product(64, 128, 2000), 30_000).sizes["k"] < 2000


def test_cuts_cost_the_engine_little() -> None:
    """Tiles let engine and cores overlap; their jobs must not take much longer than the whole product's."""
    predict = core_formula(CFG)
    jobs = [c.op for c in compile_graph(product(64, 128, 128), CFG).schedule.commands if isinstance(c.op, GemmJob)]
    whole = 16 * 32 * 11 * 4
    assert len(jobs) > 1 and sum(predict(job, False) - 60 for job in jobs) <= 1.02 * whole


def test_the_operand_of_the_outer_loop_is_loaded_once() -> None:
    schedule = compile_graph(product(512, 64, 64), small(CFG, 30_000)).schedule
    copied = [c.op for c in schedule.commands if isinstance(c.op, Copy) and c.op.to_l1]
    loaded = {name: sum(op.rows * op.row_bytes for op in copied if op.l2.buffer == name) for name in ("x", "w")}
    assert loaded == {"x": 512 * 64 * 2, "w": 64 * 64 * 2}


def test_the_choice_does_not_depend_on_the_day() -> None:
    assert len({str(tiling(product(100, 90, 80), 20_000)) for _ in range(3)}) == 1


def test_what_cannot_be_cut_says_so() -> None:
    with pytest.raises(
        TdcoError, match=r"MatMul node layer: its smallest tiles need \d+ bytes of L1 .*, 8 are available"
    ):
        tiling(product(64, 64, 64), 8)


def test_more_rows_in_the_engine_take_fewer_cycles() -> None:
    graph = product(200, 64, 64)
    cycles = [compile_graph(graph, replace(small(CFG, 24_000), rows=rows)).schedule.cycles for rows in (12, 16)]
    assert cycles[1] < 0.9 * cycles[0]


def test_what_is_updated_tile_by_tile_is_fetched_by_tiles() -> None:
    """A weight fetched whole would be fetched again after each tile of the update: its old content is worth nothing."""
    b = Builder(name="update")
    w = b.add_state("w", np.zeros(640), "f16")
    grad, ok = b.input("grad", TensorType((640,))), b.input("ok", TensorType((1,), "i32"))
    b.outputs.append(b.add1("Relu", [w]))
    b.updates[w] = b.add1("HalfSGD", [w, grad, ok], {"lr": 0.5})
    graph, layout = assign_layout(verify(b.graph()))
    relu, update = (describe(graph, layout, node, 40_000, read_storages(graph, layout)) for node in graph.nodes)
    assert relu.inputs[0] and relu.inputs[0].whole
    assert [a and a.whole for a in update.accesses] == [False, True, True, False]


def test_the_last_product_before_an_update_of_rank_one_is_cut_by_its_rows() -> None:
    """So that each block of the weight is multiplied and then updated; an earlier product is cut as any."""
    b = Builder(name="backward")
    x, dy, ok = (
        b.input("x", TensorType((1, 128))),
        b.input("dy", TensorType((1, 256))),
        b.input("ok", TensorType((1,), "i32")),
    )
    column = b.add1("Transpose", [dy], {"perm": (1, 0)})
    w, master = b.add_state("w", np.zeros((256, 128)), "f16"), b.add_state("w.master", np.zeros((256, 128)), "f32")
    turned = b.add1("Transpose", [w], {"perm": (1, 0)})
    b.outputs += [b.add1("MatMul", [x, turned], name="y"), b.add1("MatMul", [dy, w], name="dx")]
    new = b.add("OuterSGD", [master, column, x, ok, ok], {"lr": 0.5, "loss_scale": 1.0})
    b.updates |= dict(zip((master, w), new, strict=True))
    graph, layout = assign_layout(verify(b.graph()))
    found = {graph.nodes[i].outputs[0]: t.sizes for i, t in choose_tiling(graph, layout, default_costs(CFG)).items()}
    rows = found[new[0]]["d0"]
    assert found["y"]["k"] == 128 and found["y"]["n"] < 256
    assert found["dx"]["n"] == 128 and found["dx"]["k"] < 256
    assert rows < 256 and max(rows, found["dx"]["k"]) % min(rows, found["dx"]["k"]) == 0
