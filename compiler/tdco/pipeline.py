"""The data flow of the compiler, in one place: a model goes in, OUT/program.c and its companions come out.

PyTorch --export--> ONNX --import--> Graph --FORWARD_PASSES, autodiff(strategy), STEP_PASSES--> Graph
    --layout--> views --tile--> tiles --schedule, memory--> commands at addresses --codegen_c, files--> OUT
                       (budget: again with values recomputed, until L2 is enough)
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tdco_spec import ConfigError, HwConfig

from .autodiff import inference_graph, parameters, training_graph
from .budget import PlannedStep, plan_whole, plan_within
from .cores import without_engine
from .cost import Costs, Predictor, default_costs
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
    multiply_twice,
    sink_transposes,
    store_as_read,
    turn_products,
    watch_flags,
)
from .strategies import Training, prepare, resolve
from .units import engine_floor
from .zoo import Model, forward_graph

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

    def choose(forward: Graph) -> Training:
        return resolve(strategy or "", forward, lr, loss or model.loss, optimizer, accumulate, loss_scale)

    dumps: dict[str, str] = {}
    decided = {
        "strategy": strategy, "batch": batch, "lr": lr, "loss": loss, "optimizer": optimizer != Training.optimizer,
        "accumulate": accumulate != Training.accumulate, "loss-scale": loss_scale,
    }  # fmt: skip
    made = make_step(model, None if _is_given(model, decided) else choose, batch, dumps)
    step = _run_passes(made.graph, "autodiff", STEP_PASSES, dumps)
    if l2_bytes:
        cfg = _with_l2(cfg, l2_bytes)
    costs = default_costs(cfg, predict)
    step = verify(multiply_twice(step, costs))
    dumps[f"{len(dumps):02}_{multiply_twice.__name__}.txt"] = str(step)
    planned, cfg = (plan_within if l2_bytes else plan_whole)(step, costs)
    dumps[f"{len(dumps):02}_layout.txt"] = str(verify(planned.graph))
    schedule = planned.schedule if engine else without_engine(planned.schedule)
    schedule = replace(schedule, floor_cycles=_floor_cycles(planned, costs))
    meta = {**_described(made, planned), "model": model.name}
    choices = json.dumps(explain(replace(planned, schedule=schedule), costs)) + "\n"
    attachments = {CHOICES: choices.encode(), **_reference(model, batch)}
    return write_program(
        out_dir, planned.graph, planned.layout, schedule, planned.memory, cfg, meta, dumps, attachments
    )  # fmt: skip


def _with_l2(cfg: HwConfig, l2_bytes: int) -> HwConfig:
    """``cfg`` with another L2, of which the firmware has nothing until a plan says what it takes."""
    try:
        return replace(cfg, l2_bytes=l2_bytes, l2_reserved_bytes=0)
    except ConfigError as e:
        raise TdcoError(str(e), f"--l2-bytes {l2_bytes}") from None


def _is_given(model: Model, options: Mapping[str, Any]) -> bool:
    """Whether ``model`` is a training graph, which decides what else the ``options`` do; others need a strategy."""
    given = model.onnx is not None and is_training_graph(model.onnx)
    if given and (named := [f"--{name}" for name, value in options.items() if value]):
        what = f"is a training graph, which decides itself about {', '.join(named)}"
        raise TdcoError(what, model.name, "leave that out")
    if not given and not options["strategy"]:
        raise TdcoError("has no strategy", model.name, "say what to train, for example --strategy lp")
    return given


@dataclass(frozen=True)
class Step:
    """The ``graph`` of one step as autodiff leaves it, the ``forward`` graph it comes from, with adapters, what it
    trains, and how many ``parameters`` the model has."""

    graph: Graph
    forward: Graph
    training: Training
    parameters: int


def make_step(
    model: Model, choose: Callable[[Graph], Training] | None, batch: int | None, dumps: dict[str, str]
) -> Step:
    """The step of ``model`` that trains what ``choose`` says of its forward graph; of a training graph, which brings
    its own, where that is None. The graph after every pass goes into ``dumps``."""
    if choose is None:
        assert model.onnx is not None
        given = import_training(model.onnx, model.name)
        forward = _run_passes(given.forward, "import", FORWARD_PASSES, dumps)
        graph, training = step_graph(given, forward), Training(GIVEN, tuple(given.gradients), given.lr)
        return Step(graph, forward, training, _count(forward))
    forward = _run_passes(forward_graph(model, batch), "import", FORWARD_PASSES, dumps)
    training = choose(forward)
    prepared = prepare(forward, training)
    return Step(build_step(prepared, training), prepared, training, _count(forward))


def _count(forward: Graph) -> int:
    return sum(t.size for t in parameters(forward).values())


def _described(made: Step, planned: PlannedStep) -> dict[str, Any]:
    """What program.json says of the training."""
    return {
        **asdict(made.training),
        "trainable": {name: parameters(made.forward)[name].size for name in made.training.trainable},
        "parameters": made.parameters,
        "copies_inserted": list(planned.layout.copies),
        "recomputed": [asdict(r) for r in planned.recomputed],
        "recomputed_cycles": planned.cycles_more,
    }


def _floor_cycles(planned: PlannedStep, costs: Costs) -> int:
    """The engine's of the step, without what is computed a second time."""
    again = {name for r in planned.recomputed for name in r.nodes}
    once = {i: tiling for i, tiling in planned.tilings.items() if planned.graph.nodes[i].outputs[0] not in again}
    return engine_floor(planned.graph, planned.layout, once, costs)


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
