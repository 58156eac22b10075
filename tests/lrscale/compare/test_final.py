"""Selection apart from reporting: what is frozen, and what tables then say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from lrscale.compare.comparison import Comparison, compare, tables
from lrscale.compare.curves import load_lines
from lrscale.compare.final import freeze, load_final
from lrscale.compare.load import join_sweeps, load_runs
from lrscale.compare.mean_sheet import mean_sheet
from lrscale.compare.render.cells import cells
from lrscale.compare.render.html import runs_sheet
from lrscale.compare.samples import samples
from lrscale.compare.views import over_seeds
from lrscale.errors import UserError
from lrscale.store import Store

MakeSweep = Callable[..., Store]
RATES = {"sgd": [0.01, 0.1, 1.0], "adam": [1e-4, 1e-3, 1e-2]}
CHOSEN = {"sgd": [0.1], "adam": [1e-3]}


def frozen(store: Store, **other: Any) -> dict[str, Any]:
    manifest = store.read_sweep("demo")
    runs = load_runs(store, manifest)
    c = compare(runs, manifest)
    return freeze("demo", runs, c.groups, c.metric.select, when=0.0) | other


def reported(make_sweep: MakeSweep, seeds: Any = (3, 4, 5, 6), **options: Any) -> Comparison:
    store = make_sweep(RATES)
    selection = frozen(store)
    make_sweep(CHOSEN, seeds=seeds, name="demo.final", **options)
    store.write_sweep("demo.final", store.read_sweep("demo.final") | {"selection": selection})
    return joined(store)


def joined(store: Store) -> Comparison:
    manifest = store.read_sweep("demo")
    runs = load_runs(store, manifest)
    return compare(runs, manifest, final=load_final(store, ["demo"], runs))


def test_the_record_says_which_when_and_from_what(make_sweep: MakeSweep) -> None:
    store = make_sweep(RATES)
    record = frozen(store)
    runs = load_runs(store, store.read_sweep("demo"))
    assert (record["sweep"], record["when"], record["metric"]) == ("demo", 0.0, "val_accuracy")
    assert (record["seeds"], record["runs"]) == ([0, 1, 2], sorted(runs["id"]))
    points = {choice["arm"]: choice["point"] for choice in record["chosen"]}
    assert points == {"sgd": {"optimizer.lr": 0.1}, "adam": {"optimizer.lr": 1e-3}}
    own = runs[(runs["arm"] == "sgd") & (runs["config.optimizer.lr"] == 0.1)]
    means = {choice["arm"]: choice["mean"] for choice in record["chosen"]}
    assert means["sgd"] == pytest.approx(own["metrics.val_accuracy"].mean())


def test_nothing_is_frozen_before_its_runs_have_ended(make_sweep: MakeSweep) -> None:
    store = make_sweep(RATES, states={("sgd", 0.1, 0): "running", ("sgd", 0.1, 1): "missing"})
    with pytest.raises(UserError, match=r"2 of 18 runs of demo have not ended \(1 .*, 1 .*\)"):
        frozen(store)


def test_an_arm_without_a_result_has_no_choice(make_sweep: MakeSweep) -> None:
    states = {("sgd", 0.1, seed): "failed" for seed in range(3)}
    with pytest.raises(UserError, match="no point to choose in sgd: no run finished"):
        frozen(make_sweep({"sgd": [0.1], "adam": [1e-3]}, states=states))


def test_validation_of_tuning_seeds_and_test_of_the_others(make_sweep: MakeSweep) -> None:
    c = reported(make_sweep)
    assert c.final is not None
    for row in c.groups.to_dict("records"):
        tuning = c.runs[(c.runs["arm"] == row["arm"]) & (c.runs["point"] == row["point"])]
        others = c.final.runs[c.final.runs["arm"] == row["arm"]]
        assert set(tuning["seed"]) == {0, 1, 2}
        assert set(others["seed"]) == {3, 4, 5, 6}
        validation, test = "metrics.val_accuracy", "metrics.test_accuracy"
        assert row[f"{validation}.mean"] == pytest.approx(tuning[validation].mean())
        assert row[f"{test}.mean"] == pytest.approx(others[test].mean())
        assert row[f"{test}.sd"] == pytest.approx(others[test].std())
        assert (row["planned"], row["reported_planned"], row["done"]) == (3, 4, 9 + 4)
    headers, rows = cells(tables(c)[0], c)
    columns = dict(zip(headers, zip(*rows, strict=True), strict=True))
    assert (columns["n"], columns["n reported"]) == (("3", "3"), ("4", "4"))
    assert "Seeds: 0, 1, 2 for tuning, 3, 4, 5, 6 for reporting." in c.caption
    assert "frozen on 1970-01-01 00:00 UTC" in c.caption
    assert not any("same seeds" in warning for warning in c.warnings)
    assert len(c.every_run) == 18 + 8


def test_both_are_shown_with_their_seeds(make_sweep: MakeSweep) -> None:
    sheet = mean_sheet(reported(make_sweep))
    assert sheet is not None
    lines = sheet.frame[["group", "metric", "phase", "planned"]].values.tolist()
    assert lines == [
        ["adam", "val_accuracy", "tuning", 3],
        ["adam", "test_accuracy", "reporting", 4],
        ["sgd", "val_accuracy", "tuning", 3],
        ["sgd", "test_accuracy", "reporting", 4],
    ]


def test_a_reporting_run_that_is_missing_takes_the_mean(make_sweep: MakeSweep) -> None:
    c = reported(make_sweep, states={("sgd", 0.1, 4): "missing"})
    sgd = c.groups.set_index("arm").loc["sgd"]
    assert pd.isna(sgd["metrics.test_accuracy.mean"])
    assert sgd["metrics.test_accuracy.n"] == 3
    assert sgd["missing"] == 1
    assert "1 of 8 runs that report have no final result: 1 missing" in c.warnings


def test_a_frozen_point_stays_the_choice(make_sweep: MakeSweep) -> None:
    """Even where validation has changed its mind, which is said."""
    store = make_sweep(RATES)
    worse = {"arm": "sgd", "point": {"optimizer.lr": 1.0}}
    selection = frozen(store)
    selection["chosen"] = [c if c["arm"] != "sgd" else c | worse for c in selection["chosen"]]
    selection["runs"] = selection["runs"][1:]
    make_sweep({"sgd": [1.0], "adam": [1e-3]}, seeds=(3, 4), name="demo.final")
    store.write_sweep("demo.final", store.read_sweep("demo.final") | {"selection": selection})
    c = joined(store)
    assert c.groups.set_index("arm").loc["sgd", "config.optimizer.lr"] == 1.0
    assert "sgd: validation would choose another point now than the frozen one" in c.warnings
    assert "the selection was frozen from other runs than the sweep has now" in c.warnings
    assert any(warning.startswith("fewer than 3 seeds (2)") for warning in c.warnings)


def test_before_any_of_them_has_run(make_sweep: MakeSweep) -> None:
    states = {(arm, lr, s): "missing" for arm, (lr,) in CHOSEN.items() for s in (3, 4, 5, 6)}
    c = reported(make_sweep, states=states)
    headers, rows = cells(tables(c)[0], c)
    assert {row[headers.index("n reported")] for row in rows} == {"0/4"}
    assert {row[headers.index("test accuracy (%)")] for row in rows} == {"–"}


def test_a_sweep_that_only_has_the_name_freezes_nothing(make_sweep: MakeSweep) -> None:
    store = make_sweep(RATES)
    make_sweep(CHOSEN, name="demo.final")
    assert joined(store).final is None


def test_the_page_lists_the_runs_that_report(make_sweep: MakeSweep) -> None:
    c = reported(make_sweep)
    sheet = runs_sheet(c)
    assert len(sheet.rows) == 18 + 8
    place, seed = sheet.headers.index("phase"), sheet.headers.index("seed")
    phases = {
        row[place]: {r[seed] for r in sheet.rows if r[place] == row[place]} for row in sheet.rows
    }
    assert phases == {"tuning": {"0", "1", "2"}, "reporting": {"3", "4", "5", "6"}}
    assert "phase" not in runs_sheet(replace(c, final=None)).headers


def test_curves_and_seeds_are_those_of_the_runs_that_report(make_sweep: MakeSweep) -> None:
    store = make_sweep(RATES)
    c = reported(make_sweep)
    assert [line.planned for line in load_lines(store, c).lines] == [4, 4]
    assert [len(spread.values) for spread in over_seeds(c)] == [4, 4]
    assert over_seeds(c)[0].texts == ["seed 3", "seed 4", "seed 5", "seed 6"]


def test_points_of_one_group_keep_their_tuning_seeds(make_sweep: MakeSweep) -> None:
    store = make_sweep({"sgd": RATES["sgd"]})
    selection = frozen(store)
    make_sweep({"sgd": [0.1]}, seeds=[3, 4], name="demo.final")
    store.write_sweep("demo.final", store.read_sweep("demo.final") | {"selection": selection})
    shown = load_lines(store, joined(store))
    assert [line.planned for line in shown.lines] == [3, 3, 3]


def test_a_joined_sweep_without_arms_reports_its_choice(make_sweep: MakeSweep) -> None:
    store = make_sweep(RATES)

    def nameless(name: str) -> None:
        manifest = store.read_sweep(name)
        runs = [entry | {"arm": None} for entry in manifest["runs"] if entry["arm"] == "sgd"]
        store.write_sweep(name, manifest | {"runs": runs})

    nameless("demo")
    selection = frozen(store)
    assert [choice["arm"] for choice in selection["chosen"]] == ["all"]
    make_sweep({"sgd": [0.1]}, seeds=[3, 4], name="demo.final")
    nameless("demo.final")
    store.write_sweep("demo.final", store.read_sweep("demo.final") | {"selection": selection})
    make_sweep({"sgd": [0.1]}, name="other")
    runs = load_runs(store, join_sweeps([store.read_sweep(name) for name in ("demo", "other")]))
    found = load_final(store, ["demo", "other"], runs)
    assert found is not None
    assert set(found.runs["arm"]) == {"demo"} == {arm for arm, _ in found.chosen}
    assert set(runs["arm"]) == {"demo", "sgd"}


def test_joined_sweeps_report_each_its_own_choice(make_sweep: MakeSweep) -> None:
    """Both have an arm sgd; only one has frozen its choice."""
    store = make_sweep(RATES)
    selection = frozen(store)
    make_sweep(CHOSEN, seeds=(3, 4, 5), name="demo.final")
    store.write_sweep("demo.final", store.read_sweep("demo.final") | {"selection": selection})
    make_sweep({"sgd": [0.03, 0.3, 3.0]}, name="other")
    manifest = join_sweeps([store.read_sweep(name) for name in ("demo", "other")])
    runs = load_runs(store, manifest)
    c = compare(runs, manifest, final=load_final(store, ["demo", "other"], runs))
    planned = {row["arm"]: row["reported_planned"] for row in c.groups.to_dict("records")}
    assert (planned["demo/sgd"], planned["adam"]) == (3, 3)
    assert pd.isna(planned["other/sgd"])
    shared = "other/sgd: no frozen point; chosen and reported on the same seeds"
    assert [w for w in c.warnings if "frozen" in w] == [shared]
    assert [line.planned for line in load_lines(store, c).lines] == [3, 3, 3]
    seeds = {sample.label: sample.seeds for sample in samples(c)}
    assert seeds == {"demo/sgd": [3, 4, 5], "adam": [3, 4, 5], "other/sgd": [0, 1, 2]}
