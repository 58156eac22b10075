from __future__ import annotations

from collections.abc import Callable

import pytest

from lrscale.compare.load import Metric, load_runs, metric_of
from lrscale.compare.moment import at_validation, best_evaluation
from lrscale.store import Store

MakeSweep = Callable[..., Store]
RECORDS = [
    {"kind": "steps", "step": 1, "loss": [1.0], "lr": [0.1]},
    {"kind": "epoch", "epoch": 1, "val_accuracy": 0.8, "test_accuracy": 0.9},
    {"kind": "epoch", "epoch": 2, "val_accuracy": 0.9, "test_accuracy": 0.7},
    {"kind": "epoch", "epoch": 3, "val_accuracy": 0.9, "test_accuracy": 0.8},
    {"kind": "epoch", "epoch": 4, "val_accuracy": None, "test_accuracy": 1.0},
]


def test_validation_chooses_the_earliest_best_and_test_has_no_say() -> None:
    metric = Metric("accuracy", "max", "val_accuracy", "test_accuracy")
    assert (best_evaluation(RECORDS, metric) or {})["epoch"] == 2
    assert best_evaluation(RECORDS[:1], metric) is None
    lowest = Metric("accuracy", "min", "val_accuracy", "test_accuracy")
    assert (best_evaluation(RECORDS, lowest) or {})["epoch"] == 1


def test_every_metric_of_a_run_is_that_of_its_chosen_evaluation(make_sweep: MakeSweep) -> None:
    store = make_sweep({"sgd": [0.1]}, states={("sgd", 0.1, 2): "missing"})
    runs = load_runs(store, store.read_sweep("demo"))
    metric = metric_of(runs)
    moved, _ = at_validation(store, runs, None, metric)
    for row in moved[moved["state"] == "done"].to_dict("records"):
        records = store.run(row["id"]).metrics()
        (record,) = [
            r for r in records if r["kind"] == "epoch" and r["epoch"] == row["chosen_epoch"]
        ]
        assert record["val_accuracy"] == max(
            r["val_accuracy"] for r in records if r["kind"] == "epoch"
        )
        assert row["metrics.test_accuracy"] == pytest.approx(record["test_accuracy"])
    assert moved["metrics.test_accuracy"].isna().tolist() == [False, False, True]
