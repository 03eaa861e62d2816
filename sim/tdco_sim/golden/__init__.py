"""The bit-exact reference engine: IEEE binary16 fused multiply-adds in K order, in C++ behind engine.h."""

import ctypes
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tdco_spec import HwConfig, get_config
from tdco_spec.emit import c_header

from ..build import shared_library
from ..engine import L1_BASE, Engine, job_words

__all__ = ["build", "fma", "gemm"]

HERE = Path(__file__).parent
FLAGS = ("-std=c++20", "-O3", "-march=native", "-ffp-contract=off", "-fno-fast-math", "-Wall", "-Wextra", "-Wno-psabi")


def build(cfg: HwConfig, portable: bool = False) -> Path:
    """The shared library of the golden engine of ``cfg``, compiled on first use.

    ``portable``: without what only machines with AVX-512 have; the same bits, half as fast.

    Raises:
        SimError: if there is no working C++ compiler.
    """
    headers = {"tdco_hw.h": c_header(cfg)}
    flags = (*FLAGS, "-DTDCO_PORTABLE") if portable else FLAGS
    return shared_library("golden", [HERE / "engine.cpp"], flags, [HERE, HERE.parent], headers)


def _half_bits(array: NDArray[Any]) -> NDArray[np.uint16]:
    if array.dtype not in (np.float16, np.uint16):
        raise TypeError(f"operands must be float16 or its bits as uint16, not {array.dtype}")
    return np.ascontiguousarray(array).view(np.uint16)


def gemm(
    x: NDArray[Any],
    w: NDArray[Any],
    y: NDArray[Any] | None = None,
    *,
    trans_x: bool = False,
    trans_w: bool = False,
    trans_z: bool = False,
    y_column: bool = False,
    relu: bool = False,
    acc: str = "fp16",
) -> NDArray[Any]:
    """Z[M,N] = X[M,K] . W[K,N] + Y[M,N] as the engine computes it; same dtype as ``x`` (float16, or uint16 bits).

    Operands are as stored: x[K,M] with ``trans_x``, w[N,K] with ``trans_w``, y and the result [N,M] with ``trans_z``.
    A one-dimensional ``y`` is broadcast to all stored lines or, with ``y_column``, holds one value per stored line.
    """
    (m, k), (k_w, n) = x.shape[:: -1 if trans_x else 1], w.shape[:: -1 if trans_w else 1]
    z_shape = (n, m) if trans_z else (m, n)
    y_shape = None if y is None else z_shape if y.ndim == 2 else (z_shape[0 if y_column else 1],)
    if k != k_w or (y is not None and y.shape != y_shape):
        raise ValueError(f"shapes do not fit: x {x.shape}, w {w.shape}, y {None if y is None else y.shape}")

    operands = {"x": _half_bits(x), "w": _half_bits(w)}
    strides = {"x": 2 * x.shape[1], "w": 2 * w.shape[1], "z": 2 * z_shape[1]}
    flags = {"TRANS_X": trans_x, "TRANS_W": trans_w, "TRANS_Z": trans_z, "RELU": relu}
    if y is not None:
        operands["y"] = _half_bits(y)
        strides["y"] = 2 * y.shape[1] if y.ndim == 2 else 2 if y_column else 0
        flags |= {"Y": True, "Y_COLUMN": y_column}
    addrs, end = {}, 0
    for name, array in operands.items():
        addrs[name] = L1_BASE + end
        end += array.nbytes
    addrs["z"] = L1_BASE + end
    l1 = np.concatenate([a.reshape(-1).view(np.uint8) for a in operands.values()] + [np.zeros(2 * m * n, np.uint8)])

    engine = Engine(build(replace(get_config("rm_12x4"), acc=acc)), l1)
    try:
        engine.run(job_words((m, n, k), addrs, strides, [name for name, on in flags.items() if on]))
    finally:
        engine.close()
    return l1[end:].view(x.dtype).reshape(z_shape)


def fma(a: NDArray[Any], b: NDArray[Any], c: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """a * b + c with one rounding, elementwise, broadcast: bits, STATUS_FLAGS.

    a and b are binary16 (float16, or uint16 bits), c and the result too or, with c in float32 or uint32, binary32.
    """
    wide = c.dtype in (np.float32, np.uint32)
    addend = np.ascontiguousarray(c).view(np.uint32) if wide else _half_bits(c)
    operands = [np.ascontiguousarray(x) for x in np.broadcast_arrays(_half_bits(a), _half_bits(b), addend)]
    z, flags = np.empty(operands[0].shape, addend.dtype), np.empty(operands[0].shape, np.uint8)
    library = ctypes.CDLL(str(build(get_config("rm_12x4"))))
    pointers = [ctypes.c_void_p(x.ctypes.data) for x in (*operands, z, flags)]
    function = library.tdco_golden_fma_f32 if wide else library.tdco_golden_fma
    function(*pointers, ctypes.c_uint64(z.size))
    return z, flags
