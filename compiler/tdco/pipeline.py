"""The data flow of the compiler, in one place: a model goes in, OUT/program.c and its companions come out.

    PyTorch --export--> ONNX --import--> Graph --FORWARD_PASSES, autodiff(strategy), STEP_PASSES--> Graph
        --layout--> views --tile--> tiles --schedule, memory--> commands at addresses --codegen_c, files--> OUT
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tdco_spec import HwConfig

from .autodiff import inference_graph, parameters, training_graph
from .files import write_program
from .ir import Graph, prune, verify
from .layout import assign_layout
from .memory import plan
from .passes import eliminate_common, fold_constants, fuse_bias, sink_transposes
from .strategies import Training, resolve
from .tile import choose_tiling
from .zoo import Model, forward_graph

FORWARD_PASSES: tuple[Callable[[Graph], Graph], ...] = (
    sink_transposes,
    fuse_bias,
    eliminate_common,
    prune,
)
"""On the imported model, before it is differentiated."""

STEP_PASSES: tuple[Callable[[Graph], Graph], ...] = (fold_constants, eliminate_common, prune)
"""On the whole step: only now is it known which weights are frozen and may be folded."""

MODEL_PT2, MODEL_ONNX = "model.pt2", "model.onnx"


def compile_model(
    model: Model, strategy: str, cfg: HwConfig, out_dir: Path, batch: int | None = None, lr: float | None = None
) -> dict[str, Any]:
    """Compiles one step of ``model`` under ``strategy`` for ``cfg`` into OUT; returns the document of program.json.

    OUT also holds the graph after every pass (``dump/NN_pass.txt``) and the model itself, as the reference that
    runs are compared with. ``batch`` overrides the example input's; ``lr`` the strategy's learning rate.

    Raises:
        TdcoError: the model cannot be exported, imported, differentiated, tiled or placed in memory.
    """
    dumps: dict[str, str] = {}
    forward = _run_passes(forward_graph(model, batch), "import", FORWARD_PASSES, dumps)
    training = resolve(strategy, forward)
    step = build_step(forward, training, lr)
    step = _run_passes(step, "autodiff", STEP_PASSES, dumps)
    graph, layout = assign_layout(step)
    dumps[f"{len(dumps):02}_layout.txt"] = str(verify(graph))
    schedule, memory = plan(graph, layout, choose_tiling(graph, layout, cfg), cfg)
    trainable = {name: parameters(forward)[name].size for name in training.trainable}
    meta = {
        **asdict(training),
        "lr": lr or training.lr,
        "trainable": trainable,
        "parameters": sum(t.size for t in parameters(forward).values()),
        "copies_inserted": list(layout.copies),
        "model": model.name,
    }
    return write_program(out_dir, graph, layout, schedule, memory, cfg, meta, dumps, _reference(model, batch))


def build_step(forward: Graph, training: Training, lr: float | None = None) -> Graph:
    """The graph of one step: training, or the forward pass alone where nothing is trained."""
    if not training.trainable:
        return inference_graph(forward)
    return training_graph(forward, training.trainable, training.loss, lr or training.lr, training.loss_scale)


def _run_passes(
    graph: Graph, first: str, passes: tuple[Callable[[Graph], Graph], ...], dumps: dict[str, str]
) -> Graph:
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

    assert model.module is not None and model.example is not None
    example = model.example if batch is None else model.example[:1].repeat(batch, *[1] * (model.example.dim() - 1))
    file = io.BytesIO()
    torch.export.save(torch.export.export(model.module, (example,)), file)
    return {MODEL_PT2: file.getvalue()}
