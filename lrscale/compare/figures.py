"""Figures of a comparison. Each names its data, and none shows a mean of survivors."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from lrscale.compare.aggregate import select
from lrscale.compare.comparison import Comparison, plain
from lrscale.compare.curves import MOST, Line, Lines, band, load_groups, load_lines
from lrscale.compare.gd_figures import draw_gd
from lrscale.compare.gd_runs import is_gd, load_gd
from lrscale.compare.load import is_share
from lrscale.compare.provenance import Provenance, is_rate, seeds_text
from lrscale.compare.style import STYLE, looks, save
from lrscale.compare.views import label_of, unit_of
from lrscale.store import Store

EPOCH, TIME = ("epoch", "epoch"), ("seconds", "training time (s)")
MINIBATCH = "Minibatch against end-of-epoch loss"
# Ticks of accuracies by the log of the error: close ones, and for more than 1.7 decades.
CLOSE = (0, 20, 40, 60, 70, 80, 85, 90, 92, 94, 96, 97, 98, 98.5, 99, 99.3, 99.6, 99.8, 99.9)
WIDE = (0, 50, 80, 90, 95, 98, 99, 99.5, 99.8, 99.9)
Look = Mapping[str, Any]
Numbers = NDArray[np.float64]


def draw(store: Store, comparison: Comparison, folder: Path) -> dict[str, list[Path]]:
    """Draw what the sweep has data for: title to files (PNG, then SVG) in ``folder``."""
    if is_gd(comparison.runs):
        with rc_context(STYLE):
            return draw_gd(load_gd(store, comparison), folder)
    c, shown = comparison, load_lines(store, comparison)
    made: dict[str, list[Path]] = {}
    with rc_context(STYLE):
        for name, title, figure, total in (
            ("curves", "Learning curves", curves(shown, c), shown.total),
            ("minibatch", MINIBATCH, minibatch(shown), shown.total),
            ("sensitivity", "Learning-rate sensitivity", sensitivity(c), len(c.groups)),
        ):
            if figure is not None:
                best = f" (best {MOST} of {total})" if total > MOST else ""
                _title(figure, f"{c.sweep}: {title.lower()}{best}", c.provenance)
                made[title] = save(figure, folder, name)
    return made


def curves(shown: Lines, comparison: Comparison) -> Figure | None:
    """Loss, and the metric points were chosen by, against epoch and training time."""
    losses = [m for m in ("train_loss", "loss") if _recorded(shown, m)][:1]
    measures = list(dict.fromkeys([*losses, comparison.metric.select]))
    measures = [measure for measure in measures if _recorded(shown, measure)]
    if not measures:
        return None
    figure = Figure(figsize=(9.6, 2.9 * len(measures) + 1.3), layout="constrained")
    rows = figure.subplots(len(measures), 2, sharey="row", sharex="col", squeeze=False)
    for row, measure in zip(rows, measures, strict=True):
        for axes, (x, _) in zip(row, (EPOCH, TIME), strict=True):
            for line, look in zip(shown.lines, looks(len(shown.lines), shown.ordered), strict=True):
                _draw(axes, line, x, measure, look)
        _scale(row[0], measure)
        row[0].set_ylabel(label_of(measure))
    for axes, (_, label) in zip(rows[-1], (EPOCH, TIME), strict=True):
        axes.set_xlabel(label)
    _epoch_axis(rows[-1][0])
    _legend(figure)
    return figure


def minibatch(shown: Lines) -> Figure | None:
    """The mean of the minibatch losses, which costs nothing, beside the end-of-epoch loss."""
    if not (_recorded(shown, "minibatch_loss") and _recorded(shown, "train_loss")):
        return None
    count = len(shown.lines)
    rows = -(-count // 4)
    columns = -(-count // rows)
    figure = Figure(figsize=(max(6.4, 2.6 * columns + 0.8), 2.5 * rows + 1.3), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    kinds = {
        "minibatch_loss": "mean over the epoch's minibatches (free)",
        "train_loss": "whole training set at the end of the epoch",
    }
    for axes, line in zip(panels.flat, shown.lines, strict=False):
        for (measure, label), look in zip(kinds.items(), looks(2, False), strict=True):
            _draw(axes, line, "epoch", measure, {**look, "label": label})
        axes.set_title(textwrap.fill(line.caption, 28))
        axes.set_xlabel("epoch")
        axes.tick_params(labelbottom=True)  # also above an empty place
        _epoch_axis(axes)
    for axes in panels.flat[count:]:
        axes.set_visible(False)
    for row in panels:
        row[0].set_ylabel("loss")
    _scale(panels[0][0], "train_loss")
    _legend(figure)
    return figure


def sensitivity(comparison: Comparison) -> Figure | None:
    """The final metric against the learning rate, a panel per rate; other keys at their best."""
    c = comparison
    rates = [f"config.{key}" for key in c.keys if is_rate(key)]
    measure = f"metrics.{c.metric.select}"
    if not rates or f"{measure}.mean" not in c.points:
        return None
    figure = Figure(figsize=(5.4 * len(rates) + 1.0, 4.6), layout="constrained")
    panels = figure.subplots(1, len(rates), sharey=True, squeeze=False)[0]
    groups = load_groups(c)
    for axes, rate in zip(panels, rates, strict=True):
        for (label, points), look in zip(groups, looks(len(groups), False), strict=True):
            rated = points.dropna(subset=[rate])
            if len(rated):
                best = select(rated, [rate], c.metric).sort_values(rate)
                _draw_rates(axes, best, rate, measure, {**look, "label": label}, c)
        axes.set_xscale("log")
        axes.set_xlabel(f"{plain(rate)} (log scale)")
    _scale(panels[0], plain(measure))
    panels[0].set_ylabel(f"final {label_of(measure)}")
    _legend(figure, _marks(c.points, measure))
    return figure


def _draw(axes: Axes, line: Line, x: str, y: str, look: Look) -> None:
    """Mean over seeds within their range; each seed by itself where not all finished."""
    few = max(map(len, line.seeds), default=0) <= 30  # records, that can be told apart
    dots = {"marker": "o", "markersize": 2.5} if few else {}
    look = {"label": line.caption, **dots, **look}
    unit = unit_of(y)
    whole = band(line, x, y)
    if whole is not None:
        axes.plot(whole["x"], unit * whole["mean"], **look)
        low, high = unit * whole["low"], unit * whole["high"]
        axes.fill_between(whole["x"], low, high, color=look["color"], alpha=0.18, linewidth=0)
        return
    for number, frame in enumerate(frame for frame in line.seeds if {x, y} <= set(frame)):
        single = {**look, "linewidth": 0.9, "label": look["label"] if number == 0 else "_"}
        axes.plot(frame[x], unit * frame[y].astype(float), **single)


def _draw_rates(
    axes: Axes, part: pd.DataFrame, rate: str, measure: str, look: Look, c: Comparison
) -> None:
    """Filled: mean and range, all seeds finished. Hollow: median, some did not. Cross: diverged."""
    unit = unit_of(measure)
    mean, low, high = (unit * part[f"{measure}.{p}"].astype(float) for p in ("mean", "min", "max"))
    grid = not part["random"].any()
    line = {**look, "linestyle": look["linestyle"] if grid else "none"}
    axes.plot(part[rate], mean, marker="o", markersize=4.5, **line)
    bars = {"fmt": "none", "capsize": 2.5, "ecolor": look["color"]}
    axes.errorbar(part[rate], mean, [mean - low, high - mean], **bars)
    median = part[f"{measure}.median"].astype(float).where(mean.isna())
    hollow = {"color": look["color"], "markerfacecolor": "white", "linestyle": "none"}
    axes.plot(part[rate], unit * median, marker="o", markersize=5.5, **hollow)
    lost = part[(part[f"{measure}.diverged"] > 0) & median.isna()]
    edge = 0.02 if c.metric.direction == "max" else 0.98
    if lost.empty:  # an empty line in these coordinates would upset the layout
        return
    axes.plot(
        lost[rate],
        [edge] * len(lost),
        marker="x",
        markersize=7,
        markeredgewidth=1.8,
        color=look["color"],
        linestyle="none",
        transform=axes.get_xaxis_transform(),
        clip_on=False,
    )


def _marks(points: pd.DataFrame, measure: str) -> list[Line2D]:
    """Legend entries for what is not a mean, where there is any."""
    partial = points[f"{measure}.mean"].isna()
    hollow = partial & points[f"{measure}.median"].notna()
    lost = partial & (points[f"{measure}.diverged"] > 0) & ~hollow
    marks: list[tuple[str, pd.Series[bool], Look]] = [
        ("median, some seeds did not finish", hollow, {"marker": "o", "markerfacecolor": "white"}),
        ("diverged", lost, {"marker": "x", "markersize": 7, "markeredgewidth": 1.8}),
    ]
    grey: Look = {"color": "#444444", "linestyle": "none"}
    return [Line2D([], [], label=text, **grey, **mark) for text, any_, mark in marks if any_.any()]


def _title(figure: Figure, text: str, made: Provenance) -> None:
    """What is shown, of which data, over which seeds."""
    seeds = seeds_text(made.seeds)
    over = f"mean and range over seeds {seeds}" if len(made.seeds) > 1 else f"seed {seeds}"
    letters = int(12 * figure.get_size_inches()[0])  # that a line of this size has room for
    data = textwrap.fill(made.data_title, letters)
    figure.suptitle(f"{text}\n{data}\n{over}", x=0.01, ha="left", fontsize=11)


def _legend(figure: Figure, more: Sequence[Line2D] = ()) -> None:
    """Below the panels, in as many columns as the labels leave room for."""
    own = {h.get_label(): h for axes in figure.axes for h in axes.get_legend_handles_labels()[0]}
    handles = [*own.values(), *more]
    longest = max((len(str(handle.get_label())) for handle in handles), default=0)
    columns = max(1, int(figure.get_figwidth() / (0.075 * longest + 0.6)))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), columns))


def _recorded(shown: Lines, measure: str) -> bool:
    return any(measure in frame for line in shown.lines for frame in line.seeds)


def _epoch_axis(axes: Axes) -> None:
    """Whole epochs; on a log scale where there are so many that the first ones would vanish."""
    if axes.dataLim.x1 > 1000:
        axes.set_xscale("log")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _scale(axes: Axes, measure: str) -> None:
    """Losses on a log scale; accuracies, where they differ much, by the log of the error."""
    low, high = axes.get_ylim()
    if is_share(measure) and 100 - low > 4 * (100 - high):
        axes.set_yscale("function", functions=(_nines, _accuracy))
        axes.autoscale(axis="y")
        low, high = _nines(np.array(axes.get_ylim()))
        axes.yaxis.set_major_locator(FixedLocator(WIDE if high - low > 1.7 else CLOSE))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if not measure.endswith("loss"):
        return
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    if high < 100 * low:  # plain numbers where it spans less than two decades
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_locator(NullLocator())


def _nines(accuracy: Numbers) -> Numbers:
    """0 at 0 %, 1 at 90 %, 2 at 99 %; anything above 99.95 % counts as that."""
    return 2 - np.log10(np.maximum(100 - accuracy, 0.05))


def _accuracy(nines: Numbers) -> Numbers:
    return 100 - 10 ** (2 - nines)
