"""Pieces of HTML and SVG that several sections use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape


def table(kind: str, head: str, rows: Iterable[tuple[str, str]], foot: str = "") -> str:
    """A table that scrolls where it is too wide; ``rows``: heading and cells of each, as HTML."""
    body = "".join(f'<tr><th scope="row">{name}</th>{cells}</tr>' for name, cells in rows)
    ends = f"<tfoot>{foot}</tfoot>" if foot else ""
    begins = f"<thead><tr>{head}</tr></thead>" if head else ""
    return f'<div class="scroll"><table class="{kind}">{begins}<tbody>{body}</tbody>{ends}</table></div>'


def facts(values: Mapping[str, str]) -> str:
    """A table of two columns."""
    return table("facts", "", [(escape(name), f"<td>{escape(value)}</td>") for name, value in values.items()])


def number(text: str) -> str:
    """A cell aligned to the right."""
    return f'<td class="n">{escape(text)}</td>'


def rect(x: float, y: float, width: float, height: float, colour: str, radius: int = 2, opacity: float = 0.55) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f'<rect {place} rx="{radius}" fill="{colour}" fill-opacity="{opacity}"/>'


def line(x0: float, y0: float, x1: float, y1: float, colour: str, width: float = 1) -> str:
    place = f'x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}"'
    return f'<line {place} stroke="{colour}" stroke-width="{width}"/>'


def label(x: float, y: float, text: str, kind: str = "label", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'
