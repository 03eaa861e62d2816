"""What all figures share: colours, numbers as people read them, the parts of a section."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

COLOURS = {
    "engine": ("#6ea0e8", "#3f78c9", "#2a5596"),
    "cores": ("#f0b35c", "#d98a1f", "#a86508"),
    "dma": ("#5cc0ae", "#2b9a87", "#1b6d60"),
    "l3": ("#b794dd", "#8a5fc0", "#643f93"),
    "control": ("#aab2bf", "#8892a2", "#667080"),
}
"""Of every resource, in forward pass, backward pass and update; the second stands for the resource."""

CATEGORY_COLOURS = {
    "parameters": "#7c8798",
    "masters": "#a3acba",
    "optimizer": "#c6ccd6",
    "activations": "#d1615d",
    "gradients": "#9b6fc4",
    "temporaries": "#c9a53b",
}
STEP_COLOURS = ("#3f78c9", "#d98a1f", "#2b9a87", "#8a5fc0", "#d1615d", "#8892a2")
"""Of steps that are compared."""

RESOURCE_NAMES = {"engine": "engine", "cores": "cores", "dma": "DMA", "l3": "L3 DMA", "control": "controller"}


@dataclass(frozen=True)
class Plot:
    """``figure`` under the page's ``name``; ``choices``: buttons, by label what Plotly.update gets (data, layout)."""

    name: str
    figure: go.Figure
    caption: str
    choices: dict[str, tuple[dict[str, Any], dict[str, Any]]] | None = None
    zoom: bool = False
    """Buttons that move and zoom the x axis."""


@dataclass(frozen=True)
class Section:
    """A part of the page: paragraphs and tables as ``html`` (already escaped), then ``plots``."""

    name: str
    title: str
    html: str
    plots: Sequence[Plot] = ()


def figure(height: int, **layout: Any) -> go.Figure:
    """An empty figure; the page adds fonts and the colours of its theme."""
    found = go.Figure()
    legend = {"orientation": "h", "yanchor": "bottom", "y": 1.01, "x": 0, "traceorder": "normal"}
    margin = {"l": 8, "r": 8, "t": 8, "b": 8, "autoexpand": True}
    found.update_layout(template="none", height=height, legend=legend, margin=margin, **layout)
    found.update_xaxes(automargin=True)
    found.update_yaxes(automargin=True)
    return found


def rows(plot: go.Figure, unit: str) -> None:
    """Axes of horizontal bars: every row named, the first one on top; ``unit`` along x."""
    plot.update_xaxes(title_text=unit, tickformat="~s" if unit == "cycles" else "")
    plot.update_yaxes(autorange="reversed", fixedrange=True, dtick=1, ticklabelstandoff=6)


def choices_of(shown: dict[str, dict[str, Any]]) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Choices that change traces alone."""
    return {label: (traces, {}) for label, traces in shown.items()}


def count(value: float) -> str:
    """1,234,567; 0.0123."""
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def size(n: int) -> str:
    """Bytes in B, KB (1,024 B) or MB (1,024 KB)."""
    if n < 1024:
        return f"{n} B"
    return f"{n / 1024:,.1f} KB" if n < 1024**2 else f"{n / 1024**2:,.2f} MB"


def share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else "-"
