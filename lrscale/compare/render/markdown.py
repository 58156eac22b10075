"""A report as a Markdown page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lrscale.compare.comparison import Comparison
from lrscale.compare.sheet import Sheet


def markdown(comparison: Comparison, sheets: Sequence[Sheet], figures: Mapping[str, str]) -> str:
    """A page: warnings first, then tables with captions, figures (title to file)."""
    parts = [f"# {comparison.sweep}"]
    parts += [comparison.notes] if comparison.notes else []
    if comparison.warnings:
        parts.append("\n".join(f"- **Warning**: {text}" for text in comparison.warnings))
    for sheet in sheets:
        parts.append(f"## {sheet.title}")
        head = [_line(sheet.headers), _line(["---"] * len(sheet.headers))]
        parts.append("\n".join([*head, *map(_line, sheet.rows)]))
        parts.append(f"*{sheet.note or comparison.caption}*")
    parts += [f"![{title}]({file})" for title, file in figures.items()]
    return "\n\n".join(parts) + "\n"


def _line(row: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
