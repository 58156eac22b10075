"""The figure of learning-rate sensitivity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lrscale.compare.comparison import Comparison, plain
from lrscale.compare.curves import load_groups
from lrscale.compare.provenance import is_rate
from lrscale.compare.sensitivity import TOLERANCE, at_best, rates_of, sensitivity
from lrscale.compare.style import legend, looks, plain_if_short, scale
from lrscale.compare.views import label_of, unit_of

Look = Mapping[str, Any]
BROAD: Look = {"linewidth": 8, "alpha": 0.25, "solid_capstyle": "butt"}
CROSS: Look = {"marker": "x", "markersize": 7, "markeredgewidth": 1.8, "linestyle": "none"}


def rate_figure(comparison: Comparison) -> Figure | None:
    """The final metric against the learning rate, a panel per rate; other keys at their best."""
    c = comparison
    rates = [f"config.{key}" for key in c.keys if is_rate(key)]
    measure = f"metrics.{c.metric.select}"
    if not rates or f"{measure}.mean" not in c.points:
        return None
    figure = Figure(figsize=(5.4 * len(rates) + 1.0, 4.6), layout="constrained")
    panels = figure.subplots(1, len(rates), sharey=True, squeeze=False)[0]
    groups, broad = load_groups(c), False
    for axes, rate in zip(panels, rates, strict=True):
        for (label, points), look in zip(groups, looks(len(groups), False), strict=True):
            best = at_best(points, rate, c.metric)
            if len(best):
                broad |= _draw_rates(axes, best, rate, measure, {**look, "label": label}, c)
        axes.set_xscale("log")
        plain_if_short(axes.xaxis)
        axes.set_xlabel(f"{plain(rate)} (log scale)")
    scale(panels[0], plain(measure))
    panels[0].set_ylabel(f"final {label_of(measure)}")
    legend(figure, _marks(c, measure, broad))
    return figure


def _draw_rates(
    axes: Axes, part: pd.DataFrame, rate: str, measure: str, look: Look, c: Comparison
) -> bool:
    """Filled: mean and range, all seeds finished. Hollow: median, some did not. Cross: some
    diverged. Broad: the rates within the tolerance of the best; whether there are such."""
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
    good = sensitivity(rates_of(part, rate, c.metric), c.metric.direction) if grid else None
    best = good.best.mean if good is not None else None
    if good is not None and best is not None:
        axes.plot([good.low, good.high], [unit * best] * 2, color=look["color"], **BROAD)
    _mark_lost(axes, part[rate][part[f"{measure}.diverged"] > 0], look, c)
    return best is not None


def _mark_lost(axes: Axes, rates: pd.Series[float], look: Look, c: Comparison) -> None:
    """A cross at the worst edge for each."""
    edge = 0.02 if c.metric.direction == "max" else 0.98
    if rates.empty:  # an empty line in these coordinates would upset the layout
        return
    place: Look = {"transform": axes.get_xaxis_transform(), "clip_on": False}
    axes.plot(rates, [edge] * len(rates), color=look["color"], **CROSS, **place)


def _marks(c: Comparison, measure: str, drawn: bool) -> list[Line2D]:
    """Legend entries for what is not a mean, where there is any."""
    partial = c.points[f"{measure}.mean"].isna() & c.points[f"{measure}.median"].notna()
    lost = c.points[f"{measure}.diverged"] > 0
    hollow = {"marker": "o", "markerfacecolor": "white", "linestyle": "none"}
    marks: list[tuple[str, bool, Look]] = [
        ("median, some seeds did not finish", bool(partial.any()), hollow),
        ("seeds diverged", bool(lost.any()), CROSS),
        (f"within {100 * TOLERANCE:g} % of the best", drawn, BROAD),
    ]
    return [
        Line2D([], [], label=text, color="#444444", **mark) for text, any_, mark in marks if any_
    ]
