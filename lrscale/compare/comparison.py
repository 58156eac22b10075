"""Everything that a report says about a sweep, as values: tables, provenance, warnings. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from lrscale.compare.aggregate import points, report_on, select, sort_key, varied_keys
from lrscale.compare.comparable import obstacles, why_not
from lrscale.compare.final import Final
from lrscale.compare.load import Metric, metric_of
from lrscale.compare.profiles import Profile
from lrscale.compare.protocol import NOTHING_FIXED, Protocol
from lrscale.compare.provenance import Provenance, provenance, selection_rule, warnings
from lrscale.compare.sheet import Sheet
from lrscale.compare.spaces import Space
from lrscale.data.reference import Reference
from lrscale.errors import UserError, did_you_mean


@dataclass(frozen=True)
class Comparison:
    """A sweep compared: what every output (terminal, Markdown, CSV, JSON, figures) shows.

    Attributes:
        sweep, notes: from the sweep file.
        metric: what points are compared by.
        by: columns of ``points`` that make a group: ``arm``, ``config.optimizer.name`` ….
        keys: the keys in which points differ.
        runs: one row per run, from ``load_runs``.
        points: one row per point, from ``aggregate.points``; ``best`` marks each group's choice.
        groups: the chosen point of each group, from ``aggregate.select``.
        provenance, warnings: what the numbers come from, and reasons to doubt them.
        references: lines of methods without a network, beneath every table.
        protocol: what the sweep file fixes about the comparison.
        final: the frozen selection and the runs on other seeds that report it; None without.
        spaces: what the random searches draw from, by arm.
        untimed: why times of the runs cannot be compared; then the tables of points have none.
        sheets: further tables, ready to be shown (see ``attach.attach_sheets``).
        profiles: performance profiles, where there are several workloads (likewise).
    """

    sweep: str
    notes: str
    metric: Metric
    by: list[str]
    keys: list[str]
    runs: pd.DataFrame
    points: pd.DataFrame
    groups: pd.DataFrame
    provenance: Provenance
    warnings: list[str]
    references: Sequence[Reference] = ()
    protocol: Protocol = NOTHING_FIXED
    final: Final | None = None
    spaces: Mapping[str, Space] = field(default_factory=dict)
    untimed: Sequence[str] = ()
    sheets: Sequence[Sheet] = ()
    profiles: Sequence[Profile] = ()

    @property
    def every_run(self) -> pd.DataFrame:
        """``runs``, and those that report other seeds; ``phase`` tells them apart."""
        if self.final is None:
            return self.runs
        parts = {"tuning": self.runs, "reporting": self.final.runs}
        frames = [runs.assign(phase=phase) for phase, runs in parts.items()]
        joined: pd.DataFrame = pd.concat(frames, ignore_index=True)
        return joined

    @property
    def caption(self) -> str:
        doubts = [f"Warning: {warning}." for warning in self.warnings]
        return " ".join([self.origin, *doubts])

    @property
    def origin(self) -> str:
        """How points were chosen, what the references are, and what the numbers come from."""
        fitted = [
            f"Reference: {reference.name}, fitted once to the training split of {reference.data}."
            for reference in self.references
        ]
        rule = selection_rule(self.metric, self.protocol, self.final)
        times = [why_not(self.untimed)] if self.untimed else []
        return " ".join([rule, *times, *fitted, str(self.provenance)])


@dataclass(frozen=True)
class Table:
    """One table of a report.

    Attributes:
        name: stem of its file, such as ``arms`` or ``by_optimizer.lr``.
        title: what its rows are.
        labels: columns of ``rows`` that say what a row is.
        chosen: columns of ``rows`` that say which point was chosen for it.
        rows: like ``Comparison.points`` or ``Comparison.groups``.
    """

    name: str
    title: str
    labels: list[str]
    chosen: list[str]
    rows: pd.DataFrame


def compare(
    runs: pd.DataFrame,
    manifest: Mapping[str, Any],
    metric: str | None = None,
    by: Sequence[str] = ("arm",),
    references: Sequence[Reference] = (),
    missing: Sequence[str] = (),
    protocol: Protocol = NOTHING_FIXED,
    final: Final | None = None,
    spaces: Mapping[str, Space] | None = None,
) -> Comparison:
    """Compare the groups of ``by`` (``arm`` or dotted configuration keys) at their best points.

    Arms that run several workloads are compared workload by workload. Frozen points are the
    choice of their arms. ``references`` and why some are ``missing`` come from
    ``load_references``, ``final`` from ``load_final``, ``spaces`` from ``drawn_spaces``.
    Raises UserError for a key that no run has and for a metric that none has recorded.
    """
    measure = metric_of(runs, metric)
    each = ["config.workload", "arm"] if _crosses_workloads(runs) else ["arm"]
    groupers = each if tuple(by) == ("arm",) else [_column(runs, key) for key in by]
    keys = varied_keys(runs)
    shown = sorted({*keys, *map(plain, groupers)} - {"arm"})
    table = points(runs, measure, shown)
    frozen = final.chosen if final is not None and "arm" in groupers else ()
    groups = select(table, groupers, measure, frozen)
    if final is not None:
        groups = report_on(groups, points(final.runs, measure, shown), measure)
    chosen = {(row["arm"], row["point"]) for row in groups.to_dict("records") if row["selected"]}
    names = zip(table["arm"], table["point"], strict=True)
    return Comparison(
        sweep=manifest["name"],
        notes=manifest.get("notes") or "",
        metric=measure,
        by=groupers,
        keys=keys,
        runs=runs,
        points=table.assign(best=[name in chosen for name in names]),
        groups=groups,
        provenance=provenance(runs, final),
        warnings=[
            *warnings(runs, table, select(table, each, measure), keys, measure, final),
            *missing,
        ],
        references=references,
        protocol=protocol,
        final=final,
        spaces=spaces or {},
        untimed=_untimed(runs, final),
    )


def tables(comparison: Comparison) -> list[Table]:
    """The groups at their best points; for each varied key its values at theirs; all points.

    A key's table is left out where it would repeat the table of all points.
    """
    c = comparison
    keys = [f"config.{key}" for key in c.keys if f"config.{key}" not in c.by]
    arm = [] if "arm" in c.by or c.points["arm"].nunique() == 1 else ["arm"]
    group = " and ".join(map(plain, c.by))
    name = "arms" if c.by == ["arm"] else "by_" + "_".join(map(plain, c.by))
    made = [Table(name, f"Best point of each {group}", c.by, [*arm, *keys], c.groups)]
    for key in keys:
        labels = [*c.by, key]
        rows = select(c.points, labels, c.metric)
        if len(rows) < len(c.points):
            order = rows[labels].map(sort_key).apply(tuple, axis=1).argsort()
            others = [*arm, *(other for other in keys if other != key)]
            title = f"Best point of each {plain(key)}, by {group}"
            made.append(Table(f"by_{plain(key)}", title, labels, others, rows.iloc[order]))
    labels = list(dict.fromkeys(["arm", *c.by, *keys]))
    return [*made, Table("points", "Every point", labels, [], c.points)]


def plain(column: str) -> str:
    """``config.optimizer.lr`` as the sweep file has it: ``optimizer.lr``."""
    return column.removeprefix("config.").removeprefix("metrics.")


def _untimed(runs: pd.DataFrame, final: Final | None) -> list[str]:
    """Reasons among the runs that tuned and among those that report, which are not compared with
    each other."""
    parts = [runs] if final is None else [runs, final.runs]
    found = [obstacles({str(a): own for a, own in part.groupby("arm")}) for part in parts]
    return list(dict.fromkeys(reason for reasons in found for reason in reasons))


def _crosses_workloads(runs: pd.DataFrame) -> bool:
    column = "config.workload"
    return column in runs and bool(runs.groupby("arm")[column].nunique().max() > 1)


def _column(runs: pd.DataFrame, key: str) -> str:
    if key == "arm":
        return "arm"
    column = f"config.{key}"
    if column in runs:
        if runs.groupby(["arm", "point"])[column].nunique().max() > 1:
            raise UserError(f"'{key}' differs between the seeds of one point: it makes no groups")
        return column
    known = ["arm", *(plain(str(c)) for c in runs if str(c).startswith("config."))]
    raise UserError(f"no run has the key '{key}': {did_you_mean(key, known)}")
