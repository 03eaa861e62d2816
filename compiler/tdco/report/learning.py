"""Loss and accuracy while training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go

from .load import Record, Step
from .plot import COLOURS, Plot, Section, count, figure

SMOOTHED = 0.02
"""Of the curve's length is the window of its running mean."""


def section(step: Step) -> Section:
    rows = [row for row in step.curve if "loss" in row]
    if not rows:
        text = f"No training log here: <code>tdco train {escape(str(step.out))}</code> leaves one."
        return Section("learning", "Loss and accuracy", f"<p>{text}</p>")
    first, last = rows[0], rows[-1]
    skipped = int(sum(row.get("skipped", 0) for row in step.curve))
    html = f"<p>{count(last['step'])} steps; loss {first['loss']:.3f} in the first, {last['loss']:.3f} in the last"
    if scale := last.get("loss_scale"):
        html += f"; loss scale {count(scale)} at the end, {count(skipped)} skipped"
    return Section("learning", "Loss and accuracy", html + ".</p>", [_plot(rows, step.evaluations)])


def running_mean(values: Sequence[float]) -> list[float]:
    """Means over a window that ends at each value."""
    window = max(1, round(len(values) * SMOOTHED))
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    return [(sums[i + 1] - sums[max(0, i + 1 - window)]) / min(i + 1, window) for i in range(len(values))]


def add_accuracies(plot: go.Figure, evaluations: Sequence[Record], name: str, line: Mapping[str, Any]) -> None:
    """A curve of the evaluations that have a step and an accuracy, on an axis of its own; nothing if there are none."""
    found = [(e["step"], e["accuracy"]) for e in evaluations if e.get("accuracy") is not None and "step" in e]
    if not found:
        return
    plot.add_scatter(
        x=[float(step) for step, _ in found],
        y=[float(accuracy) for _, accuracy in found],
        mode="lines+markers",
        name=name,
        yaxis="y2",
        line=line,
        hovertemplate="%{y:.2%}",
    )
    plot.update_layout(
        yaxis2={
            "overlaying": "y",
            "side": "right",
            "title": {"text": "accuracy"},
            "tickformat": ".0%",
            "range": [0, 1],
            "tickmode": "linear",
            "dtick": 0.2,
            "showgrid": False,
            "fixedrange": True,
            "automargin": True,
        }
    )


def _plot(rows: Sequence[Mapping[str, float]], evaluations: Sequence[Record]) -> Plot:
    at, loss = [row["step"] for row in rows], [row["loss"] for row in rows]
    plot = figure(320, hovermode="x unified")
    plot.add_scatter(
        x=at,
        y=loss,
        mode="lines",
        name="loss",
        line={"color": "rgba(136,146,162,0.45)", "width": 1},
        hovertemplate="%{y:.4f}",
    )
    plot.add_scatter(
        x=at,
        y=running_mean(loss),
        mode="lines",
        name="loss, running mean",
        hovertemplate="%{y:.4f}",
        line={"color": COLOURS["engine"][1], "width": 2},
    )
    plot.update_xaxes(title_text="step")
    plot.update_yaxes(title_text="loss", rangemode="tozero", fixedrange=True)
    add_accuracies(plot, evaluations, "accuracy", {"color": COLOURS["cores"][1], "width": 2})
    return Plot("loss", plot, "In the device's own arithmetic.")
