"""The page's figures as JSON values, which render/page/charts.js draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import pandas as pd

from lrscale.compare import views
from lrscale.compare.chart_values import Chart, Series, numbers_of, scale_of, series_of
from lrscale.compare.comparison import Comparison, plain
from lrscale.compare.curve_charts import curve_charts
from lrscale.compare.curves import MOST, best_of, load_groups, load_lines
from lrscale.compare.load import Metric
from lrscale.compare.profiles import Profile
from lrscale.compare.provenance import is_rate
from lrscale.compare.searches import RandomSearch, searches
from lrscale.compare.sensitivity import TOLERANCE, Sensitivity, at_best, rates_of, sensitivity
from lrscale.store import Store


def charts(store: Store, comparison: Comparison) -> list[Chart]:
    """Every figure that the comparison has data for; reads the curves that are shown."""
    c = comparison
    return [
        *curve_charts(load_lines(store, c), c),
        *_sensitivity(c),
        *_spreads(c),
        *(heat_map_chart(view, c) for view in views.heat_maps(c)),
        *(trials_chart(view, c) for view in views.trials(c)),
        *search_charts(searches(c), c),
        *map(_profile, c.profiles),
    ]


def _sensitivity(c: Comparison) -> list[Chart]:
    """The final metric against each rate, the other keys at their best."""
    measure = f"metrics.{c.metric.select}"
    made = []
    for rate in (f"config.{key}" for key in c.keys if is_rate(key)):
        series, lost = [], []
        for group, points in load_groups(c):
            best = at_best(points, rate, c.metric)
            if best.empty or f"{measure}.mean" not in best:
                continue
            series += _rates(group, best, rate, c.metric)
            gone = best[best[f"{measure}.diverged"] > 0].to_dict("records")
            lost += [f"{group} at {row[rate]:g} ({row[f'{measure}.diverged']})" for row in gone]
        if any(value is not None for one in series for value in one["y"]):
            gone_text = f" Diverged seeds: {', '.join(lost)}." if lost else ""
            made.append({
                "kind": "lines",
                "title": f"Sensitivity to {plain(rate)}",
                "note": f"Mean and range over seeds, other keys at their best. Broad: within "
                f"{100 * TOLERANCE:g} % of the best.{gone_text}",
                "xs": [{"label": plain(rate), "scale": "log"}],
                "y": {
                    "label": f"final {views.label_of(measure)}",
                    "scale": scale_of(measure, series),
                },
                "series": series,
            })  # fmt: skip
    return made


def _rates(group: str, best: pd.DataFrame, rate: str, metric: Metric) -> list[Series]:
    """The means, or medians, and under them the stretch of rates within the tolerance."""
    measure = f"metrics.{metric.select}"
    unit = views.unit_of(measure)
    mean, median, low, high = (
        unit * best[f"{measure}.{part}"].astype(float) for part in ("mean", "median", "min", "max")
    )
    whole = mean.notna()
    ends = zip(whole, best[f"{measure}.n"], best["planned"], strict=True)
    grid = not best["random"].any()
    line = series_of(
        group,
        [best[rate]],
        mean.where(whole, median),
        low=numbers_of(low.where(whole, median)),
        high=numbers_of(high.where(whole, median)),
        dots=True,
        join=grid,
        texts=[
            f"{n} seeds" if done else f"median: {n} of {planned} seeds finished"
            for done, n, planned in ends
        ],
    )
    good = sensitivity(rates_of(best, rate, metric), metric.direction) if grid else None
    if good is None or good.best.mean is None:
        return [line]
    stretch = pd.Series([good.low, good.high])
    height = pd.Series([unit * good.best.mean] * 2)
    within = f"within {100 * TOLERANCE:g} % of the best"
    more = {"dots": False, "broad": True, "texts": [f"{within}: {_width(good)}"] * 2}
    return [line, series_of(group, [stretch], height, **more)]


def _width(good: Sensitivity) -> str:
    """``at least 1.2 decades``."""
    return f"{'' if good.bounded else 'at least '}{good.decades:.2f} decades"


def _spreads(c: Comparison) -> list[Chart]:
    colours = {group: i for i, (group, _) in enumerate(load_groups(c))}  # as in the curves
    kinds = (
        (views.over_seeds(c)[:MOST], c.metric.report, "Seeds at each best point"),
        (views.over_points(c), c.metric.select, "Every point of each search"),
    )
    made = []
    for groups, measure, title in kinds:
        if groups:
            lost = [f"{group.label} {group.lost}" for group in groups if group.lost]
            boxes = "Boxes: quartiles, whiskers to the ends."
            notes = [boxes] if any(group.box for group in groups) else []
            notes += [f"Diverged: {', '.join(lost)}."] if lost else []
            made.append({
                "kind": "boxes",
                "title": f"{title}{best_of(len(c.groups))}",
                "note": " ".join(notes),
                "y": {
                    "label": f"final {views.label_of(measure)}",
                    "scale": views.spread_scale(measure, groups),
                },
                "groups": [
                    {**asdict(group), "colour": colours.get(group.label, 0)} for group in groups
                ],
            })  # fmt: skip
    return made


def heat_map_chart(view: views.HeatMap, c: Comparison) -> Chart:
    """The final metric over a grid of two keys, bright for good."""
    label = views.label_of(c.metric.select)
    return {
        "kind": "heat",
        "title": _of(view.group, c, f"final {label}"),
        "note": "Mean over seeds, median where not all finished.",
        "best": c.metric.direction,
        "scale": views.scale_of(
            c.metric.select, [v for row in view.values for v in row if v is not None]
        ),
        "texts": [[f"{label}: {cell}" for cell in row] for row in view.cells],
        **asdict(view),
    }


def _of(group: str, c: Comparison, text: str) -> str:
    """A title that names the group where there are several."""
    return f"{group}: {text}" if len(c.groups) > 1 else text[0].upper() + text[1:]


def trials_chart(view: views.Trials, c: Comparison) -> Chart:
    """The trials of a random search in parallel coordinates."""
    return {
        "kind": "parallel",
        "title": _of(view.group, c, f"{len(view.rows)} trials"),
        "note": "Each line is a trial; the brighter, the better.",
        "best": c.metric.direction,
        "axes": [
            {
                "label": axis.label,
                "scale": axis.scale,
                "categories": axis.categories or None,
            }
            for axis in view.axes
        ],
        "rows": view.rows,
        "texts": [[text] for text in view.texts],
    }


def search_charts(found: Sequence[RandomSearch], c: Comparison) -> list[Chart]:
    """The expected best of k against k; grids of the same space as points."""
    found = [search for search in found if search.best]
    if not found:
        return []
    unit = views.unit_of(c.metric.report)
    series = []
    for search in found:
        values = [(best.k, best.mean, best.quartiles[0], best.quartiles[2]) for best in search.best]
        frame = pd.DataFrame(values, columns=["k", "mean", "low", "high"], dtype=float)
        low, high = (numbers_of(unit * frame[end]) for end in ("low", "high"))
        more = {"low": low, "high": high, "line": True, "dots": True}
        series.append(series_of(search.label, [frame["k"]], unit * frame["mean"], **more))
    grids = {grid.label: grid for search in found for grid in search.grids if not grid.reason}
    for grid in grids.values():
        at, value = pd.Series([grid.points]), pd.Series([unit * (grid.value or 0.0)])
        texts = [f"the best of a grid of {grid.points} points"]
        series.append(series_of(grid.label, [at], value, texts=texts))
    label = views.label_of(c.metric.report)
    return [{
        "kind": "lines",
        "title": "Search efficiency",
        "note": "Expected best of k trials, chosen by validation; band: quartiles over sets of k.",
        "xs": [{"label": "trials k", "scale": "linear"}],
        "y": {"label": label, "scale": "linear"},
        "series": series,
    }]  # fmt: skip


def _profile(profile: Profile) -> Chart:
    series = []
    for arm in profile.ratios:
        taus, shares = zip(*profile.corners(arm), strict=True)
        series.append({"label": arm, "x": [taus], "y": shares, "join": True, "dots": False})
    return {
        "kind": "lines",
        "title": f"Performance profile in {profile.cost}",
        "note": f"Of the median runs on {len(profile.workloads)} workloads: "
        f"{', '.join(profile.workloads)}.",
        "xs": [{"label": f"τ, times the best arm's {profile.cost} to the target", "scale": "log"}],
        "y": {"label": "share of workloads, ρ(τ)", "scale": "linear"},
        "series": series,
    }
