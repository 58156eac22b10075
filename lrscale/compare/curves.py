"""Epoch records of the runs that figures show, and their mean and range over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lrscale.compare.aggregate import select, sort_key
from lrscale.compare.comparable import obstacles
from lrscale.compare.comparison import Comparison
from lrscale.compare.load import Metric
from lrscale.compare.render.cells import point_text
from lrscale.compare.samples import at_point, reported_runs
from lrscale.store import Store

MOST = 10  # lines in one figure: more cannot be told apart
# The two losses of an epoch, as figures name them.
MINIBATCH = "Minibatch against end-of-epoch loss"
LOSSES = {
    "minibatch_loss": "mean over the epoch's minibatches (free)",
    "train_loss": "whole training set at the end of the epoch",
}
MOST_PLACES = 400  # along a line: as many as a figure has room for


@dataclass(frozen=True)
class Line:
    """The seeds of one point, to be drawn together.

    Attributes:
        label: the group, or the point where there is one group only.
        planned: seeds that the sweep asked for.
        finished: how many of them are done; only if all are may a mean be drawn.
        seeds: epoch records, indexed by epoch, of each seed that has any.
    """

    label: str
    planned: int
    finished: int
    seeds: list[pd.DataFrame]

    @property
    def caption(self) -> str:
        """The label, with how many seeds finished where not all did."""
        if self.finished == self.planned:
            return self.label
        return f"{self.label} ({self.finished} of {self.planned} seeds finished)"


@dataclass(frozen=True)
class Lines:
    """What a figure of curves shows.

    Attributes:
        lines: at most ``MOST``, the best by validation; also those with no end yet.
        total: how many there are.
        ordered: the lines are points of one group, in the order of their keys.
        untimed: why their times cannot be compared; empty where they can.
    """

    lines: list[Line]
    total: int
    ordered: bool
    untimed: Sequence[str] = ()


def load_lines(store: Store, comparison: Comparison) -> Lines:
    """The groups at their best points, by the runs that report these; with one group only, its
    points, by those that tuned."""
    c = comparison
    ordered = len(c.groups) == 1 < len(c.points)
    rows = select(c.points, ["arm", "point"], c.metric) if ordered else c.groups
    labels = [f"config.{key}" for key in c.keys] if ordered else c.by
    best = sorted(rows.head(MOST).to_dict("records"), key=lambda row: _name(row, labels))
    names = [place(row, labels) for row in best]
    runs = [at_point(c.runs, row) if ordered else reported_runs(c, row) for row in best]
    lines = [_line(store, name, own) for name, own in zip(names, runs, strict=True)]
    return Lines(lines, len(rows), ordered, obstacles(dict(zip(names, runs, strict=True))))


def load_groups(comparison: Comparison, most: int | None = MOST) -> list[tuple[str, pd.DataFrame]]:
    """Label and points of the ``most`` best groups, in the order of their names; by default of
    those that figures show."""
    c = comparison
    places: dict[tuple[Any, ...], list[int]] = {}
    for i, point in enumerate(c.points[c.by].to_dict("records")):
        places.setdefault(tuple(_name(point, c.by)), []).append(i)
    best = sorted(c.groups.iloc[:most].to_dict("records"), key=lambda row: _name(row, c.by))
    return [(place(row, c.by), c.points.iloc[places[tuple(_name(row, c.by))]]) for row in best]


def band(line: Line, x: str, y: str) -> pd.DataFrame | None:
    """Columns ``x, mean, low, high`` over the seeds, epoch by epoch.

    None unless every planned seed finished and recorded ``y``: no survivors' means.
    """
    if line.finished < line.planned or not all({x, y} <= set(f) for f in line.seeds):
        return None
    values = pd.concat([frame[y] for frame in line.seeds], axis=1, join="inner").dropna()
    places = pd.concat([frame[x] for frame in line.seeds], axis=1, join="inner")
    made: pd.DataFrame = pd.DataFrame(
        {
            "x": places.loc[values.index].mean(axis=1),
            "mean": values.mean(axis=1),
            "low": values.min(axis=1),
            "high": values.max(axis=1),
        }
    )
    return made


def recorded(shown: Lines, measure: str) -> bool:
    return any(measure in frame for line in shown.lines for frame in line.seeds)


def shown_measures(shown: Lines, metric: Metric) -> list[str]:
    """The loss, and the metric that points were chosen by, as far as they are recorded."""
    losses = [name for name in ("train_loss", "loss") if recorded(shown, name)][:1]
    measures = dict.fromkeys([*losses, metric.select])
    return [measure for measure in measures if recorded(shown, measure)]


def best_of(total: int) -> str:
    """What a title adds where a figure shows the best of so many; empty where it shows all."""
    return f" (best {MOST} of {total})" if total > MOST else ""


def thinned(frame: pd.DataFrame, y: str) -> pd.DataFrame:
    """At most ``MOST_PLACES`` rows that look the same: the least and greatest ``y`` of each stretch
    of records, the first and the last."""
    if len(frame) <= MOST_PLACES:
        return frame
    values = frame[y].to_numpy(dtype=float)
    kept = {0, len(frame) - 1}
    for stretch in np.array_split(np.arange(len(frame)), MOST_PLACES // 2 - 1):
        kept |= {int(stretch[values[stretch].argmin()]), int(stretch[values[stretch].argmax()])}
    made: pd.DataFrame = frame.iloc[sorted(kept)]
    return made


def _line(store: Store, label: str, runs: pd.DataFrame) -> Line:
    seeds = [_epochs(store, run_id) for run_id in runs["id"][runs["state"] != "missing"]]
    return Line(
        label=label,
        planned=len(runs),
        finished=int((runs["state"] == "done").sum()),
        seeds=[frame for frame in seeds if len(frame)],
    )


def _name(row: Mapping[Any, Any], columns: list[str]) -> list[tuple[int, float, str]]:
    """What ``columns`` say of a row, to sort and compare by; unlike NaN, equal to itself."""
    return [sort_key(row[column]) for column in columns]


def place(row: Mapping[Any, Any], columns: list[str]) -> str:
    """An arm by its name alone, anything else with its keys: ``lr 0.1, width 512``."""
    return str(row["arm"]) if columns == ["arm"] else point_text(row, columns)


def _epochs(store: Store, run_id: str) -> pd.DataFrame:
    records = [r for r in store.run(run_id).metrics() if r["kind"] == "epoch"]
    frame: pd.DataFrame = pd.DataFrame(records)
    return frame.set_index("epoch", drop=False) if records else frame
