"""What every command shares: one JSON object on stdout with --json, prose and progress on stderr, honest exit codes."""

from __future__ import annotations

import functools
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from tdco_sim.errors import SimError
from tdco_spec import ConfigError

from ..errors import TdcoError, TdcoWarning

LOG_WIDTH = 100
"""Columns of a table where there is no terminal to ask."""

LOG_SECONDS = 10
"""Between two lines of progress in a log."""

console = Console(stderr=True, highlight=False, soft_wrap=True)


def json_command(show: Callable[[dict[str, Any]], None]) -> Callable[[Callable[..., dict[str, Any]]], Any]:
    """For under ``click.command``: of the dict returned, ``show`` prints it for people, ``--json`` as one object.

    Exit code 0 on success, 1 when the result says ``ok: False`` or the input was bad, 2 for wrong usage (click) or a
    platform that is not installed.
    """

    def decorate(function: Callable[..., dict[str, Any]]) -> Any:
        @functools.wraps(function)
        def run(as_json: bool, **arguments: Any) -> None:
            try:
                with warnings.catch_warnings(record=True) as caught:
                    result = function(**arguments)
                for message in dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, TdcoWarning)):
                    console.print(f"warning: {message}", markup=False)
            except (TdcoError, SimError, ConfigError, OSError) as e:
                what, where, hint = (getattr(e, field, "") for field in ("what", "where", "hint"))
                if isinstance(e, OSError):
                    what, where = e.strerror or str(e), str(e.filename or "")
                if as_json:
                    click.echo(json.dumps({"error": {"what": what or str(e), "where": where, "hint": hint}}))
                else:
                    console.print(f"error: {e}", markup=False)
                sys.exit(getattr(e, "exit_code", 1))
            if as_json:
                click.echo(json.dumps(result))
            else:
                show(result)
            sys.exit(0 if result.get("ok", True) else 1)

        return click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")(run)

    return decorate


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], log_width: int = 0) -> None:
    """Prints a table on stdout, or with ``log_width`` on stderr, so wide where there is no terminal to ask.

    Numbers are right-aligned and grouped by thousands.
    """
    out = Table(title=title, title_justify="left", title_style="bold")
    rows = [list(r) for r in rows]
    for i, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(r[i], int | float) for r in rows)
        out.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        out.add_row(*(text(cell) for cell in row))
    terminal = (sys.stderr if log_width else sys.stdout).isatty()
    Console(stderr=bool(log_width), highlight=False, width=None if terminal else log_width or LOG_WIDTH).print(out)


def text(cell: Any) -> str:
    """A cell as people read it: 1,234,567 and 0.0123."""
    if isinstance(cell, bool) or not isinstance(cell, int | float):
        return str(cell)
    return f"{cell:,}" if isinstance(cell, int) else f"{cell:,.4g}" if abs(cell) < 1000 else f"{cell:,.0f}"


def key_values(title: str, values: Mapping[str, Any]) -> None:
    """Prints a two-column table of everything in ``values``."""
    table(title, ("", ""), [(k, text(v)) for k, v in values.items()])


@contextmanager
def progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """A function of (done, total) that moves a bar on stderr; without a terminal it writes a line now and then."""
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(title, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
        return
    said = time.monotonic()

    def log(done: int, total: int) -> None:
        nonlocal said
        if time.monotonic() - said >= LOG_SECONDS:
            said = time.monotonic()
            console.print(f"{title}: {100 * done // total} %")

    yield log
