from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from lrscale.compare.attach import load_evaluations
from lrscale.compare.comparison import Comparison, compare
from lrscale.compare.gap_sheets import gap_sheet, minibatch_sheet
from lrscale.compare.load import load_runs
from lrscale.compare.sheet import Sheet
from lrscale.store import Store

MakeSweep = Callable[..., Store]


def compared(store: Store, **values: Sequence[float]) -> Comparison:
    """The sweep, with other values of some metrics, run by run."""
    manifest = store.read_sweep("demo")
    runs = load_runs(store, manifest)
    return compare(runs.assign(**{f"metrics.{name}": v for name, v in values.items()}), manifest)


def cells(sheet: Sheet | None, row: int) -> dict[str, str]:
    assert sheet is not None
    return dict(zip(sheet.headers, sheet.rows[row], strict=True))


def test_the_gap_by_hand(make_sweep: MakeSweep) -> None:
    """Gaps of 8, 10 and 12 points: mean 10, deviation 2, interval ± 4.302653 · 2/√3."""
    c = compared(
        make_sweep({"sgd": [0.1]}),
        train_accuracy=[0.99, 0.98, 0.97],
        val_accuracy=[0.91, 0.88, 0.85],
        train_loss=[0.1, 0.2, 0.3],
        val_loss=[0.3, 0.4, 0.5],
    )
    sheet = gap_sheet(c)
    found = cells(sheet, 0)
    assert (found["metric"], found["n"]) == ("accuracy (%)", "3")
    assert [found[k] for k in ("training", "validation", "gap", "sd")] == [
        "98.00",
        "88.00",
        "10.00",
        "2.00",
    ]
    assert found["interval (95 %)"] == "5.03–14.97"
    loss = cells(sheet, 1)
    assert (loss["metric"], loss["gap"]) == ("loss", "0.2000")  # worse by as much: above zero too
    assert sheet is not None
    assert sheet.frame["gap"].tolist() == pytest.approx([0.1, 0.2])


def test_no_gap_of_survivors(make_sweep: MakeSweep) -> None:
    store = make_sweep({"sgd": [0.1], "adam": [1e-3]}, states={("sgd", 0.1, 1): "diverged"})
    sheet = gap_sheet(compared(store))
    assert cells(sheet, 1)["group"] == "sgd"
    assert cells(sheet, 1)["gap"] == "–"
    assert cells(sheet, 1)["n"] == "–/3"
    assert cells(sheet, 0)["gap"] != "–"


def test_no_sheet_of_what_was_not_recorded(make_sweep: MakeSweep) -> None:
    manifest = make_sweep({"sgd": [0.1]}).read_sweep("demo")
    runs = load_runs(make_sweep({"sgd": [0.1]}), manifest)
    bare = compare(runs.drop(columns=["metrics.train_accuracy", "metrics.train_loss"]), manifest)
    assert gap_sheet(bare) is None
    assert minibatch_sheet(bare, lambda run: []) is None


def test_what_the_running_loss_hides(make_sweep: MakeSweep) -> None:
    """The fixture's running loss is 1.4 times that at the end of each epoch."""
    store = make_sweep({"sgd": [0.1]})
    c = compared(store)
    sheet = minibatch_sheet(c, lambda run_id: load_evaluations(store, run_id))
    first, last = cells(sheet, 0), cells(sheet, 1)
    assert (first["epoch"], last["epoch"]) == ("1", "4")
    assert (first["n"], first["ratio"], last["ratio"]) == ("3", "1.40", "1.40")
    assert sheet is not None
    for row in sheet.frame.to_dict("records"):
        assert row["hidden"] == pytest.approx(0.4 * row["end_of_epoch"])
    at_end = c.runs["metrics.train_loss"].mean()
    assert sheet.frame["end_of_epoch"].iloc[1] == pytest.approx(at_end)


def test_runs_of_one_evaluation_have_one_row(make_sweep: MakeSweep) -> None:
    store = make_sweep({"sgd": [0.1]}, epochs=1)
    sheet = minibatch_sheet(compared(store), lambda run_id: load_evaluations(store, run_id))
    assert sheet is not None
    assert len(sheet.rows) == 1


def test_a_loss_that_is_not_finite_has_no_mean(make_sweep: MakeSweep) -> None:
    store = make_sweep({"sgd": [0.1]}, seeds=[0, 1])
    records: dict[str, list[dict[str, Any]]] = {}
    for run_id in compared(store).runs["id"]:
        records[run_id] = [dict(record) for record in load_evaluations(store, run_id)]
    next(iter(records.values()))[0]["minibatch_loss"] = None
    sheet = minibatch_sheet(compared(store), records.__getitem__)
    assert cells(sheet, 0)["running loss"] == "–"
    assert cells(sheet, 1)["running loss"] != "–"
