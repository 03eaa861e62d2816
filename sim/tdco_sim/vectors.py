"""Vectors for the multiply-adder, its own or a file's, through the RTL and golden."""

import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tdco_spec import STATUS_FLAGS, HwConfig

from . import golden, rtl
from .errors import SimError
from .golden import exact

# Zeros, subnormals, neighbours of one and of the binades' borders, the largest values, infinity, NaN.
CORNERS = [0, 1, 2, 0x1FF, 0x200, 0x3FF, 0x400, 0x401, 0x7FF, 0x800, 0x13FF, 0x1400, 0x37FF, 0x3800, 0x3801, 0x3BFF]
CORNERS += [0x3C00, 0x3C01, 0x3C02, 0x3FFF, 0x4000, 0x63FF, 0x6400, 0x77FF, 0x7BFE, 0x7BFF, 0x7C00, 0x7C01, 0x7E00]
CORNERS_F32 = [0, 1, 0x7FFFFF, 0x800000, 0x33000000, 0x33800000, 0x387FE000, 0x38800000, 0x3F7FFFFF, 0x3F800000]
CORNERS_F32 += [
    0x3F800001,
    0x477FE000,
    0x477FEFFF,
    0x477FF000,
    0x4F7FC000,
    0x7F7FFFFF,
    0x7F800000,
    0x7F800001,
    0x7FC00000,
]
FORMATS = (
    "an npz with uint16 arrays a, b, c and z, or lines `a b c z` of hexadecimal binary16 bits as testfloat_gen writes"
)
TESTFLOAT_OVERFLOW, TESTFLOAT_INVALID = 4, 16


@dataclass(frozen=True)
class Vectors:
    """Operands, what a * b + c must be, and the STATUS_FLAGS it must raise."""

    a: NDArray[np.uint16]
    b: NDArray[np.uint16]
    c: NDArray[Any]
    z: NDArray[Any]
    flags: NDArray[np.uint8]


def bench_fma(
    library: Path, cfg: HwConfig, *, vectors: Path | None = None, count: int = 1_000_000, seed: int = 0
) -> dict[str, Any]:
    """The multiply-adder in ``library`` (rtl.build_fma) and golden's, against exact arithmetic or a file's results.

    Without ``vectors``: every triple of corner values, then ``count`` random ones whose c is near a * b. Of a file's
    flags, overflow is compared and, where no operand is a NaN, invalid.

    Raises:
        SimError: the file is malformed, or holds binary16 sums and the accumulator does not.
    """
    if vectors is not None and cfg.acc != "fp16":
        raise SimError(f"{cfg.name} accumulates in {cfg.acc}; files hold binary16 sums", str(vectors))
    given = random_vectors(cfg, count, seed) if vectors is None else read_vectors(vectors)
    start = time.perf_counter()
    bits, flags = rtl.fma(library, given.a, given.b, given.c, cfg.pipe + 1)
    seconds = time.perf_counter() - start
    golden_bits, golden_flags = golden.fma(given.a, given.b, given.c)
    wrong = (bits != given.z) | (flags != given.flags)
    digits = bits.itemsize * 2
    examples = [
        {name: f"{v:0{digits}X}" for name, v in zip(("a", "b", "c", "z", "expected"), values, strict=True)}
        for values in zip(*(x[wrong][:5] for x in (given.a, given.b, given.c, bits, given.z)), strict=True)
    ]
    return {
        "vectors": bits.size,
        "mismatches_rtl": int(wrong.sum()),
        "mismatches_golden": int(((golden_bits != given.z) | (golden_flags != given.flags)).sum()),
        "examples": examples,
        "seconds": seconds,
        "vectors_per_second": bits.size / seconds,
    }


def random_vectors(cfg: HwConfig, count: int, seed: int) -> Vectors:
    """Every triple of corner values, then ``count`` random operands with c near a * b; expected: `exact.fma`."""
    corners = np.array([*CORNERS, *(bits | 0x8000 for bits in CORNERS)], np.uint16)
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 1 << 16, (2, count)).astype(np.uint16)
    with np.errstate(all="ignore"):
        product = a.view(np.float16).astype(np.float32) * b.view(np.float16).astype(np.float32)
    if cfg.acc == "fp16":
        c_corners = corners
        with np.errstate(all="ignore"):
            near, top, fraction_bits = product.astype(np.float16).view(np.uint16), 31, 10
    else:
        c_corners = np.array([*CORNERS_F32, *(bits | 1 << 31 for bits in CORNERS_F32)], np.uint32)
        near, top, fraction_bits = product.view(np.uint32), 255, 23
    reach = fraction_bits + 4
    exponent = (near >> fraction_bits & top).astype(np.int64) + rng.integers(-reach, reach + 1, count)
    # Often few digits: ties.
    fraction = rng.integers(0, 1 << fraction_bits, count) & (-1 << rng.integers(0, fraction_bits + 1, count))
    sign = rng.integers(0, 2, count) << 8 * near.itemsize - 1
    c = (sign | np.clip(exponent, 0, top) << fraction_bits | fraction).astype(near.dtype)
    cancelling = rng.random(count) < 0.1
    c = np.where(cancelling, near ^ near.dtype.type(1 << 8 * near.itemsize - 1), c)
    directed = [axis.reshape(-1) for axis in np.meshgrid(corners, corners, c_corners)]
    a, b, c = (np.concatenate(pair) for pair in zip(directed, (a, b, c), strict=True))
    return Vectors(a, b, c, *exact.fma(a, b, c))


def read_vectors(path: Path) -> Vectors:
    """The vectors of a file; flags it does not hold are `exact.fma`'s.

    Raises:
        SimError: it is malformed, with the first line or array that is.
    """
    with path.open("rb") as file:
        compressed = file.read(4).startswith(b"PK")
    columns, raised = _read_npz(path) if compressed else _read_text(path)
    a, b, c, z = columns
    if a.size == 0:
        raise SimError("holds no vectors", str(path), f"give {FORMATS}")
    flags = exact.fma(a, b, c)[1]
    if raised is not None:
        nan = np.logical_or.reduce([x & 0x7FFF > 0x7C00 for x in (a, b, c)])
        invalid = np.where(nan, flags & STATUS_FLAGS["INVALID"] != 0, raised & TESTFLOAT_INVALID != 0)
        overflow = raised & TESTFLOAT_OVERFLOW != 0
        flags = (overflow * STATUS_FLAGS["OVERFLOW"] + invalid * STATUS_FLAGS["INVALID"]).astype(np.uint8)
    return Vectors(a, b, c, z, flags)


def _read_npz(path: Path) -> tuple[list[NDArray[np.uint16]], None]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise SimError("cannot be read as npz", str(path), f"give {FORMATS}") from error
    columns = []
    for name in "abcz":
        if name not in arrays:
            raise SimError(f"has no array {name}", str(path), f"give {FORMATS}")
        array = arrays[name]
        if array.dtype != np.uint16 or array.ndim != 1 or array.size != arrays["a"].size:
            problem = f"array {name} is {array.dtype} of shape {array.shape}, not uint16 in one dimension, as long as a"
            raise SimError(problem, str(path), f"give {FORMATS}")
        columns.append(np.ascontiguousarray(array))
    return columns, None


def _read_text(path: Path) -> tuple[list[NDArray[np.uint16]], NDArray[np.int64] | None]:
    """``a b c z`` or, as testfloat_gen writes it, ``a b c z flags`` per line, the same in every line; # comments."""
    numbers: list[int] = []
    width = number = 0
    try:
        with path.open(encoding="ascii") as file:
            for line in file:
                number += 1
                words = line.split("#")[0].split()
                width = width or len(words)
                if not words:
                    continue
                values = [int(word, 16) for word in words]
                if len(words) != width or width not in (4, 5) or not 0 <= min(values) <= max(values) <= 0xFFFF:
                    raise ValueError
                numbers += values
    except ValueError as error:
        raise SimError("is no vector", f"{path}, line {max(number, 1)}", f"give {FORMATS}") from error
    table = np.array(numbers, np.int64).reshape(-1, width or 4)
    columns = [np.ascontiguousarray(column, np.uint16) for column in table.T[:4]]
    return columns, table[:, 4] if width == 5 else None
