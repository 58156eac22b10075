from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure

from lrscale.compare.best_of import best_of
from lrscale.compare.comparison import Comparison, compare
from lrscale.compare.load import load_runs
from lrscale.compare.point_figures import (
    heat_map_figure,
    search_figure,
    spread_figure,
    trials_figure,
)
from lrscale.compare.searches import GridSearch, RandomSearch
from lrscale.compare.style import plain_if_short, ticks_between
from lrscale.compare.views import FEW, HeatMap, Spread, TrialAxis, Trials, over_seeds, scale_of
from lrscale.store import Store

MakeSweep = Callable[..., Store]


@pytest.fixture
def c(make_sweep: MakeSweep) -> Comparison:
    return compared(make_sweep({"sgd": [0.1, 1.0]}, seeds=[0, 1]))


def compared(store: Store) -> Comparison:
    manifest = store.read_sweep("demo")
    return compare(load_runs(store, manifest), manifest)


def written(figure: Figure | None) -> list[str]:
    assert figure is not None
    figure.draw_without_rendering()
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_a_heat_map_says_what_each_field_is(c: Comparison) -> None:
    view = HeatMap(
        "a", "lr", "width", ["0.1", "1"], ["64", "128"], [[90.0, None], [95.0, 50.0]],
        [["90.0", "diverged"], ["95.0", "50.0"]],
    )  # fmt: skip
    figure = heat_map_figure([view, view], c)
    assert written(figure) == ["90.0", "diverged", "95.0", "50.0"] * 2
    assert figure is not None
    [mesh] = figure.axes[0].collections
    colours = {tuple(colour) for colour in mesh.get_facecolor()}  # type: ignore[attr-defined]
    assert len(colours) == 4
    assert heat_map_figure([], c) is None


def test_every_trial_is_a_line_and_a_diverged_one_ends_early(c: Comparison) -> None:
    axes = [TrialAxis("lr", "log", []), TrialAxis("act", "linear", ["relu", "tanh"])]
    axes.append(TrialAxis("accuracy (%)", "linear", []))
    one = Trials("a", axes, [[0.1, 0.0, 90.0], [1.0, 1.0, 95.0], [0.01, 0.0, None]], ["", "", ""])
    figure = trials_figure([one], c)
    assert {"lr", "act", "accuracy (%)", "relu", "tanh", "0.01", "0.1", "1"} <= set(written(figure))
    assert figure is not None
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 3]
    heights = [list(map(float, line.get_ydata())) for line in lines]
    assert heights[-1] == pytest.approx([1.0, 0.75, 1.0])  # the best is drawn last
    assert pd.isna(heights[0][-1])
    assert trials_figure([], c) is None


def test_boxes_from_enough_values_on_and_dots_while_they_can_be_told_apart(c: Comparison) -> None:
    few = Spread("few", [1.0, 2.0], ["", ""], None, 1)
    box = Spread("box", [1.0] * FEW, [""] * FEW, [1.0] * 5, 0)
    many = Spread("many", [1.0] * 200, [""] * 200, [1.0] * 5, 0)
    figure = spread_figure([few, box, many], "val_accuracy", c)
    assert figure is not None
    axes = figure.axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["few (1 diverged)", "box", "many"]
    dots = [len(line.get_xdata()) for line in axes.lines if line.get_marker() == "o"]
    assert dots == [2, FEW]
    medians = [line for line in axes.lines if line.get_linewidth() == 2.4]
    assert len(medians) == 2


def test_one_seed_has_no_spread(make_sweep: MakeSweep, c: Comparison) -> None:
    assert [spread.label for spread in over_seeds(c)] == ["sgd"]
    only = compared(make_sweep({"sgd": [0.1, 1.0]}, seeds=[0]))
    assert over_seeds(only) == []


def test_searches_and_grids_of_equal_space(c: Comparison) -> None:
    values = [i / 10 for i in range(8)]
    best = best_of(values, values, "max", range(1, 5))
    grids = [GridSearch("g", 3, 0.5, ""), GridSearch("h", 3, None, "another space")]
    search = RandomSearch("r", 8, best, "", grids)
    figure = search_figure([search, RandomSearch("s", 3, [], "3 trials", [])], c)
    assert figure is not None
    curve, point = figure.axes[0].lines
    assert list(curve.get_ydata()) == [100 * (b.mean or 0) for b in best]
    assert (list(point.get_xdata()), list(point.get_ydata())) == ([3], [50.0])
    assert search_figure([RandomSearch("s", 3, [], "3 trials", [])], c) is None


@pytest.mark.parametrize(
    ("measure", "values", "scale"),
    [
        ("val_accuracy", [10.0, 98.0], "nines"),
        ("val_accuracy", [90.0, 92.0], "linear"),
        ("val_loss", [0.1, 3.0], "log"),
        ("val_loss", [-0.1, 3.0], "linear"),
        ("val_loss", [], "linear"),
    ],
)
def test_scales(measure: str, values: list[float], scale: str) -> None:
    assert scale_of(measure, values) == scale


def test_ticks_lie_between_the_ends() -> None:
    expected: list[tuple[str, float, float, Any]] = [
        ("log", -3.0, 0.0, [0.001, 0.01, 0.1, 1.0]),
        ("linear", 0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        ("nines", 1.0, 2.0, [90, 92, 94, 96, 97, 98, 98.5, 99]),
    ]
    for kind, low, high, ticks in expected:
        assert ticks_between(kind, low, high) == pytest.approx(ticks)


def test_a_short_log_axis_has_plain_numbers() -> None:
    for high, marks in ((0.8, ["0.02", "0.05", "0.1", "0.2", "0.5"]), (10.0, [])):
        figure = Figure()
        axes = figure.subplots()
        axes.set_xscale("log")
        axes.set_xlim(0.0125, high)
        plain_if_short(axes.xaxis)
        figure.draw_without_rendering()
        texts = [label.get_text() for label in axes.get_xticklabels()]
        assert set(marks) <= set(texts)
        assert ("0.1" in texts) == bool(marks)
