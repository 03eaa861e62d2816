"""A compiled program's tensors as bytes of memory: what both platforms feed a program and read back from it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tdco_spec import MEMORY_MAP

from .errors import SimError

DTYPES: dict[str, np.dtype[Any]] = {
    "f16": np.dtype(np.float16),
    "f32": np.dtype(np.float32),
    "i32": np.dtype(np.int32),
    "u8": np.dtype(np.uint8),
}
DESCRIPTION = "program.json"
LEVELS = ("l2", "l3")
"""The memories that keep something from one step to the next."""

Spec = Mapping[str, Any]
Images = Mapping[str, bytes]


def description(out_dir: Path) -> dict[str, Any]:
    """The contents of OUT/program.json.

    Raises:
        SimError: if OUT holds no compiled program.
    """
    try:
        return dict(json.loads((out_dir / DESCRIPTION).read_text()))
    except (OSError, ValueError) as error:
        raise SimError(
            "holds no compiled program", str(out_dir), "run `tdco compile MODEL ... -o OUT` first"
        ) from error


def read_state(out_dir: Path, images: Images) -> dict[str, np.ndarray]:
    """The state tensors in ``images``, the bytes of L2 and L3 from their base addresses."""
    found = {}
    for spec in description(out_dir)["state"]:
        level, offset = _place_of(spec)
        stored = np.frombuffer(images[level], DTYPES[spec["dtype"]], _size(spec), offset)
        found[spec["name"]] = _from_stored(spec, stored, ())
    return found


def initial_state(out_dir: Path) -> dict[str, np.ndarray]:
    """The state tensors by name, as compiled."""
    return read_state(out_dir, memory_images(out_dir, description(out_dir), None))


def memory_images(
    out_dir: Path, document: Mapping[str, Any], state: Mapping[str, np.ndarray] | None
) -> dict[str, bytes]:
    """L2 and L3 before the first step, as compiled; ``state`` replaces tensors by name."""
    files = document["images"]
    images = {level: bytearray((out_dir / files[level]).read_bytes() if level in files else b"") for level in LEVELS}
    for spec in document["state"]:
        if state and spec["name"] in state:
            level, offset = _place_of(spec)
            data = as_stored(spec, state[spec["name"]], ()).tobytes()
            images[level][offset : offset + len(data)] = data
    return {level: bytes(image) for level, image in images.items()}


def _place_of(spec: Spec) -> tuple[str, int]:
    """The memory that holds a tensor between steps, and the offset there."""
    level = "l3" if int(spec["addr"]) >= MEMORY_MAP["l3"].base else "l2"
    return level, int(spec["addr"]) - MEMORY_MAP[level].base


def _size(spec: Spec) -> int:
    return int(spec["bytes"]) // DTYPES[spec["dtype"]].itemsize


def count_steps(document: Mapping[str, Any], inputs: Mapping[str, np.ndarray]) -> int:
    wanted = [spec["name"] for spec in document["inputs"]]
    if set(wanted) != set(inputs):
        raise SimError(f"the inputs are {', '.join(wanted) or 'none'}, not {', '.join(inputs) or 'none'}", "inputs")
    lengths = {len(array) for array in inputs.values()}
    if len(lengths) > 1:
        raise SimError(f"inputs for different numbers of steps: {sorted(lengths)}", "inputs")
    return lengths.pop() if lengths else 1


def _memory_order(spec: Spec) -> list[int]:
    """Axes from the outermost in memory to the innermost; a stored tensor has no gaps."""
    return sorted(range(len(spec["shape"])), key=lambda axis: -spec["strides"][axis])


def as_stored(spec: Spec, array: np.ndarray, leading: tuple[int, ...]) -> np.ndarray:
    """``array`` [*leading, *shape] in the order of its elements in memory."""
    shape = (*leading, *spec["shape"])
    if array.shape != shape:
        raise SimError(f"must have shape {list(shape)}, not {list(array.shape)}", str(spec["name"]))
    axes = (*range(len(leading)), *(len(leading) + axis for axis in _memory_order(spec)))
    return np.ascontiguousarray(array.transpose(axes), DTYPES[spec["dtype"]])


def _from_stored(spec: Spec, elements: np.ndarray, leading: tuple[int, ...]) -> np.ndarray:
    """The inverse of as_stored."""
    order = _memory_order(spec)
    stored = elements.reshape(*leading, *(spec["shape"][axis] for axis in order))
    inverse = (len(leading) + order.index(axis) for axis in range(len(order)))
    return np.ascontiguousarray(stored.transpose(*range(len(leading)), *inverse))


def split_outputs(specs: list[Spec], rows: np.ndarray) -> dict[str, np.ndarray]:
    """Rows [steps, bytes] as the tensors that were written one after the other."""
    result, at = {}, 0
    for spec in specs:
        part = np.ascontiguousarray(rows[:, at : at + spec["bytes"]])
        result[spec["name"]] = _from_stored(spec, part.view(DTYPES[spec["dtype"]]), (len(rows),))
        at += spec["bytes"]
    return result
