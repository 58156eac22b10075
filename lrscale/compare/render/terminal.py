"""A report for a terminal or a pipe."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from lrscale.compare.comparison import Comparison
from lrscale.compare.sheet import Sheet

# Columns of words, not of numbers.
WORDS = ("chosen", "runs", "verdict", "remark", "open ends", "divergence edge")
ROWS = 30  # longer tables are cut there, and whole in the files


def print_report(comparison: Comparison, sheets: Sequence[Sheet], console: Console) -> None:
    """The tables, what they come from, and the warnings.

    Where there are tables by key, that of all points is left to the files.
    """
    if comparison.notes:
        console.print(comparison.notes)
    own = [sheet for sheet in sheets if not sheet.note]
    for sheet in sheets:
        if sheet.name == "points" and len(own) > 2:
            continue
        console.print(sheet.title, style="bold")
        console.print(_table(sheet.headers, sheet.rows[:ROWS]))
        if len(sheet.rows) > ROWS:
            console.print(f"… and {len(sheet.rows) - ROWS} more rows in {sheet.name}.csv")
        if sheet.note:
            console.print(sheet.note)
    console.print(comparison.origin)
    for warning in comparison.warnings:
        console.print(f"warning: {warning}", style="yellow")


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Numbers keep to one line; words may wrap."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for header in headers:
        wraps = header in WORDS
        made.add_column(
            header.replace(" ", "\n", 1), no_wrap=not wraps, min_width=11 if wraps else None
        )
    for row in rows:
        made.add_row(*row)
    return made
