"""The table of learning-rate sensitivity: a row for each group and learning rate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from lrscale.compare.comparison import Comparison, plain
from lrscale.compare.curves import load_groups
from lrscale.compare.load import is_share
from lrscale.compare.provenance import is_rate, words
from lrscale.compare.render.cells import numbers, short_names, value_cell
from lrscale.compare.sensitivity import (
    FEWEST,
    TOLERANCE,
    End,
    Sensitivity,
    at_best,
    rates_of,
    sensitivity,
)
from lrscale.compare.sheet import Sheet

NOTE = (
    "Grid rates only, at least {fewest}, other keys at their best at each. Within {share:g} %: the "
    "rates around the best one at which the mean {metric} over seeds is worse than there by "
    "{share:g} % at most, straight between tested rates on a log scale. ≥: no end was seen on a "
    "side, where the grid ends, the next rate diverges or is not finished. Divergence edge: the "
    "lowest rate above the best one with a diverged seed."
)
SHARE = 100 * TOLERANCE
UNSEEN: dict[End, str] = {
    "diverged": "diverges {side}",
    "unfinished": "unfinished {side}",
    "grid": "open {side}",
}


def sensitivity_sheet(comparison: Comparison) -> Sheet | None:
    """None where no group has enough rates on a grid."""
    c = comparison
    lines = list(_lines(c))
    if not lines:
        return None
    metric = words(c.metric.select)
    several = len({line["rate"] for line in lines}) > 1
    headers = ["group", *(["rate"] if several else []), "rates", "best rate"]
    headers += [f"{metric}{' (%)' if is_share(metric) else ''}", f"within {SHARE:g} %"]
    return Sheet(
        "sensitivity",
        "Learning-rate sensitivity",
        NOTE.format(fewest=FEWEST, share=SHARE, metric=metric),
        [*headers, "decades", "factor", "open ends", "divergence edge"],
        [_cells(line, several, is_share(metric)) for line in lines],
        pd.DataFrame(lines),
    )


def _lines(c: Comparison) -> Iterator[dict[str, Any]]:
    measure = f"metrics.{c.metric.select}"
    rates = [f"config.{key}" for key in c.keys if is_rate(key)]
    if f"{measure}.mean" not in c.points:
        return
    names = dict(zip(rates, short_names([plain(rate) for rate in rates]), strict=True))
    for group, points in load_groups(c, most=None):
        for rate in rates:
            grid = points[~points["random"].astype(bool)]
            tested = rates_of(at_best(grid, rate, c.metric), rate, c.metric)
            found = sensitivity(tested, c.metric.direction)
            if found is not None:
                values = [each.value for each in tested]
                yield _line(group, names[rate], values, found) | {"metric": c.metric.select}


def _line(group: str, rate: str, tested: list[float], found: Sensitivity) -> dict[str, Any]:
    edge = found.edge
    return {
        "group": group,
        "rate": rate,
        "rates": len(tested),
        "lowest": min(tested),
        "highest": max(tested),
        "best_rate": found.best.value,
        "best_mean": found.best.mean,
        "low": found.low,
        "high": found.high,
        "low_end": found.low_end,
        "high_end": found.high_end,
        "decades": found.decades,
        "factor": found.factor,
        "bounded": found.bounded,
        "edge": edge.value if edge else None,
        "edge_diverged": edge.diverged if edge else None,
        "edge_planned": edge.planned if edge else None,
    }


def _cells(line: dict[str, Any], several: bool, percent: bool) -> list[str]:
    bound = "" if line["bounded"] else "≥ "
    tested = f"{line['rates']}: {line['lowest']:g}–{line['highest']:g}"
    return [
        line["group"],
        *([line["rate"]] if several else []),
        tested,
        value_cell(line["best_rate"]),
        *numbers([line["best_mean"]], percent),
        f"{line['low']:.3g}–{line['high']:.3g}",
        f"{bound}{line['decades']:.2f}",
        f"{bound}{line['factor']:.3g}",
        _unseen(line["low_end"], line["high_end"]) or "–",
        _edge(line),
    ]


def _unseen(low: End, high: End) -> str:
    """``open below, diverges above``."""
    sides = [(low, "below"), (high, "above")]
    return ", ".join(UNSEEN[end].format(side=side) for end, side in sides if end in UNSEEN)


def _edge(line: dict[str, Any]) -> str:
    if line["edge"] is None:
        return f"none up to {line['highest']:g}"
    return f"{line['edge']:g} ({line['edge_diverged']}/{line['edge_planned']} seeds)"
