"""How results and progress look on a terminal; where there is none, both are plain text."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

PAUSE = 2.0
"""Seconds between two lines of progress where no bar can be drawn."""

Report = Callable[[float | None, str], None]
"""Takes the share that is done, 0 to 1 or None when unknown, and a few words."""


def show_table(rows: Sequence[msgspec.Struct], *, title: str | None = None) -> None:
    """Print one line a row and one column a field; numbers stand right."""
    names = rows[0].__struct_fields__ if rows else ()
    table = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for name in names:
        right = any(isinstance(getattr(row, name), int | float) for row in rows)
        table.add_column(name.replace("_", " "), justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_text(getattr(row, name)) for name in names))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200  # a pipe has no edge: fold nothing
    console.print(table)


@contextmanager
def progress(label: str) -> Iterator[Report]:
    """Yields the function that a long piece of work reports to; it shows on standard error."""
    if sys.stderr.isatty():
        yield from _bar(label)
    else:
        yield _lines(label)


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"
        case _:
            return str(value)


def _bar(label: str) -> Iterator[Report]:
    columns = (TextColumn(label), BarColumn(), TaskProgressColumn(), TimeRemainingColumn(), TextColumn("{task.fields[words]}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None, words="")

        def report(share: float | None, words: str) -> None:
            bar.update(task, total=None if share is None else 1.0, completed=share, words=words)

        yield report


def _lines(label: str) -> Report:
    last = time.monotonic()

    def report(share: float | None, words: str) -> None:
        nonlocal last
        if time.monotonic() - last >= PAUSE:
            last = time.monotonic()
            print(f"{label}: {'' if share is None else f'{share:.0%}, '}{words}", file=sys.stderr)

    return report
