"""What lies in memory when, and why no less would do."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go

from ..footprint import DYNAMIC, PERSISTENT, Life, over_time
from .load import Step
from .markup import number, table
from .plot import CATEGORY_COLOURS, Plot, Section, choices_of, count, figure, size

KB = 1024
NAMED = 6
"""Tensors named where one points at a moment: the largest."""
BOUND_COLOUR = "#c0392b"
MOST_POINTS = 700
"""Moments with names; between them the curve has no point of its own to show."""


def section(step: Step) -> Section:
    clock = Clock(step)
    levels = [level for level in ("l1", "l2", "l3") if any(life.level == level for life in step.lives)]
    plots = [_curves(step, clock, levels), _map(step, clock, levels)]
    return Section("memory", "Memory over time", _table(step, levels), plots)


class Clock:
    """Cycles of the step at which commands start and end, from the trace."""

    def __init__(self, step: Step) -> None:
        self.commands = 1 + max((life.last for life in step.lives), default=0)
        self.cycles = step.cycles
        starts: dict[int, int] = {}
        self.ends = [0] * self.commands
        for one in step.slices:
            number = one.arguments.get("command", self.commands)
            if number < self.commands:
                starts[number] = min(starts.get(number, one.start), one.start)
                self.ends[number] = max(self.ends[number], one.end)
        self.starts = [self.cycles] * (self.commands + 1)
        for number in reversed(range(self.commands)):  # what is not in the trace starts with what follows it
            self.starts[number] = starts.get(number, self.starts[number + 1])

    def span(self, life: Life) -> tuple[int, int]:
        """From its first command's start to its last one's end; what is there at the begin stays from cycle 0."""
        begin = 0 if life.first == 0 else self.starts[life.first]
        end = self.cycles if life.last >= self.commands - 1 else max(self.ends[life.last], begin)
        return begin, end


def _table(step: Step, levels: Sequence[str]) -> str:
    """Bytes by category and what every level needs."""
    memory, rows = step.document["memory"], []
    for level in levels:
        own = [life for life in step.lives if life.level == level]
        bound = max((n for _, n in over_time(own)), default=0)
        used = max((life.offset + life.bytes for life in own), default=0)
        touched = step.run.get(f"{level}_peak_bytes")
        values = (size(bound), size(used), size(touched) if touched else "-", size(getattr(step.hw, f"{level}_bytes")))
        rows.append((level.upper(), "".join(map(number, values))))
    names = ("live at once", "highest address", "touched by the run", "size")
    head = "<th></th>" + "".join(f'<th class="n">{name}</th>' for name in names)
    kept = ", ".join(f"{size(memory[f'{c}_bytes'])} {c}" for c in PERSISTENT if memory[f"{c}_bytes"])
    return (
        f"<p>From step to step, {kept or 'nothing'} stay. What comes and goes needs "
        f"{size(memory['dynamic_peak_bytes'])} in L1 and L2 together; holding every tensor once, and whole, from its "
        f"first command to its last would take {size(memory['dynamic_bound_bytes'])}.</p>" + table("levels", head, rows)
    )


def _curves(step: Step, clock: Clock, levels: Sequence[str]) -> Plot:
    """Stacked steps by category for each choice of levels, over the commands, whose order the bound is of."""
    dynamic = [life for life in step.lives if life.category in DYNAMIC]
    memory = step.document["memory"]
    views = {"comes and goes": (dynamic, memory["dynamic_bound_bytes"], "every tensor once")}
    for level in levels:
        own = [life for life in step.lives if life.level == level]
        views[f"all of {level.upper()}"] = (own, max((n for _, n in over_time(own)), default=0), "live at once")
    plot = figure(340, hovermode="x unified", hoverdistance=-1)
    owners: list[str] = []
    for view, (lives, bound, why) in views.items():
        _stack(plot, lives, clock)
        plot.add_scatter(
            x=[0, clock.commands],
            y=[bound / KB] * 2,
            mode="lines",
            name=f"liveness bound ({why})",
            line={"color": BOUND_COLOUR, "width": 1.5, "dash": "dash"},
            hoverinfo="skip",
        )
        owners += [view] * (len(plot.data) - len(owners))
    shown = {view: {"visible": [owner == view for owner in owners]} for view in views}
    for trace, visible in zip(plot.data, shown["comes and goes"]["visible"], strict=True):
        trace.visible = visible
    plot.update_xaxes(
        title_text="commands in their order",
        tickformat=",",
        range=[0, clock.commands],
        unifiedhovertitle_text="command %{x:,}",
    )
    plot.update_yaxes(title_text="KB", rangemode="tozero", fixedrange=True, ticklabelstandoff=4)
    caption = f"Bytes live over the step, by what they are for; a moment names its {NAMED} largest tensors."
    return Plot("memory", plot, caption, choices_of(shown))


def _stack(plot: go.Figure, lives: list[Life], clock: Clock) -> None:
    moments = sorted({at for life in lives for at in (life.first, life.last + 1)})
    for category in (*PERSISTENT, *DYNAMIC):
        curve = dict(over_time(life for life in lives if life.category == category))
        if not curve:
            continue
        live, values = 0, []
        for at in moments:
            live = curve.get(at, live)
            values.append(live / KB)
        colour = CATEGORY_COLOURS[category]
        plot.add_scatter(
            x=moments,
            y=values,
            mode="lines",
            line={"width": 0, "shape": "hv", "color": colour},
            stackgroup="live",
            fillcolor=colour,
            name=category,
            hovertemplate="%{y:,.1f} KB",
        )
    points, names = _names(lives, clock, moments)
    style = {"mode": "lines", "line": {"width": 0}, "showlegend": False, "hovertemplate": "%{text}"}
    plot.add_scatter(x=points, y=[0] * len(points), text=names, name="largest", **style)


def _names(lives: list[Life], clock: Clock, moments: list[int]) -> tuple[list[int], list[str]]:
    """The cycle and the largest tensors at every moment, at every n-th where there are many."""
    moments = moments[:: 1 + len(moments) // MOST_POINTS]
    names = []
    for at in moments:
        live: dict[str, int] = {}
        for life in lives:
            if life.first <= at <= life.last:
                name = f"{life.tensor} ({life.level.upper()})"
                live[name] = live.get(name, 0) + life.bytes
        top = heapq.nlargest(NAMED, live.items(), key=lambda item: item[1])
        parts = [f"{escape(name)} {n / KB:,.1f} KB" for name, n in top] or ["nothing"]
        names.append("<br>".join([*parts, f"from cycle {count(clock.starts[min(at, clock.commands)])}"]))
    return moments, names


def _map(step: Step, clock: Clock, levels: Sequence[str]) -> Plot:
    """Every buffer as a rectangle, cycles by addresses, a level at a time."""
    plot = figure(420, barmode="overlay", hovermode="closest")
    owners = []
    first = "l2" if "l2" in levels else levels[0]
    for level in levels:
        for category in (*PERSISTENT, *DYNAMIC):
            own = [life for life in step.lives if life.level == level and life.category == category]
            if not own:
                continue
            spans = [clock.span(life) for life in own]
            hover = [
                f"<b>{escape(life.tensor)}</b><br>{category}, {size(life.bytes)} at {count(life.offset)}<br>"
                f"cycles {count(begin)} to {count(end)}"
                for life, (begin, end) in zip(own, spans, strict=True)
            ]
            plot.add_bar(
                y=[(life.offset + life.bytes / 2) / KB for life in own],
                width=[life.bytes / KB for life in own],
                base=[begin for begin, _ in spans],
                x=[end - begin for begin, end in spans],
                orientation="h",
                marker={"color": CATEGORY_COLOURS[category], "line": {"width": 0.4, "color": "rgba(255,255,255,0.6)"}},
                name=category,
                text=hover,
                textposition="none",
                hovertemplate="%{text}<extra></extra>",
                visible=level == first,
            )
            owners.append(level)
    plot.update_xaxes(title_text="cycles", tickformat="~s", range=[0, step.cycles])
    plot.update_yaxes(title_text="address, KB", range=[0, _height(step, first)])
    choices: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        level.upper(): (
            {"visible": [owner == level for owner in owners]},
            {"yaxis.range": [0, _height(step, level)]},
        )
        for level in sorted(levels, key=lambda level: level != first)
    }
    caption = "Every buffer where it lies and while it lives: a tensor, or a part of one. Point at it for its name."
    return Plot("places", plot, caption, choices)


def _height(step: Step, level: str) -> float:
    return max(life.offset + life.bytes for life in step.lives if life.level == level) / KB
