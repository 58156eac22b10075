"""Figures of a comparison. Each names its data, and none shows a mean of survivors."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lrscale.compare.comparable import why_not
from lrscale.compare.comparison import Comparison
from lrscale.compare.curves import (
    LOSSES,
    MINIBATCH,
    MOST,
    Line,
    Lines,
    band,
    best_of,
    load_lines,
    recorded,
    shown_measures,
)
from lrscale.compare.gd_figures import draw_gd
from lrscale.compare.gd_runs import is_gd, load_gd
from lrscale.compare.point_figures import (
    heat_map_figure,
    search_figure,
    spread_figure,
    trials_figure,
)
from lrscale.compare.profile_figure import profile_figure
from lrscale.compare.provenance import seeds_text
from lrscale.compare.rate_figure import rate_figure
from lrscale.compare.searches import searches
from lrscale.compare.style import STYLE, legend, literal, looks, save, scale, title
from lrscale.compare.views import (
    FEW,
    heat_maps,
    label_of,
    over_points,
    over_seeds,
    trials,
    unit_of,
)
from lrscale.store import Store

EPOCH, TIME = ("epoch", "epoch"), ("seconds", "training time (s)")
Look = Mapping[str, Any]


class Drawn(NamedTuple):
    """A figure, or None where the sweep has nothing for it.

    Attributes:
        name: stem of its files.
        title: what it shows. over: of what its marks are made.
        total: groups or lines that there are, of which ``MOST`` are shown.
    """

    name: str
    title: str
    figure: Figure | None
    over: str
    total: int = 0


def draw(store: Store, comparison: Comparison, folder: Path) -> dict[str, list[Path]]:
    """Draw what the sweep has data for: title to files (PNG, then SVG) in ``folder``."""
    if is_gd(comparison.runs):
        with rc_context(STYLE):
            return draw_gd(load_gd(store, comparison), folder)
    made: dict[str, list[Path]] = {}
    data = comparison.provenance.data_title
    with rc_context(STYLE):
        for one in _drawn(store, comparison):
            if one.figure is not None:
                what = f"{comparison.sweep}: {one.title.lower()}{best_of(one.total)}"
                title(one.figure, what, data, one.over)
                literal(one.figure)
                made[one.title] = save(one.figure, folder, one.name)
    return made


def _drawn(store: Store, c: Comparison) -> list[Drawn]:
    """Every kind of figure, in reading order."""
    shown, groups = load_lines(store, c), len(c.groups)
    seeds = _over(c.provenance.seeds)
    reported = _over(c.provenance.reporting_seeds or c.provenance.seeds)
    lines = seeds if shown.ordered else reported
    untimed = f". {why_not(shown.untimed)}" if shown.untimed else ""
    heat, drawn = heat_map_figure(heat_maps(c), c), trials_figure(trials(c), c)
    dots = f"; from {FEW} on, boxes of quartiles"
    return [
        Drawn("curves", "Learning curves", curves(shown, c), f"{lines}{untimed}", shown.total),
        Drawn("minibatch", MINIBATCH, minibatch(shown), lines, shown.total),
        Drawn("sensitivity", "Learning-rate sensitivity", rate_figure(c), seeds, groups),
        Drawn(
            "seeds",
            "Seeds at each best point",
            spread_figure(over_seeds(c)[:MOST], c.metric.report, c),
            f"each dot a seed, the line their mean{dots}",
            groups,
        ),
        Drawn(
            "heat_map",
            "Two keys against each other",
            heat,
            f"{seeds.replace(' and range', '')}; median where not all finished",
        ),
        Drawn(
            "trials",
            "Trials of the random search",
            drawn,
            f"a line a trial, the best on top and brightest; {seeds}",
        ),
        Drawn(
            "points",
            "Every point of each search",
            spread_figure(over_points(c), c.metric.select, c),
            f"each dot a point{dots}",
            groups,
        ),
        Drawn(
            "search",
            "Search efficiency",
            search_figure(searches(c), c),
            "mean, and quartiles as a band, over the sets of k of the trials",
        ),
        Drawn(
            "profiles",
            "Performance profiles",
            profile_figure(c.profiles),
            "of the median runs over seeds",
        ),
    ]


def curves(shown: Lines, comparison: Comparison) -> Figure | None:
    """Loss, and the metric points were chosen by, against epoch and, where it can be compared,
    training time."""
    measures = shown_measures(shown, comparison.metric)
    if not measures:
        return None
    places = (EPOCH,) if shown.untimed else (EPOCH, TIME)
    size = (4.3 * len(places) + 1.0, 2.9 * len(measures) + 1.3)
    figure = Figure(figsize=size, layout="constrained")
    rows = figure.subplots(len(measures), len(places), sharey="row", sharex="col", squeeze=False)
    for row, measure in zip(rows, measures, strict=True):
        for axes, (x, _) in zip(row, places, strict=True):
            for line, look in zip(shown.lines, looks(len(shown.lines), shown.ordered), strict=True):
                _draw(axes, line, x, measure, look)
        scale(row[0], measure)
        row[0].set_ylabel(label_of(measure))
    for axes, (_, label) in zip(rows[-1], places, strict=True):
        axes.set_xlabel(label)
    _epoch_axis(rows[-1][0])
    legend(figure)
    return figure


def minibatch(shown: Lines) -> Figure | None:
    """The mean of the minibatch losses, which costs nothing, beside the end-of-epoch loss."""
    if not all(recorded(shown, measure) for measure in LOSSES):
        return None
    count = len(shown.lines)
    rows = -(-count // 4)
    columns = -(-count // rows)
    figure = Figure(figsize=(max(6.4, 2.6 * columns + 0.8), 2.5 * rows + 1.3), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, line in zip(panels.flat, shown.lines, strict=False):
        for (measure, label), look in zip(LOSSES.items(), looks(2, False), strict=True):
            _draw(axes, line, "epoch", measure, {**look, "label": label})
        axes.set_title(textwrap.fill(line.caption, 28))
        axes.set_xlabel("epoch")
        axes.tick_params(labelbottom=True)  # also above an empty place
        _epoch_axis(axes)
    for axes in panels.flat[count:]:
        axes.set_visible(False)
    for row in panels:
        row[0].set_ylabel("loss")
    scale(panels[0][0], "train_loss")
    legend(figure)
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


def _over(seeds: Sequence[int]) -> str:
    text = seeds_text(seeds)
    return f"mean and range over seeds {text}" if len(seeds) > 1 else f"seed {text}"


def _epoch_axis(axes: Axes) -> None:
    """Whole epochs; on a log scale where there are so many that the first ones would vanish."""
    if axes.dataLim.x1 > 1000:
        axes.set_xscale("log")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
