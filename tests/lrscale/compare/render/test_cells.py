from __future__ import annotations

import math
import re
from collections.abc import Callable

import pytest

from lrscale.compare.comparison import Comparison, compare, tables
from lrscale.compare.load import load_runs
from lrscale.compare.render import cells as render
from lrscale.store import Store

MakeSweep = Callable[..., Store]


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
    ("mean", "sd", "text"),
    [
        (2.961, 0.1849, "2.96 ± 0.18"),
        (200.72, 51.9, "201 ± 52"),
        (1234.5, 0.31, "1,234.5 ± 0.3"),
        (0.8755, 0.00084, "0.8755 ± 0.0008"),
        (-0.000388, 0.00411, "-0.0004 ± 0.0041"),
        (1.5e-20, 2e-21, "1.5e-20 ± 2e-21"),
        (0.5, 0.0, "0.5000 ± 0.0000"),
        (0.5, None, "0.5000"),
    ],
)
def test_a_deviation_says_how_many_digits_a_mean_has(
    mean: float, sd: float | None, text: str
) -> None:
    assert render.with_spread(mean, sd) == text
    assert render.with_spread(0.95204, 0.0031, percent=True) == "95.20 ± 0.31"


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
    assert cell(3, 3, 0, 0.5, 0.25, 0.4) == "0.50 ± 0.25"
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
