"""Bad shapes and attributes get one clear sentence."""

from __future__ import annotations

from typing import Any

import pytest
from tdco.errors import TdcoError
from tdco.ir import TensorType
from tdco.ops import get_op

CONV = {"strides": (1, 1), "pads": (1, 1, 1, 1)}

CASES: list[tuple[str, list[Any], dict[str, Any], str]] = [
    ("MatMul", [(3,), (3, 4)], {}, "at least two dimensions"),
    ("MatMul", [(2, 3), (4, 5)], {}, "columns of X and rows of W must agree"),
    ("MatMul", [(2, 5, 3), (4, 3, 5)], {}, "leading dimensions must be equal"),
    ("MatMul", [(2, 3)], {}, "needs 2 input"),
    ("MatMul", [TensorType((2, 3), "f32"), (3, 4)], {}, "the engine multiplies f16 only"),
    ("Gemm", [(3,), (3, 4), (4,)], {}, "at least two dimensions"),
    ("Gemm", [(2, 3), (4, 4), (4,)], {}, "W must be"),
    ("Gemm", [(2, 3), (3, 4), (1, 4)], {}, "Y must be"),
    ("Gemm", [(2, 3), (3, 4), None], {}, "needs 3 input"),
    ("Conv", [(1, 8, 3), (3, 3, 3, 4)], CONV, "2-D convolutions"),
    (
        "Conv",
        [(1, 8, 8, 4), (3, 3, 2, 4)],
        {**CONV, "group": 3},
        "has 4 channels, but the filters .* take 2 in 3 groups",
    ),
    ("Conv", [(1, 8, 8, 4), (3, 3, 2, 3)], {**CONV, "group": 2}, "in 2 groups"),
    ("ConvWeightGrad", [(1, 8, 8, 2), (1, 8, 7, 4)], {**CONV, "kernel_shape": (3, 3)}, "the convolution's output"),
    ("ConvInputGrad", [(1, 8, 8, 4), (3, 3, 2, 4)], {**CONV, "size": (8, 9)}, "the convolution's output"),
    ("Conv", [(1, 8, 8, 2), (3, 3, 2, 4)], {**CONV, "dilations": (2, 2)}, "dilations"),
    ("Conv", [(1, 8, 8, 3), (3, 3, 2, 4)], CONV, "has 3 channels, but the filters"),
    ("Conv", [(1, 8, 8, 2), (3, 3, 2, 4), (3,)], CONV, "the bias must be"),
    ("Conv", [(1, 8, 8, 2), (3, 3, 2, 4)], {**CONV, "pads": (3, 1, 1, 1)}, "pads smaller than the kernel"),
    ("Conv", [(1, 8, 8, 2), (3, 3, 2, 4)], {**CONV, "strides": (1, 0)}, "strides are at least 1"),
    ("Conv", [(1, 2, 8, 2), (3, 3, 2, 4)], {**CONV, "pads": (0, 0, 0, 0)}, "does not fit"),
    ("Reshape", [(2, 3)], {"shape": (4, 2)}, "cannot reshape"),
    ("Transpose", [(2, 3)], {"perm": (0, 0)}, "is not a permutation"),
    ("Slice", [(2, 3)], {"starts": (0,), "ends": (1,), "axes": (2,)}, "has no dimension 2"),
    ("Slice", [(2, 3)], {"starts": (2,), "ends": (2,), "axes": (1,)}, "empty or outside"),
    ("Slice", [(2, 3)], {"starts": (0, 1), "ends": (1, 2), "axes": (1, 1)}, "name a dimension twice"),
    ("SliceGrad", [(2, 3)], {"shape": (2, 4), "starts": (2,), "axes": (1,)}, "does not fit"),
    ("Expand", [(2, 3)], {"shape": (4, 3)}, "cannot expand"),
    ("Expand", [(3,)], {"shape": (4, 3)}, "cannot expand"),
    ("Contiguous", [TensorType((2, 3), "u8")], {}, "2- and 4-byte elements"),
    ("ReduceSum", [(2, 3)], {"axes": ()}, "ascending dimensions"),
    ("ReduceSum", [(2, 3)], {"axes": (-1,)}, "ascending dimensions"),
    ("ReduceMean", [(2, 3)], {"axes": (1, 0)}, "ascending dimensions"),
    ("ReduceSum", [(2, 3)], {"axes": (2,)}, "ascending dimensions"),
    ("ReduceSum", [TensorType((2, 3), "i32")], {"axes": (0,)}, "must be f16 or f32"),
    ("ReduceSum", [(2,) * 6], {"axes": (0, 2, 4)}, "reduce in two steps"),
]


@pytest.mark.parametrize(("op", "shapes", "attrs", "message"), CASES)
def test_infer_says_what_is_wrong(op: str, shapes: list[Any], attrs: dict[str, Any], message: str) -> None:
    types = [TensorType(s) if isinstance(s, tuple) else s for s in shapes]
    with pytest.raises(TdcoError, match=message):
        get_op(op).infer(types, attrs)
