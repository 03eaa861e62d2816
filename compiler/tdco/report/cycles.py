"""Cycles of a step by resource, phase, layer and kernel."""

from __future__ import annotations

from collections import defaultdict
from html import escape

import plotly.graph_objects as go

from .load import PHASES, RESOURCES, Step
from .markup import number, table
from .plot import COLOURS, RESOURCE_NAMES, Plot, Section, choices_of, count, figure, rows, share
from .timeline import occupied

MOST_LAYERS = 48
PATH_PARTS = {
    ("path", "critical"): ("worked", "#5b7083"),
    ("path", "waiting"): ("controller before it", "#b9c0ca"),
}
"""What a layer has of the critical path: name and colour."""


def section(step: Step) -> Section:
    """What each resource did and what the step waited for; then by layer, then by kernel."""
    html = (
        "<p>Engine, cores and DMA work at the same time, so their busy cycles overlap. The critical path says what the "
        "step waited for, from its end back to its begin; its parts add up to the step.</p>" + _table(step)
    )
    plots = [_layers(step)]
    if step.profile["kernels"]:
        plots.append(_kernels(step))
    return Section("cycles", "Where the cycles go", html, plots)


def used(step: Step) -> list[str]:
    """The resources that did anything."""
    return [r for r in RESOURCES if any(node.get(r, 0) for node in step.profile["nodes"].values())]


def _table(step: Step) -> str:
    path, total, worked = step.profile["critical_path"], step.cycles, occupied(step)

    def cells(resource: str, cycles: int | None) -> str:
        if cycles is None:
            return '<td colspan="2"></td><td class="b"></td>'
        bar = f'<span class="bar" style="width:{100 * cycles / total:.1f}%;background:{COLOURS[resource][1]}"></span>'
        return number(count(cycles)) + number(share(cycles, total)) + f'<td class="b">{bar}</td>'

    shown = [
        (
            f'<i style="background:{COLOURS[resource][1]}"></i>{RESOURCE_NAMES[resource]}',
            cells(resource, worked.get(resource)) + cells(resource, path.get(resource, 0)),
        )
        for resource in (*worked, "control")
    ]
    head = "<th></th>" + "".join(
        f'<th colspan="2" class="n">{name}</th><th class="b"></th>' for name in ("busy", "critical path")
    )
    foot = f'<tr><th scope="row">step</th>{cells("", None)}{number(count(total))}<td></td><td class="b"></td></tr>'
    return table("resources", head, shown, foot)


def _layers(step: Step) -> Plot:
    """Bars by layer in the order of the model; buttons: every phase or one, or the critical path."""
    layers = _by_layer(step)
    kinds = [(resource, phase) for resource in used(step) for phase in PHASES]
    plot = figure(60 + 20 * len(layers), barmode="stack", bargap=0.25, hovermode="closest")
    for first, second in (*kinds, *PATH_PARTS):
        on_path = (first, second) in PATH_PARTS
        name = PATH_PARTS[first, second][0] if on_path else RESOURCE_NAMES[first]
        plot.add_bar(
            y=list(layers),
            x=[values[first, second] for values in layers.values()],
            orientation="h",
            name=name,
            marker_color=PATH_PARTS[first, second][1] if on_path else COLOURS[first][PHASES.index(second)],
            hovertemplate=f"%{{y}}<br>%{{x:,}} cycles<extra>{name if on_path else f'{name}, {second}'}</extra>",
        )
    rows(plot, "cycles")
    there = {step.node(text).phase for text in step.profile["nodes"]}
    shown = {"busy": [True] * len(kinds)}
    shown |= {phase: [phase == own for _, own in kinds] for phase in PHASES if phase in there}
    choices = {label: _visible([*now, False, False]) for label, now in shown.items()}
    choices["critical path"] = _visible([False] * len(kinds) + [True, True])
    for i, trace in enumerate(plot.data):
        trace.update(**{key: values[i] for key, values in choices["busy"].items()})
    caption = (
        "Busy cycles of every layer, resources side by side though they overlap; light to dark: forward pass, backward "
        "pass, update. On the critical path, the layers add up to the step."
    )
    return Plot("layers", plot, caption, choices_of(choices))


def _by_layer(step: Step) -> dict[str, dict[tuple[str, str], int]]:
    """Cycles of every layer by resource and phase, and on the critical path; of many, the smallest in one."""
    layers: dict[str, dict[tuple[str, str], int]] = {}
    for text, values in sorted(step.profile["nodes"].items(), key=lambda item: _index(item[0])):
        node = step.node(text)
        sums = layers.setdefault(node.layer, defaultdict(int))
        for resource in RESOURCES:
            sums[resource, node.phase] += values.get(resource, 0)
        for path, part in PATH_PARTS:
            sums[path, part] += values[part]
    small = sorted(layers, key=lambda layer: -sum(layers[layer].values()))[MOST_LAYERS:]
    if small:
        rest = [layers.pop(layer) for layer in small]
        kinds = {kind for sums in rest for kind in sums}
        layers[f"{len(rest)} others"] = defaultdict(int, {kind: sum(sums[kind] for sums in rest) for kind in kinds})
    return layers


def _visible(now: list[bool]) -> dict[str, list[bool]]:
    """For Plotly.update: who is shown; in the legend, the first of every resource's phases that is."""
    starts = range(0, len(now) - len(PATH_PARTS), len(PHASES))
    keys = {next((i for i in range(start, start + len(PHASES)) if now[i]), -1) for start in starts}
    keys |= set(range(len(now) - len(PATH_PARTS), len(now)))
    return {"visible": now, "showlegend": [i in keys for i in range(len(now))]}


def _index(text: str) -> int:
    head = text.partition(" ")[0]
    return int(head) if head.isdigit() else -1


def _kernels(step: Step) -> Plot:
    kernels = sorted(step.profile["kernels"].items(), key=lambda item: -item[1]["cycles"])
    names = [escape(name.removeprefix("tdco_")) for name, _ in kernels]
    parts = {
        "working": [k["cycles"] - k["l1_wait"] - k["fetch"] - k["idle"] for _, k in kernels],
        "waiting for L1": [k["l1_wait"] for _, k in kernels],
        "fetching instructions": [k["fetch"] for _, k in kernels],
        "waiting for the slowest core": [k["idle"] for _, k in kernels],
    }
    plot = figure(70 + 20 * len(names), barmode="stack", bargap=0.25, hovermode="closest")
    calls = [[k["calls"], k["elements"], k["flop"]] for _, k in kernels]
    for (label, values), colour in zip(parts.items(), (*COLOURS["cores"][1::-1], "#8892a2", "#c6ccd6"), strict=True):
        hover = "%{y}: %{x:,} cycles<br>%{customdata[0]:,} calls, %{customdata[1]:,} elements, %{customdata[2]:,} FLOP"
        plot.add_trace(
            go.Bar(
                y=names,
                x=values,
                orientation="h",
                name=label,
                marker_color=colour,
                customdata=calls,
                hovertemplate=f"{hover}<extra>{label}</extra>",
            )
        )
    rows(plot, "cycles")
    caption = (
        "Kernels on the cores: from the first core's entry to the last one's exit; the waits are means over the cores."
    )
    return Plot("kernels", plot, caption)
