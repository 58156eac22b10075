"""The tables of a study's page, as text. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from lrscale.compare.aggregate import sort_key
from lrscale.compare.comparison import Comparison, compare, plain, tables
from lrscale.compare.difference_sheet import TEST_SET, difference_sheets
from lrscale.compare.gd_runs import spread
from lrscale.compare.provenance import selection_rule, words
from lrscale.compare.render.cells import cells, short_names, statistic_cell, value_cell
from lrscale.compare.samples import samples
from lrscale.compare.study.data import SweepData
from lrscale.compare.study.file import Published, TableSpec, published_rows
from lrscale.compare.study.queries import evaluate, matching
from lrscale.errors import UserError

NOTHING = ("–", "")
RAN = "ran"


@dataclass(frozen=True)
class Cost:
    """What runs at full size would take.

    Attributes:
        gpu_hours: at most, each run its whole time limit.
    """

    runs: int
    gpu_hours: float

    def __str__(self) -> str:
        return f"{self.runs:,} runs, {self.gpu_hours:,.0f} GPU-hours"


@dataclass(frozen=True)
class Table:
    """A table as text; ``sweep`` says whose CSV file has its runs."""

    headers: list[str]
    rows: list[list[str]]
    note: str
    sweep: str


CostOf = Callable[[str, str], Cost]
"""Of a sweep's key and an arm, or all of them for an empty one."""


def table(spec: TableSpec, data: Mapping[str, SweepData], cost: CostOf) -> list[Table]:
    """What a table of the study file shows; more than one where workloads are apart."""
    if spec.kind == "published":
        return [_published(published_rows(spec), data, cost)]
    if spec.sweep not in data:
        return []
    own = data[spec.sweep]
    if spec.kind == "groups":
        return [_groups(spec, own.runs)]
    if own.comparison is None:
        raise UserError(f"the runs of {spec.sweep} have no points to choose: use kind: groups")
    found = _comparison(spec, own.comparison)
    return _differences(spec, found) if spec.kind == "differences" else [_best(spec, found)]


def _comparison(spec: TableSpec, c: Comparison) -> Comparison:
    if spec.by == ["arm"] and not spec.where:
        return c
    manifest = {"name": c.sweep, "notes": ""}
    runs = matching(c.runs, spec.where)
    by = [plain(key) for key in spec.by]
    return compare(runs, manifest, None, by, c.references, (), c.protocol)


def _best(spec: TableSpec, c: Comparison) -> Table:
    """The best point of each group, without the columns that nothing stands in."""
    headers, rows = cells(tables(c)[0], c)
    # What a cell means stands once on the page.
    chosen = selection_rule(c.metric, c.protocol, c.final).partition(". ±")[0] + "."
    note = " ".join([chosen, *(f"Warning: {warning}." for warning in c.warnings)])
    return _filled(headers, rows, note, spec.sweep, drop=("steps/s", "runs"))


def _differences(spec: TableSpec, c: Comparison) -> list[Table]:
    sheets = difference_sheets(c, lambda sample: None)  # no answers ship, so no test set ± either
    notes = [f"{sheet.title}. {sheet.note.replace(TEST_SET, '')}" for sheet in sheets]
    filled = zip(sheets, notes, strict=True)
    return [_filled(sheet.headers, sheet.rows, note, spec.sweep) for sheet, note in filled]


def _groups(spec: TableSpec, runs: pd.DataFrame) -> Table:
    """For each group the spread of every expression, or how many runs it is true of."""
    rows = matching(runs, spec.where)
    shown = {header: evaluate(rows, expression) for header, expression in spec.show.items()}
    lines = []
    for key, group in rows.groupby(spec.by, dropna=False, sort=False):
        line = [_cell(column[group.index]) for column in shown.values()]
        lines.append((tuple(map(sort_key, key)), [*map(value_cell, key), str(len(group)), *line]))
    lines.sort(key=lambda line: line[0])
    headers = [*short_names([plain(key) for key in spec.by]), "runs", *shown]
    note = "Median (least to greatest) over the runs, or how many of them."
    return _filled(headers, [line for _, line in lines], note, spec.sweep)


def _cell(values: pd.Series) -> str:
    if values.dtype == bool:
        return str(int(values.sum()))
    if not pd.api.types.is_numeric_dtype(values):
        return ", ".join(sorted({str(v) for v in values.dropna()})) or "–"
    return spread([float(v) for v in values], 4)


def _published(rows: Sequence[Published], data: Mapping[str, SweepData], cost: CostOf) -> Table:
    headers = ["what", "published (%)", "source", "ours (%)", "to run ours"]
    lines = [
        [row.what, row.published, row.source, *_ours(row, data.get(row.sweep), cost)]
        for row in rows
    ]
    if all(line[-1] == RAN for line in lines):
        return Table(headers[:-1], [line[:-1] for line in lines], "", "")
    note = "To run ours: all runs of the arm at full size, each its whole time limit at most."
    return Table(headers, lines, note, "")


def _ours(row: Published, data: SweepData | None, cost: CostOf) -> tuple[str, str]:
    """Ours where it ran on those data at full size; else what that would cost."""
    if data is not None and data.comparison is not None and not data.provenance.quick:
        c = data.comparison
        if set(data.runs["config.data.name"].dropna()) == {row.about}:
            found = {g["arm"]: g for g in c.groups.to_dict("records") if g["selected"]}
            if row.arm in found:
                seeds = {s.arm: len(s.seeds) for s in samples(c)}[row.arm]
                value = statistic_cell(found[row.arm], f"metrics.{c.metric.report}")
                return f"{value} ({words(c.metric.report)}, {seeds} seeds)", RAN
    return "not run", str(cost(row.sweep, row.arm))


def _filled(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    note: str,
    sweep: str,
    drop: Sequence[str] = (),
) -> Table:
    kept = [
        i
        for i, header in enumerate(headers)
        if header not in drop and any(row[i] not in NOTHING for row in rows)
    ]
    return Table([headers[i] for i in kept], [[row[i] for i in kept] for row in rows], note, sweep)
