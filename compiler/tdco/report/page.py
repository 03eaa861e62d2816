"""The page: sections, figures and plotly's JavaScript in one file that fetches nothing."""

from __future__ import annotations

import base64
import gzip
import json
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from . import comparison, cycles, hardware, learning, memory, reproduce, roofline, timeline
from .load import Step
from .plot import Plot, Section
from .tiles import tiles

HERE = Path(__file__).parent
SECTIONS = (timeline, cycles, memory, roofline, learning, hardware, reproduce)
"""Of one step's report, in this order."""


def write_report(steps: Sequence[Step], file: Path) -> list[str]:
    """Writes the report of a step, or the comparison of several, whole or not at all; returns its sections' names."""
    made = [part.section(steps[0]) for part in SECTIONS] if len(steps) == 1 else comparison.sections(steps)
    text = _render(steps, made)
    with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=f".{file.name}.", delete=False) as scratch:
        scratch.write(text)
    Path(scratch.name).chmod(0o644)
    Path(scratch.name).replace(file)
    return [section.name for section in made]


def _render(steps: Sequence[Step], sections: Sequence[Section]) -> str:
    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined)
    plots = [plot for section in sections for plot in section.plots]
    engines = dict.fromkeys(step.run["engine_timing"] for step in steps)
    return environment.get_template("page.html").render(
        title=steps[0].title if len(steps) == 1 else comparison.title(steps),
        steps=steps,
        timing="; ".join(engines),
        tiles=tiles(steps[0]) if len(steps) == 1 else [],
        sections=sections,
        style=Markup(_source("page.css")),
        script=Markup(_source("page.js")),
        figures=packed(json.dumps({plot.name: _figure(plot) for plot in plots})),
        plotly=packed(get_plotlyjs()),
        version=version("tdco"),
    )


def packed(text: str) -> str:
    """Compressed, in base64: plotly's JavaScript shrinks from 4.8 MB to 2.0, and no text in it can end a script tag."""
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


def _figure(plot: Plot) -> dict[str, Any]:
    figure = json.loads(plot.figure.to_json())
    figure["layout"].pop("template", None)
    return {"data": figure["data"], "layout": figure["layout"], "choices": list((plot.choices or {}).values())}


def _source(name: str) -> str:
    return (HERE / name).read_text()
