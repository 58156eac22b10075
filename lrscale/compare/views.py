"""What figures of points show, as values that any of them can draw. Pure.

Metrics are in the unit in which they are shown: shares in per cent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from lrscale.compare.aggregate import outcomes, sort_key
from lrscale.compare.comparison import Comparison, plain
from lrscale.compare.curves import load_groups, place
from lrscale.compare.load import is_share
from lrscale.compare.provenance import is_rate, words
from lrscale.compare.render.cells import numbers, point_text, short_names, value_cell
from lrscale.compare.samples import reported_runs

Scale = Literal["linear", "log", "nines"]

FEW = 5  # values from which on quartiles say more than the values themselves


@dataclass(frozen=True)
class HeatMap:
    """The final metric of a group over a grid of two keys.

    Attributes:
        group: the arm or other group that the grid is of.
        x, y: the keys. xs, ys: their values as text, ascending.
        values: a row for each of ``ys``, a column for each of ``xs``: the mean over seeds, the
            median where not all finished, None where there is neither.
        cells: the same as text; ``diverged`` where that is why there is none.
    """

    group: str
    x: str
    y: str
    xs: list[str]
    ys: list[str]
    values: list[list[float | None]]
    cells: list[list[str]]


@dataclass(frozen=True)
class TrialAxis:
    """One axis of a random search: a key, or at last the metric.

    Attributes:
        label: its name.
        scale: ``linear``, ``log``, or ``nines``, by the log of the error.
        categories: the names that its values count, empty for numbers.
    """

    label: str
    scale: Scale
    categories: list[str]


@dataclass(frozen=True)
class Trials:
    """The points of a random search: ``rows`` have a value, or None, for each of ``axes``."""

    group: str
    axes: list[TrialAxis]
    rows: list[list[float | None]]
    texts: list[str]


@dataclass(frozen=True)
class Spread:
    """Some values of a group.

    Attributes:
        label: the group.
        values, texts: each value and what it is of.
        box: least, quartiles and greatest; None for fewer than ``FEW`` values.
        lost: how many more diverged.
    """

    label: str
    values: list[float]
    texts: list[str]
    box: list[float] | None
    lost: int


def unit_of(measure: str) -> float:
    """What a recorded metric is multiplied by to be shown."""
    return 100.0 if is_share(measure) else 1.0


def label_of(measure: str) -> str:
    """``validation accuracy (%)``."""
    name = words(plain(measure))
    return f"{name} (%)" if is_share(measure) else name


def scale_of(measure: str, values: Sequence[float]) -> Scale:
    """Losses on a log scale; accuracies, where they differ much, by the log of the error.

    Args:
        values: as they are shown, shares in per cent.
    """
    if not values:
        return "linear"
    if is_share(measure):
        return "nines" if 100 - min(values) > 4 * (100 - max(values)) else "linear"
    return "log" if measure.endswith("loss") and min(values) > 0 else "linear"


def heat_maps(c: Comparison) -> list[HeatMap]:
    """One for each group whose points are a grid of two keys."""
    made = []
    for group, points in load_groups(c):
        keys = varied_within(points, c.keys)
        if len(keys) == 2 and not points["random"].any():
            made.append(_heat_map(group, points, keys, c))
    return made


def trials(c: Comparison) -> list[Trials]:
    """One for each group that searched two keys or more at random."""
    made = []
    for group, points in load_groups(c):
        drawn = points[points["random"]]
        keys = varied_within(drawn, c.keys)
        if len(drawn) > 2 and len(keys) >= 2:
            made.append(_trials(group, drawn, keys, c))
    return made


def over_seeds(c: Comparison) -> list[Spread]:
    """The reported metric of each seed at each group's best point; none where all have one."""
    measure = f"metrics.{c.metric.report}"
    made = []
    for group in c.groups.to_dict("records"):
        runs = reported_runs(c, group)
        if group["selected"] and measure in runs:
            values = unit_of(measure) * outcomes(runs, measure, c.metric.direction)
            seeds = [f"seed {seed}" for seed in runs["seed"]]
            made.append(_spread(place(group, c.by), list(values), seeds))
    several = any(len(spread.values) + spread.lost > 1 for spread in made)
    return [spread for spread in made if spread.values] if several else []


def over_points(c: Comparison) -> list[Spread]:
    """The choosing metric of every point of each group that has ``FEW`` points or more."""
    measure = f"metrics.{c.metric.select}"
    if f"{measure}.median" not in c.points:
        return []
    made = []
    for group, points in load_groups(c):
        if len(points) >= FEW:
            keys = [f"config.{key}" for key in varied_within(points, c.keys)]
            parts = [f"{measure}.{part}" for part in ("mean", "median", "diverged")]
            rows = points[[*keys, *parts]].to_dict("records")
            values = [_middle(row, measure, lost=np.inf) for row in rows]
            made.append(_spread(group, values, [point_text(row, keys) for row in rows]))
    return made if any(spread.values for spread in made) else []


def spread_scale(measure: str, groups: Sequence[Spread]) -> Scale:
    """For boxes: log for losses that are far apart, so that the small ones do not fall together."""
    values = [value for group in groups for value in group.values]
    far = scale_of(measure, values) == "log" and max(values) > 20 * min(values)
    return "log" if far else "linear"


def varied_within(points: pd.DataFrame, keys: Sequence[str]) -> list[str]:
    """Those of the keys that take several values among these points."""
    return [key for key in keys if points[f"config.{key}"].map(json.dumps).nunique() > 1]


def _heat_map(group: str, points: pd.DataFrame, keys: list[str], c: Comparison) -> HeatMap:
    # A rate, the key with the most to say, lies along x.
    y, x = sorted(keys, key=lambda key: (is_rate(key), key))
    measure = f"metrics.{c.metric.select}"
    xs, ys = (sorted(points[f"config.{key}"].unique(), key=sort_key) for key in (x, y))
    found = {(row[f"config.{x}"], row[f"config.{y}"]): row for row in points.to_dict("records")}
    values: list[list[float | None]] = []
    cells = []
    for b in ys:
        rows = [found.get((a, b)) for a in xs]
        values.append([_shown(row, measure) for row in rows])
        cells.append([_cell(row, measure) for row in rows])
    x_name, y_name = short_names([x, y])
    x_texts, y_texts = ([value_cell(value) for value in axis] for axis in (xs, ys))
    return HeatMap(group, x_name, y_name, x_texts, y_texts, values, cells)


def _trials(group: str, points: pd.DataFrame, keys: list[str], c: Comparison) -> Trials:
    measure = f"metrics.{c.metric.select}"
    rows = points.to_dict("records")
    axes, columns = [], []
    for key, name in zip(keys, short_names(keys), strict=True):
        values = [row[f"config.{key}"] for row in rows]
        axis = _axis(name, values)
        axes.append(axis)
        columns.append([_coordinate(value, axis) for value in values])
    final = [_shown(row, measure) for row in rows]
    known = [value for value in final if value is not None]
    axes.append(TrialAxis(label_of(measure), scale_of(measure, known), []))
    texts = [
        f"{point_text(row, [f'config.{key}' for key in keys])}: {_cell(row, measure)}"
        for row in rows
    ]
    return Trials(group, axes, [list(row) for row in zip(*columns, final, strict=True)], texts)


def _axis(name: str, values: Sequence[Any]) -> TrialAxis:
    if any(sort_key(value)[0] != 0 for value in values):
        distinct = sorted({value_cell(value) for value in values})
        return TrialAxis(name, "linear", distinct)
    low, high = min(values), max(values)
    return TrialAxis(name, "log" if low > 0 and high >= 20 * low else "linear", [])


def _coordinate(value: Any, axis: TrialAxis) -> float | None:
    return float(axis.categories.index(value_cell(value))) if axis.categories else float(value)


def _shown(row: Mapping[Any, Any] | None, measure: str) -> float | None:
    value = _middle(row, measure, lost=np.nan) if row else np.nan
    return float(value) if np.isfinite(value) else None


def _cell(row: Mapping[Any, Any] | None, measure: str) -> str:
    value = _shown(row, measure)
    if value is not None:
        # In per cent already; a tenth is what fits into a field.
        return f"{value:.1f}" if is_share(measure) else numbers([value])[0]
    return "diverged" if row and row.get(f"{measure}.diverged") else "–"


def _middle(row: Mapping[Any, Any], measure: str, lost: float) -> float:
    """Mean where every seed finished, else the median; ``lost`` if that has diverged."""
    for part in ("mean", "median"):
        value = row.get(f"{measure}.{part}")
        if value is not None and pd.notna(value):
            return unit_of(measure) * float(value)
    return lost if row.get(f"{measure}.diverged") else np.nan


def _spread(name: str, values: Sequence[float], texts: Sequence[str]) -> Spread:
    kept = [(v, text) for v, text in zip(values, texts, strict=True) if np.isfinite(v)]
    finite = [float(v) for v, _ in kept]
    quartiles = np.quantile(finite, [0, 0.25, 0.5, 0.75, 1]) if len(finite) >= FEW else None
    return Spread(
        label=name,
        values=finite,
        texts=[text for _, text in kept],
        box=None if quartiles is None else [float(q) for q in quartiles],
        lost=sum(bool(np.isinf(v)) for v in values),
    )
