"""The reference line of a dataset, from its run to the tables."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ranks import Runs
from reviews import write_reviews

from launch import report
from lrscale.compare.load import load_runs, metric_of
from lrscale.compare.references import load_references
from lrscale.config import decode
from lrscale.store import Store

SWEEP = "texts"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with aclImdb and a store of two finished runs on it, one epoch each."""
    folder = tmp_path_factory.mktemp("texts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        store = Store(folder / "runs")
        store.create()
        runs = Runs(store)
        entries = []
        for length in (8, 12):
            run_dir = runs.new(_raw(write_reviews(folder) if length == 8 else folder, length))
            runs.here(run_dir)
            point = {"data.length": length}
            entries.append(
                {"id": run_dir.id, "arm": "lstm", "seed": 0, "point": point, "trial": None}
            )
        store.write_sweep(SWEEP, {"name": SWEEP, "notes": "", "runs": entries})
    return folder


def _raw(root: Path, length: int) -> dict[str, Any]:
    data = {"name": "imdb", "root": str(root), "validation": 10, "length": length}
    data["fingerprint"] = decode({"workload": "imdb_lstm", "data": data}).data.locate()
    return {
        "workload": "imdb_lstm",
        "epochs": 1,
        "batch_size": 10,
        "model": {"hidden": 3, "embedding": 4},
        "data": data | {"vocabulary": 50},
    }


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of its own store beside the reviews."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(made / "cache"))
    shutil.copytree(made / "runs", tmp_path / "runs")
    return tmp_path


def loaded(folder: Path) -> tuple[Store, pd.DataFrame]:
    store = Store(folder / "runs")
    return store, load_runs(store, store.read_sweep(SWEEP))


def test_one_reference_for_data_that_differs_in_length_only(folder: Path) -> None:
    (reference,), missing = load_references(*loaded(folder))
    assert missing == []
    assert reference.name == "TF-IDF + logistic regression"
    assert reference.data == "IMDB (aclImdb: 40 training and 20 test reviews)"
    assert set(reference.metrics) >= {"val_accuracy", "test_accuracy", "test_f1"}


def test_asked_once(folder: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = load_references(*loaded(folder))
    monkeypatch.setattr("lrscale.data.imdb.tfidf_regression", None)
    assert load_references(*loaded(folder)) == (found, [])


def test_missing_where_the_data_is_not_at_hand(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lrscale.data.imdb.IMDB._source", lambda self: _gone())
    found, (first, _) = load_references(*loaded(folder))
    assert found == []
    assert (
        first == "the reference line for the data imdb is missing: IMDB not found. Looked for "
        "its reviews in"
    )


def _gone() -> Any:
    from lrscale.data.reviews import find_folder

    return find_folder([Path("/nowhere")])


def test_f1_is_reported_beside_accuracy(folder: Path) -> None:
    _, runs = loaded(folder)
    metric = metric_of(runs)
    assert (metric.select, metric.report, metric.also) == (
        "val_accuracy",
        "test_accuracy",
        ("test_f1",),
    )
    by_f1 = metric_of(runs, "f1")
    assert (by_f1.direction, by_f1.select, by_f1.also) == ("max", "val_f1", ())


def test_every_table_ends_with_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [SWEEP, "--runs", str(folder / "runs"), "--format", "terminal,markdown,csv"]
    assert report.main([*arguments, "--output", str(folder / "out")]) == 0
    (reference,), _ = load_references(*loaded(folder))
    accuracy = f"{100 * reference.metrics['test_accuracy']:.2f}"
    f1 = f"{100 * reference.metrics['test_f1']:.2f}"
    assert "TF-IDF + logistic" in capsys.readouterr().out
    page = (folder / "out" / "report.md").read_text()
    lines = [line for line in page.splitlines() if line.startswith("| TF-IDF")]
    assert len(lines) == page.count("| steps/s |") > 1
    assert all(f"| {accuracy} | {f1} |" in line and "reference |" in line for line in lines)
    assert "Reference: TF-IDF + logistic regression, fitted once to the training split of" in page
    assert "test f1 (%)" in page
    for path in (folder / "out").glob("*.csv"):
        if path.name in ("arms.csv", "points.csv"):
            last = pd.read_csv(path).iloc[-1]
            assert last.iloc[0] == reference.name
            assert last["test_f1.mean"] == pytest.approx(reference.metrics["test_f1"])
            assert last["data"] == reference.data


def test_json_has_it_and_writes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main([SWEEP, "--runs", str(folder / "runs"), "--json"]) == 0
    (reference,) = json.loads(capsys.readouterr().out)["references"]
    assert reference["metrics"].keys() >= {"test_accuracy", "test_f1"}
    assert not (folder / "runs" / "reports").exists()


def test_neither_torch_nor_scikit_learn_is_imported_once_it_is_known(folder: Path) -> None:
    load_references(*loaded(folder))
    code = (
        "import sys\nfrom launch.report import main\n"
        f"main([{SWEEP!r}, '--runs', {str(folder / 'runs')!r}, '--format', 'terminal,csv'])\n"
        "assert not {'torch', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
