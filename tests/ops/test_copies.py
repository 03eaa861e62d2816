"""The strided copy behind Contiguous, Expand and SliceGrad, between any two layouts."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from tdco.ir import TensorType
from tdco.ops.contiguous import copy_calls

from .harness import L1, Layout, place, run_kernel


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("gap", [0, 1])
def test_copies_between_all_layouts_of_five_dimensions(dtype: type[np.floating], gap: int) -> None:
    """Five dimensions that cannot be merged need more than one call; neighbours that can be merged need only one."""
    shape = (2, 3, 2, 3, 4)
    x = np.random.default_rng(0).normal(size=shape).astype(dtype)
    full = TensorType(shape, "f16" if dtype is np.float16 else "f32")
    calls_needed = set()
    for order in permutations(range(5)):
        l1 = L1()
        source = place(l1, "x", x, (0,) * 5, full, Layout(order, gap))
        target = place(l1, "z", np.zeros_like(x), (0,) * 5, full, None)
        calls = copy_calls(source.ref, source.strides, target.ref, target.strides, shape, x.itemsize)
        calls_needed.add(len(calls))
        for call in calls:
            run_kernel(l1, call, cores=3)
        np.testing.assert_array_equal(l1.operand(target), x)
    assert 2 in calls_needed
    assert gap or 1 in calls_needed
