"""What the operators' samples cannot show of the kernels: infinities and NaN, ties, labels that are no class, updates
in place; and of the definitions: storage of gradients, rejected inputs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from tdco.errors import TdcoError
from tdco.ir import DTYPES, Attrs, Builder, Node, TensorType
from tdco.ops import get_op
from tdco.program import KernelCall, Ref

from ..ops.harness import L1, run_kernel, run_node

INF, NAN = np.inf, np.nan
NAMES = {dtype: name for name, dtype in DTYPES.items()}
Arrays = Sequence[np.ndarray]


def run(op: str, inputs: Arrays, attrs: Attrs | None = None, **options: Any) -> list[np.ndarray]:
    types = [TensorType(i.shape, NAMES[i.dtype]) for i in inputs]
    out_types = get_op(op).infer(types, attrs or {})
    node = Node(
        op, tuple(f"in{n}" for n in range(len(inputs))), tuple(f"out{n}" for n in range(len(out_types))), attrs or {}
    )
    return run_node(node, inputs, types, out_types, **options)


def f16(*values: Any) -> np.ndarray:
    return np.array(values, np.float16)


def bits(array: np.ndarray) -> list[int]:
    return array.ravel().view({2: np.uint16, 4: np.uint32}[array.itemsize]).tolist()


def every_half() -> np.ndarray:
    """All 65536 binary16 patterns but the NaNs other than 0x7E00, which no kernel and no engine produces."""
    patterns = np.arange(1 << 16, dtype=np.uint16)
    return patterns[((patterns & 0x7FFF) <= 0x7C00) | (patterns == 0x7E00)].view(np.float16)


def test_relu_of_every_half() -> None:
    x = every_half()
    (y,) = run("Relu", [x])
    np.testing.assert_array_equal(y, np.where(x < 0, np.float16(0), x))
    assert 0x8000 not in bits(y), "minus zero becomes zero"


def test_gelu_of_every_half_is_within_one_rounding() -> None:
    """At most the neighbour of the binary16 nearest to the true value, down to the smallest subnormal."""
    x = every_half()
    x = x[np.isfinite(x)]
    (y,) = run("Gelu", [x])
    (want,) = get_op("Gelu").eval([x.astype(np.float64)], {})
    nearest = want.astype(np.float16)
    wrong = y != nearest
    print(f"{wrong.sum()} of {len(x)} are not the nearest")
    assert wrong.mean() < 3e-3
    assert np.abs(y.view(np.int16) - nearest.view(np.int16)).max() == 1


def test_gelu_grad_of_every_half() -> None:
    x = every_half()
    x = x[np.isfinite(x)]
    (dx,) = run("GeluGrad", [np.ones_like(x), x])
    (want,) = get_op("GeluGrad").eval([np.ones(len(x)), x.astype(np.float64)], {})
    assert np.abs(dx - want).max() <= 2**-11 + 2**-13, "half a last place of values up to 1.13, and the density's error"
    assert not np.isnan(dx).any()


@pytest.mark.parametrize("op", ["Relu", "Gelu", "Softmax"])
def test_nan_goes_on(op: str) -> None:
    (y,) = run(op, [f16(1, NAN, 2)])
    assert bits(y)[1] == 0x7E00


def test_softmax_of_the_largest_values() -> None:
    (y,) = run("Softmax", [f16([65504, -65504, 65504], [-65504, -65504, -65504])])
    np.testing.assert_array_equal(y, f16([0.5, 0, 0.5], [1 / 3] * 3))


def test_layer_norm_of_a_constant_row_is_beta() -> None:
    x = np.repeat(f16(1000.5, -3.25, 65504, 0), 13).reshape(4, 13)
    y, mean, rstd = run("LayerNormalization", [x, f16(*[2] * 13), f16(*range(13))], {"epsilon": 1e-5})
    np.testing.assert_array_equal(y, np.tile(f16(*range(13)), (4, 1)))
    np.testing.assert_array_equal(mean, x[:, 0].astype(np.float32))
    np.testing.assert_allclose(rstd, 1e-5**-0.5, rtol=3e-7)


def test_layer_norm_statistics_of_hard_rows() -> None:
    """Means far from zero, outliers among the elements that the first guess is made of, the largest values."""
    rng = np.random.default_rng(0)
    x = np.stack(
        [1000 + rng.integers(-1, 2, 128) / 2, rng.normal(size=128), rng.normal(size=128), rng.normal(size=128)]
    )
    x[1, 0], x[2, 5], x[3] = 30000, -1000, 60000 * np.sign(x[3])
    x = x.astype(np.float16)
    _, mean, rstd = run("LayerNormalization", [x, f16(*[1] * 128), f16(*[0] * 128)], {"epsilon": 1e-5})
    wide = x.astype(np.float64)
    np.testing.assert_allclose(rstd, (wide.var(axis=1) + 1e-5) ** -0.5, rtol=2e-6)
    np.testing.assert_array_less(np.abs(mean - wide.mean(axis=1)), 2e-6 * wide.std(axis=1))


POOL = {"kernel_shape": (1, 3), "strides": (1, 2), "pads": (0, 1, 0, 1)}


def image(*row: float) -> np.ndarray:
    return f16(*row).reshape(1, 1, len(row), 1)


def test_max_pool_of_special_values() -> None:
    (y,) = run("MaxPool", [image(-INF, -INF, 5, NAN, -65504, -1, -0.0)], POOL)
    np.testing.assert_array_equal(y.ravel(), f16(-INF, NAN, NAN, -0.0))


def test_max_pool_gradient_goes_to_the_first_maximum() -> None:
    """Windows (-inf, -0, 0), (0, 3, 3), (3, 1, -inf): zeros tie whatever their sign; shared elements add up."""
    x = image(-0.0, 0.0, 3, 3, 1)
    (y,) = run("MaxPool", [x], POOL)
    (dx,) = run("MaxPoolGrad", [image(1, 2, 4), x, y], POOL)
    np.testing.assert_array_equal(dx.ravel(), f16(1, 0, 2, 4, 0))


def test_max_pool_gradient_adds_before_it_rounds() -> None:
    """2048 + 1 + 1 = 2050, but 2049 is no binary16."""
    x = np.zeros((1, 1, 5, 1), np.float16)
    x[0, 0, 2] = 1
    attrs = {"kernel_shape": (1, 3), "strides": (1, 1), "pads": (0, 0, 0, 0)}
    (y,) = run("MaxPool", [x], attrs)
    (dx,) = run("MaxPoolGrad", [image(2048, 1, 1), x, y], attrs)
    np.testing.assert_array_equal(dx.ravel(), f16(0, 0, 2050, 0, 0))


@pytest.mark.parametrize("label", [-1, 3, 2**31 - 1, -(2**31)])
def test_a_label_that_is_no_class(label: int) -> None:
    logits, labels = f16([1, 2, 3], [3, 2, 1]), np.array([label, 0], np.int32)
    loss, log_prob = run("SoftmaxCrossEntropyLoss", [logits, labels])
    np.testing.assert_allclose(loss, [-log_prob[1, 0] / 2], rtol=1e-7)
    (dx,) = run("SoftmaxCrossEntropyLossGrad", [np.ones(1, np.float32), log_prob, labels])
    np.testing.assert_allclose(dx[0], np.exp(log_prob[0]) / 2, rtol=1e-3)
    with pytest.raises(TdcoError, match=f"label {label} is not one of the classes 0 to 2"):
        get_op("SoftmaxCrossEntropyLoss").eval([logits.astype(np.float64), labels], {})


def test_cross_entropy_of_the_largest_logits() -> None:
    loss, log_prob = run("SoftmaxCrossEntropyLoss", [f16([65504, -65504, 65504]), np.array([1], np.int32)])
    np.testing.assert_allclose(log_prob, [[-np.log(2), -131008 - np.log(2), -np.log(2)]], rtol=1e-6)
    assert loss[0] == -log_prob[0, 1]


def test_nan_is_stored_as_riscv_stores_it() -> None:
    """inf - inf is a negative NaN on x86; the bits in memory must not tell the platforms apart."""
    x = f16([INF, -INF, 2], [NAN, 1, 2])
    y, mean, rstd = run("LayerNormalization", [x, f16(1, 1, 1), f16(0, 0, 0)])
    assert bits(mean) == bits(rstd) == [0x7FC00000] * 2 and set(bits(y)) == {0x7E00}
    loss, log_prob = run("SoftmaxCrossEntropyLoss", [x, np.zeros(2, np.int32)])
    assert set(bits(log_prob)) | set(bits(loss)) == {0x7FC00000}
    infinite = np.array([INF], np.float32)
    assert bits(run("Add", [infinite, -infinite])[0]) == [0x7FC00000]
    assert bits(run("Mul", [infinite, 0 * np.ones(1, np.float32)])[0]) == [0x7FC00000]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_finite_finds_every_exponent_of_ones(dtype: type[np.floating]) -> None:
    sign, infinity = (0x8000, 0x7C00) if dtype == np.float16 else (0x80000000, 0x7F800000)
    for pattern in (0, 1, infinity - 1, infinity, infinity + 1, sign - 1):
        for signed in (pattern, pattern | sign):
            raw = np.zeros(9, np.uint16 if dtype == np.float16 else np.uint32)
            raw[7] = signed
            (ok,) = run("Finite", [raw.view(dtype)])
            assert ok[0] == (pattern < infinity), hex(signed)


def test_finite_remembers_an_earlier_tile() -> None:
    x = np.zeros((4, 4), np.float16)
    x[0, 0] = INF
    assert run("Finite", [x], sizes={"d0": 1, "d1": 2})[0][0] == 0


@pytest.mark.parametrize("ok", [0, 1])
def test_sgd_in_place(ok: int) -> None:
    """The new master takes the old one's place, and a skipped step leaves it as it was although the gradient is not
    finite; the shadow follows the master."""
    l1 = L1()
    master, grad = np.linspace(-1, 1, 9, dtype=np.float32), np.arange(9, dtype=np.float16)
    if not ok:
        grad[[2, 5]] = INF, NAN
    parts = {"master": master, "grad": grad, "ok": np.array([ok], np.int32), "shadow": np.zeros(9, np.float16)}
    for name, array in parts.items():
        l1.alloc(name, array.nbytes)
        l1.view(Ref(name), array.shape, array.strides, array.dtype)[...] = array
    names = ("master", "grad", "ok", "master", "shadow")
    run_kernel(l1, KernelCall("tdco_sgd_f16", tuple(map(Ref, names)), (9,), (0.125,)), cores=3)
    want = master - np.float32(0.125) * grad.astype(np.float32) if ok else master
    np.testing.assert_array_equal(l1.view(Ref("master"), (9,), (4,), np.dtype(np.float32)), want)
    np.testing.assert_array_equal(l1.view(Ref("shadow"), (9,), (2,), np.dtype(np.float16)), want.astype(np.float16))


def test_sgd_steps_like_torch() -> None:
    """With the gradient scaled up by the loss scale, which the update divides out again."""
    rng = np.random.default_rng(0)
    weight, grad = rng.normal(size=(2, 50)).astype(np.float32)
    parameter = torch.tensor(weight, requires_grad=True)
    parameter.grad = torch.tensor(grad)
    torch.optim.SGD([parameter], lr=0.03).step()
    attrs = {"lr": 0.03, "loss_scale": 512.0}
    master, shadow = run("SGD", [weight, 512 * grad, np.ones(1, np.int32)], attrs)
    np.testing.assert_allclose(master, parameter.detach().numpy(), rtol=1e-6)
    np.testing.assert_array_equal(shadow, master.astype(np.float16))


@pytest.mark.parametrize("op", ["Add", "Mul"])
def test_gradient_of_a_broadcast_parameter_is_fp32(op: str) -> None:
    """Its many small contributions would be lost in fp16; an activation's gradient stays what the kernels read."""
    b = Builder()
    x, row = b.input("x", TensorType((4, 5))), b.input("row", TensorType((5,)))
    bias = b.add_state("bias", np.zeros(5, np.float32), "f16")
    for other, dtype in ((bias, "f32"), (row, "f16")):
        b.add1(op, [x, other])
        dx, dother = get_op(op).grad(b, b.nodes[-1], [b.input("dy", TensorType((4, 5)))], [True, True])
        assert b.type(dx) == TensorType((4, 5), "f16") and b.type(dother) == TensorType((5,), dtype)


@pytest.mark.parametrize("op", ["Add", "Mul", "Relu", "MaxPool", "LayerNormalization", "Softmax", "Gelu"])
def test_no_gradient_costs_nothing_where_none_is_wanted(op: str) -> None:
    sample = get_op(op).samples[0]
    b = Builder()
    outs = b.add(op, [b.input(f"x{n}", t) for n, t in enumerate(sample.inputs)], sample.attrs)
    wanted = [False] * len(sample.inputs)
    before = len(b.nodes)
    dys = [b.input("dy", b.type(outs[0])), *[None] * (len(outs) - 1)]
    assert list(get_op(op).grad(b, b.nodes[-1], dys, wanted)) == [None] * len(wanted)
    assert len(b.nodes) == before


@pytest.mark.parametrize(
    ("message", "op", "types", "attrs"),
    [
        ("shapes of f16[3] and f16[4] do not broadcast", "Add", ["3", "4"], {}),
        ("more than 3 alternating runs", "Mul", ["2,1,2,1", "1,2,1,2"], {}),
        ("b is i32[3], but only f16 or f32", "Add", ["3", "3:i32"], {}),
        ("needs 1 input(s), x, but got 2", "Relu", ["3", "3"], {}),
        ("x is f32[3], but only f16", "Gelu", ["3:f32"], {}),
        ("approximate='tanh' is not supported", "Gelu", ["3"], {"approximate": "tanh"}),
        ("axis 0 of f16[3,4] is not its last dimension", "Softmax", ["3,4"], {"axis": 0}),
        ("axis -2 of f16[3,4] is not its last dimension", "LayerNormalization", ["3,4", "4", "4"], {"axis": -2}),
        ("gamma is f16[3] and a row of x is f16[4]", "LayerNormalization", ["3,4", "3", "4"], {}),
        ("epsilon must be positive, not 0.0", "LayerNormalization", ["3,4", "4", "4"], {"epsilon": 0.0}),
        ("at least two dimensions", "LayerNormalization", ["4", "4", "4"], {}),
        ("only 2-D", "MaxPool", ["3,4"], {**POOL}),
        ("padding (3, 0) of the height is not below", "MaxPool", ["1,4,4,1"], {**POOL, "pads": (3, 0, 0, 0)}),
        ("a window of 3 does not fit the width", "MaxPool", ["1,4,2,1"], {**POOL, "pads": (0, 0, 0, 0)}),
        ("dilations other than 1 and ceil_mode", "MaxPool", ["1,4,4,1"], {**POOL, "ceil_mode": 1}),
        ("must be positive", "MaxPool", ["1,4,4,1"], {**POOL, "strides": (0, 1)}),
        ("logits is f16[3], but must be [batch, classes]", "SoftmaxCrossEntropyLoss", ["3", "3:i32"], {}),
        ("labels is i32[4] and the batch is i32[3]", "SoftmaxCrossEntropyLoss", ["3,5", "4:i32"], {}),
        ("reduction='sum'", "SoftmaxCrossEntropyLoss", ["3,5", "3:i32"], {"reduction": "sum"}),
        ("grad is i32[3], but only f16 or f32", "Finite", ["3:i32"], {}),
        ("master is f16[3], but only f32", "SGD", ["3", "3", "1:i32"], {"lr": 0.1}),
        ("loss_scale=0 is not a learning rate", "SGD", ["3:f32", "3", "1:i32"], {"lr": 0.1, "loss_scale": 0}),
    ],
)
def test_rejection(message: str, op: str, types: list[str], attrs: Attrs) -> None:
    parsed = [t.partition(":") for t in types]
    inputs = [TensorType(tuple(map(int, shape.split(","))), dtype or "f16") for shape, _, dtype in parsed]
    with pytest.raises(TdcoError, match=re.escape(message)):
        get_op(op).infer(inputs, attrs)
