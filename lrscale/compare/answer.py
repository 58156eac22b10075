"""What a comparison says, in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lrscale.compare.comparison import Comparison
from lrscale.compare.curves import place
from lrscale.compare.load import is_share
from lrscale.compare.provenance import words
from lrscale.compare.render.cells import point_text, statistic_cell


def answer(comparison: Comparison) -> list[str]:
    """Sentences for the top of a report: the best group, and how far the others are from it."""
    c, chosen = comparison, [row for row in comparison.groups.to_dict("records") if row["selected"]]
    if not chosen:
        return ["No run has come to a result yet."]
    return [_best(chosen[0], len(chosen), c)]


def _best(row: Mapping[Any, Any], groups: int, c: Comparison) -> str:
    measure = f"metrics.{c.metric.report}"
    value, unit = statistic_cell(row, measure), " %" if is_share(measure) else ""
    text = f"{_name(row, c)} reached {value}{unit} {words(c.metric.report)}"
    how = [_seeds(row, measure)]
    if row["points"] > 1 or groups > 1:
        how.append(f"chosen by {words(c.metric.select)}")
    return f"{text} ({'; '.join(how)})."


def _name(row: Mapping[Any, Any], c: Comparison) -> str:
    """``adam at lr 0.003``."""
    keys = [f"config.{key}" for key in c.keys if f"config.{key}" not in c.by]
    point = point_text(row, keys)
    return f"{place(row, c.by)} at {point}" if point != "–" else place(row, c.by)


def _seeds(row: Mapping[Any, Any], measure: str) -> str:
    n, planned = row[f"{measure}.n"], row["planned"]
    if n < planned:
        return f"{n} of {planned} seeds finished"
    return f"mean ± standard deviation over {n} seeds" if n > 1 else "one seed"
