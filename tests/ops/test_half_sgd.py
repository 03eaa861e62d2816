"""Updates without an fp32 master: the bits of every way to round, and what they keep of small steps."""

from __future__ import annotations

import numpy as np
import pytest
from tdco.domain import Operand
from tdco.ir import Node, TensorType
from tdco.ops import get_op
from tdco.ops.half_sgd import places
from tdco.program import Ref

from .harness import run_node

ATTRS = {"lr": 2.0**-9, "loss_scale": 1.0}
N = 1000


def update(op: str, inputs: list[np.ndarray], **attrs: object) -> list[np.ndarray]:
    names = {np.dtype(np.float16): "f16", np.dtype(np.float32): "f32", np.dtype(np.int32): "i32"}
    types = [TensorType(a.shape, names[a.dtype]) for a in inputs]
    out = get_op(op).infer(types, {**ATTRS, **attrs})
    node = Node(
        op, tuple(f"i{n}" for n in range(len(types))), tuple(f"o{n}" for n in range(len(out))), {**ATTRS, **attrs}
    )
    return list(run_node(node, inputs, types, out))


def flag(value: int) -> np.ndarray:
    return np.array([value], np.int32)


def weights(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, N).astype(np.float16), rng.normal(0, 0.05, N).astype(np.float16)


def exact_step(w: np.ndarray, g: np.ndarray) -> np.ndarray:
    return w.astype(np.float64) - ATTRS["lr"] * g.astype(np.float64)


def test_half_rounds_to_nearest() -> None:
    w, g = weights(0)
    (new,) = update("HalfSGD", [w, g, flag(1)])
    np.testing.assert_array_equal(new, exact_step(w, g).astype(np.float32).astype(np.float16))
    assert (new == w).mean() > 0.5, "most of these steps are less than half an ulp"


def test_kahan_has_the_bits_of_its_definition_and_loses_little() -> None:
    w, g = weights(1)
    carry = np.zeros(N, np.float16)
    mine, c, exact = w.astype(np.float32), carry.astype(np.float32), w.astype(np.float64)
    for _ in range(50):
        w, carry = update("KahanSGD", [w, carry, g, flag(1)])
        step = (c.astype(np.float64) - ATTRS["lr"] * g.astype(np.float64)).astype(np.float32)
        total = (mine + step).astype(np.float16).astype(np.float32)
        c = (step - (total - mine)).astype(np.float16).astype(np.float32)
        mine = total
        exact = exact_step(exact, g)
        np.testing.assert_array_equal(w, mine.astype(np.float16))
        np.testing.assert_array_equal(carry, c.astype(np.float16))
    assert np.abs(w - exact).max() <= 2.0**-10 * np.abs(exact).max()
    assert np.abs(w.astype(np.float64) + carry - exact).max() < 2.0**-14


def test_chance_takes_a_neighbour_and_is_right_in_the_mean() -> None:
    w, g = weights(2)
    exact = exact_step(w, g)
    drawn = np.array([update("StochasticSGD", [w, g, flag(1), flag(t)], seed=5)[0] for t in range(400)], np.float64)
    nearest = exact.astype(np.float16)
    low = np.where(nearest > exact, np.nextafter(nearest, np.float16(-np.inf)), nearest).astype(np.float64)
    high = np.where(nearest > exact, nearest, np.nextafter(nearest, np.float16(np.inf))).astype(np.float64)
    high = np.where(low == exact, low, high)
    assert ((drawn == low) | (drawn == high)).all()
    deviation = np.sqrt((high - exact) * (exact - low) / 400)
    assert (np.abs(drawn.mean(0) - exact) <= 5 * deviation + 1e-12).all()


def test_chance_depends_on_seed_step_and_element() -> None:
    w, g = np.full(N, 0.3, np.float16), np.full(N, 0.05, np.float16)
    base = update("StochasticSGD", [w, g, flag(1), flag(1)], seed=5)[0]
    assert 0.1 < (base == w).mean() < 0.9
    np.testing.assert_array_equal(base, update("StochasticSGD", [w, g, flag(1), flag(1)], seed=5)[0])
    assert (base != update("StochasticSGD", [w, g, flag(1), flag(2)], seed=5)[0]).any()
    assert (base != update("StochasticSGD", [w, g, flag(1), flag(1)], seed=6)[0]).any()


@pytest.mark.parametrize("w", [0.0, 2.0**-24, -(2.0**-24), 65504.0, np.inf, np.nan, -0.0])
def test_chance_at_the_edges_of_the_format(w: float) -> None:
    for slope in (0.0, 1e-6, -1e-6):
        (new,) = update(
            "StochasticSGD", [np.array([w], np.float16), np.array([slope], np.float32), flag(1), flag(0)], seed=1
        )
        if slope == 0.0 or not np.isfinite(w):
            np.testing.assert_array_equal(new, np.array([w], np.float16))
        else:
            assert np.abs(np.float64(new[0]) - w) <= max(2.0**-24, abs(w) * 2.0**-10)


@pytest.mark.parametrize("shape", [(6, 5), (3, 4, 5), (2, 3, 4, 5)])
def test_places_find_every_element_of_any_tile(shape: tuple[int, ...]) -> None:
    numbers = np.arange(np.prod(shape)).reshape(shape)
    for starts, extents in (
        ([1] * len(shape), [n - 1 for n in shape]),
        ([1] + [0] * (len(shape) - 1), [1, *shape[1:]]),
    ):
        tile = numbers[tuple(slice(a, a + n) for a, n in zip(starts, extents, strict=True))]
        operand = Operand(Ref("w"), tuple(starts), tile.shape, (), shape, "f16")
        base, e1, e2, e3, s0, s1, s2 = places(operand)
        at = np.arange(tile.size)
        row = at // e3
        plane = row // e2
        cube = plane // e1
        index = base + cube * s0 + (plane - cube * e1) * s1 + (row - plane * e2) * s2 + (at - row * e3)
        np.testing.assert_array_equal(index, tile.ravel())


@pytest.mark.parametrize("oks", [(0, 1), (1, 0), (0, 0)])
def test_factors_of_a_skipped_step_change_no_bit(oks: tuple[int, int]) -> None:
    x = np.array([[np.nan], [1.0], [-2.0]], np.float16)
    y = np.array([[np.inf, -1.0, 3.0]], np.float16)
    flags = [flag(ok) for ok in oks]
    (a,) = update("Factor", [x, *flags], rate=0.25)
    (b,) = update("Factor", [y, *flags], rate=-0.5)
    w = np.array([[0.0, -0.0, 1.0]] * 3, np.float16)
    (new,) = update("GemmUpdate", [a, b, w])
    np.testing.assert_array_equal(new.view(np.uint16), w.view(np.uint16))
