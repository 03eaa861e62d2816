"""PyTorch -> ONNX for training: parameters become graph inputs, so that their names and their number survive.

The default export renames weights, merges equal initialisers (all LayerNorm gammas of a fresh model become one) and
folds batch norm into the convolutions; none of that may happen to a tensor that is going to be trained.
"""

from __future__ import annotations

import ast
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from .errors import TdcoError

OPSET = 20
INPUT = "input"


@dataclass(frozen=True)
class Exported:
    """An ONNX model whose inputs are ``INPUT`` and, by their PyTorch names, ``parameters`` and ``buffers``."""

    model: onnx.ModelProto
    parameters: dict[str, np.ndarray]
    buffers: dict[str, np.ndarray]


class _Functional(nn.Module):
    """``model`` as a function of its tensors."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tensors: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.functional_call(self.model, tensors, (x,))


def export(module: nn.Module, example: Tensor) -> Exported:
    """Exports ``module(example)`` with static shapes and eval semantics (dropout off, batch norm frozen).

    Raises:
        TdcoError: the module does not take its example, torch cannot export it, or it does not return one tensor.
    """
    tensors = {name: t.detach() for name, t in (*module.named_parameters(), *module.named_buffers())}
    name = type(module).__name__
    tied = {n for n, _ in module.named_parameters(remove_duplicate=False)} - {n for n, _ in module.named_parameters()}
    if tied:
        raise TdcoError(f"shares weights: {', '.join(sorted(tied))}", f"module {name}", "give each layer its own")
    if INPUT in tensors:
        raise TdcoError(f"has a tensor called {INPUT!r}", f"module {name}", "rename it")
    with evaluating(module), _quiet():
        try:
            with torch.no_grad():
                module(example)
        except Exception as e:  # the user's code may raise anything
            what = f"raises {_said(e)} on its example input {list(example.shape)}"
            raise TdcoError(what, f"module {name}") from e
        try:
            program = torch.onnx.export(
                _Functional(module).eval(),
                (tensors, example),
                input_names=[*tensors, INPUT],
                output_names=["logits"],
                opset_version=OPSET,
                dynamo=True,
                optimize=False,
                verbose=False,
            )
        except Exception as e:  # the exporter's failures share no narrower type
            raise TdcoError(f"torch.onnx cannot export it: {_said(_first(e))}", f"module {name}") from e
    assert program is not None
    model = program.model_proto
    names = [i.name for i in model.graph.input]
    assert names == [*tensors, INPUT], "the exporter reordered the inputs"
    if len(model.graph.output) != 1:
        raise TdcoError(f"returns {len(model.graph.output)} tensors", f"module {name}", "return the logits alone")
    for node in model.graph.node:
        node.name = _scope(node)
    arrays = {k: t.cpu().numpy().copy() for k, t in tensors.items()}
    buffers = {k: arrays.pop(k) for k, _ in module.named_buffers()}
    return Exported(model, arrays, buffers)


def _first(e: BaseException) -> BaseException:
    """What ``e`` comes from: the exporter's own words say nothing about the model."""
    return _first(e.__cause__) if e.__cause__ else e


def _said(e: BaseException) -> str:
    """``ValueError: the first line of its text``."""
    return ": ".join([type(e).__name__, *str(e).strip().splitlines()[:1]])


def _scope(node: onnx.NodeProto) -> str:
    """Where in the user's module tree ``node`` comes from, for example ``blocks.0.fc1.linear``."""
    scopes = next((p.value for p in node.metadata_props if p.key == "pkg.torch.onnx.name_scopes"), "[]")
    path = [s for s in ast.literal_eval(scopes) if s]
    if len(path) < 2:
        return node.name
    return re.sub(r"_\d+$", "", f"{path[-2]}.{path[-1]}".removeprefix("model."))


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode inside, the previous mode of every submodule afterwards."""
    modes = {m: m.training for m in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for m, training in modes.items():
            m.training = training


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter warns of and logs, tracebacks too: what is about the user's model, an error says."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
