"""The runs behind each group's numbers: those that chose its point, and those that report it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lrscale.compare.aggregate import outcomes, sort_key
from lrscale.compare.comparison import Comparison, plain
from lrscale.compare.load import Direction, is_share
from lrscale.compare.render.cells import point_text


@dataclass(frozen=True)
class Sample:
    """A group's chosen point, run by run, in the order of seeds.

    Attributes:
        label: the arm, or what else makes the group.
        arm: without the sweep's name that it may have before it where several are joined.
        scope: what the group may be compared within: the sweep's name, if any, and the workload.
        tuning: the runs that chose the point.
        reported: those that are reported: the others' where there are none on other seeds.
        shared: whether the two are the same.
    """

    label: str
    arm: str
    scope: tuple[str, str]
    tuning: pd.DataFrame
    reported: pd.DataFrame
    shared: bool

    @property
    def seeds(self) -> list[int]:
        return [int(seed) for seed in self.reported["seed"]]

    def values(self, column: str, direction: Direction) -> list[float]:
        """A value per planned seed that reports, as ``aggregate.summarise`` takes it."""
        return values_of(self.reported, column, direction)

    def complete(self, column: str, direction: Direction) -> list[float] | None:
        """The values, if every planned seed has a finite one: no survivors' means."""
        return complete(self.values(column, direction))


def samples(comparison: Comparison) -> list[Sample]:
    """Every group that has a chosen point, in the order of their names."""
    c = comparison
    rows = [row for row in c.groups.to_dict("records") if row["selected"]]
    rows.sort(key=lambda row: [sort_key(row[column]) for column in c.by])
    return [_sample(c, row) for row in rows]


def scope_name(scope: tuple[str, str]) -> str:
    """``sweep_workload``, in a form that a file's name can have."""
    return "_".join(filter(None, scope))


def label_of(row: Mapping[Any, Any], by: Sequence[str]) -> str:
    """An arm by its name alone, anything else with its keys: ``lr 0.1, width 512``."""
    return str(row["arm"]) if list(by) == ["arm"] else point_text(row, by)


def values_of(runs: pd.DataFrame, column: str, direction: Direction) -> list[float]:
    """A value per planned run: infinite at the worst end for divergence, NaN for no result."""
    if column not in runs:
        return [float("nan")] * len(runs)
    return [float(value) for value in outcomes(runs, column, direction)]


def complete(values: Sequence[float]) -> list[float] | None:
    finite = [value for value in values if abs(value) < float("inf")]
    return finite if finite and len(finite) == len(values) else None


def direction_of(comparison: Comparison, name: str) -> Direction:
    """Which end of a recorded metric is the better one."""
    metric = comparison.metric
    if plain(name).endswith(metric.name):
        return metric.direction
    return "max" if is_share(name) else "min"


def reported_runs(c: Comparison, row: Mapping[Any, Any]) -> pd.DataFrame:
    """The runs of a point whose results are reported: on other seeds than chose it, where there are
    such."""
    reported = None if c.final is None else at_point(c.final.runs, row)
    return at_point(c.runs, row) if reported is None or reported.empty else reported


def at_point(runs: pd.DataFrame, row: Mapping[Any, Any]) -> pd.DataFrame:
    """Those of the runs at the point of a row of ``points`` or ``groups``, by seed."""
    own = (runs["arm"] == row["arm"]) & (runs["point"] == row["point"])
    ordered: pd.DataFrame = runs[own].sort_values("seed")
    return ordered


def _sample(c: Comparison, row: Mapping[Any, Any]) -> Sample:
    tuning = at_point(c.runs, row)
    sweep = str(tuning["sweep"].iloc[0])
    reported = tuning.iloc[:0] if c.final is None else at_point(c.final.runs, row)
    known = list(tuning["config.workload"].dropna()) if "config.workload" in tuning else []
    return Sample(
        label=label_of(row, c.by),
        arm=str(row["arm"]).removeprefix(f"{sweep}/"),
        scope=(sweep, known[0] if known else ""),
        tuning=tuning,
        reported=reported if len(reported) else tuning,
        shared=not len(reported),
    )
