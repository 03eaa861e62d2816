"""The reference: the same training step in plain PyTorch fp32, and how far a result is from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from . import zoo
from .autodiff import LEARNING_RATE, LOSS
from .ir import Graph, evaluate
from .optimizer import BETA1, BETA2, EPSILON, Optimizer, holders, parse
from .pipeline import GIVEN, MODEL_ONNX, MODEL_PT2, make_step
from .strategies import Training, from_document
from .strategies.adapters import Adapter, initial

Updates = dict[str, np.ndarray]

FLOOR = 1e-3
"""Of a model's largest update: tensors that move less are compared absolutely (a gradient may be zero by symmetry)."""


def reference_steps(
    out_dir: Path, train: Mapping[str, Any], inputs: Mapping[str, np.ndarray]
) -> tuple[list[float], dict[str, np.ndarray]]:
    """Losses and updates (new - old, by parameter) of the steps of the model that OUT was compiled from, in fp32.

    By torch where the model came from PyTorch, else by the operators' own ``eval``. ``inputs``: what the program is
    fed, an entry per step, the model's input first; ``train`` is that key of program.json.
    """
    inputs = {n: a.astype(np.float32) if a.dtype.kind == "f" else a for n, a in inputs.items()}
    images, *labels = inputs.values()
    training = from_document(train)
    if (out_dir / MODEL_PT2).exists():
        module = torch.export.load(out_dir / MODEL_PT2).module()
        old = {n: p.detach().numpy() for n, p in module.named_parameters()} | adapter_start(module, training.adapters)
        losses, new = torch_steps(
            module,
            training.trainable,
            images,
            labels[0] if labels else images,
            training.lr,
            adapters=training.adapters,
            optimizer=training.optimizer,
            accumulate=training.accumulate,
            loss=training.loss,
        )
    else:
        step = _step_graph(out_dir, training, len(images[0]))
        old = {n: step.values[n].as_user(np.asarray(v, np.float32)) for n, v in step.state.items()}
        losses, new = graph_steps(step, inputs)
    return losses, {n: v - old[n] for n, v in new.items()}


def reference_outputs(out_dir: Path, train: Mapping[str, Any], inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """The scores [steps, batch, ...] of the model that OUT was compiled from, as it was then, in fp32; by whom, and
    what the arguments are: see ``reference_steps``. Adapters begin at zero and add nothing."""
    inputs = {n: a.astype(np.float32) if a.dtype.kind == "f" else a for n, a in inputs.items()}
    images = next(iter(inputs.values()))
    if (out_dir / MODEL_PT2).exists():
        module = torch.export.load(out_dir / MODEL_PT2).module()
        with torch.no_grad():
            return np.stack([module(torch.tensor(x)).numpy() for x in images])
    step = _step_graph(out_dir, from_document(train), len(images[0]))
    scores = next(name for name in step.outputs if name != LOSS)
    start = {n: np.asarray(v, np.float32) if v.dtype.kind == "f" else v for n, v in step.state.items()}
    fed = (dict(zip(step.inputs, values, strict=True)) for values in zip(*inputs.values(), strict=True))
    return np.stack([evaluate(step, {**start, **values})[scores] for values in fed])


def _step_graph(out_dir: Path, training: Training, batch: int) -> Graph:
    """The step of the ONNX model in OUT."""
    choose = None if training.strategy == GIVEN else lambda _: training
    return make_step(zoo.load(str(out_dir / MODEL_ONNX)), choose, batch, {}).graph


def torch_steps(
    module: nn.Module,
    trainable: Sequence[str],
    images: np.ndarray,
    labels: np.ndarray,
    lr: float = LEARNING_RATE,
    dtype: torch.dtype = torch.float32,
    *,
    adapters: Sequence[Adapter] = (),
    start: Mapping[str, np.ndarray] | None = None,
    optimizer: str = "sgd",
    accumulate: int = 1,
    loss: str = "cross_entropy",
) -> tuple[list[float], dict[str, np.ndarray]]:
    """One step per entry of ``labels``, [N] or with a batch [N,B]; ``images`` has the same leading dimensions.

    ``trainable`` may name tensors of ``adapters``; ``start`` replaces tensors before the first step; for the loss
    "mse" ``labels`` are the targets, for "reconstruction" they are not used. Returns the losses and the trained tensors
    afterwards; ``module`` is left as it was.
    """
    if labels.ndim == 1:
        images, labels = images[:, None], labels[:, None]
    tensors = {n: p.detach().clone().to(dtype) for n, p in (*module.named_parameters(), *module.named_buffers())}
    tensors |= {
        n: torch.tensor(v, dtype=dtype) for n, v in {**adapter_start(module, adapters), **(start or {})}.items()
    }
    trained = {n: tensors[n].requires_grad_() for n in trainable}
    stepper = _torch_optimizer(parse(optimizer), list(trained.values()), lr)
    extra = {name for adapter in adapters for name in adapter.names}
    losses = []
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        effective = {n: t for n, t in tensors.items() if n not in extra}
        for adapter in adapters:
            effective |= _adapted(adapter, tensors)
        x = torch.tensor(image, dtype=dtype)
        y = torch.func.functional_call(module, effective, (x,))
        if loss == "cross_entropy":
            value = nn.functional.cross_entropy(y, torch.tensor(label, dtype=torch.int64))
        else:
            value = nn.functional.mse_loss(y, x if loss == "reconstruction" else torch.tensor(label, dtype=dtype))
        (value / accumulate).backward()
        if (index + 1) % accumulate == 0:
            stepper.step()
            stepper.zero_grad()
        losses.append(value.item())
    return losses, {n: t.detach().numpy() for n, t in trained.items()}


def _torch_optimizer(optimizer: Optimizer, tensors: list[Tensor], lr: float) -> torch.optim.Optimizer:
    if optimizer.kind == "adamw":
        return torch.optim.AdamW(tensors, lr, (BETA1, BETA2), EPSILON, optimizer.factor)
    return torch.optim.SGD(tensors, lr, optimizer.factor)


def adapter_start(module: nn.Module, adapters: Sequence[Adapter]) -> dict[str, np.ndarray]:
    """The adapters' tensors before the first step."""
    shapes = {n: tuple(p.shape) for n, p in module.named_parameters()}
    return {n: v for adapter in adapters for n, v in initial(adapter, shapes).items()}


def _adapted(adapter: Adapter, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every target with its correction, scale . B . A, added."""
    result = {}
    for i, (target, transposed) in enumerate(zip(adapter.targets, adapter.transposed, strict=True)):
        delta = adapter.scale * tensors[adapter.b[i]] @ tensors[adapter.a][adapter.share(i)]
        result[target] = tensors[target] + (delta if transposed else delta.T)
    return result


def graph_steps(step: Graph, inputs: Mapping[str, np.ndarray]) -> tuple[list[float], dict[str, np.ndarray]]:
    """As ``torch_steps``, by float32 ``evaluate`` of a training graph: the reference where there is no PyTorch module.

    ``inputs`` has an entry per step for each of the graph's inputs, in their names or at least in their order.
    """
    state = {n: np.asarray(v, np.float32) if v.dtype.kind == "f" else v for n, v in step.state.items()}
    losses = []
    for feeds in zip(*inputs.values(), strict=True):
        env = evaluate(step, {**state, **dict(zip(step.inputs, feeds, strict=True))})
        state = {name: env[new] for name, new in step.updates.items()}
        losses.append(float(env[LOSS].item()))
    return losses, {n: step.values[n].as_user(state[holder]) for n, holder in holders(state).items()}


def torch_step(
    module: nn.Module,
    trainable: Sequence[str],
    image: np.ndarray,
    label: int,
    lr: float = LEARNING_RATE,
    dtype: torch.dtype = torch.float32,
) -> tuple[float, Updates]:
    """One SGD step on one image [3,32,32]; returns the loss and every trained tensor's update, new - old."""
    losses, new = torch_steps(module, trainable, image[None], np.array([label]), lr, dtype)
    old = dict(module.named_parameters())
    return losses[0], {n: v - old[n].detach().to(dtype).numpy() for n, v in new.items()}


def accuracy(
    module: nn.Module,
    images: np.ndarray,
    labels: np.ndarray,
    tensors: Mapping[str, np.ndarray] = {},
    adapters: Sequence[Adapter] = (),
) -> float:
    """Share of ``images`` that ``module`` classifies rightly, with ``tensors`` in place of its own and of ``adapters``'
    own."""
    extra = {name for adapter in adapters for name in adapter.names}
    own: dict[str, Tensor] = {n: torch.tensor(v) for n, v in tensors.items() if n not in extra}
    given = {**dict(module.named_parameters()), **{n: torch.tensor(v) for n, v in tensors.items()}}
    for adapter in adapters:
        own |= _adapted(adapter, given)
    with torch.no_grad():
        parts = [torch.func.functional_call(module, own, (torch.tensor(x),)) for x in np.array_split(images, 8)]
    return float((torch.cat(parts).argmax(1).numpy() == labels).mean())


def graph_updates(old: Mapping[str, np.ndarray], new: Mapping[str, np.ndarray]) -> Updates:
    """new - old of every trained tensor in ``old``, of its fp32 master where it has one."""
    return {n: new[holder] - old[holder] for n, holder in holders(old).items()}


@dataclass(frozen=True)
class TensorError:
    """How far one tensor's update is off. ``relative``: L2 of the difference by L2 of the reference.

    ``absolute``: the largest difference, as a share of the largest reference update of the whole model.
    ``small``: the reference moves this tensor by less than ``FLOOR`` of that, so only ``absolute`` means something.
    """

    name: str
    relative: float
    absolute: float
    small: bool

    def within(self, tolerance: float) -> bool:
        return self.absolute <= FLOOR if self.small else self.relative <= tolerance


@dataclass(frozen=True)
class UpdateError:
    """How far a whole update is off: relative L2 and cosine of the concatenated vector, and tensor by tensor."""

    max_rel_error: float
    cosine: float
    tensors: tuple[TensorError, ...]


def compare_updates(got: Mapping[str, np.ndarray], want: Mapping[str, np.ndarray]) -> UpdateError:
    """Compares updates (new - old) by tensor name; both must have the same tensors of the same shapes."""
    assert got.keys() == want.keys(), f"tensors differ: {sorted(got.keys() ^ want.keys())}"
    pairs = {n: (got[n].astype(np.float64), want[n].astype(np.float64)) for n in want}
    largest = max(np.abs(b).max() for _, b in pairs.values())
    tensors = []
    for name, (a, b) in pairs.items():
        assert a.shape == b.shape, f"{name} is {a.shape}, not {b.shape}"
        peak = np.abs(b).max()
        relative = float(np.linalg.norm(a - b) / np.linalg.norm(b)) if peak else float(np.abs(a).max() > 0)
        tensors.append(TensorError(name, relative, float(np.abs(a - b).max() / largest), bool(peak < FLOOR * largest)))
    a = np.concatenate([a.ravel() for a, _ in pairs.values()])
    b = np.concatenate([b.ravel() for _, b in pairs.values()])
    relative = float(np.linalg.norm(a - b) / np.linalg.norm(b))
    cosine = float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b))) if a.any() else 0.0
    return UpdateError(relative, cosine, tuple(tensors))
