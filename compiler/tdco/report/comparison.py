"""Several steps side by side."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import plotly.graph_objects as go

from ..footprint import DYNAMIC, PERSISTENT, over_time
from .learning import add_accuracies, running_mean
from .load import PHASES, RESOURCES, Step
from .memory import KB
from .plot import CATEGORY_COLOURS, COLOURS, RESOURCE_NAMES, STEP_COLOURS, Plot, Section, count, figure, rows
from .reproduce import commands
from .roofline import step_point
from .tiles import tiles
from .timeline import occupied

ENERGY_PARTS = {
    "engine": ("engine", "engine"),
    "cores": ("cores", "cores"),
    "l2": ("dma", "copies from and to L2"),
    "l3": ("l3", "copies from and to L3"),
}
"""Colour and name of the parts of `energy_uj`."""


def sections(steps: Sequence[Step]) -> list[Section]:
    labels = names(steps)
    made = [
        Section("summary", "Side by side", _legend(steps, labels) + _tiles(steps, labels)),
        Section(
            "cycles",
            "Where the cycles go",
            "<p>What each step waited for, along its critical path; the parts add up to the step. "
            "Busy cycles overlap.</p>",
            [_cycles(steps, labels), _phases(steps, labels)],
        ),
        Section("memory", "Memory", "", [_categories(steps, labels), _over_time(steps, labels)]),
        Section(
            "energy",
            "Energy",
            "<p>An estimate from published figures of other chips (docs/soc.md): good for comparing.</p>",
            [_energy(steps, labels)],
        ),
    ]
    if any(step.curve for step in steps):
        made.append(Section("learning", "Loss and accuracy", "", [_losses(steps, labels)]))
    text = "".join(
        f"<h3>{escape(label)}</h3><pre>{escape(commands(step))}</pre>"
        for label, step in zip(labels, steps, strict=True)
    )
    return [*made, Section("reproduce", "How to reproduce", text)]


def names(steps: Sequence[Step]) -> list[str]:
    """The fewest of strategy, model and configuration that tell the steps apart, else their folders."""
    fields = [_fields(step) for step in steps]
    for chosen in ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)):
        found = [" · ".join(of[i] for i in chosen) for of in fields]
        if len(set(found)) == len(found):
            return found
    return [str(step.out) for step in steps]


def _legend(steps: Sequence[Step], labels: Sequence[str]) -> str:
    """What the names stand for, where they do not say all."""
    if len({_fields(step)[1:] for step in steps}) == 1:
        return ""
    said = (f"<b>{escape(label)}</b>: {escape(step.title)}" for label, step in zip(labels, steps, strict=True))
    return f"<p>{'; '.join(said)}.</p>"


def _tiles(steps: Sequence[Step], labels: Sequence[str]) -> str:
    """A tile for every figure, with a line and a bar for every step."""
    columns = [{tile.name: tile for tile in tiles(step)} for step in steps]
    shown = []
    for name in dict.fromkeys(name for column in columns for name in column):
        most = max(column[name].amount for column in columns if name in column) or 1
        lines = ""
        for i, (label, column) in enumerate(zip(labels, columns, strict=True)):
            tile = column.get(name)
            text = f"<b>{escape(tile.value)}</b> {escape(tile.unit)}" if tile else "-"
            width, colour = 100 * tile.amount / most if tile else 0, STEP_COLOURS[i % len(STEP_COLOURS)]
            lines += f"<dt>{escape(label)}</dt><dd>{text}</dd>"
            lines += f'<dd class="bar" style="width:{width:.1f}%;background:{colour}"></dd>'
        shown.append(f'<div class="tile" data-tile="{escape(name)}"><h2>{escape(name)}</h2><dl>{lines}</dl></div>')
    return f'<div class="tiles">{"".join(shown)}</div>'


def title(steps: Sequence[Step]) -> str:
    """What the steps share, and what tells them apart."""
    shared = [values for values in zip(*map(_fields, steps), strict=True) if len(set(values)) == 1]
    return " · ".join([*(values[0] for values in shared), " / ".join(names(steps))])


def _fields(step: Step) -> tuple[str, str, str]:
    return step.document["strategy"], step.document["name"], step.document["config"]


def _bars(steps: Sequence[Step]) -> go.Figure:
    """An empty figure for a row of bars for every step."""
    return figure(90 + 44 * len(steps), barmode="stack", bargap=0.3, hovermode="closest")


def _add_bars(
    plot: go.Figure,
    labels: Sequence[str],
    values: Sequence[float],
    name: str,
    colour: str,
    shown: str = "%{x:,} cycles",
    visible: bool = True,
) -> None:
    """A bar for every step, if any has a value; ``shown`` on hover."""
    if any(values):
        plot.add_bar(
            y=labels,
            x=values,
            orientation="h",
            name=name,
            marker_color=colour,
            visible=visible,
            hovertemplate="%{y}: " + shown + "<extra>" + name + "</extra>",
        )


def _cycles(steps: Sequence[Step], labels: Sequence[str]) -> Plot:
    plot = _bars(steps)
    for part in (*RESOURCES, "control"):
        values = [step.profile["critical_path"].get(part, 0) for step in steps]
        _add_bars(plot, labels, values, RESOURCE_NAMES[part], COLOURS[part][1])
    waits = len(plot.data)
    for resource in RESOURCES:
        values = [occupied(step).get(resource, 0) for step in steps]
        _add_bars(plot, labels, values, RESOURCE_NAMES[resource], COLOURS[resource][1], visible=False)
    rows(plot, "cycles")
    first = [i < waits for i in range(len(plot.data))]
    choices: dict[str, tuple[dict[str, object], dict[str, object]]] = {
        "critical path": ({"visible": first}, {"barmode": "stack"}),
        "busy": ({"visible": [not f for f in first]}, {"barmode": "group"}),
    }
    return Plot("compared-cycles", plot, "Cycles of a step by resource.", choices)


def _phases(steps: Sequence[Step], labels: Sequence[str]) -> Plot:
    plot = _bars(steps)
    for phase, colour in zip(PHASES, ("#9db8dc", "#5b82b8", "#2f4f7d"), strict=True):
        values = []
        for step in steps:
            own = [node for text, node in step.profile["nodes"].items() if step.node(text).phase == phase]
            values.append(sum(node["critical"] + node["waiting"] for node in own))
        _add_bars(plot, labels, values, phase, colour)
    rows(plot, "cycles")
    return Plot(
        "compared-phases", plot, "Cycles of the critical path by phase, the controller's before each command included."
    )


def _categories(steps: Sequence[Step], labels: Sequence[str]) -> Plot:
    plot = _bars(steps)
    for category in (*PERSISTENT, *DYNAMIC):
        memory = [step.document["memory"] for step in steps]
        values = [
            m[f"{category}_bytes"] if category in PERSISTENT else m["dynamic_at_peak"].get(category, 0) for m in memory
        ]
        shown = "%{x:,.1f} KB"
        _add_bars(plot, labels, [v / KB for v in values], category, CATEGORY_COLOURS[category], shown)
    rows(plot, "KB")
    return Plot("compared-memory", plot, "What stays, and what comes and goes at its peak, in L1 and L2 together.")


def _over_time(steps: Sequence[Step], labels: Sequence[str]) -> Plot:
    plot = figure(320, hovermode="x unified")
    for i, (step, label) in enumerate(zip(steps, labels, strict=True)):
        curve = over_time(life for life in step.lives if life.category in DYNAMIC)
        end = 1 + max((life.last for life in step.lives), default=0)
        plot.add_scatter(
            x=[100 * at / end for at, _ in curve],
            y=[n / KB for _, n in curve],
            mode="lines",
            name=label,
            hovertemplate="%{y:,.1f} KB",
            line={"shape": "hv", "width": 1.5, "color": STEP_COLOURS[i % len(STEP_COLOURS)]},
        )
    plot.update_xaxes(title_text="% of the step's commands")
    plot.update_yaxes(title_text="KB", rangemode="tozero", fixedrange=True)
    return Plot("compared-live", plot, "Activations, gradients and temporaries live in L1 and L2 over the step.")


def _energy(steps: Sequence[Step], labels: Sequence[str]) -> Plot:
    plot = _bars(steps)
    for part, (kind, name) in ENERGY_PARTS.items():
        values = [(step.run.get("energy_uj") or {}).get(part, 0) / step.run["steps"] for step in steps]
        _add_bars(plot, labels, values, name, COLOURS[kind][1], "%{x:,.1f} µJ")
    rows(plot, "µJ a step")
    moved = ", ".join(f"{label} {count(step_point(step).bytes)} B" for label, step in zip(labels, steps, strict=True))
    return Plot("compared-energy", plot, f"Moved between L2 and L1: {moved}.")


def _losses(steps: Sequence[Step], labels: Sequence[str]) -> Plot:
    plot = figure(340, hovermode="x unified")
    for i, (step, label) in enumerate(zip(steps, labels, strict=True)):
        rows = [row for row in step.curve if "loss" in row]
        colour = STEP_COLOURS[i % len(STEP_COLOURS)]
        if rows:
            plot.add_scatter(
                x=[r["step"] for r in rows],
                y=running_mean([r["loss"] for r in rows]),
                mode="lines",
                name=f"{label}, loss",
                line={"color": colour, "width": 2},
                hovertemplate="%{y:.4f}",
            )
        line = {"color": colour, "width": 1.5, "dash": "dot"}
        add_accuracies(plot, step.evaluations, f"{label}, accuracy", line)
    plot.update_xaxes(title_text="step")
    plot.update_yaxes(title_text="loss, running mean", rangemode="tozero", fixedrange=True)
    return Plot("compared-loss", plot, "In the device's own arithmetic.")
