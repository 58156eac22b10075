from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import pandas as pd
import pytest

from lrscale.compare.best_of import best_of
from lrscale.compare.comparison import Comparison, compare
from lrscale.compare.load import join_sweeps
from lrscale.compare.search_sheet import search_sheet
from lrscale.compare.searches import ENOUGH, searches
from lrscale.compare.spaces import Space, drawn_spaces

DRAWN = [round(1e-3 * 10 ** (2 * i / (ENOUGH - 1)), 9) for i in range(ENOUGH)]
GRID = [1e-3, 1e-2, 1e-1]


def frame(lost: Sequence[float] = (), state: str = "diverged") -> pd.DataFrame:
    """A random search over the rate and a grid of it, as ``load_runs`` has them; the accuracies
    are any numbers. Runs of the rates ``lost`` ended otherwise."""
    places = [("random", i, rate) for i, rate in enumerate(DRAWN)]
    places += [("grid", None, rate) for rate in GRID]
    rng = random.Random(0)
    rows = [
        {
            "id": f"{number:020}",
            "arm": arm,
            "seed": 0,
            "trial": trial,
            "point": json.dumps({"optimizer.lr": rate}),
            "state": state if rate in lost else "done",
            "cause": "",
            "config.workload": "mnist_mlp",
            "config.batch_size": 200,
            "config.optimizer.lr": rate,
            **{f"metrics.{s}_accuracy": rng.uniform(0.8, 1) for s in ("train", "val", "test")},
        }
        for number, (arm, trial, rate) in enumerate(places)
    ]
    return pd.DataFrame(rows)


def searched(runs: pd.DataFrame, metric: str | None = None, **section: Any) -> Comparison:
    space = {"optimizer.lr": {"loguniform": [1e-3, 1e-1]}}
    drawn = {"trials": int(runs["trial"].notna().sum()), "space": space} | section
    entries = [{"arm": arm, "trial": t} for arm, t in zip(runs["arm"], runs["trial"], strict=True)]
    manifest = {"name": "demo", "runs": entries, "text": {"arms": {"random": {"random": drawn}}}}
    return compare(runs, manifest, metric, spaces=drawn_spaces([manifest], manifest))


def test_the_table_is_the_estimate() -> None:
    c = searched(frame())
    [search] = searches(c)
    assert (search.label, search.trials, search.reason) == ("random", ENOUGH, "")
    assert [best.k for best in search.best] == list(range(1, ENOUGH // 2 + 1))
    own = c.runs[c.runs["arm"] == "random"]
    chose, report = (own[f"metrics.{name}_accuracy"].tolist() for name in ("val", "test"))
    assert search.best == best_of(chose, report, "max", range(1, ENOUGH // 2 + 1))
    [grid] = search.grids
    best = c.groups[c.groups["arm"] == "grid"]
    assert (grid.label, grid.points, grid.reason) == ("grid", 3, "")
    assert grid.value == best["metrics.test_accuracy.mean"].iloc[0]

    sheet = search_sheet(c)
    assert sheet is not None
    assert [row[2] for row in sheet.rows] == ["1", "2", "3", "4", "8", "16", "30", "3"]
    assert sheet.headers[3] == "best of k: test accuracy (%)"
    assert sheet.rows[0][3] == f"{100 * (search.best[0].mean or 0):.2f}"
    assert sheet.rows[-1][-1].startswith("grid; ")
    assert len(sheet.frame) == ENOUGH // 2 + 1


@pytest.mark.parametrize(
    ("runs", "options", "reason"),
    [
        (frame()[50:], {}, "10 trials; at least 60 are needed"),
        (frame(), {"sampler": "sobol"}, "trials of the sampler sobol are not independent"),
        (frame(), {"trials": 61}, "only 60 of 61 trials are runs of their own"),
        (frame(DRAWN[3:4], "failed"), {}, "1 of 60 trials have no result"),
        (
            frame().assign(trial=frame()["trial"] // 2),
            {},
            "each trial is run at 2 points of a grid",
        ),
        (frame(), {"metric": "train_accuracy"}, "training accuracy would both choose and report"),
    ],
)
def test_where_it_cannot_be_said_the_table_says_why(
    runs: pd.DataFrame, options: dict[str, Any], reason: str
) -> None:
    sheet = search_sheet(searched(runs, **options))
    assert sheet is not None
    [first] = [row for row in sheet.rows if row[0] == "random"]
    assert first[2:4] == ["–", "–"]
    assert first[-1].startswith("no estimate: ")
    assert reason in first[-1]


def test_no_space_on_record() -> None:
    c = compare(frame(), {"name": "demo", "runs": []})
    assert searches(c)[0].reason == "how its trials were drawn is not on record"


@pytest.mark.parametrize(
    ("space", "reason"),
    [
        ({"loguniform": [1e-3, 1.0]}, "another space: optimizer.lr has other ends"),
        ({"lognormal": [0, 1]}, "another space: optimizer.lr has other ends"),
        ({"uniform": [0.001, 0.1]}, ""),
        ({"choice": GRID}, ""),
        ({"choice": GRID[1:]}, "another space: optimizer.lr has other ends"),
    ],
)
def test_a_grid_stands_beside_it_at_equal_spaces_only(space: Any, reason: str) -> None:
    [search] = searches(searched(frame(), space={"optimizer.lr": space}))
    [grid] = search.grids
    assert grid.reason == reason
    assert (grid.value is None) == bool(reason)


def test_nor_where_other_settings_differ() -> None:
    runs = frame()
    other = runs.assign(**{"config.batch_size": [100 * len(arm) for arm in runs["arm"]]})
    assert searches(searched(other))[0].grids[0].reason == "not compared: batch_size differs"
    twice = pd.concat([runs, runs[runs["arm"] == "grid"].assign(seed=1)], ignore_index=True)
    [grid] = searches(searched(twice))[0].grids
    assert grid.reason == "not compared: 2 runs for each point, 1 for each trial"
    more = runs.assign(**{"config.width": [len(arm) for arm in runs["arm"]]})
    more["point"] = [
        p if a == "random" else "{}" for p, a in zip(more["point"], more["arm"], strict=True)
    ]
    assert searches(searched(more))[0].grids == []  # a grid of other keys is no peer


def test_diverged_trials_are_the_worst() -> None:
    sheet = search_sheet(searched(frame(DRAWN[-3:])))
    assert sheet is not None
    place = sheet.headers.index("all diverged")
    assert sheet.rows[0][place] == "5.0%"
    assert sheet.rows[0][3] == "–"  # no survivors' means
    assert sheet.rows[4][3] != "–"


def test_no_table_without_a_random_search() -> None:
    assert search_sheet(searched(frame()[-3:])) is None


def test_spaces_of_joined_sweeps_and_of_an_arms_own() -> None:
    def sweep(name: str, text: dict[str, Any], arms: list[str | None]) -> dict[str, Any]:
        runs = [{"id": "0", "arm": arm, "seed": 0, "point": {}, "trial": 0} for arm in arms]
        return {"name": name, "text": text, "runs": runs}

    outer = {"trials": 3, "space": {"a": {"int": [1, 9]}, "b": {"choice": [True, "x"]}}}
    inner = {"trials": 4, "sampler": "sobol", "space": {"a": {"normal": [0, 1]}}}
    one = sweep("one", {"random": outer}, [None])
    two = sweep("two", {"random": outer, "arms": {"own": {"random": inner}, "x": {}}}, ["own", "x"])
    three = sweep("three", {"random": inner}, [None])
    manifests = [one, two, three]
    found = drawn_spaces(manifests, join_sweeps(manifests))
    plain = Space("random", 3, {"a": (1.0, 9.0), "b": frozenset({"True", "x"})})
    sobol = Space("sobol", 4, {"a": None})
    assert found == {"one": plain, "own": sobol, "x": plain, "three": sobol}
    assert drawn_spaces([one], join_sweeps([one])) == {"all": plain}
    assert json.dumps(one["runs"])  # the manifests are as they were
