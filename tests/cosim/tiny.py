"""A program small enough to write by hand: r = relu(x . w), then w = w + w, in the compiler's output format."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from tdco_spec import MEMORY_MAP, HwConfig
from tdco_spec.emit import c_header

L1, L2 = MEMORY_MAP["l1"].base, MEMORY_MAP["l2"].base
M, N, K = 5, 7, 9
X, W, Z, R, W2 = (L1 + 0x2000 + 0x100 * i for i in range(5))
X_L2, W_L2, R_L2 = (L2 + 0x200 * i for i in range(3))

PROGRAM = """\
#include "tdco.h"
#include "tdco_hw.h"

tdco_kernel tdco_relu_f16, tdco_add_f16_f16;

static const tdco_copy ins[] = {{
    {{{{0, 0, {{0, 0, 0, 0}}}}, 0x{X:X}, 0x{X_L2:X}, {x_row}, {M}, {x_row}}},
    {{{{1, 0, {{0, 0, 0, 0}}}}, 0x{W:X}, 0x{W_L2:X}, {w_bytes}, 1, 0}},
}};
static const tdco_copy outs[] = {{
    {{{{4, 0, {{0, 0, 0, 1}}}}, 0x{R:X}, 0x{R_L2:X}, {r_row}, {M}, {r_stride}}},
    {{{{6, 0, {{0, 0, 0, 2}}}}, 0x{W2:X}, 0x{W_L2:X}, {w_bytes}, 1, 0}},
}};
static const tdco_job jobs[] = {{
    {{{{2, 0, {{{gemm_wait}}}}}, 0x{X:X}, 0x{W:X}, 0, 0x{Z:X}, {x_row}, {r_row}, 0, {r_row}, {M}, {N}, {K}, 0}},
}};
static const tdco_call calls[] = {{
    {{{{3, 0, {{0, 0, 1, 0}}}}, tdco_relu_f16, {{0x{Z:X}, 0x{R:X}}}, {{{relu_count}}}, {{0}}}},
    {{{{5, 0, {{2, 0, 0, 0}}}}, tdco_add_f16_f16, {{0x{W:X}, 0x{W:X}, 0x{W2:X}}},
        {{1, 1, {K} * {N}, 0, 0, 1, 0, 0, 1}}, {{0}}}},
}};
static const tdco_buffer buffers[] = {{
    {{0x{X:X}, {M} * {x_row}, 0, 2, "x"}}, {{0x{W:X}, {w_bytes}, 1, {w_last}, "w"}}, {{0x{Z:X}, {z_bytes}, 2, 3, "z"}},
    {{0x{R:X}, {M} * {r_row}, 3, 4, "r"}}, {{0x{W2:X}, {w_bytes}, 5, 6, "w2"}},
    {{0x{X_L2:X}, {M} * {x_row}, 0, 6, "x_l2"}}, {{0x{W_L2:X}, {w_bytes}, 0, 6, "w_l2"}},
    {{0x{R_L2:X}, {M} * {r_row}, 0, 6, "r_l2"}},
}};
const tdco_program tdco_prog = {{ins, outs, jobs, calls, 0, buffers, {{2, 2, 1, 2}}, 8, TDCO_CONFIG_HASH}};
"""


def tensor(name: str, addr: int, *shape: int) -> dict[str, object]:
    size = 2 * int(np.prod(shape))
    strides = [int(np.prod(shape[axis + 1 :])) for axis in range(len(shape))]
    return {
        "name": name,
        "source": name,
        "dtype": "f16",
        "shape": shape,
        "strides": strides,
        "addr": addr,
        "bytes": size,
    }


def write(out: Path, cfg: HwConfig, w: np.ndarray, **changes: int) -> Path:
    """The program in ``out``, with ``w`` [K, N] float16 as its state; ``changes`` break numbers of it."""
    numbers = {"x_row": 2 * K, "r_row": 2 * N, "r_stride": 2 * N, "w_bytes": 2 * K * N, "z_bytes": 2 * M * N}
    numbers |= {"relu_count": M * N, "gemm_wait": 2, "w_last": 5, **changes}
    addresses = {name: globals()[name] for name in ("X", "W", "Z", "R", "W2", "X_L2", "W_L2", "R_L2", "M", "N", "K")}
    out.mkdir(exist_ok=True)
    (out / "program.c").write_text(PROGRAM.format(**addresses, **numbers))
    (out / "tdco_hw.h").write_text(c_header(cfg))
    image = bytearray(W_L2 - L2) + w.tobytes()
    (out / "l2.bin").write_bytes(image)
    document = {
        "inputs": [tensor("x", X_L2, M, K)],
        "outputs": [tensor("r", R_L2, M, N)],
        "state": [tensor("w", W_L2, K, N)],
        "images": {"l2": "l2.bin"},
        "hw": asdict(cfg),
        "config_hash": cfg.hash,
    }
    (out / "program.json").write_text(json.dumps(document))
    return out
