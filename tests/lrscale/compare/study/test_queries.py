from __future__ import annotations

import json
from dataclasses import replace

import pandas as pd

from lrscale.compare.comparison import Comparison, compare
from lrscale.compare.final import Final
from lrscale.compare.study.queries import narrowed

COUNT = 3  # seeds of each point


def runs(first_seed: int) -> pd.DataFrame:
    """Three arms at two rates each, the higher of them better on validation."""
    return pd.DataFrame([
        {
            "id": f"{arm}{rate}{seed}", "arm": arm, "seed": seed, "state": "done", "cause": "",
            "point": json.dumps({"optimizer.lr": rate}), "config.optimizer.lr": rate,
            "config.workload": "mnist_mlp", "data": "MNIST", "trial": None, "sweep": "s",
            "metrics.val_accuracy": 0.8 + rate, "metrics.test_accuracy": 0.7 + 0.01 * seed,
        }
        for arm in ("sgd", "adam", "muon")
        for rate in (0.01, 0.1)
        for seed in range(first_seed, first_seed + COUNT)
    ])  # fmt: skip


def reported() -> Comparison:
    """Every arm's lower rate frozen, although the higher is better, and reported on new seeds."""
    plain = compare(runs(0), {"name": "s", "notes": "n"})
    chosen = json.dumps({"optimizer.lr": 0.01})
    fresh = runs(COUNT)
    final = Final(
        sweeps=("s",),
        chosen=frozenset((arm, chosen) for arm in ("sgd", "adam", "muon")),
        metrics=("val_accuracy",),
        when=(0.0,),
        tuning=frozenset(plain.runs["id"]),
        runs=fresh[fresh["point"] == chosen].reset_index(drop=True),
    )
    return compare(plain.runs, {"name": "s", "notes": "n"}, final=final)


def test_some_arms_keep_their_frozen_points_and_reporting_seeds() -> None:
    whole = reported()
    some = narrowed(whole, "arm != 'muon'")
    assert set(some.groups["arm"]) == {"sgd", "adam"}
    assert set(some.groups["config.optimizer.lr"]) == {0.01}
    assert list(some.groups["reported_seeds"]) == ["3, 4, 5", "3, 4, 5"]
    assert (some.sweep, some.notes) == ("s", "n")
    columns = ["arm", "point", "metrics.test_accuracy.mean"]
    of_two = whole.groups[whole.groups["arm"] != "muon"][columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(some.groups[columns].reset_index(drop=True), of_two)


def test_without_a_query_or_a_final_sweep() -> None:
    whole = reported()
    assert narrowed(whole, "") is whole
    tuned = replace(whole, final=None)
    assert list(narrowed(tuned, "arm == 'sgd'").groups["config.optimizer.lr"]) == [0.1]
