"""Figures of points: heat maps, trials of random searches, spreads, search efficiency.

They show the values of ``views`` and ``searches``, as the page does.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, FuncNorm, LogNorm, Normalize, to_rgb
from matplotlib.figure import Figure

from lrscale.compare.comparison import Comparison
from lrscale.compare.curves import load_groups
from lrscale.compare.searches import RandomSearch
from lrscale.compare.style import (
    PALETTE,
    TRANSFORMS,
    accuracy_of_nines,
    legend,
    looks,
    nines,
    ticks_between,
)
from lrscale.compare.views import (
    HeatMap,
    Spread,
    TrialAxis,
    Trials,
    label_of,
    scale_of,
    spread_scale,
    unit_of,
)

MANY = 100  # values from which on their dots would hide the box
HOLE = "#d9d9d9"


def heat_map_figure(maps: Sequence[HeatMap], c: Comparison) -> Figure | None:
    """A panel a group, all in one scale of colours, bright for good; grey where there is none."""
    if not maps:
        return None
    wide, high = max(len(m.xs) for m in maps), max(len(m.ys) for m in maps)
    columns = min(len(maps), max(1, 13 // wide))  # as many as a page has room for
    rows = -(-len(maps) // columns)
    size = (columns * max(2.6, 0.72 * wide + 1.0) + 1.3, rows * (0.5 * high + 1.1) + 0.9)
    figure = Figure(figsize=(max(5.5, size[0]), size[1]), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    norm, colours = _colours([v for m in maps for row in m.values for v in row], c)
    for axes, view in zip(panels, maps, strict=False):
        _draw_heat_map(axes, view, norm, colours)
        axes.set_title("" if len(maps) == 1 else textwrap.fill(view.group, 28))
    for axes in panels[len(maps) :]:
        axes.set_visible(False)
    label = f"final {label_of(c.metric.select)}"
    figure.colorbar(ScalarMappable(norm, colours), ax=panels, label=label, pad=0.02)
    return figure


def trials_figure(found: Sequence[Trials], c: Comparison) -> Figure | None:
    """Parallel coordinates: a line for each trial, an axis for each key, the metric last."""
    if not found:
        return None
    size = (max(6.4, 1.7 * max(len(one.axes) for one in found) + 1.0), 3.3 * len(found) + 1.0)
    figure = Figure(figsize=size, layout="constrained")
    for axes, one in zip(figure.subplots(len(found), 1, squeeze=False).flat, found, strict=True):
        _draw_trials(axes, one, best_is_high=c.metric.direction == "max")
        axes.set_title("" if len(found) == 1 else one.group, pad=24)
    return figure


def spread_figure(groups: Sequence[Spread], measure: str, c: Comparison) -> Figure | None:
    """Boxes, from views.FEW values on, and dots where they can be told apart; each group in the
    colour of its curve."""
    if not groups:
        return None
    figure = Figure(figsize=(7.2, 0.46 * len(groups) + 1.9), layout="constrained")
    axes = figure.subplots()
    order = {label: i for i, (label, _) in enumerate(load_groups(c))}
    for place, group in enumerate(groups):
        colour = PALETTE[order.get(group.label, place) % len(PALETTE)]
        _draw_spread(axes, place, group, colour)
    names = [
        f"{group.label} ({group.lost} diverged)" if group.lost else group.label for group in groups
    ]
    axes.set_yticks(range(len(groups)), [textwrap.fill(name, 32) for name in names])
    axes.set_ylim(len(groups) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.set_xscale(spread_scale(measure, groups))
    axes.set_xlabel(f"final {label_of(measure)}")
    return figure


def search_figure(found: Sequence[RandomSearch], c: Comparison) -> Figure | None:
    """The expected best of k against k with quartiles; a grid of the same space as a point."""
    shown = [search for search in found if search.best]
    if not shown:
        return None
    unit = unit_of(c.metric.report)
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    axes = figure.subplots()
    for search, look in zip(shown, looks(len(shown), False), strict=True):
        ks = [best.k for best in search.best]
        mean, low, high = (
            [math.nan if v is None else unit * v for v in values]
            for values in zip(
                *((b.mean, b.quartiles[0], b.quartiles[2]) for b in search.best), strict=True
            )
        )
        axes.plot(ks, mean, label=f"{search.label}: expected best of k", **look)
        axes.fill_between(ks, low, high, color=look["color"], alpha=0.18, linewidth=0)
    grids = {grid.label: grid for search in shown for grid in search.grids if not grid.reason}
    for number, grid in enumerate(grids.values()):
        colour = PALETTE[(len(shown) + number) % len(PALETTE)]
        text = f"{grid.label}: grid of {grid.points} points"
        height = unit * (grid.value or 0.0)
        axes.plot([grid.points], [height], "D", color=colour, markersize=7, label=text)
    axes.set_xlabel("trials k")
    axes.set_ylabel(f"{label_of(c.metric.report)} at validation's choice")
    legend(figure)
    return figure


def _colours(values: Iterable[float | None], c: Comparison) -> tuple[Normalize, Colormap]:
    known = [v for v in values if v is not None] or [0.0]
    ends = (min(known), max(known) if max(known) > min(known) else min(known) + 1e-9)
    colours = colormaps["viridis" if c.metric.direction == "max" else "viridis_r"]
    match scale_of(c.metric.select, known):
        case "nines":
            return FuncNorm((nines, accuracy_of_nines), *ends), colours
        case "log":
            return LogNorm(*ends), colours
        case _:
            return Normalize(*ends), colours


def _draw_heat_map(axes: Axes, view: HeatMap, norm: Normalize, colours: Colormap) -> None:
    axes.set_facecolor(HOLE)
    shades = np.array([[math.nan if v is None else v for v in row] for row in view.values])
    axes.pcolormesh(
        np.ma.masked_invalid(shades), norm=norm, cmap=colours, edgecolor="white", linewidth=1.5
    )
    fits = len(view.xs) <= 12
    for y, row in enumerate(view.values):
        for x, value in enumerate(row if fits else ()):
            red, green, blue = (1, 1, 1) if value is None else to_rgb(colours(norm(value)))
            bright = 0.3 * red + 0.59 * green + 0.11 * blue > 0.5
            axes.text(
                x + 0.5, y + 0.5, view.cells[y][x], ha="center", va="center", fontsize=8.5,
                color="#222222" if bright else "white",
            )  # fmt: skip
    axes.set_xticks([x + 0.5 for x in range(len(view.xs))], view.xs)
    axes.set_yticks([y + 0.5 for y in range(len(view.ys))], view.ys)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_xlabel(view.x)
    axes.set_ylabel(view.y)


def _draw_trials(axes: Axes, one: Trials, best_is_high: bool) -> None:
    columns = list(zip(*one.rows, strict=True))
    places = [_heights(axis, column) for axis, column in zip(one.axes, columns, strict=True)]
    final = [math.nan if v is None else v if best_is_high else -v for v in columns[-1]]
    order = np.argsort([-math.inf if math.isnan(v) else v for v in final], kind="stable")
    ends = sorted({v for v in final if not math.isnan(v)})
    for trial in order:  # the best are drawn last, on top
        lost = math.isnan(final[trial])
        rank = 0.0 if lost or len(ends) < 2 else ends.index(final[trial]) / (len(ends) - 1)
        colour = "#bbbbbb" if lost else colormaps["viridis"](0.95 * rank)
        heights = [column[trial] for column, _ in places]
        axes.plot(range(len(heights)), heights, color=colour, linewidth=1.1, alpha=0.85)
    for x, (axis, (_, ticks)) in enumerate(zip(one.axes, places, strict=True)):
        axes.axvline(x, color="#444444", linewidth=1)
        axes.text(x, 1.06, axis.label, ha="center", va="bottom")
        for height, text in ticks:
            axes.text(
                x + 0.02, height, text, fontsize=8, va="center",
                bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.8},
            )  # fmt: skip
    axes.set(xlim=(-0.05, len(one.axes) - 1 + 0.25), ylim=(-0.04, 1.04))
    axes.axis("off")


def _heights(
    axis: TrialAxis, column: Sequence[float | None]
) -> tuple[list[float], list[tuple[float, str]]]:
    """Where the values of an axis stand between 0 and 1, NaN for none; its ticks, with texts."""
    to = TRANSFORMS[axis.scale]
    values = to(np.array([math.nan if v is None else v for v in column], dtype=float))
    low, high = (-0.5, len(axis.categories) - 0.5) if axis.categories else _ends(values)
    marks = (
        list(enumerate(axis.categories))
        if axis.categories
        else [(v, f"{v:g}") for v in ticks_between(axis.scale, low, high)]
    )
    ticks = [
        (float((to(np.array(v, dtype=float)) - low) / (high - low)), text) for v, text in marks
    ]
    return [float(v) for v in (values - low) / (high - low)], ticks


def _ends(values: np.ndarray) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _draw_spread(axes: Axes, place: int, group: Spread, colour: str) -> None:
    if group.box is not None:
        low, q1, median, q3, high = group.box
        box = {"whislo": low, "q1": q1, "med": median, "q3": q3, "whishi": high}
        line = {"color": colour, "linewidth": 1.3}
        axes.bxp(
            [box], [place], widths=0.5, orientation="horizontal", showfliers=False,
            boxprops=line, whiskerprops=line, capprops=line, medianprops={**line, "linewidth": 2.4},
            manage_ticks=False,
        )  # fmt: skip
    if len(group.values) <= MANY:
        apart = [place + 0.09 * ((7 * i) % 5 - 2) for i in range(len(group.values))]
        axes.plot(group.values, apart, "o", color=colour, markersize=4, alpha=0.7)
    if group.box is None and not group.lost:
        mean = sum(group.values) / len(group.values)
        axes.plot([mean], [place], "|", color=colour, markersize=17, markeredgewidth=1.5)
