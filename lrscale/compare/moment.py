"""Metrics of the evaluation that validation chose, where a sweep says ``at: validation``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from lrscale.compare.final import Final
from lrscale.compare.load import Metric
from lrscale.store import Store


def at_validation(
    store: Store, runs: pd.DataFrame, final: Final | None, metric: Metric
) -> tuple[pd.DataFrame, Final | None]:
    """The runs, and those that report, with the metrics of the evaluation that validation chose.

    Run by run; test takes no part in the choice. Times stay those of the whole run. Column
    ``chosen_epoch`` says which it was.
    """

    moved = runs.assign(**_chosen(store, runs, metric))
    if final is None:
        return moved, None
    return moved, replace(final, runs=final.runs.assign(**_chosen(store, final.runs, metric)))


def _chosen(store: Store, runs: pd.DataFrame, metric: Metric) -> dict[str, list[float]]:
    """The columns that change, a value for each run."""
    names = [str(c).removeprefix("metrics.") for c in runs if str(c).startswith("metrics.")]
    columns: dict[str, list[float]] = {f"metrics.{name}": [] for name in names}
    columns["chosen_epoch"] = []
    for run_id, state in zip(runs["id"], runs["state"], strict=True):
        records = store.run(run_id).metrics() if state == "done" else []
        record = best_evaluation(records, metric) or {}
        for name in names:
            columns[f"metrics.{name}"].append(_number(record, name))
        columns["chosen_epoch"].append(float(record.get("epoch", math.nan)))
    return columns


def _number(record: Mapping[str, Any], name: str) -> float:
    """NaN where nothing was recorded, inf where what was recorded is not finite."""
    value = record.get(name, math.nan)
    return math.inf if value is None else float(value)


def best_evaluation(
    records: Iterable[Mapping[str, Any]], metric: Metric
) -> Mapping[str, Any] | None:
    """The evaluation with the best value of what selects, the earliest of equal ones."""
    sign = -1.0 if metric.direction == "max" else 1.0
    measured = [r for r in records if r["kind"] == "epoch" and r.get(metric.select) is not None]
    return min(measured, key=lambda r: sign * float(r[metric.select]), default=None)
