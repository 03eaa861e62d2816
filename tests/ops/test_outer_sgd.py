"""OuterSGD in place, as every compiled step has it, against the same with a place of its own for the new master."""

from __future__ import annotations

import numpy as np
import pytest
from tdco.program import KernelCall, Ref

from .harness import L1, run_kernel


@pytest.mark.parametrize("shape", [(13, 40), (40, 128), (3, 7)])
@pytest.mark.parametrize("cores", [1, 8])
def test_in_place_and_elsewhere_are_the_same_bits(shape: tuple[int, int], cores: int) -> None:
    m, n = shape
    rng = np.random.default_rng(m)
    l1 = L1()

    def placed(name: str, values: np.ndarray) -> Ref:
        ref = l1.alloc(name, values.nbytes)
        held(ref)[:] = values.reshape(-1).view(np.uint8)
        return ref

    def held(ref: Ref) -> np.ndarray:
        offset, size_bytes = l1.buffers[ref.buffer]
        return l1.memory[offset : offset + size_bytes]

    master = placed("master", rng.normal(0, 1, shape).astype(np.float32))
    a, b = (placed(name, rng.normal(0, 1, size).astype(np.float16)) for name, size in (("a", m), ("b", n)))
    ok = placed("ok", np.ones(1, np.int32))
    new, shadow = (placed(name, np.zeros(m * n * size, np.uint8)) for name, size in (("new", 4), ("shadow", 2)))

    def step(to: Ref) -> tuple[bytes, bytes]:
        call = KernelCall("tdco_outer_sgd_f16", (master, a, b, ok, ok, to, shadow), (m, n), (0.01,), writes=2)
        run_kernel(l1, call, cores)
        return held(to).tobytes(), held(shadow).tobytes()

    old = held(master).tobytes()
    elsewhere = step(new)
    assert held(master).tobytes() == old != elsewhere[0]
    assert step(master) == elsewhere
