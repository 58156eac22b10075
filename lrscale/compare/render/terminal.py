"""A report for a terminal or a pipe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from lrscale.compare.comparison import Comparison
from lrscale.compare.sheet import Sheet

# Columns of words, not of numbers.
WORDS = ("chosen", "runs", "verdict", "remark", "open ends", "divergence edge")
ROWS = 30  # longer tables are cut there, and whole in the files
GAP = 2  # letters between columns
NARROWEST = 11  # letters of a column of words, where these have to be on several lines
MOST_LABELS = 3  # columns that may be needed to tell the rows apart


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
        console.print(f"\n{sheet.title}", style="bold")
        for table in _tables(sheet.headers, sheet.rows[:ROWS], console.width):
            console.print()
            console.print(table)
        if len(sheet.rows) > ROWS:
            console.print(f"… and {len(sheet.rows) - ROWS} more rows in {sheet.name}.csv")
        if sheet.note:
            console.print(f"\n{sheet.note}")
    console.print(f"\n{comparison.origin}")
    for warning in comparison.warnings:
        console.print(f"warning: {warning}", style="yellow")


def _tables(headers: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Iterator[Table]:
    """The table; where the screen is too narrow, its columns go on beneath, each time after those
    that tell the rows apart. Nothing is cut off: numbers keep to one line, words may wrap."""
    cells = [[header, *(row[i] for row in rows)] for i, header in enumerate(headers)]
    labels = _labels(rows)
    widths = _widths(cells, labels, width)
    for block in _blocks(widths, labels, width):
        made = Table(
            box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0)
        )
        spare = width - _total(widths, block)
        for i in block:
            more = min(spare, _longest(cells[i]) - widths[i])
            spare -= more
            # A word of the header a line, as numbers are narrower.
            head = headers[i].replace(" ", "\n", 1)
            made.add_column(head, width=widths[i] + more, overflow="fold")
        for row in rows:
            made.add_row(*(row[i] for i in block))
        yield made


def _labels(rows: Sequence[Sequence[str]]) -> int:
    """How many of the first columns tell the rows apart."""
    most = min(MOST_LABELS, len(rows[0]) if rows else 1)
    apart = (n for n in range(1, most) if len({tuple(row[:n]) for row in rows}) == len(rows))
    return next(apart, most)


def _widths(cells: Sequence[Sequence[str]], labels: int, width: int) -> list[int]:
    """The letters that each column needs at least: what cannot be wrapped, and the names of rows
    as far as they leave room for any other column."""
    least = [
        min(_longest(column), max(NARROWEST, _longest_word(column)))
        if column[0] in WORDS
        else _longest(column)
        for column in cells
    ]
    others = [min(needed, width // 2) for needed in least[labels:]]
    room = (width - GAP - max(others, default=0)) // labels - GAP
    if _total(least, range(labels)) + GAP + max(others, default=0) <= width:
        return [*least[:labels], *others]
    return [*(min(needed, max(room, NARROWEST)) for needed in least[:labels]), *others]


def _blocks(widths: Sequence[int], labels: int, width: int) -> Iterator[list[int]]:
    """Columns, by number, that have room beside each other."""
    block = list(range(labels))
    for i in range(labels, len(widths)):
        if len(block) > labels and _total(widths, [*block, i]) > width:
            yield block
            block = list(range(labels))
        block.append(i)
    yield block


def _total(widths: Sequence[int], block: Sequence[int]) -> int:
    return sum(widths[i] + GAP for i in block) - GAP


def _longest(column: Sequence[str]) -> int:
    """Letters on a line; a header has two."""
    header, *cells = column
    return max(map(cell_len, [*header.split(" ", 1), *cells]))


def _longest_word(column: Sequence[str]) -> int:
    return max(cell_len(word) for cell in column for word in cell.split() or [""])
