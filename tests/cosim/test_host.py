"""The host platform on a hand-written program: numbers, checks, and that every check fails when it should."""

import ctypes
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from tdco_sim import golden, host, tensors
from tdco_sim.build import sw_dir
from tdco_sim.errors import SimError
from tdco_spec import get_config

from . import tiny

CFG = get_config("rm_12x4")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, tiny.M, tiny.K)).astype(np.float16)
W_INIT = RNG.normal(size=(tiny.K, tiny.N)).astype(np.float16)

# Appended to the golden engine, whose own entry point is renamed: what a check must find.
BROKEN = """
extern "C" int tdco_engine_run(tdco_engine *engine, const uint32_t *words)
{{
    const int flags = right_run(engine, words);
    engine->l1[words[(TDCO_REG_Z_ADDR - TDCO_REG_X_ADDR) / 4] - engine->l1_base + {offset}] ^= {flip};
    return flags | {flag};
}}
"""


def expected(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    return np.stack([golden.gemm(x_i, w * np.float16(2**i), relu=True) for i, x_i in enumerate(x)])


@pytest.mark.parametrize("sanitize", [False, True])
def test_steps(tmp_path: Path, sanitize: bool) -> None:
    out = tiny.write(tmp_path, CFG, W_INIT)
    engine, seen = golden.build(CFG), []
    result = host.run(out, engine, engine, {"x": X}, on_progress=lambda *done: seen.append(done), sanitize=sanitize)
    np.testing.assert_array_equal(result.outputs["r"].view(np.uint16), expected(X, W_INIT).view(np.uint16))
    np.testing.assert_array_equal(result.state["w"], W_INIT * 8)
    words = tiny.M * tiny.N
    stats = {
        name: result.stats[name] for name in ("steps", "jobs", "macs", "words_compared", "mismatches", "kernel_calls")
    }
    assert stats == {
        "steps": 3,
        "jobs": 3,
        "macs": 3 * words * tiny.K,
        "words_compared": 3 * words,
        "mismatches": 0,
        "kernel_calls": 6,
    }
    x_bytes, w_bytes, r_bytes = 2 * tiny.M * tiny.K, 2 * tiny.K * tiny.N, 2 * words
    assert result.stats["dma_bytes"] == {"l2_l1": 3 * (x_bytes + w_bytes), "l1_l2": 3 * (r_bytes + w_bytes), "l3_l2": 0}
    assert result.stats["l1_peak_bytes"] == tiny.W2 - tiny.L1 + w_bytes
    assert result.stats["l2_peak_bytes"] == tiny.R_L2 - tiny.L2 + r_bytes
    assert seen and seen[0][1] == 3 * 7
    np.testing.assert_array_equal(tensors.initial_state(out)["w"], W_INIT)


def test_state_can_be_replaced(tmp_path: Path) -> None:
    out, other = tiny.write(tmp_path, CFG, W_INIT), W_INIT[::-1].copy()
    result = host.run(out, golden.build(CFG), inputs={"x": X}, state={"w": other})
    np.testing.assert_array_equal(result.outputs["r"], expected(X, other))
    assert result.stats["words_compared"] == 0


def test_tensors_stored_in_another_order_of_axes(tmp_path: Path) -> None:
    """Whoever calls sees [N, K] and [N, M] where memory holds [K, N] and [M, N]."""
    out = tiny.write(tmp_path, CFG, W_INIT)
    document = json.loads((out / "program.json").read_text())
    for spec in (*document["outputs"], *document["state"]):
        spec["shape"], spec["strides"] = spec["shape"][::-1], spec["strides"][::-1]
    (out / "program.json").write_text(json.dumps(document))
    np.testing.assert_array_equal(tensors.initial_state(out)["w"], W_INIT.T)
    result = host.run(out, golden.build(CFG), inputs={"x": X}, state={"w": -W_INIT.T})
    np.testing.assert_array_equal(result.outputs["r"], expected(X, -W_INIT).transpose(0, 2, 1))
    np.testing.assert_array_equal(result.state["w"], -8 * W_INIT.T)


def test_only_the_program_computes(tmp_path: Path) -> None:
    """A constant changed in program.c changes the result."""
    out = tiny.write(tmp_path, CFG, W_INIT, relu_count=tiny.M * tiny.N - 1)
    result = host.run(out, golden.build(CFG), inputs={"x": X[:1]}).outputs["r"].view(np.uint16)
    wanted = expected(X[:1], W_INIT).view(np.uint16)
    wanted[0, -1, -1] = 0xFFFF  # never written
    np.testing.assert_array_equal(result, wanted)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"relu_count": tiny.M * tiny.N + 1}, "AddressSanitizer: use-after-poison"),
        ({"x_row": 2 * tiny.K + 2, "z_bytes": 2 * tiny.M * tiny.N - 2}, "Z at 0x100022.*leaves the planned buffers"),
        ({"r_stride": 512}, "copy, L2 side at 0x1C000600, 14 bytes, leaves the planned buffers"),
        ({"w_last": 4}, "command 5: address 0x10002100 lies in no buffer that is live"),
    ],
)
def test_leaving_the_plan_fails_under_asan(tmp_path: Path, changes: dict[str, int], message: str) -> None:
    out = tiny.write(tmp_path, CFG, W_INIT, **changes)
    with pytest.raises(SimError, match=message):
        host.run(out, golden.build(CFG), inputs={"x": X}, sanitize=True)


def test_a_wait_that_never_ends_is_an_error(tmp_path: Path) -> None:
    out = tiny.write(tmp_path, CFG, W_INIT, gemm_wait=3)
    with pytest.raises(SimError, match="command 2: no queue has a command of this number that may start"):
        host.run(out, golden.build(CFG), inputs={"x": X})


@pytest.mark.parametrize(("offset", "flip", "flag"), [(0, 1, 0), (-2, 4, 0), (0, 0, 1)])
def test_check_sees_wrong_bits(tmp_path: Path, offset: int, flip: int, flag: int) -> None:
    """A wrong bit in Z, one outside Z, and a wrong status flag are a mismatch each."""
    here = Path(golden.__file__).parent
    source, broken = tmp_path / "broken.cpp", tmp_path / "broken.so"
    engine = (here / "engine.cpp").read_text().replace("int tdco_engine_run(", "int right_run(", 1)
    source.write_text(engine + BROKEN.format(offset=offset, flip=flip, flag=flag))
    out = tiny.write(tmp_path / "out", CFG, W_INIT)
    includes = [f"-I{d}" for d in (out, here, here.parent)]
    subprocess.run(["g++", "-std=c++20", "-O1", "-w", "-shared", "-fPIC", *includes, source, "-o", broken], check=True)
    assert host.run(out, broken, golden.build(CFG), {"x": X[:1]}).stats["mismatches"] == 1


def test_engine_of_another_configuration_is_refused(tmp_path: Path) -> None:
    out = tiny.write(tmp_path, CFG, W_INIT)
    with pytest.raises(SimError, match=r"engine of configuration 0x.* the program is for rm_12x4"):
        host.run(out, golden.build(get_config("rm_8x4")), inputs={"x": X})


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "the inputs are x, not none"),
        ({"x": X, "y": X}, "the inputs are x, not x, y"),
        ({"x": X[:, :4]}, r"x: must have shape \[3, 5, 9\], not \[3, 4, 9\]"),
    ],
)
def test_wrong_inputs(tmp_path: Path, inputs: dict[str, np.ndarray], message: str) -> None:
    out = tiny.write(tmp_path, CFG, W_INIT)
    with pytest.raises(SimError, match=message):
        host.run(out, golden.build(CFG), inputs=inputs)


def test_compiler_errors_are_shown(tmp_path: Path) -> None:
    out = tiny.write(tmp_path, CFG, W_INIT)
    (out / "program.c").write_text("int x = ;\n")
    with pytest.raises(SimError, match=r"program\.c: gcc failed:\n.*expected expression"):
        host.build(out, CFG)
    with pytest.raises(SimError, match="no compiled program"):
        host.run(tmp_path / "nothing", golden.build(CFG))


def test_half_conversions(tmp_path: Path) -> None:
    """tdco_h2f and tdco_f2h, with and without F16C, against numpy: all halves, and floats at every rounding border."""
    source = tmp_path / "convert.c"
    source.write_text(
        '#include "port.h"\n'
        "void h2f(const uint16_t *h, float *f, int n) { for (int i = 0; i < n; i++) f[i] = tdco_h2f(h[i]); }\n"
        "void f2h(const float *f, uint16_t *h, int n) { for (int i = 0; i < n; i++) h[i] = tdco_f2h(f[i]); }\n"
    )
    halves = np.arange(1 << 16, dtype=np.uint16)
    exact = halves.view(np.float16).astype(np.float32)
    exact[np.isnan(exact)] = np.float32(np.nan)
    with np.errstate(invalid="ignore"):
        middle = (exact[:-1] + exact[1:]) / 2
    floats = np.concatenate([exact, middle, np.nextafter(middle, np.inf), np.nextafter(middle, -np.inf)])
    floats = np.concatenate(
        [floats, np.random.default_rng(0).integers(0, 1 << 32, 1 << 20, np.uint32).view(np.float32)]
    )
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = np.where(np.isnan(floats), np.uint16(0x7E00), floats.astype(np.float16).view(np.uint16))
    sw = sw_dir()
    for name, flags in (("native", ["-march=native"]), ("portable", [])):
        library = tmp_path / f"{name}.so"
        includes = [f"-I{sw / 'runtime'}", f"-I{sw / 'port' / 'host'}"]
        subprocess.run(["gcc", "-O2", *flags, *includes, "-shared", "-fPIC", source, "-o", library], check=True)
        convert = ctypes.CDLL(str(library))
        as_float, as_half = np.empty(halves.shape, np.float32), np.empty(floats.shape, np.uint16)
        convert.h2f(ctypes.c_void_p(halves.ctypes.data), ctypes.c_void_p(as_float.ctypes.data), halves.size)
        convert.f2h(ctypes.c_void_p(floats.ctypes.data), ctypes.c_void_p(as_half.ctypes.data), floats.size)
        np.testing.assert_array_equal(
            as_float.view(np.uint32), np.where(np.isnan(exact), 0x7FC00000, exact.view(np.uint32))
        )
        np.testing.assert_array_equal(as_half, rounded)
