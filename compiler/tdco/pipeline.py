"""The data flow of the compiler, in one place: a model goes in, OUT/program.c and its companions come out.

PyTorch --export--> ONNX --import--> Graph --FORWARD_PASSES, autodiff(strategy), STEP_PASSES--> Graph
    --layout--> views --tile--> tiles --schedule, memory--> commands at addresses --codegen_c, files--> OUT
                       (budget: again with values recomputed, until L2 is enough)
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tdco_spec import HwConfig

from . import zoo
from .autodiff import inference_graph, parameters, training_graph
from .budget import plan_whole, plan_within
from .cores import without_engine
from .cost import Predictor, default_costs
from .errors import TdcoError
from .explain import explain
from .files import write_program
from .ir import Graph, prune, verify
from .onnx_training import import_training, is_training_graph, step_graph
from .passes import (
    eliminate_common,
    fold_constants,
    fuse_bias,
    fuse_outer,
    fuse_relu,
    fuse_scale,
    fuse_sum,
    fuse_update,
    merge_slices,
    sink_transposes,
    store_as_read,
    turn_products,
    watch_flags,
)
from .reference import adapter_start, graph_steps, torch_steps
from .strategies import Training, from_document, prepare, resolve
from .units import engine_floor
from .zoo import Model, forward_graph

if TYPE_CHECKING:
    import onnx
    from torch import nn

FORWARD_PASSES: tuple[Callable[[Graph], Graph], ...] = (
    sink_transposes,
    store_as_read,
    fuse_bias,
    eliminate_common,
    prune,
)
"""On the imported model, before it is differentiated."""

STEP_PASSES: tuple[Callable[[Graph], Graph], ...] = (
    fold_constants,
    merge_slices,
    eliminate_common,
    fuse_sum,
    fuse_relu,
    fuse_scale,
    turn_products,
    fuse_outer,
    fuse_update,
    watch_flags,
    eliminate_common,
    prune,
)
"""On the whole step: only now is it known which weights are frozen and may be folded, and who reads what."""

MODEL_PT2, MODEL_ONNX = "model.pt2", "model.onnx"
CHOICES = "choices.json"
"""What the planner chose, as ``explain`` has it."""
GIVEN = "as given"
"""The strategy of a training graph."""


def compile_model(
    model: Model,
    strategy: str | None,
    cfg: HwConfig,
    out_dir: Path,
    batch: int | None = None,
    lr: float | None = None,
    predict: Predictor | None = None,
    loss: str | None = None,
    optimizer: str = "sgd",
    accumulate: int = 1,
    loss_scale: str | None = None,
    engine: bool = True,
    l2_bytes: int | None = None,
) -> dict[str, Any]:
    """Compiles one step of ``model`` under ``strategy`` for ``cfg`` into OUT; returns the document of program.json.

    A training graph brings its own strategy, so ``strategy`` is None for it and the options of training do not apply.
    OUT also holds the graph after every pass (``dump/NN_pass.txt``) and the model itself, as the reference that
    runs are compared with. ``batch`` overrides the example input's, ``lr`` the optimizer's learning rate, ``loss``
    the model's; an update comes every ``accumulate`` steps; ``loss_scale`` as ``optimizer.parse_scale`` takes it, by
    default a constant. ``predict`` gives a job's engine cycles, by default the closed formula. Without ``engine`` the
    cores compute every GEMM, tiled as for the engine and with the same bits.
    ``l2_bytes``: a budget instead of the configuration's L2, of which the firmware gets no more than it takes; what
    does not fit is computed a second time where that helps, or goes to L3.

    Raises:
        TdcoError: the model cannot be exported, imported, differentiated, tiled or placed in memory.
    """
    dumps: dict[str, str] = {}
    if model.onnx is not None and is_training_graph(model.onnx):
        if strategy:
            raise TdcoError(f"is a training graph, strategy {strategy} cannot be applied", model.name, "leave it out")
        forward, step, training = _given_step(model.onnx, model.name, dumps)
        model_parameters = parameters(forward)
    elif not strategy:
        raise TdcoError("has no strategy", model.name, "say what to train, for example --strategy lp")
    else:
        forward = _run_passes(forward_graph(model, batch), "import", FORWARD_PASSES, dumps)
        training = resolve(strategy, forward, lr, loss or model.loss, optimizer, accumulate, loss_scale)
        model_parameters = parameters(forward)
        forward = prepare(forward, training)
        step = build_step(forward, training)
    step = _run_passes(step, "autodiff", STEP_PASSES, dumps)
    if l2_bytes:
        cfg = replace(cfg, l2_bytes=l2_bytes)
    costs = default_costs(cfg, predict)
    planned, cfg = (plan_within if l2_bytes else plan_whole)(step, costs)
    graph, layout = planned.graph, planned.layout
    dumps[f"{len(dumps):02}_layout.txt"] = str(verify(graph))
    schedule = planned.schedule if engine else without_engine(planned.schedule)
    again = {name for r in planned.recomputed for name in r.nodes}
    once = {i: tiling for i, tiling in planned.tilings.items() if graph.nodes[i].outputs[0] not in again}
    schedule = replace(schedule, floor_cycles=engine_floor(graph, layout, once, costs))
    trainable = {name: parameters(forward)[name].size for name in training.trainable}
    meta = {
        **asdict(training),
        "trainable": trainable,
        "parameters": sum(t.size for t in model_parameters.values()),
        "copies_inserted": list(layout.copies),
        "recomputed": [asdict(r) for r in planned.recomputed],
        "recomputed_cycles": planned.cycles_more,
        "model": model.name,
    }
    choices = json.dumps(explain(replace(planned, schedule=schedule), costs)) + "\n"
    attachments = {CHOICES: choices.encode(), **_reference(model, batch)}
    return write_program(out_dir, graph, layout, schedule, planned.memory, cfg, meta, dumps, attachments)


def _given_step(proto: onnx.ModelProto, name: str, dumps: dict[str, str]) -> tuple[Graph, Graph, Training]:
    """(without updates, the whole step, what it trains) of a training graph."""
    given = import_training(proto, name)
    forward = _run_passes(given.forward, "import", FORWARD_PASSES, dumps)
    return forward, step_graph(given, forward), Training(GIVEN, tuple(given.gradients), given.lr)


def build_step(forward: Graph, training: Training) -> Graph:
    """The graph of one step: training, or the forward pass alone where nothing is trained."""
    if not training.trainable:
        return inference_graph(forward)
    return training_graph(
        forward,
        training.trainable,
        training.loss,
        training.lr,
        training.loss_scale,
        training.optimizer,
        training.accumulate,
        training.scale_every,
    )


def reference_steps(
    out_dir: Path, train: Mapping[str, Any], inputs: Mapping[str, np.ndarray]
) -> tuple[list[float], dict[str, np.ndarray]]:
    """Losses and updates (new - old, by parameter) of the compiled model's steps in fp32.

    By torch where the model came from PyTorch, else by the operators' own ``eval``. ``inputs``: what the program is
    fed, an entry per step, the model's input first; ``train`` is that key of program.json.
    """
    inputs = {n: a.astype(np.float32) if a.dtype.kind == "f" else a for n, a in inputs.items()}
    images, *labels = inputs.values()
    training = from_document(train)
    if (out_dir / MODEL_PT2).exists():
        module = load_module(out_dir)
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
        model = zoo.load(str(out_dir / MODEL_ONNX))
        if training.strategy == GIVEN:
            assert model.onnx is not None
            step = _given_step(model.onnx, model.name, {})[1]
        else:
            forward = _run_passes(forward_graph(model, len(images[0])), "import", FORWARD_PASSES, {})
            step = build_step(prepare(forward, training), training)
        old = {n: step.values[n].as_user(np.asarray(v, np.float32)) for n, v in step.state.items()}
        losses, new = graph_steps(step, inputs)
    return losses, {n: v - old[n] for n, v in new.items()}


def load_module(out_dir: Path) -> nn.Module:
    """The PyTorch model that OUT was compiled from, with its weights."""
    import torch

    return torch.export.load(out_dir / MODEL_PT2).module()


def _run_passes(graph: Graph, first: str, passes: tuple[Callable[[Graph], Graph], ...], dumps: dict[str, str]) -> Graph:
    """``graph`` after ``passes``, each verified; every stage's text goes into ``dumps``."""
    dumps[f"{len(dumps):02}_{first}.txt"] = str(graph)
    for rewrite in passes:
        graph = verify(rewrite(graph))
        dumps[f"{len(dumps):02}_{rewrite.__name__}.txt"] = str(graph)
    return graph


def _reference(model: Model, batch: int | None) -> dict[str, bytes]:
    """The model in a form that a run can be compared with later: torch's own, or the user's ONNX file."""
    if model.onnx is not None:
        return {MODEL_ONNX: model.onnx.SerializeToString()}
    import torch

    from .torch_export import evaluating

    assert model.module is not None and model.example is not None
    example = model.example if batch is None else model.example[:1].repeat(batch, *[1] * (model.example.dim() - 1))
    file = io.BytesIO()
    with evaluating(model.module):
        torch.export.save(torch.export.export(model.module, (example,)), file)
    return {MODEL_PT2: file.getvalue()}
