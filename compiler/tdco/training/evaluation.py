"""The forward pass of a compiled program, what it trains as state: accuracy in the device's own arithmetic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tdco_spec import HwConfig

from .. import zoo
from ..budget import plan_step
from ..cost import default_costs
from ..errors import TdcoError
from ..files import write_program
from ..ir import Builder, Graph, prune, verify
from ..pipeline import FORWARD_PASSES, GIVEN, MODEL_ONNX, MODEL_PT2, STEP_PASSES
from ..strategies import from_document, prepare
from ..zoo import Model, forward_graph


def compile_evaluation(program: Path, document: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Compiles the forward pass of ``program``, whose program.json is ``document``, into ``out``; its own program.json.

    State are the trained tensors as the forward pass reads them, in fp16, by the names they have in ``program``.

    Raises:
        TdcoError: ``program`` was given as a training graph, or does not train.
    """
    training = from_document(document["train"])
    if training.strategy == GIVEN or not training.trainable:
        raise TdcoError("cannot be evaluated: it was no model and a strategy", str(program), "add --test 0")
    shape = document["inputs"][0]["shape"]
    forward = _rewritten(forward_graph(_model(program, shape), shape[0]), FORWARD_PASSES)
    graph = evaluation_graph(prepare(forward, training), training.trainable)
    costs = default_costs(HwConfig(**document["hw"]))
    planned = plan_step(_rewritten(graph, STEP_PASSES), costs)
    meta = {"strategy": "evaluate", "model": document["train"]["model"], "trainable": {}}
    return write_program(
        out, planned.graph, planned.layout, planned.schedule, planned.memory, costs.cfg, meta, {}, {}
    )  # fmt: skip


def evaluation_graph(forward: Graph, trainable: Sequence[str]) -> Graph:
    """``forward`` with the weights ``trainable`` as state that no step changes."""
    b = Builder(replace(forward, state={n: forward.constants[n] for n in trainable}))
    for name in trainable:
        b.constants.pop(name)
    return verify(prune(b.graph()))


def _rewritten(graph: Graph, passes: Sequence[Any]) -> Graph:
    for rewrite in passes:
        graph = verify(rewrite(graph))
    return graph


def _model(program: Path, shape: Sequence[int]) -> Model:
    if (program / MODEL_PT2).exists():
        module = torch.export.unflatten(torch.export.load(program / MODEL_PT2))
        return Model("evaluation", module, torch.zeros(tuple(shape)))
    return zoo.load(str(program / MODEL_ONNX))


def trained(document: Mapping[str, Any], state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The trained tensors, in fp32 where the program keeps them so, by the names the user knows."""
    names = document["train"]["trainable"]
    return {n: state[f"{n}.master"] if f"{n}.master" in state else state[n] for n in names}
