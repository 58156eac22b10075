"""A comparison as text: cells for the terminal and Markdown, full precision for CSV and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from lrscale.compare.aggregate import COUNTED
from lrscale.compare.comparison import Comparison, Table, plain, tables
from lrscale.compare.load import is_share
from lrscale.compare.provenance import words
from lrscale.data.reference import Reference

TERMINAL_ROWS = 30  # longer tables are cut there, and whole in the files


def cells(table: Table, comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Headers and rows as a person reads them: ``97.31 ± 0.12``, or ``median 91.20``."""
    metric = comparison.metric
    shown = [metric.select, metric.report, *metric.also]
    measures = [f"metrics.{name}" for name in dict.fromkeys(shown)]
    headers = short_names([plain(label) for label in table.labels])
    headers += [*(["chosen"] if table.chosen else []), "n"]
    headers += [*map(_header, measures), "training s", "steps/s", "runs"]
    headers += [] if table.chosen else ["best"]
    rows = []
    for row in table.rows.to_dict("records"):
        cell = [value_cell(row[label]) for label in table.labels]
        cell += [_chosen(row, table.chosen)] if table.chosen else []
        cell += [_finished(row, measures[0])]
        cell += [statistic_cell(row, measure) for measure in [*measures, "seconds.training"]]
        cell += [_rate(row), _states(row)]
        cell += [] if table.chosen else ["✓" if row.get("best") else ""]
        rows.append(cell)
    several = len(comparison.provenance.data) > 1
    rows += [_reference_row(r, headers, measures, several) for r in comparison.references]
    return headers, rows


def print_tables(comparison: Comparison, console: Console) -> None:
    """The tables, what they come from, and the warnings, for a terminal or a pipe."""
    if comparison.notes:
        console.print(comparison.notes)
    made = tables(comparison)
    for table in made[:-1] if len(made) > 2 else made:
        headers, rows = cells(table, comparison)
        title = f"{table.title} – {comparison.provenance.data_title}"
        console.print(title, style="bold")
        console.print(_rich(headers, rows[:TERMINAL_ROWS]))
        if len(rows) > TERMINAL_ROWS:
            console.print(f"… and {len(rows) - TERMINAL_ROWS} more rows in {table.name}.csv")
    for sheet in comparison.sheets:
        console.print(sheet.title, style="bold")
        console.print(_rich(sheet.headers, sheet.rows))
        console.print(sheet.note)
    console.print(comparison.origin)
    for warning in comparison.warnings:
        console.print(f"warning: {warning}", style="yellow")


def _rich(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> RichTable:
    """Numbers keep to one line; what is chosen and the runs' states may wrap."""
    made = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    for header in headers:
        wraps = header in ("chosen", "runs")
        made.add_column(
            header.replace(" ", "\n", 1), no_wrap=not wraps, min_width=11 if wraps else None
        )
    for row in rows:
        made.add_row(*row)
    return made


def markdown(comparison: Comparison, figures: Mapping[str, str]) -> str:
    """A page: warnings first, then tables with captions, figures (title to file), provenance."""
    parts = [f"# {comparison.sweep}"]
    parts += [comparison.notes] if comparison.notes else []
    if comparison.warnings:
        parts.append("\n".join(f"- **Warning**: {text}" for text in comparison.warnings))
    for table in tables(comparison):
        headers, rows = cells(table, comparison)
        lines = [_line(headers), _line(["---"] * len(headers)), *map(_line, rows)]
        parts.append(f"## {table.title} – {comparison.provenance.data_title}")
        parts.append("\n".join(lines))
        parts.append(f"*{comparison.caption}*")
    for sheet in comparison.sheets:
        parts.append(f"## {sheet.title}")
        head = [_line(sheet.headers), _line(["---"] * len(sheet.headers))]
        parts += ["\n".join([*head, *map(_line, sheet.rows)]), f"*{sheet.note}*"]
    parts += [f"![{title}]({file})" for title, file in figures.items()]
    return "\n\n".join(parts) + "\n"


def csv(table: Table, comparison: Comparison) -> str:
    """Every statistic of every metric, then the references' metrics as means; names as in the
    sweep file, the data in a column."""
    frame = exported(table, comparison)
    rows = [
        {str(frame.columns[0]): reference.name, "data": reference.data}
        | {f"{name}.mean": value for name, value in reference.metrics.items()}
        for reference in comparison.references
    ]
    text: str = pd.concat([frame, pd.DataFrame(rows)]).to_csv(index=False)
    return text


def as_json(comparison: Comparison) -> dict[str, Any]:
    """All tables with full precision; a number that does not exist is null."""
    return {
        "sweep": comparison.sweep,
        "notes": comparison.notes,
        "metric": vars(comparison.metric),
        "provenance": vars(comparison.provenance),
        "warnings": comparison.warnings,
        "references": [asdict(reference) for reference in comparison.references],
        "tables": {
            table.name: {
                "title": table.title,
                "caption": comparison.caption,
                "rows": [_plain(row) for row in exported(table, comparison).to_dict("records")],
            }
            for table in tables(comparison)
        }
        | {
            sheet.name: {
                "title": sheet.title,
                "caption": sheet.note,
                "rows": [_plain(row) for row in sheet.frame.to_dict("records")],
            }
            for sheet in comparison.sheets
        },
    }


def exported(table: Table, comparison: Comparison) -> pd.DataFrame:
    """The rows of a table with plain column names, labels first."""
    first = [*table.labels, *table.chosen]
    rest = [c for c in table.rows if c not in first and c not in ("point", "random")]
    frame = table.rows[list(dict.fromkeys([*first, *rest]))].rename(columns=plain)
    named: pd.DataFrame = frame.assign(data=comparison.provenance.data_title)
    return named


def statistic_cell(row: Mapping[Any, Any], measure: str) -> str:
    """Mean ± sd where every planned seed finished, else the median of those that ended."""
    if not row.get("selected", True):
        return "diverged" if _all_diverged(row) else "–"
    if f"{measure}.n" not in row:
        return "–"
    mean, sd, median = (row[f"{measure}.{part}"] for part in ("mean", "sd", "median"))
    percent = is_share(measure)
    if pd.notna(mean):
        return " ± ".join(numbers([mean, sd] if pd.notna(sd) else [mean], percent))
    if pd.notna(median):
        return f"median {numbers([median], percent)[0]}"
    return "diverged" if row[f"{measure}.diverged"] else "–"


def numbers(values: Sequence[float], percent: bool = False) -> list[str]:
    """Texts with the digits that the first value needs: four, or hundredths of a per cent."""
    if percent:
        return [f"{100 * value:.2f}" for value in values]
    size = abs(values[0])
    if size and not 1e-3 <= size < 1e7:
        return [f"{value:.3g}" for value in values]
    decimals = max(0, 3 - math.floor(math.log10(size))) if size else 1
    return [f"{value:,.{decimals}f}" for value in values]


def value_cell(value: Any) -> str:
    """A hyperparameter's value in four digits; ``–`` where the arm does not have it."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if not isinstance(value, float):
        return str(value)
    # pandas turns a column of whole numbers into floats where an arm does not have the key.
    return f"{value:.0f}" if value.is_integer() and abs(value) < 1e9 else f"{value:.4g}"


def point_text(row: Mapping[Any, Any], columns: Sequence[str]) -> str:
    """``lr 0.1, width 512``: the values of a point, without keys that its arm does not have."""
    own = [column for column in columns if value_cell(row[column]) != "–"]
    names = short_names([plain(column) for column in own])
    return ", ".join(f"{n} {value_cell(row[c])}" for n, c in zip(names, own, strict=True)) or "–"


def _reference_row(
    reference: Reference, headers: Sequence[str], measures: Sequence[str], several: bool
) -> list[str]:
    """A reference beneath the rows of a table; with its data, where there are ``several``."""
    cell = ["–"] * len(headers)
    cell[0] = f"{reference.name} ({reference.data})" if several else reference.name
    cell[headers.index("runs")] = "reference"
    for measure in measures:
        value = reference.metrics.get(plain(measure))
        if value is not None:
            cell[headers.index(_header(measure))] = numbers([value], is_share(measure))[0]
    return cell


def _rate(row: Mapping[Any, Any]) -> str:
    """Mean steps per second of the point, where every planned seed finished."""
    mean = row.get("steps_per_second.mean") if row.get("selected", True) else None
    return "–" if pd.isna(mean) else numbers([mean])[0]


def _finished(row: Mapping[Any, Any], measure: str) -> str:
    """``3``, or ``2/3`` where not every planned seed finished."""
    n, planned = row.get(f"{measure}.n", 0), row["planned"]
    return str(planned) if n == planned else f"{n}/{planned}"


def _chosen(row: Mapping[Any, Any], columns: Sequence[str]) -> str:
    if row["selected"]:
        return point_text(row, columns)
    return "none: diverged" if _all_diverged(row) else "none yet"


def _all_diverged(row: Mapping[Any, Any]) -> bool:
    return not any(row[state] for state in COUNTED if state != "diverged")


def short_names(keys: Sequence[str]) -> list[str]:
    """``optimizer.lr`` as ``lr`` where that is unambiguous; ``optimizer.name`` as ``optimizer``."""
    short = [(k.removesuffix(".name")).rsplit(".", 1)[-1] for k in keys]
    return [s if short.count(s) == 1 else k for s, k in zip(short, keys, strict=True)]


def _header(measure: str) -> str:
    name = words(plain(measure))
    return f"{name} (%)" if is_share(name) else name


def _states(row: Mapping[Any, Any]) -> str:
    return ", ".join(f"{row[state]} {state}" for state in COUNTED if row[state])


def _line(row: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def _plain(row: Mapping[Any, Any]) -> dict[str, Any]:
    """NumPy scalars as Python's, NaN and infinities as None."""
    values = {str(k): v.item() if hasattr(v, "item") else v for k, v in row.items()}
    return {k: None if _hole(v) else v for k, v in values.items()}


def _hole(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def to_text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
