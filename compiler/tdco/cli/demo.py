"""``tdco demo``: a model pretrained on upright digits adapts, on the device, to a user who writes tilted."""

from __future__ import annotations

import copy
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from tdco_spec import get_config

from .. import data, zoo
from ..data.feeds import feeds
from ..pipeline import compile_model
from ..reference import accuracy, torch_steps
from ..report.load import RUN_HOST
from ..zoo import Model
from ._console import console, json_command, table, text
from ._engines import job_predictor
from ._record import command_line, leave
from .run import Document, load_program, run_steps, summary

TILT_DEGREES = 30.0
PUBLISHED_CYCLES = 32_700_000
"""A whole CCT-2 fine-tuning step of TrainDeeploy (arXiv 2603.09511): 360 MHz / 11 updates per second."""
RTL_CONFIGS = ("rm_12x4", "rm_8x4")


def _compile(model: Model, strategy: str, config: str, out: Path) -> Document:
    with console.status(f"compiling {model.name} {strategy} for {config}"):
        start = time.perf_counter()
        cfg = get_config(config)
        document = compile_model(model, strategy, cfg, out, predict=job_predictor(cfg))
    stats, seconds = document["stats"], time.perf_counter() - start
    console.print(
        f"compiled {strategy} for {config}: {stats['gemm_jobs']} engine jobs, {stats['c_lines']:,} lines of C, "
        f"L1 {stats['l1_peak_bytes'] / 1024:.0f} KB, L2 {stats['l2_peak_bytes'] / 1024:.0f} KB ({seconds:.1f} s)"
    )
    return document


def _device_accuracy(model: Model, tensors: dict[str, np.ndarray], samples: data.Dataset, out: Path) -> float:
    """Accuracy of ``model`` with ``tensors`` in place of its own, in device arithmetic (golden engine)."""
    import torch

    module = copy.deepcopy(model.module)
    assert module is not None
    module.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in tensors.items()}, strict=False)
    document = compile_model(replace(model, module=module), "infer", get_config(RTL_CONFIGS[0]), out)
    result, _ = run_steps(out, "golden", feeds(document, samples.test_images), "held-out digits on the device")
    logits = result.outputs[document["outputs"][0]["name"]]
    return float((logits.reshape(len(samples.test_labels), -1).argmax(1) == samples.test_labels).mean())


def _rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    before, after = result["accuracy_before"], result["accuracy_after"]
    torch_before, torch_after = result["torch_accuracy_before"], result["torch_accuracy_after"]
    first, last, flop = result["loss_first"], result["loss_last"], 2 * result["rtl_macs"]
    return [
        ("model, strategy", f"CCT-2, {result['strategy']}"),
        ("parameters", text(result["parameters"])),
        ("trainable parameters", text(result["trainable"])),
        ("MFLOP per step (2 per MAC; GEMM and convolution)", f"{result['flop'] / 1e6:.2f}"),
        ("engine jobs of a step, all on the RTL", text(result["rtl_jobs"])),
        ("MACs counted by the RTL", text(result["rtl_macs"])),
        *(
            (f"engine cycles of a step on the RTL, {config}", f"{cycles:,} ({flop / cycles:.1f} FLOP/cycle)")
            for config, cycles in result["engine_cycles"].items()
        ),
        ("words compared, RTL against golden", text(result["words_compared"])),
        ("mismatching words", text(result["mismatches"])),
        ("update against torch fp32, relative L2", f"{result['max_rel_error']:.4f}"),
        (f"loss, mean of the first and last 20 of {result['steps']} steps", f"{first:.3f} -> {last:.3f}"),
        ("held-out accuracy on tilted digits, device fp16", f"{before:.1%} -> {after:.1%}"),
        ("the same in torch fp32", f"{torch_before:.1%} -> {torch_after:.1%}"),
        ("for scale: a WHOLE step as published (TrainDeeploy)", f"{PUBLISHED_CYCLES:,} cycles"),
    ]


def _show(result: dict[str, Any]) -> None:
    table("tdco demo", ("", ""), _rows(result))
    console.print(
        "Engine cycles are the engine's alone, job after job; cores, DMA and overlap are not in them yet, "
        "so they are no updates-per-second figure.",
        style="dim",
    )


@click.command()
@click.option("--quick", is_flag=True, help="Linear probing and 50 steps instead of FT-2 and 200.")
@click.option("--out", "-o", default="out/demo", show_default=True, type=click.Path(file_okay=False, path_type=Path))
@json_command(_show)
def demo(quick: bool, out: Path) -> dict[str, Any]:
    """CCT-2 learns tilted digits: one step with every GEMM tile on the RTL, then many on the golden engine."""
    strategy, steps = ("lp", 50) if quick else ("ft2", 200)
    model = zoo.load("zoo:cct2")
    tilted = data.load("digits", TILT_DEGREES)
    order = np.random.default_rng(0).permutation(len(tilted.train_images))[:steps]
    images, labels = tilted.train_images[order], tilted.train_labels[order]

    one_step, cycles = {}, {}
    for config in RTL_CONFIGS[: 1 if quick else 2]:
        program = out / f"{strategy}-{config}"
        document = _compile(model, strategy, config, program)
        inputs = feeds(document, images[:1], labels[:1])
        result, seconds = run_steps(program, "rtl", inputs, f"one step on the RTL of {config}")
        one_step[config] = summary(document, program, "rtl", result, inputs, seconds)
        cycles[config] = one_step[config]["engine_cycles"]
        console.print(f"{config}: {one_step[config]['rtl_jobs']} jobs on the RTL in {seconds:.0f} s")

    main = out / f"{strategy}-{RTL_CONFIGS[0]}"
    document = load_program(main)
    before = _device_accuracy(model, {}, tilted, out / "infer")
    inputs = feeds(document, images, labels)
    result, seconds = run_steps(main, "golden", inputs, f"{steps} steps on the golden engine")
    console.print(f"{steps} steps of {strategy} in {seconds:.0f} s ({steps / seconds:.1f} steps/s)")
    tuned = {s["source"]: result.state[s["name"]] for s in document["state"] if s["name"].endswith(".master")}
    after = _device_accuracy(model, tuned, tilted, out / "infer")

    assert model.module is not None
    module = model.module
    with console.status("the same steps in torch fp32"):
        _, torch_tuned = torch_steps(module, list(document["train"]["trainable"]), images, labels)
    loss = result.outputs["loss"].reshape(-1)
    leave(main / RUN_HOST, {"loss": [float(x) for x in loss], "steps": steps}, command_line())
    first = one_step[RTL_CONFIGS[0]]
    return {
        **first,
        "ok": all(s["ok"] for s in one_step.values()) and after > before,
        "strategy": strategy,
        "parameters": document["train"]["parameters"],
        "trainable": sum(document["train"]["trainable"].values()),
        "engine_cycles": cycles,
        "steps": steps,
        "loss": [float(x) for x in loss],
        "loss_first": float(loss[:20].mean()),
        "loss_last": float(loss[-20:].mean()),
        "accuracy_before": before,
        "accuracy_after": after,
        "torch_accuracy_before": accuracy(module, tilted.test_images, tilted.test_labels),
        "torch_accuracy_after": accuracy(module, tilted.test_images, tilted.test_labels, torch_tuned),
        "published_whole_step_cycles": PUBLISHED_CYCLES,
    }
