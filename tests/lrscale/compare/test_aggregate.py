from __future__ import annotations

import json
import math
import random
import statistics
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrscale.compare.aggregate import outcomes, points, select, summarise, varied_keys
from lrscale.compare.load import Metric

NAN, INF = math.nan, math.inf
ACCURACY = Metric("accuracy", "max", "val_accuracy", "test_accuracy")
LOSS = Metric("loss", "min", "val_loss", "test_loss")


def run(arm: str, lr: float, seed: int, value: float | None, state: str = "done") -> dict[str, Any]:
    return {
        "id": f"{arm}-{lr}-{seed}",
        "arm": arm,
        "seed": seed,
        "trial": None,
        "point": json.dumps({"lr": lr}),
        "state": state,
        "config.lr": lr,
        "metrics.val_accuracy": NAN if value is None else value,
        "metrics.val_loss": NAN if value is None else 1 - value,
        "seconds.training": 10.0,
    }


STATES = st.sampled_from(["done"] * 4 + ["diverged", "failed", "running", "missing"])


@st.composite
def sweeps(draw: st.DrawFn) -> pd.DataFrame:
    rows = []
    for arm in draw(st.lists(st.sampled_from("abc"), min_size=1, unique=True)):
        for lr in draw(st.lists(st.sampled_from([0.01, 0.1, 1.0]), min_size=1, unique=True)):
            for seed in range(draw(st.integers(1, 3))):
                state = draw(STATES)
                value = draw(st.floats(0, 1)) if state == "done" else None
                rows.append(run(arm, lr, seed, value, state))
    return pd.DataFrame(rows)


# --- one measure of one point


def test_mean_and_sample_sd_of_complete_seeds() -> None:
    summary = summarise([0.90, 0.92, 0.97])
    assert (summary.planned, summary.n, summary.diverged) == (3, 3, 0)
    assert summary.mean == pytest.approx(0.93)
    # deviations −.03, −.01, .04: squares .0009 + .0001 + .0016 = .0026, over n − 1 = 2
    assert summary.sd == pytest.approx(math.sqrt(0.0013))
    assert (summary.min, summary.median, summary.max) == (0.90, 0.92, 0.97)


def test_a_single_seed_has_no_sd() -> None:
    summary = summarise([0.9])
    assert (summary.mean, summary.sd, summary.median) == (0.9, None, 0.9)


@pytest.mark.parametrize(
    ("values", "n", "diverged", "median"),
    [
        ([0.9, 0.8, -INF], 2, 1, 0.8),  # sorted: −inf, .8, .9
        ([0.9, -INF, -INF], 1, 2, None),  # the middle seed diverged
        ([0.9, 0.8, 0.7, -INF], 3, 1, 0.75),
        ([0.9, -INF], 1, 1, None),  # the mean of the middle two is not finite
        ([0.2, 0.4, INF], 2, 1, 0.4),  # a loss: divergence is at the other end
        ([0.9, 0.8, NAN], 2, 0, pytest.approx(0.85)),  # unfinished: left out, and no mean
        ([NAN, NAN], 0, 0, None),
        ([-INF], 0, 1, None),
    ],
)
def test_no_survivors_mean(
    values: list[float], n: int, diverged: int, median: float | None
) -> None:
    summary = summarise(values)
    assert summary.mean is None
    assert summary.sd is None
    assert (summary.min, summary.max) == (None, None)
    assert (summary.n, summary.diverged, summary.median) == (n, diverged, median)


@given(st.lists(st.floats(-1e6, 1e6) | st.sampled_from([-INF, NAN]), min_size=1), st.randoms())
def test_summary_does_not_depend_on_order(values: list[float], rng: random.Random) -> None:
    shuffled = rng.sample(values, len(values))
    assert summarise(shuffled) == summarise(values)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2))
def test_summary_agrees_with_the_standard_library(values: list[float]) -> None:
    summary = summarise(values)
    assert summary.mean == pytest.approx(statistics.fmean(values))
    assert summary.sd == pytest.approx(statistics.stdev(values))
    assert summary.median == statistics.median(values)


def test_outcomes_put_divergence_at_the_worst_end() -> None:
    runs = pd.DataFrame(
        [
            run("a", 0.1, 0, 0.9),
            run("a", 0.1, 1, 0.5, "diverged"),  # what it had reached before does not count
            run("a", 0.1, 2, 0.8, "failed"),
            run("a", 0.1, 3, None, "missing"),
            run("a", 0.1, 4, INF),  # finished, but the metric is not finite
        ]
    )
    high = outcomes(runs, "metrics.val_accuracy", "max").tolist()
    low = outcomes(runs, "metrics.val_accuracy", "min").tolist()
    assert high == pytest.approx([0.9, -INF, NAN, NAN, -INF], nan_ok=True)
    assert low == pytest.approx([0.9, INF, NAN, NAN, INF], nan_ok=True)


# --- points and selection


def test_points_of_a_hand_made_sweep() -> None:
    runs = pd.DataFrame(
        [
            run("sgd", 0.1, 0, 0.90),
            run("sgd", 0.1, 1, 0.94),
            run("sgd", 1.0, 0, 0.99),
            run("sgd", 1.0, 1, None, "diverged"),
            run("adam", 0.1, 0, 0.95),
            run("adam", 0.1, 1, None, "preempted"),
        ]
    )
    table = points(runs, ACCURACY, ["lr"])
    assert table[["arm", "config.lr"]].values.tolist() == [["adam", 0.1], ["sgd", 0.1], ["sgd", 1]]
    assert table["planned"].tolist() == [2, 2, 2]
    assert table["done"].tolist() == [1, 2, 1]
    assert table["unfinished"].tolist() == [1, 0, 0]
    assert table["diverged"].tolist() == [0, 0, 1]
    assert table["metrics.val_accuracy.mean"].tolist() == pytest.approx(
        [NAN, 0.92, NAN], nan_ok=True
    )
    assert table["metrics.val_accuracy.n"].tolist() == [1, 2, 1]
    assert table["seconds.training.mean"].tolist() == pytest.approx([NAN, 10, NAN], nan_ok=True)

    groups = select(table, ["arm"], ACCURACY)
    # sgd first: its best point is complete. The point that diverged would have had .99.
    assert groups["arm"].tolist() == ["sgd", "adam"]
    assert groups["config.lr"].tolist() == [0.1, 0.1]
    assert groups["points"].tolist() == [2, 1]
    assert groups["decided_points"].tolist() == [2, 0]
    assert groups["diverged"].tolist() == [1, 0]
    assert groups["done"].tolist() == [3, 1]


def test_a_loss_is_best_where_it_is_lowest() -> None:
    runs = pd.DataFrame([run("a", lr, 0, value) for lr, value in [(0.1, 0.7), (1.0, 0.9)]])
    best = select(points(runs, LOSS, ["lr"]), ["arm"], LOSS)
    assert best["config.lr"].tolist() == [1.0]  # loss 0.1 against 0.3


def test_a_point_that_diverged_is_chosen_where_there_is_no_clean_one() -> None:
    runs = pd.DataFrame(
        [
            run("a", 0.1, 0, 0.5),
            run("a", 0.1, 1, 0.6),
            run("a", 0.1, 2, None, "diverged"),
            run("a", 1.0, 0, None, "diverged"),
        ]
    )
    best = select(points(runs, ACCURACY, ["lr"]), ["arm"], ACCURACY).iloc[0]
    assert best["config.lr"] == 0.1
    assert best["selected"]
    assert pd.isna(best["metrics.val_accuracy.mean"])
    assert best["metrics.val_accuracy.median"] == 0.5


def test_nothing_is_chosen_among_points_without_a_value() -> None:
    runs = pd.DataFrame([run("a", 0.1, 0, None, "missing"), run("a", 1.0, 0, None, "diverged")])
    best = select(points(runs, ACCURACY, ["lr"]), ["arm"], ACCURACY).iloc[0]
    assert not best["selected"]


@settings(max_examples=25)
@given(sweeps(), st.randoms())
def test_tables_do_not_depend_on_the_order_of_runs(runs: pd.DataFrame, rng: random.Random) -> None:
    order = rng.sample(range(len(runs)), len(runs))
    for metric in (ACCURACY, LOSS):
        table = points(runs, metric, ["lr"])
        shuffled = points(runs.iloc[order], metric, ["lr"])
        pd.testing.assert_frame_equal(table, shuffled)
        rows = rng.sample(range(len(table)), len(table))
        pd.testing.assert_frame_equal(
            select(table, ["arm"], metric), select(table.iloc[rows], ["arm"], metric)
        )


@settings(max_examples=25)
@given(sweeps())
def test_selection_against_a_search_by_hand(runs: pd.DataFrame) -> None:
    table = points(runs, ACCURACY, ["lr"])
    for row in select(table, ["arm"], ACCURACY).to_dict("records"):
        own = runs[runs["arm"] == row["arm"]]
        complete = {
            lr: statistics.fmean(sorted(seeds["metrics.val_accuracy"]))
            for lr, seeds in own.groupby("config.lr")
            if (seeds["state"] == "done").all()
        }
        if complete:
            assert complete[row["config.lr"]] == max(complete.values())
        clean = own.groupby("config.lr")["state"].agg(
            lambda states: "diverged" not in set(states) and "done" in set(states)
        )
        if clean.any():
            assert clean[row["config.lr"]]
        assert row["points"] == own["config.lr"].nunique()
        assert sum(row[s] for s in ("done", "diverged", "failed", "unfinished", "missing")) == len(
            own
        )


def test_keys_vary_within_or_between_arms() -> None:
    texts = ['{"a": 1, "b": 1}', '{"a": 1, "b": 2}', '{"a": 1, "b": 1, "c": 3}']
    assert varied_keys(pd.DataFrame({"point": texts})) == ["b", "c"]
    assert varied_keys(pd.DataFrame({"point": ["{}"]})) == []


def test_a_key_of_one_arm_only_groups_the_other_arms_together() -> None:
    runs = pd.DataFrame([run("a", 0.1, 0, 0.5), run("b", 0.1, 0, 0.6) | {"config.momentum": 0.9}])
    runs.loc[1, "point"] = '{"lr": 0.1, "momentum": 0.9}'
    table = select(points(runs, ACCURACY, ["lr", "momentum"]), ["config.momentum"], ACCURACY)
    assert table["arm"].tolist() == ["b", "a"]
