"""What the cells of a table say to a person: ``97.31 ± 0.12``, ``median 91.20``, ``2/3``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from lrscale.compare.aggregate import COUNTED
from lrscale.compare.comparison import Comparison, Table, plain, tables
from lrscale.compare.load import is_share
from lrscale.compare.provenance import words
from lrscale.compare.sheet import Sheet
from lrscale.data.reference import Reference

TIMES = ("training (s)", "steps/s")


def sheets(comparison: Comparison) -> list[Sheet]:
    """Every table of a report, ready to be shown.

    Those of ``tables`` come first; they have no note, as the comparison's caption is theirs.
    """
    made = []
    for table in tables(comparison):
        headers, rows = cells(table, comparison)
        title = f"{table.title} – {comparison.provenance.data_title}"
        frame = exported(table, comparison)
        made.append(Sheet(table.name, title, "", headers, rows, frame))
    return [*made, *comparison.sheets]


def exported(table: Table, comparison: Comparison) -> pd.DataFrame:
    """Every statistic of every metric with names as in the sweep file, labels first, the data
    last."""
    first = [*table.labels, *table.chosen]
    rest = [c for c in table.rows if c not in first and c not in ("point", "random")]
    frame = table.rows[list(dict.fromkeys([*first, *rest]))].rename(columns=plain)
    made: pd.DataFrame = frame.assign(data=comparison.provenance.data_title)
    return made


def cells(table: Table, comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Headers and rows as a person reads them: ``97.31 ± 0.12``, or ``median 91.20``."""
    metric = comparison.metric
    shown = [metric.select, metric.report, *metric.also]
    measures = [f"metrics.{name}" for name in dict.fromkeys(shown)]
    headers = short_names([plain(label) for label in table.labels])
    reported = "reported_planned" in table.rows
    headers += [*(["chosen"] if table.chosen else []), "n", *(["n reported"] if reported else [])]
    headers += [*map(_header, measures), *(() if comparison.untimed else TIMES), "runs"]
    marked = not table.chosen and "best" in table.rows
    headers += ["best"] if marked else []
    rows = []
    for row in table.rows.to_dict("records"):
        cell = [value_cell(row[label]) for label in table.labels]
        cell += [_chosen(row, table.chosen)] if table.chosen else []
        cell += [_finished(row, measures[0], "planned")]
        cell += [_finished(row, f"metrics.{metric.report}", "reported_planned")] if reported else []
        cell += [statistic_cell(row, measure) for measure in measures]
        cell += [] if comparison.untimed else [statistic_cell(row, "seconds.training"), _rate(row)]
        cell += [_states(row)]
        cell += ["✓" if row["best"] else ""] if marked else []
        rows.append(cell)
    several = len(comparison.provenance.data) > 1
    rows += [_reference_row(r, headers, measures, several) for r in comparison.references]
    return headers, rows


def statistic_cell(row: Mapping[Any, Any], measure: str) -> str:
    """Mean ± sd where every planned seed finished, else the median of those that ended."""
    if not row.get("selected", True):
        return "diverged" if _all_diverged(row) else "–"
    if f"{measure}.n" not in row:
        return "–"
    mean, sd, median = (row[f"{measure}.{part}"] for part in ("mean", "sd", "median"))
    percent = is_share(measure)
    if pd.notna(mean):
        return with_spread(mean, sd if pd.notna(sd) else None, percent)
    if pd.notna(median):
        return f"median {numbers([median], percent)[0]}"
    return "diverged" if row[f"{measure}.diverged"] else "–"


def numbers(values: Sequence[float], percent: bool = False, digits: int = 4) -> list[str]:
    """Texts with the decimals that the first value needs: ``digits`` in all, or hundredths of a
    per cent."""
    if percent:
        return [f"{100 * value:.2f}" for value in values]
    size = abs(values[0])
    if size and not 1e-3 <= size < 1e7:
        return [f"{value:.3g}" for value in values]
    decimals = max(0, digits - 1 - math.floor(math.log10(size))) if size else 1
    return [f"{value:,.{decimals}f}" for value in values]


def with_spread(mean: float, sd: float | None, percent: bool = False) -> str:
    """``2.96 ± 0.19``: two digits of the deviation, or one where the mean would have over four."""
    size = max(abs(mean), sd or 0.0)
    if percent or not sd or not 1e-4 <= size < 1e7:
        return " ± ".join(numbers([mean] if sd is None else [mean, sd], percent))
    first = math.floor(math.log10(sd))
    decimals = max(0, min(1 - first, max(-first, 3 - math.floor(math.log10(size)))))
    return f"{mean:,.{decimals}f} ± {sd:,.{decimals}f}"


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


def short_names(keys: Sequence[str]) -> list[str]:
    """``optimizer.lr`` as ``lr`` where that is unambiguous; ``optimizer.name`` as ``optimizer``."""
    short = [(k.removesuffix(".name")).rsplit(".", 1)[-1] for k in keys]
    return [s if short.count(s) == 1 else k for s, k in zip(short, keys, strict=True)]


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
    return "–" if pd.isna(mean) else numbers([mean], digits=3)[0]


def _finished(row: Mapping[Any, Any], measure: str, of: str) -> str:
    """``3``, or ``2/3`` where not every planned seed finished; ``–`` where none was planned."""
    if pd.isna(row[of]):
        return "–"
    n, planned = int(row.get(f"{measure}.n", 0)), int(row[of])
    return str(planned) if n == planned else f"{n}/{planned}"


def _chosen(row: Mapping[Any, Any], columns: Sequence[str]) -> str:
    if row["selected"]:
        return point_text(row, columns)
    return "none: diverged" if _all_diverged(row) else "none yet"


def _all_diverged(row: Mapping[Any, Any]) -> bool:
    return not any(row[state] for state in COUNTED if state != "diverged")


def _header(measure: str) -> str:
    name = words(plain(measure))
    return f"{name} (%)" if is_share(name) else name


def _states(row: Mapping[Any, Any]) -> str:
    return ", ".join(f"{row[state]} {state}" for state in COUNTED if row[state])
