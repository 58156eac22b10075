"""Tables of steps and time to target, of training time, and over workloads."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from lrscale.compare.attach import attach_sheets
from lrscale.compare.comparison import Comparison, compare, tables
from lrscale.compare.final import Final
from lrscale.compare.load import load_runs
from lrscale.compare.profile_sheet import profile_sheet, profiles
from lrscale.compare.protocol import Protocol
from lrscale.compare.render.cells import cells
from lrscale.compare.render.json import as_json
from lrscale.compare.sheet import Sheet
from lrscale.compare.target_sheet import target_costs, target_sheets
from lrscale.compare.training_sheet import training_sheets
from lrscale.store import Store

MakeSweep = Callable[..., Store]
ARMS = {"sgd": [0.1], "adam": [1e-3]}
# Validation accuracy after each of four epochs of 20 steps, by arm and seed.
CURVES = {
    ("sgd", 0): [0.5, 0.6, 0.7, 0.80],
    ("sgd", 1): [0.5, 0.6, 0.7, 0.82],
    ("sgd", 2): [0.5, 0.6, 0.85, 0.84],  # over the target in epoch 3
    ("adam", 0): [0.82, 0.83, 0.83, 0.83],
    ("adam", 1): [0.7, 0.82, 0.7, 0.7],  # and below it again
    ("adam", 2): [0.7, 0.7, 0.7, 0.7],
}


def compared(store: Store, change: dict[str, Any] | None = None, **fixed: Any) -> Comparison:
    """With the last validation accuracies of ``CURVES``, and training times of 1 s and 2 s."""
    manifest = store.read_sweep("demo")
    runs = load_runs(store, manifest)
    keys = list(zip(runs["arm"], runs["seed"], strict=True))
    made = runs.assign(**{
        "metrics.val_accuracy": [CURVES[key][-1] for key in keys],
        "seconds.training": [(1 if arm == "sgd" else 2) + seed / 10 for arm, seed in keys],
        **(change or {}),
    })  # fmt: skip
    return compare(made, manifest, protocol=Protocol(**{"baseline": "sgd", **fixed}))


def recorded(c: Comparison) -> Callable[[str], list[dict[str, Any]]]:
    """The curves of ``CURVES``; an epoch takes sgd 0.25 s and adam 0.5 s."""
    every = pd.concat([c.runs, c.final.runs]) if c.final is not None else c.runs
    keys = {run["id"]: (run["arm"], run["seed"]) for run in every.to_dict("records")}

    def evaluations(run: str) -> list[dict[str, Any]]:
        arm, _ = key = keys[run]
        seconds = 0.25 if arm.endswith("sgd") else 0.5
        return [
            {"step": 20 * epoch, "epoch": epoch, "seconds": seconds * epoch, "val_accuracy": value}
            for epoch, value in enumerate(CURVES[key], 1)
        ]

    return evaluations


def target_table(c: Comparison) -> tuple[Sheet, dict[str, dict[Any, Any]]]:
    (sheet,) = target_sheets(target_costs(c, recorded(c)))
    return sheet, {row["arm"]: row for row in sheet.frame.to_dict("records")}


def test_to_the_median_of_the_baseline(make_sweep: MakeSweep) -> None:
    sheet, rows = target_table(compared(make_sweep(ARMS)))
    assert sheet.title == "Steps and time to 82.00 % validation accuracy, the median of sgd"
    assert sheet.rows == [
        ["adam", "2/3", "40", "20–∞", "2", "1.00", "0.500–∞", "2.00 ×", "1.00 ×"],
        ["sgd", "2/3", "80", "60–∞", "4", "1.00", "0.750–∞", "1.00 ×", "1.00 ×"],
    ]
    assert rows["adam"]["target"] == 0.82
    assert rows["adam"]["misses"] == "1 of 3 runs did not reach the target"
    assert rows["adam"]["steps_high"] == math.inf
    assert "at least 82.00 %" in sheet.note
    assert "the seeds that chose each point" in sheet.note


def test_to_the_target_of_the_workload(make_sweep: MakeSweep) -> None:
    """98 % is out of reach, and JSON has null with the reason for infinity."""
    c = compared(make_sweep(ARMS), target="workload")
    sheet, _ = target_table(c)
    assert "98.00 % validation accuracy, the workload's target" in sheet.title
    assert [row[1:4] for row in sheet.rows] == [["0/3", "∞", "∞"]] * 2
    assert [row[-2:] for row in sheet.rows] == [["–", "–"]] * 2
    (table,) = as_json(c, [sheet])["tables"].values()
    assert table["rows"][0]["steps_median"] is None
    assert table["rows"][0]["misses"] == "3 of 3 runs did not reach the target"
    json.dumps(table, allow_nan=False)
    without, _ = target_table(compared(make_sweep(ARMS), baseline=None))
    assert "the workload's target" in without.title
    assert "speed-up in steps" not in without.headers
    assert without.headers[0] == "group"


def test_lost_runs_are_told_from_misses(make_sweep: MakeSweep) -> None:
    diverged = make_sweep(ARMS, states={("adam", 1e-3, 1): "diverged"})
    adam = target_table(compared(diverged))[1]["adam"]
    assert (adam["planned"], adam["ended"], adam["reached"]) == (3, 3, 1)
    assert adam["misses"] == "2 of 3 runs did not reach the target, 1 diverged"
    failed = make_sweep(ARMS, states={("adam", 1e-3, 0): "failed"}, name="other")
    failed.write_sweep("demo", failed.read_sweep("other") | {"name": "demo"})
    adam = target_table(compared(failed))[1]["adam"]
    assert (adam["planned"], adam["ended"], adam["reached"]) == (3, 2, 1)
    assert adam["misses"] == ("1 of 3 runs did not reach the target; 1 of 3 runs have no result")


def test_of_an_even_number_the_worse_of_the_middle(make_sweep: MakeSweep) -> None:
    """Else half of the baseline's runs would miss, and with them their median."""
    c = compared(make_sweep(ARMS, seeds=[0, 1]))
    _, rows = target_table(c)
    assert (rows["sgd"]["target"], rows["sgd"]["reached"]) == (0.80, 2)
    assert rows["sgd"]["steps_median"] == 80


def test_a_baseline_that_diverged_sets_no_target(make_sweep: MakeSweep) -> None:
    states = {("sgd", 0.1, seed): "diverged" for seed in (0, 1)}
    c = compared(make_sweep(ARMS, states=states))
    sheet, _ = target_table(c)
    assert "the workload's target" in sheet.title


def test_the_test_set_monitors_nothing(make_sweep: MakeSweep) -> None:
    c = compared(make_sweep(ARMS))
    only_test = replace(c, metric=replace(c.metric, select="test_accuracy"))
    assert target_costs(only_test, recorded(c)) == []


OTHER = ["cpu A"] * 3 + ["gpu B"] * 3


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"hardware": OTHER}, "arms ran on different hardware: cpu A (sgd); gpu B (adam)"),
        ({"sharing": [1] * 5 + [2]}, "runs shared their GPU with others: adam 1 of 3"),
        ({"mixed": [True] + [False] * 5}, "without deterministic kernels: sgd 1 of 3"),
    ],
)
def test_no_times_that_cannot_be_compared(
    make_sweep: MakeSweep, change: dict[str, Any], reason: str
) -> None:
    c = compared(make_sweep(ARMS), change)
    sheet, rows = target_table(c)
    assert f"No comparison of times: {reason}" in sheet.note or reason in sheet.note
    assert [row[2] for row in sheet.rows] == ["40", "80"]  # steps can be
    assert [row[5:7] + row[8:] for row in sheet.rows] == [["–"] * 3] * 2
    assert reason in rows["sgd"]["times"]
    (times,) = training_sheets(c)
    assert times.note.startswith("No comparison of times: ")
    assert [row[2:] for row in times.rows] == [["–"] * 3] * 2
    for table in tables(c):
        headers, _ = cells(table, c)
        assert not {"training (s)", "steps/s"} & set(headers)
    assert f"No comparison of times: {c.untimed[0]}" in c.caption
    assert {"seconds.training.mean", "steps_per_second.mean"} <= set(c.points)  # as data


def test_runs_that_tuned_need_not_be_like_those_that_report(make_sweep: MakeSweep) -> None:
    c = compared(make_sweep(ARMS))
    final = Final((), frozenset(), (), (), frozenset(), c.runs.assign(hardware="gpu B"))
    again = compare(c.runs, {"name": "demo"}, final=final)
    assert again.untimed == []
    assert "training (s)" in cells(tables(again)[0], again)[0]


def test_training_time_relative_to_the_baseline(make_sweep: MakeSweep) -> None:
    """Means of 2.1 and 1.1 s, deviations of 0.1: e² = (0.01/3)(1/2.1² + 1/1.1²)."""
    (sheet,) = training_sheets(compared(make_sweep(ARMS)))
    assert sheet.title == "Training time relative to sgd"
    rows = {row["arm"]: row for row in sheet.frame.to_dict("records")}
    assert rows["adam"]["relative"] == pytest.approx(2.1 / 1.1)
    error = math.sqrt(0.01 / 3 * (1 / 2.1**2 + 1 / 1.1**2))
    a, b = 1 / 2.1**2, 1 / 1.1**2
    freedom = (a + b) ** 2 / ((a**2 + b**2) / 2)
    assert 2 < freedom < 4  # Student's t between 4.30 and 2.78
    half = math.log(rows["adam"]["interval_high"] / rows["adam"]["relative"])
    assert 2.78 * error < half < 4.30 * error
    assert sheet.rows[1] == ["sgd", "3", "1.10 ± 0.10", "1.00", "–"]
    assert sheet.rows[0][3] == "1.91"

    states = {("adam", 1e-3, 0): "failed"}
    (sheet,) = training_sheets(compared(make_sweep(ARMS, states=states)))
    assert sheet.rows[0] == ["adam", "2/3", "–", "–", "–"]
    assert training_sheets(compared(make_sweep(ARMS), baseline=None)) == []


def test_energy_stands_where_every_run_has_it(make_sweep: MakeSweep) -> None:
    c = compared(make_sweep(ARMS))
    joules = [5_000.0, 5_200.0, 5_400.0, 2_500.0, 2_500.0, 2_500.0]
    known = replace(c, runs=c.runs.sort_values(["arm", "seed"]).assign(energy_joules=joules))
    (sheet,) = training_sheets(known)
    assert sheet.headers[-1] == "energy (kJ)"
    assert [row[-1] for row in sheet.rows] == ["5.20 ± 0.20", "2.500 ± 0.000"]
    assert sheet.frame["energy_kj"].tolist() == [5.2, 2.5]

    joules[0] = math.nan
    unknown = replace(c, runs=c.runs.sort_values(["arm", "seed"]).assign(energy_joules=joules))
    (sheet,) = training_sheets(unknown)
    assert "energy (kJ)" not in sheet.headers


def over_two_workloads(make_sweep: MakeSweep) -> Comparison:
    c = compared(make_sweep(ARMS))
    frames = []
    for workload in ("mnist_mlp", "mnist_cnn"):
        points = [
            json.dumps({**json.loads(point), "workload": workload}) for point in c.runs["point"]
        ]
        frames.append(c.runs.assign(**{"config.workload": workload, "point": points}))
    return compare(pd.concat(frames, ignore_index=True), {"name": "demo"}, protocol=c.protocol)


def test_profiles_over_workloads(make_sweep: MakeSweep) -> None:
    """On both adam takes half of sgd's steps, and as much time: 1 and (4 − 2)/3 of the area."""
    c = over_two_workloads(make_sweep)
    costs = target_costs(c, recorded(c))
    assert [sheet.name for sheet in target_sheets(costs)] == [
        "time_to_target_mnist_cnn",
        "time_to_target_mnist_mlp",
    ]
    made = profiles(costs)
    assert [one.cost for one in made] == ["steps", "seconds"]
    sheet = profile_sheet(costs, made)
    assert sheet is not None
    assert sheet.rows == [
        ["adam", "2/2", "2/2", "2/2", "1.000", "1.000", "2.00 × (2 of 2)", "1.00 × (2 of 2)"],
        ["sgd", "2/2", "0/2", "2/2", "0.667", "1.000", "1.00 × (2 of 2)", "1.00 × (2 of 2)"],
    ]
    assert "2 workloads (mnist_cnn, mnist_mlp)" in sheet.note


def test_profiles_without_times_that_cannot_be_compared(make_sweep: MakeSweep) -> None:
    c = over_two_workloads(make_sweep)
    moved = c.runs["hardware"].mask(c.runs["arm"] == "adam", "gpu B")
    other = compare(c.runs.assign(hardware=moved), {"name": "demo"}, protocol=c.protocol)
    costs = target_costs(other, recorded(other))
    made = profiles(costs)
    sheet = profile_sheet(costs, made)
    assert [one.cost for one in made] == ["steps"]
    assert sheet is not None
    assert sheet.headers == [
        "arm",
        "reached",
        "best in steps",
        "area in steps",
        "speed-up in steps",
    ]
    assert "No comparison of times: arms ran on different hardware" in sheet.note


def test_one_workload_has_no_profile(make_sweep: MakeSweep) -> None:
    c = compared(make_sweep(ARMS))
    costs = target_costs(c, recorded(c))
    assert profile_sheet(costs, profiles(costs)) is None


def test_in_a_report(make_sweep: MakeSweep) -> None:
    """What is read from the store is what was recorded there."""
    store = make_sweep(ARMS)
    manifest = store.read_sweep("demo")
    c = compare(load_runs(store, manifest), manifest, protocol=Protocol(baseline="sgd"))
    names = [sheet.name for sheet in attach_sheets(store, c).sheets]
    assert names[:4] == ["means", "differences", "time_to_target", "training_time"]
    sheet = attach_sheets(store, c).sheets[2]
    (row,) = [row for row in sheet.frame.to_dict("records") if row["arm"] == "sgd"]
    runs = c.runs[c.runs["arm"] == "sgd"]
    target = runs["metrics.val_accuracy"].median()
    firsts = [
        next(r for r in store.run(run).metrics() if r.get("val_accuracy", 0) >= target)["step"]
        if any(r.get("val_accuracy", 0) >= target for r in store.run(run).metrics())
        else math.inf
        for run in runs["id"]
    ]
    assert row["steps_median"] == sorted(firsts)[1]
    assert row["reached"] == sum(map(math.isfinite, firsts)) >= 2
