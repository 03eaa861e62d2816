"""The part of docs/experiments.md on strategies: a table of what each brings and costs, and two plots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tdco_sim.compare import write_markdown

from ..training.experiment import compared

PAGE = "experiments.md"
COSTS_PLOT, LOSS_PLOT = "pictures/experiment.svg", "pictures/experiment_loss.svg"
DEVICE, TORCH = "#2b6cb0", "#dd6b20"
WINDOW = 50
"""Steps that a loss curve's points are the mean of."""
Runs = dict[str, list[dict[str, Any]]]
"""By strategy and seed: {"device_loss", "torch_loss"} of every step."""


def write_page(docs: Path, result: dict[str, Any], runs: Runs) -> None:
    """Its part of ``docs``/experiments.md, and the pictures."""
    (docs / "pictures").mkdir(exist_ok=True)
    _plot_costs(docs / COSTS_PLOT, result["results"], result["start"])
    _plot_loss(docs / LOSS_PLOT, runs)
    write_markdown(docs / PAGE, result["name"], _page(result).splitlines())


def command(result: dict[str, Any]) -> str:
    """That made ``result`` and writes its page."""
    return (
        f"tdco experiment {result['name']} --samples {result['samples']} --test {result['test']} "
        f"--seeds {result['seeds']} --write docs"
    )


def _page(result: dict[str, Any]) -> str:
    words, differ = (sum(row[key] for row in result["results"]) for key in ("words_compared", "mismatches"))
    return f"""
## {result["title"]}

Written by `{command(result)}`.
{_start(result)}
Every strategy trains on {result["samples"]:,} {result["data"]} images, each seen once, one per step, plain SGD with
fp32 masters, and is judged on {result["test"]:,} held-out images, the same in all runs, of which {result["start"]:.2%}
are right before the first step. {result["seeds"]} seeds draw the images and their order. *Device*: training and
evaluation on platform host with the golden engine, the bits of the SoC; one step of each strategy ran on the cluster
simulator (engine model), too: {words:,} words compared, {differ} differ. *torch*: fp32, from the same weights with the
same images in the same order and the same learning rate, one per strategy, found beforehand (below).

{_table(result["results"])}

Difference: the mean of device minus torch over the pairs, in points, and its standard error. They agree where it is
within 0.5 points or two standard errors. Update off: how far the whole update of the device, from the first step to the
last, is from torch's (relative L2), the mean over the seeds.

Updates per second at 360 MHz; energy is the estimate of docs/soc.md; peak: activations, gradients and temporaries in L1
and L2.

![accuracy and costs]({COSTS_PLOT})

![loss]({LOSS_PLOT})

Loss, mean of {WINDOW} steps and over the seeds: device (solid) and torch fp32 (dashed).
{_verdict(result)}"""


def _start(result: dict[str, Any]) -> str:
    if result["model"] != "zoo:cct2_cifar10":
        return ""
    from ..zoo import cct2, cct2_cifar10

    meta = cct2.checkpoint(cct2_cifar10.CHECKPOINT)[1]
    return f"""
The start, `{result["model"]}`: CCT-2 trained from scratch by
`tdco pretrain cct2 --data cifar10 --minutes {meta["minutes"]:.0f} --threads 1`: {meta["epochs"]:.1f} epochs in that
time on one core, which is what limited it; {meta["accuracy"]:.1%} of the 10,000 held-out images right ({meta["data"]}).
Published for 200 epochs: 89.17 % (arXiv 2104.05704).
"""


def _table(rows: list[dict[str, Any]]) -> str:
    titles = (
        "strategy",
        "lr",
        "device",
        "torch",
        "difference",
        "agree",
        "update off",
        "trainable",
        "updates/s",
        "uJ/step",
        "peak KB",
    )
    lines = [titles, ("---", *["---:"] * (len(titles) - 1))]
    for r in rows:
        lines.append((
            r["strategy"], f"{r['lr']:g}", f"{r['device']:.2%}", f"{r['torch']:.2%}",
            points(r), "yes" if r["agrees"] else "**no**", f"{r['update_error']:.1%}",
            f"{r['trainable']:,}", f"{r['updates_per_second']:,.0f}", f"{r['energy_uj']:,.0f}",
            f"{r['dynamic_peak_bytes'] / 1024:,.0f}",
        ))  # fmt: skip
    return "\n".join(line(*cells) for cells in lines)


def points(pairs: dict[str, Any]) -> str:
    """What ``compared`` says, in print: the mean difference and its standard error."""
    return f"{100 * pairs['difference']:+.2f} ± {100 * pairs['standard_error']:.2f}"


def line(*cells: str) -> str:
    """Of a table."""
    return f"| {' | '.join(cells)} |"


def _verdict(result: dict[str, Any]) -> str:
    by = {row["strategy"]: row for row in result["results"]}
    if not {"ft2", "lora2"} <= by.keys():
        return ""
    pairs = (compared(by["lora2"][f"{key}_runs"], by["ft2"][f"{key}_runs"]) for key in ("device", "torch"))
    device, torch = map(points, pairs)
    return f"\nLoRA-2 against FT-2, mean and standard error: {device} points on the device, {torch} in torch fp32.\n"


def _plot_costs(file: Path, rows: list[dict[str, Any]], start: float) -> None:
    """Five panels of bars by strategy."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 2.6), layout="constrained")
    panels = figure.subplots(1, 5)
    names, at = [row["strategy"] for row in rows], np.arange(len(rows))
    for offset, key, colour, label in ((-0.2, "device", DEVICE, "device"), (0.2, "torch", TORCH, "torch fp32")):
        spread = [100 * np.std(row[f"{key}_runs"]) for row in rows]
        panels[0].bar(
            at + offset, [100 * r[key] for r in rows], 0.4, yerr=spread, color=colour, label=label, ecolor="gray"
        )
    panels[0].axhline(100 * start, color="black", linewidth=1, linestyle=":", label="before")
    panels[0].set_ylim(top=1.3 * panels[0].get_ylim()[1])
    panels[0].legend(frameon=False, fontsize=6, loc="upper left")
    metrics = (
        ("updates per second", "updates_per_second", 1.0), ("uJ per step", "energy_uj", 1.0),
        ("trainable parameters", "trainable", 1.0), ("peak dynamic KB", "dynamic_peak_bytes", 1 / 1024),
    )  # fmt: skip
    for axes, (title, key, scale) in zip(panels[1:], metrics, strict=True):
        bars = axes.bar(at, [row[key] * scale for row in rows], 0.7, color=DEVICE)
        axes.bar_label(bars, [f"{row[key] * scale:,.0f}" for row in rows], fontsize=6)
        axes.set_title(title, fontsize=8)
    panels[0].set_title("accuracy, %", fontsize=8)
    for axes in panels:
        axes.set_xticks(at, names, fontsize=7)
        axes.tick_params(axis="y", labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    _save(figure, file)


def _plot_loss(file: Path, runs: Runs) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 2.6), layout="constrained")
    panels = figure.subplots(1, len(runs), sharey=True, squeeze=False)[0]
    for axes, (strategy, seeds) in zip(panels, runs.items(), strict=True):
        for which, colour, style in (("device_loss", DEVICE, "-"), ("torch_loss", TORCH, "--")):
            mean = np.mean([run[which] for run in seeds], axis=0)
            window = max(1, min(WINDOW, len(mean)))
            points = mean[: len(mean) // window * window].reshape(-1, window).mean(1)
            axes.plot(window * (np.arange(len(points)) + 0.5), points, color=colour, linestyle=style, linewidth=1)
        axes.set_title(strategy, fontsize=8)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("loss", fontsize=8)
    _save(figure, file)


def _save(figure: Any, file: Path) -> None:
    """Without date or random ids, so that equal figures are equal files."""
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": "tdco", "svg.fonttype": "none"}):
        figure.savefig(file, metadata={"Date": None})
