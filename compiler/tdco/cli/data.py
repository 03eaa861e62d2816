"""``tdco data``: reads a data set and says what it is."""

from __future__ import annotations

from typing import Any

import click

from .. import data as datasets
from ._console import console, json_command, key_values


def _show(result: dict[str, Any]) -> None:
    key_values(
        f"{result['source']}: {result['name']}", {k: v for k, v in result.items() if k not in ("source", "name")}
    )


@click.command()
@click.argument("source")
@json_command(_show)
def data(source: str) -> dict[str, Any]:
    """Reads SOURCE (digits, a folder or file, or a name below TDCO_DATA) whole; says what is in it."""
    with console.status(f"reading {source}"):
        found = datasets.load(source)
    return {
        "source": source,
        "name": found.name,
        "classes": found.classes,
        "train": len(found.train_labels),
        "held_out": len(found.test_labels),
        "shape": list(found.train_images.shape[1:]),
    }
