"""``tdco check``: an ONNX graph, evaluated by tdco's operators in fp32, against given inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np

from .. import zoo
from ..errors import TdcoError
from ..ir import Graph, evaluate
from ..onnx_training import import_training, is_training_graph, step_graph
from ..optimizer import MASTER
from ._console import json_command, key_values

Arrays = Mapping[str, np.ndarray]


def _load(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError) as e:
        raise TdcoError(f"is no readable npz file: {e}", str(path)) from e


def _evaluate(graph: Graph, inputs: Arrays, where: Path) -> dict[str, np.ndarray]:
    feeds = {}
    for name in graph.inputs:
        if name not in inputs:
            raise TdcoError(f"lacks input {name!r}", str(where), "it has: " + ", ".join(inputs))
        kind, array = graph.type(name).dtype[0], inputs[name]
        feeds[name] = array.astype(np.int32) if kind == "i" else array
    return evaluate(graph, feeds)


def _relative(got: np.ndarray, want: np.ndarray) -> float | None:
    """Relative L2 of the difference; None where the reference is all zero and so is ``got``."""
    size = float(np.linalg.norm(want))
    return float(np.linalg.norm(got - want)) / size if size else (None if not got.any() else float("inf"))


def _pairs(wanted: Arrays, names: Mapping[str, str], where: Path) -> dict[str, np.ndarray]:
    """Of every key in ``names`` the array that ``wanted`` has under its value."""
    missing = [n for n in names.values() if n not in wanted]
    if missing:
        raise TdcoError(f"lacks {', '.join(missing)}", str(where), "it has: " + ", ".join(wanted))
    return {key: np.asarray(wanted[name], np.float32) for key, name in names.items()}


def _whole(arrays: Arrays) -> np.ndarray:
    return np.concatenate([a.ravel() for a in arrays.values()])


def check_training(proto: Any, inputs: Arrays, outputs: Arrays, inputs_at: Path, outputs_at: Path) -> dict[str, Any]:
    """Errors of the new weights, and of the updates (new - old) they hide: most weights move very little."""
    given = import_training(proto)
    step = step_graph(given, given.forward)
    values = _evaluate(step, inputs, inputs_at)
    want = _pairs(outputs, given.updated, outputs_at)
    old = {n: np.asarray(step.state[n + MASTER], np.float32) for n in want}
    new = {n: values[step.updates[n + MASTER]] for n in want}
    for name, array in want.items():
        if array.shape != new[name].shape:
            what = f"has {given.updated[name]!r} of shape {list(array.shape)}, not {list(new[name].shape)}"
            raise TdcoError(what, str(outputs_at))
    got_updates, updates = ({n: a[n] - old[n] for n in want} for a in (new, want))
    errors = {n: _relative(got_updates[n], updates[n]) for n in want}
    known = {n: e for n, e in errors.items() if e is not None}
    worst = max(known, key=lambda n: known[n], default=None)
    return {
        "weights": _relative(_whole(new), _whole(want)),
        "updates": _relative(_whole(got_updates), _whole(updates)),
        "median_update": median(known.values()) if known else None,
        "worst_update": known[worst] if worst else None,
        "worst_tensor": worst,
        "tensors": errors,
    }


def check_outputs(graph: Graph, inputs: Arrays, outputs: Arrays, inputs_at: Path, outputs_at: Path) -> dict[str, Any]:
    values = _evaluate(graph, inputs, inputs_at)
    want = _pairs(outputs, {n: n for n in graph.outputs}, outputs_at)
    errors = {n: _relative(values[n], want[n]) for n in want}
    return {"outputs": _relative(_whole({n: values[n] for n in want}), _whole(want)), "tensors": errors}


def _show(result: dict[str, Any]) -> None:
    key_values("relative L2 error", {k: v for k, v in result.items() if k != "tensors" and v is not None})


@click.command()
@click.argument("graph", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--inputs", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), help="npz by name."
)
@click.option(
    "--outputs", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), help="npz by name."
)
@click.option("--tolerance", type=float, default=0.01, show_default=True, help="Of the whole update, or all outputs.")
@json_command(_show)
def check(graph: Path, inputs: Path, outputs: Path, tolerance: float) -> dict[str, Any]:
    """Evaluates GRAPH.onnx and compares: a training graph's updates (new - old) and weights, else its outputs."""
    model = zoo.load(str(graph))
    assert model.onnx is not None
    fed, wanted = _load(inputs), _load(outputs)
    if is_training_graph(model.onnx):
        result = check_training(model.onnx, fed, wanted, inputs, outputs)
        error = result["updates"]
    else:
        result = check_outputs(zoo.forward_graph(model), fed, wanted, inputs, outputs)
        error = result["outputs"]
    return {"ok": error is not None and error <= tolerance, **result, "tolerance": tolerance}
