"""The random searches of a sweep: what their best of k may be expected to be, the grids of the same
space beside them, and why where that cannot be said. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from lrscale.compare.aggregate import outcomes, select, sort_key
from lrscale.compare.best_of import BestOf, best_of
from lrscale.compare.comparison import Comparison, plain
from lrscale.compare.load import NAMELESS
from lrscale.compare.provenance import words
from lrscale.compare.spaces import Space

ENOUGH = 60  # trials
EVERY = 100  # the best of k is worked out for each k up to here, and for as many beyond


@dataclass(frozen=True)
class GridSearch:
    """A grid that shares keys with a random search.

    Attributes:
        label: its arm.
        points: on the grid.
        value: the reported metric at the point that validation chooses; None if ``reason``.
        reason: why it is not compared; empty if it is.
    """

    label: str
    points: int
    value: float | None
    reason: str


@dataclass(frozen=True)
class RandomSearch:
    """A random search.

    Attributes:
        label: its arm.
        trials: that the sweep holds.
        best: of k trials, for k up to half of them; empty if ``reason``.
        reason: why nothing is estimated; empty if it is.
        grids: those that share keys with it.
    """

    label: str
    trials: int
    best: list[BestOf]
    reason: str
    grids: list[GridSearch]


def searches(comparison: Comparison) -> list[RandomSearch]:
    """Every arm that searches at random, in the order of names."""
    c = comparison
    drawn = c.runs["trial"].notna()
    return [
        _search(c, str(arm), runs) for arm, runs in c.runs[drawn].groupby("arm") if len(c.points)
    ]


def _search(c: Comparison, arm: str, runs: pd.DataFrame) -> RandomSearch:
    space, metric = c.spaces.get(arm), c.metric
    trials = runs.groupby("trial")
    reason = _drawn_otherwise(space, trials["point"].nunique()) or _not_measured(c, runs)
    best: list[BestOf] = []
    if not reason:
        chose, reported = (
            outcomes(runs, f"metrics.{name}", metric.direction).groupby(runs["trial"]).mean()
            for name in (metric.select, metric.report)
        )
        ks = _ks(len(chose) // 2)
        best = best_of(chose.tolist(), reported.tolist(), metric.direction, ks)
    grids = [] if space is None else list(_grids(c, arm, runs, space))
    return RandomSearch(_label(c, arm), trials.ngroups, best, reason, grids)


def _drawn_otherwise(space: Space | None, places: pd.Series[int]) -> str:
    """Why the trials are no independent draws, or too few. ``places``: points of each trial."""
    if space is None:
        return "how its trials were drawn is not on record"
    if space.sampler != "random":
        return f"trials of the sampler {space.sampler} are not independent of each other"
    if places.max() > 1:
        return f"each trial is run at {places.max()} points of a grid"
    if len(places) < ENOUGH:
        return f"{len(places)} trials; at least {ENOUGH} are needed"
    if len(places) < space.trials:
        return f"only {len(places)} of {space.trials} trials are runs of their own"
    return ""


def _not_measured(c: Comparison, runs: pd.DataFrame) -> str:
    metric = c.metric
    if metric.select == metric.report:
        return f"{words(metric.report)} would both choose and report"
    if any(f"metrics.{name}" not in runs for name in (metric.select, metric.report)):
        return "no trial has finished"
    without = runs["trial"][~runs["state"].isin(["done", "diverged"])].nunique()
    return f"{without} of {runs['trial'].nunique()} trials have no result" if without else ""


def _ks(most: int) -> list[int]:
    """Every k at first, then a constant factor apart."""
    steps = math.log(max(most, EVERY) / EVERY) / EVERY
    beyond = [round(EVERY * math.exp(steps * i)) for i in range(EVERY + 1)]
    return sorted({k for k in [*range(1, EVERY), *beyond] if k <= most})


def _grids(c: Comparison, arm: str, runs: pd.DataFrame, space: Space) -> Iterator[GridSearch]:
    """The other arms that vary a key of the search, each point of them on a grid."""
    searched = set(json.loads(runs["point"].iloc[0]))
    for other, points in c.points.groupby("arm"):
        varied = {key for key in c.keys if points[f"config.{key}"].map(json.dumps).nunique() > 1}
        if other == arm or points["random"].any() or not varied & searched:
            continue
        own = c.runs[c.runs["arm"] == other]
        reason = (
            _other_space(points, varied, searched, space)
            or _other_runs(runs, own, searched)
            or _no_end(points, f"metrics.{c.metric.report}.mean")
        )
        chosen = select(points, ["arm"], c.metric).iloc[0]
        value = None if reason else float(chosen[f"metrics.{c.metric.report}.mean"])
        yield GridSearch(_label(c, str(other)), len(points), value, reason)


def _other_space(points: pd.DataFrame, varied: set[str], searched: set[str], space: Space) -> str:
    for key in sorted(varied ^ searched):
        return f"another space: only one of them varies {key}"
    for key in sorted(searched):
        values, reach = set(points[f"config.{key}"]), space.reach.get(key)
        if isinstance(reach, frozenset):
            same = set(map(str, values)) == reach
        elif reach is None or any(sort_key(value)[0] != 0 for value in values):
            same = False
        else:
            same = all(map(math.isclose, reach, (min(values), max(values))))
        if not same:
            return f"another space: {key} has other ends"
    return ""


def _other_runs(trials: pd.DataFrame, grid: pd.DataFrame, searched: set[str]) -> str:
    """Why the runs of a point are others than those of a trial: settings or number of seeds."""
    free = {"config.seed", *(f"config.{key}" for key in searched)}
    for column in (str(c) for c in trials if str(c).startswith("config.") and c not in free):
        values = {value for runs in (trials, grid) for value in runs[column].map(str)}
        if len(values) > 1:
            return f"not compared: {plain(column)} differs"
    seeds = [runs.groupby("point")["seed"].nunique().max() for runs in (trials, grid)]
    if seeds[0] != seeds[1]:
        return f"not compared: {seeds[1]} runs for each point, {seeds[0]} for each trial"
    return ""


def _no_end(points: pd.DataFrame, measure: str) -> str:
    open_ = int((points["done"] + points["diverged"] < points["planned"]).sum())
    if open_:
        return f"{open_} of {len(points)} points have no result"
    return "" if measure in points and points[measure].notna().any() else "every point diverged"


def _label(c: Comparison, arm: str) -> str:
    """A sweep without arms by its own name."""
    return c.sweep if arm == NAMELESS else arm
