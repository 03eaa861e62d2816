"""When the engine's sticky flag saves a look at a gradient, and when it does not."""

from __future__ import annotations

import numpy as np
import pytest
from tdco.cores import without_engine
from tdco.program import Command, KernelCall, Schedule

from .harness import L1, run_kernel


@pytest.mark.parametrize("symbol", ["tdco_finite_f16", "tdco_finite_product_f16"])
@pytest.mark.parametrize("engine_finite", [0, 1])
@pytest.mark.parametrize("alone", [0, 1])
def test_a_flag_that_is_clear_speaks_for_products_alone(symbol: str, engine_finite: int, alone: int) -> None:
    l1 = L1()
    x, ok = l1.alloc("x", 64), l1.alloc("ok", 4)
    l1.view(x, (32,), (2,), np.dtype(np.float16))[:] = np.inf
    answer = l1.view(ok, (1,), (4,), np.dtype(np.int32))
    answer[0] = 5 if alone else 1
    run_kernel(l1, KernelCall(symbol, (x, ok), (32, alone)), 8, engine_finite)
    assert answer[0] == (engine_finite and "product" in symbol)


def test_cores_that_compute_the_products_look_themselves() -> None:
    l1 = L1()
    call = KernelCall("tdco_finite_product_f16", (l1.alloc("x", 64), l1.alloc("ok", 4)), (32,))
    (command,) = without_engine(Schedule({}, (Command(call, 0),))).commands
    assert isinstance(command.op, KernelCall) and command.op.symbol == "tdco_finite_f16"
