"""Models: the ones that come with tdco, and the user's own from a .py or .onnx file."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import TdcoError
from ..ir import Graph
from ..onnx_import import import_onnx

if TYPE_CHECKING:
    import onnx
    from torch import Tensor, nn

ZOO = ("cct2", "cct2_cifar10", "cct6", "deep_ae", "mlp", "mobilenet_v1_025", "resnet8")
"""Modules of this package whose ``build(pretrained, seed)`` returns (PyTorch module, example); ``LOSS``, where there is
one, is the model's loss."""

FORMS = "MODEL is zoo:NAME, file.py:function or model.onnx"


@dataclass(frozen=True)
class Model:
    """A model in the form it was given: a PyTorch ``module`` with an ``example`` input, or an ``onnx`` model.

    ``loss``: what its output is trained for unless the user says otherwise, one of ``autodiff.LOSSES``.
    """

    name: str
    module: nn.Module | None = None
    example: Tensor | None = None
    onnx: onnx.ModelProto | None = None
    loss: str = "cross_entropy"


def load(spec: str, pretrained: bool = True, seed: int = 0) -> Model:
    """The model that ``spec`` names: ``zoo:cct2`` (or ``cct2``), ``file.py:function`` or ``model.onnx``.

    ``function()`` returns (module, example input). ``pretrained`` and ``seed`` are for the zoo: the shipped weights,
    or fresh ones drawn from ``seed``.

    Raises:
        TdcoError: there is no such model or file, or it is not what it should be.
    """
    name = spec.removeprefix("zoo:")
    if name in ZOO:
        recipe = importlib.import_module(f"{__name__}.{name}")
        module, example = recipe.build(pretrained, seed)
        return Model(name, module, example, loss=getattr(recipe, "LOSS", "cross_entropy"))
    if spec.startswith("zoo:"):
        raise TdcoError(f"there is no model {name!r}", "zoo", "it has: " + ", ".join(ZOO))
    path, separator, function = spec.rpartition(":")
    if separator and path.endswith(".py"):
        return _from_python(Path(path), function)
    if spec.endswith(".onnx"):
        return _from_onnx(Path(spec))
    raise TdcoError(f"model {spec!r} is not recognised", hint=FORMS)


def forward_graph(model: Model, batch: int | None = None) -> Graph:
    """The forward graph of ``model`` for a fixed batch size; by default as in its example, 1 for a free dimension.

    Raises:
        TdcoError: the model cannot be exported or uses an unsupported operator.
    """
    if model.onnx is not None:
        return import_onnx(model.onnx, name=model.name, batch=batch)
    assert model.module is not None and model.example is not None
    from ..torch_export import export  # torch takes seconds to import

    example = model.example if batch is None else model.example[:1].repeat(batch, *[1] * (model.example.dim() - 1))
    exported = export(model.module, example)
    return import_onnx(exported.model, exported.parameters, model.name, buffers=exported.buffers)


def _from_python(path: Path, function: str) -> Model:
    import torch

    make = getattr(_run(path), function, None)
    if not callable(make):
        raise TdcoError(f"has no function {function!r}", str(path), FORMS)
    try:
        result: Any = make()
    except Exception as e:  # the user's code may raise anything
        raise TdcoError(f"{function}() raised {type(e).__name__}: {e}", str(path)) from e
    hint = "return (torch.nn.Module, example input tensor)"
    if not isinstance(result, tuple) or len(result) != 2:
        raise TdcoError(f"{function}() returned {type(result).__name__}", str(path), hint)
    module, example = result
    if not isinstance(module, torch.nn.Module) or not isinstance(example, torch.Tensor):
        what = f"{function}() returned ({type(module).__name__}, {type(example).__name__})"
        raise TdcoError(what, str(path), hint)
    return Model(f"{path.stem}.{function}", module, example)


def _run(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise TdcoError("no such Python file", str(path))
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as e:  # the user's code may raise anything
        raise TdcoError(f"{type(e).__name__}: {e}", str(path)) from e
    return module


def _from_onnx(path: Path) -> Model:
    import onnx
    from google.protobuf.message import DecodeError

    if not path.is_file():
        raise TdcoError("no such file", str(path))
    try:
        model = onnx.load(path)
    except (DecodeError, OSError, onnx.checker.ValidationError) as e:
        raise TdcoError(f"is no readable ONNX model: {e}", str(path)) from e
    if not model.graph.output:
        raise TdcoError("is no readable ONNX model: its graph has no outputs", str(path))
    return Model(path.stem, onnx=model)
