from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from launch import report
from lrscale.compare.render.cells import sheets
from lrscale.compare.study.data import (
    from_csv,
    load,
    references_csv,
    references_of,
    take,
    to_csv,
)
from lrscale.data.reference import Reference
from lrscale.store import Store

MakeSweep = Callable[..., Store]


def test_the_tables_are_those_of_the_store(make_sweep: MakeSweep) -> None:
    """Every cell of a report made from the store and from the CSV file is the same."""
    store = make_sweep(states={("sgd", 1.0, 0): "diverged", ("adam", 1e-3, 1): "missing"})
    original = report.load(store, ["demo"])
    frame = from_csv(to_csv(take(store, original)))
    copy = load("demo", frame, original.protocol, ()).comparison
    assert copy is not None
    assert [s.rows for s in sheets(copy)] == [s.rows for s in sheets(original)[: len(sheets(copy))]]
    assert copy.warnings == original.warnings
    assert str(copy.provenance) == str(original.provenance)


def test_runs_on_other_seeds_keep_their_part(make_sweep: MakeSweep) -> None:
    make_sweep(rates={"sgd": [0.1], "adam": [1e-3]}, seeds=[3, 4], name="demo.final")
    store = make_sweep()
    chosen = [
        {"arm": arm, "point": {"optimizer.lr": lr}} for arm, lr in (("sgd", 0.1), ("adam", 1e-3))
    ]
    tuning = [run["id"] for run in store.read_sweep("demo")["runs"]]
    selection = {
        "sweep": "demo", "metric": "val_accuracy", "when": 1e9, "seeds": [0, 1, 2],
        "chosen": chosen, "runs": tuning,
    }  # fmt: skip
    store.write_sweep("demo.final", {**store.read_sweep("demo.final"), "selection": selection})
    original = report.load(store, ["demo"])
    copy = load("demo", from_csv(to_csv(take(store, original))), original.protocol, ()).comparison
    assert copy is not None
    assert copy.final is not None
    assert original.final is not None
    assert (copy.final.chosen, copy.final.when) == (original.final.chosen, original.final.when)
    assert sheets(copy)[0].rows == sheets(original)[0].rows
    assert copy.provenance.seeds_text == "0, 1, 2 for tuning, 3, 4 for reporting"
    assert copy.warnings == original.warnings


def test_nobody_learns_where_the_data_lay(make_sweep: MakeSweep) -> None:
    store = make_sweep()
    frame = take(store, report.load(store, ["demo"]))
    assert "config.data.root" not in frame
    assert frame["device"].tolist() == ["cpu"] * len(frame)
    assert (frame["first.train_loss"] > frame["metrics.train_loss"]).all()


def test_text_that_looks_like_a_number_stays_text() -> None:
    frame = pd.DataFrame({"id": ["57e1234567", "0012"], "state": "done", "x": [0.1 + 0.2, 1e-300]})
    copy = from_csv(to_csv(frame))
    assert copy["id"].tolist() == ["57e1234567", "0012"]
    assert copy["x"].tolist() == frame["x"].tolist()


def test_references_by_sweep() -> None:
    one = Reference("TF-IDF", "reviews", {"test_accuracy": 0.8926, "test_f1": 0.8945})
    text = references_csv({"a": [one], "b": []})
    assert references_of(text, "a") == [one]
    assert references_of(text, "b") == []
    assert references_csv({"a": []}) == ""
    assert references_of("", "a") == []
