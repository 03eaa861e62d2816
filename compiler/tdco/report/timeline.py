"""What engine, cores and DMA did when."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import plotly.graph_objects as go

from .load import PHASES, Slice, Step
from .plot import COLOURS, RESOURCE_NAMES, Plot, Section, count, figure

MOST_SLICES = 9_000
"""More are drawn merged: a browser takes seconds for them."""
LANES = {"engine": "engine", "DMA to L1": "dma", "DMA from L1": "dma", "L3 DMA": "l3"}


def section(step: Step) -> Section:
    slices, gap = merged([s for s in step.slices if resource_of(s)], MOST_SLICES)
    note = f" Gaps of less than {gap} cycles within a node are not drawn." if gap else ""
    html = "<p>Drag along the axis to zoom in, double-click to see all; point at a slice for what it is.</p>"
    caption = "Light to dark: forward pass, backward pass, update." + note
    return Section("timeline", "Timeline", html, [Plot("timeline", _figure(step, slices), caption, zoom=True)])


def resource_of(one: Slice) -> str:
    """The resource a slice is of: empty for sleep, barriers and the controller."""
    if one.track.startswith("core "):
        return "cores" if "command" in one.arguments else ""
    return LANES.get(one.track, "")


def occupied(step: Step) -> dict[str, int]:
    """Cycles in which at least one track of a resource is at work."""
    spans: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for one in step.slices:
        if resource := resource_of(one):
            spans[resource].append((one.start, one.end))
    return {resource: _covered(spans[resource]) for resource in ("engine", "cores", "dma", "l3") if resource in spans}


def _covered(spans: list[tuple[int, int]]) -> int:
    total, reached = 0, 0
    for start, end in sorted(spans):
        total += max(0, end - max(start, reached))
        reached = max(reached, end)
    return total


def merged(slices: Sequence[Slice], limit: int) -> tuple[list[Slice], int]:
    """At most about ``limit`` slices, and the gap in cycles under which neighbours on a track became one."""
    found, gap = sorted(slices, key=lambda s: (s.track, s.start)), 0
    longest = max((s.end for s in slices), default=0)
    while len(found) > limit and gap <= longest:
        gap = max(16, 2 * gap)
        found = _joined(found, gap)
    return found, gap


def _joined(slices: list[Slice], gap: int) -> list[Slice]:
    found: list[Slice] = []
    for one in slices:
        last = found[-1] if found else None
        if last and last.track == one.track and last.node == one.node and one.start - last.end < gap:
            found[-1] = replace(last, end=one.end, name="several", arguments={"node": one.node})
        else:
            found.append(one)
    return found


def _figure(step: Step, slices: list[Slice]) -> go.Figure:
    cores = [f"core {n}" for n in range(step.hw.cores)]
    lanes = [t for t in ("engine", *cores, *LANES) if any(s.track == t for s in slices)]
    lanes = list(dict.fromkeys(lanes))
    plot = figure(40 + 30 * len(lanes), barmode="overlay", bargap=0.12, hovermode="closest", showlegend=False)
    for phase, shade in zip(PHASES, range(3), strict=True):
        for resource in dict.fromkeys(resource_of(s) for s in slices):
            own = [s for s in slices if resource_of(s) == resource and step.node(s.node).phase == phase]
            if own:
                plot.add_bar(
                    y=[s.track for s in own],
                    base=[s.start for s in own],
                    x=[s.end - s.start for s in own],
                    orientation="h",
                    marker={"color": COLOURS[resource][shade], "line": {"width": 0}},
                    name=f"{RESOURCE_NAMES[resource]}, {phase}",
                    text=[_hover(step, s) for s in own],
                    textposition="none",
                    hovertemplate="%{text}<extra>%{y}</extra>",
                )
    plot.update_xaxes(title_text="cycles", tickformat="~s", range=[0, step.cycles])
    plot.update_yaxes(categoryorder="array", categoryarray=lanes[::-1], fixedrange=True, ticklabelstandoff=6)
    return plot


def _hover(step: Step, one: Slice) -> str:
    node = step.node(one.node)
    lines = [
        f"<b>{node.layer}</b> {node.op}, {node.phase}",
        f"{one.name.removeprefix('tdco_')}: {count(one.end - one.start)} cycles",
    ]
    if stall := one.arguments.get("stall_share"):
        lines.append(f"{stall:.1%} without L1")
    if waited := one.arguments.get("l1_wait_cycles"):
        lines.append(f"{count(waited)} waiting for L1, {count(one.arguments['fetch_cycles'])} for instructions")
    return "<br>".join([*lines, f"from cycle {count(one.start)}"])
