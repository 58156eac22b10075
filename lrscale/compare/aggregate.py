"""Statistics over seeds, and the choice of each group's best point. Pure, order-independent.

Three rules keep the numbers honest:

- no survivors' means: a mean is given only where every planned seed finished; elsewhere the count
  and a median in which a diverged seed stands at the worst end;
- the point is chosen by validation at the last step, and what is reported there is test;
- nothing is imputed: a run without a result is counted, never filled in.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lrscale.compare.load import MISSING, Direction, Metric, is_share

# What a table counts; every state of the store falls under one of them.
COUNTED = ("done", "diverged", "failed", "unfinished", MISSING)
PARTS = ("n", "diverged", "mean", "sd", "min", "max", "median")
TIMES: dict[str, Direction] = {"seconds.training": "min", "steps_per_second": "max"}


@dataclass(frozen=True)
class Summary:
    """One measure of one point over its planned seeds.

    Attributes:
        planned: seeds that the sweep asked for.
        n: seeds that finished with a finite value.
        diverged: seeds that diverged, or finished with a value that is not finite.
        mean: None unless ``n == planned``.
        sd: sample standard deviation (n − 1); None without a mean or for a single seed.
        min, max: None without a mean.
        median: over the seeds that have ended, diverged ones at the worst end; None when the
            middle falls on a diverged seed, or none has ended.
    """

    planned: int
    n: int
    diverged: int
    mean: float | None
    sd: float | None
    min: float | None
    max: float | None
    median: float | None


def summarise(values: Iterable[float]) -> Summary:
    """Summary of one value a planned seed: finite, ±inf for diverged, NaN for no result.

    All infinities have the sign of the measure's worst end.
    """
    outcomes = sorted(values, key=lambda v: (math.isnan(v), v))
    finite = [v for v in outcomes if math.isfinite(v)]
    ended = [v for v in outcomes if not math.isnan(v)]
    complete = bool(finite) and len(finite) == len(outcomes)
    median = statistics.median(ended) if ended else math.inf
    return Summary(
        planned=len(outcomes),
        n=len(finite),
        diverged=len(ended) - len(finite),
        mean=statistics.fmean(finite) if complete else None,
        sd=_deviation(finite) if complete and len(finite) > 1 else None,
        min=finite[0] if complete else None,
        max=finite[-1] if complete else None,
        median=median if math.isfinite(median) else None,
    )


def _deviation(values: Sequence[float]) -> float:
    """√(Σ(x − x̄)²/(n − 1)), with exact sums; a tenth of the time of ``statistics.stdev``."""
    if min(values) == max(values):
        return 0.0  # whatever rounding does to their mean
    mean = statistics.fmean(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def outcomes(runs: pd.DataFrame, column: str, direction: Direction) -> pd.Series[float]:
    """A value per run as ``summarise`` takes it: diverged, or not finite, is the worst."""
    worst = -math.inf if direction == "max" else math.inf
    values = pd.to_numeric(runs[column]).astype(float).where(runs["state"] == "done")
    lost = (values.abs() == math.inf) | (runs["state"] == "diverged")
    result: pd.Series[float] = values.mask(lost, worst)
    return result


def varied_keys(runs: pd.DataFrame) -> list[str]:
    """The keys in which points differ, sorted; a key that only some arms have is varied."""
    points = [json.loads(point) for point in runs["point"].unique()]
    keys = sorted({key for point in points for key in point})
    return [k for k in keys if len({json.dumps(p[k]) if k in p else "" for p in points}) > 1]


def points(runs: pd.DataFrame, metric: Metric, keys: Sequence[str]) -> pd.DataFrame:
    """One row per point, a place in the grid of an arm: its seeds together.

    Columns: ``arm``, ``point``, ``config.<key>`` for each of ``keys``, ``random`` (drawn, not
    on a grid), ``seeds`` (those planned), ``planned``, a count for each of ``COUNTED``, and
    ``<measure>.<part>`` of every metric and time for each of ``PARTS``.
    """
    directions = _measures(runs, metric)
    columns = {m: outcomes(runs, m, direction) for m, direction in directions.items()}
    plain: dict[str, list[Any]] = {m: values.tolist() for m, values in columns.items()}
    for column in ("seed", "trial", *(f"config.{key}" for key in keys)):
        plain[column] = list(runs[column]) if column in runs else [None] * len(runs)
    plain["counted"] = [_counted(state) for state in runs["state"]]
    # As lists: thousands of points would each be a frame of their own.
    places: dict[tuple[str, str], list[int]] = {}
    for i, place in enumerate(zip(runs["arm"], runs["point"], strict=True)):
        places.setdefault(place, []).append(i)
    rows = [
        _point(plain, own, keys, list(directions)) | {"arm": arm, "point": point}
        for (arm, point), own in sorted(places.items())
    ]
    rows.sort(key=lambda row: (row["arm"], [sort_key(row[f"config.{k}"]) for k in keys]))
    return _frame(rows)


def select(
    table: pd.DataFrame,
    by: Sequence[str],
    metric: Metric,
    frozen: Collection[tuple[str, str]] = (),
) -> pd.DataFrame:
    """The best point of each group of points, by validation; groups best first.

    ``table`` comes from ``points``; ``by`` names columns of it. A group that holds ``frozen``
    ones, arm and point, chooses among these. Beside the chosen point's own
    columns: ``points`` of the group and ``decided_points`` (every seed finished or diverged),
    ``selected`` (False where no point has a value to be chosen by) and the group's counted states.
    """
    # Points have dozens of columns: only those that decide are looked at in all of them.
    deciding = {f"metrics.{metric.select}.{part}" for part in PARTS}
    deciding |= {"arm", "point", "planned", *COUNTED, *by}
    narrow = table[[column for column in table if column in deciding]]
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for place, row in enumerate(map(_record, narrow.to_dict("records"))):
        key = tuple(sort_key(row[column]) for column in by)
        found.setdefault(key, []).append(row | {"place": place})
    chosen, more = [], []
    for group in found.values():
        ordered = sorted(group, key=lambda r: _rank(r, metric))
        ordered.sort(key=lambda r: (r["arm"], r["point"]) not in frozen)  # stable
        sums = {state: sum(int(row[state]) for row in group) for state in COUNTED}
        decided = sum(row["done"] + row["diverged"] == row["planned"] for row in ordered)
        best = {"points": len(ordered), "decided_points": decided}
        chosen.append(ordered[0]["place"])
        more.append(sums | best | {"selected": _tier(ordered[0], metric) < 3})
    whole = map(_record, table.iloc[chosen].to_dict("records"))
    rows = [row | others for row, others in zip(whole, more, strict=True)]
    rows.sort(key=lambda row: _rank(row, metric))
    return _frame(rows)


def report_on(groups: pd.DataFrame, reported: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """Groups whose chosen points report other runs than those that chose them.

    Every measure but the one that chose is that of ``reported``, from ``points``, where it has
    the chosen point; its runs are counted beside the others. New columns: ``reported_seeds`` and
    ``reported_planned``, empty for a group that has no such runs.
    """
    chose = f"metrics.{metric.select}." if metric.select != metric.report else "config."
    known = {(row["arm"], row["point"]): row for row in map(_record, reported.to_dict("records"))}
    rows = []
    for row in map(_record, groups.to_dict("records")):
        found = known.get((row["arm"], row["point"])) if row["selected"] else None
        seeds = {"reported_seeds": None, "reported_planned": None}
        if found is not None:
            results = {k: v for k, v in found.items() if k.rpartition(".")[2] in PARTS}
            row |= {k: v for k, v in results.items() if not k.startswith((chose, "config."))}
            row |= {state: row[state] + found[state] for state in COUNTED}
            seeds = {"reported_seeds": found["seeds"], "reported_planned": found["planned"]}
        rows.append(row | seeds)
    return _frame(rows)


def sort_key(value: Any) -> tuple[int, float, str]:
    """Orders what a grid may hold: numbers by size, then words, then nothing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return (2, 0.0, "")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return (0, float(value), "")
    return (1, 0.0, str(value))


def _measures(runs: pd.DataFrame, metric: Metric) -> dict[str, Direction]:
    """Every recorded metric and time, with the end at which divergence stands."""
    names = [str(column) for column in runs if str(column).startswith("metrics.")]
    measures: dict[str, Direction] = {}
    for column in names:
        own = column.split(".", 1)[1].endswith(metric.name)
        high = is_share(column)
        measures[column] = metric.direction if own else "max" if high else "min"
    return measures | {time: end for time, end in TIMES.items() if time in runs}


def _point(
    columns: Mapping[str, Sequence[Any]],
    places: Iterable[int],
    keys: Sequence[str],
    measures: Sequence[str],
) -> dict[str, Any]:
    """A point's row, of the runs at ``places``."""
    own = {name: [values[i] for i in places] for name, values in columns.items()}
    row: dict[str, Any] = {f"config.{key}": _first(own[f"config.{key}"]) for key in keys}
    row["random"] = any(pd.notna(trial) for trial in own["trial"])
    row["seeds"] = ", ".join(str(seed) for seed in sorted(own["seed"]))
    row["planned"] = len(own["seed"])
    row |= {state: own["counted"].count(state) for state in COUNTED}
    for measure in measures:
        summary = vars(summarise(own[measure]))
        row |= {f"{measure}.{part}": summary[part] for part in PARTS}
    return row


def _first(values: Sequence[Any]) -> Any:
    """The point's value of a key: a run that has not started knows only its place in the grid."""
    return next((value for value in values if pd.notna(value)), None)


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    frame: pd.DataFrame = pd.DataFrame(rows)
    return frame


def _counted(state: str) -> str:
    return state if state in COUNTED else "unfinished"


def _record(row: Mapping[Hashable, Any]) -> dict[str, Any]:
    return {str(key): value for key, value in row.items()}


def _rank(row: Mapping[str, Any], metric: Metric) -> tuple[int, float, str, str]:
    """Sorts the best point first: by how sure it is, then by validation, then by name."""
    tier, select = _tier(row, metric), f"metrics.{metric.select}"
    value = row[f"{select}.mean" if tier == 0 else f"{select}.median"] if tier < 3 else 0.0
    sign = -1.0 if metric.direction == "max" else 1.0
    return (tier, sign * value, row["arm"], row["point"])


def _tier(row: Mapping[str, Any], metric: Metric) -> int:
    """0: every seed finished; 1: some did, none diverged; 2: some diverged; 3: no value at all."""
    select = f"metrics.{metric.select}"
    if row.get(f"{select}.n", 0) == row["planned"]:
        return 0
    if pd.isna(row.get(f"{select}.median")):
        return 3
    return 2 if row[f"{select}.diverged"] else 1
