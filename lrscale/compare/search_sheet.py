"""The table of search efficiency: what the best of k random trials may be expected to be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from lrscale.compare.best_of import BestOf
from lrscale.compare.comparison import Comparison
from lrscale.compare.load import Direction, is_share
from lrscale.compare.mean_sheet import span, texts
from lrscale.compare.provenance import words
from lrscale.compare.searches import ENOUGH, GridSearch, RandomSearch, searches
from lrscale.compare.sheet import Sheet

NOTE = (
    "Best of k: each set of k trials takes its best by {select}, and {report} is reported there; "
    "the mean over all sets is the unbiased estimate of what a search of k trials reaches, "
    "quartiles are over the sets. For k up to half the trials, of {enough} independent trials or "
    "more. A grid is one search, of as many trials as it has points, over the same space."
)


def search_sheet(comparison: Comparison) -> Sheet | None:
    """None where no arm searches at random."""
    c, found = comparison, searches(comparison)
    if not found:
        return None
    percent = is_share(c.metric.report)
    lines = [line for search in found for line in _lines(search, c.metric.direction)]
    shown = [line for line in lines if line["shown"]]
    lost = any(line["lost"] for line in lines)
    report = words(c.metric.report)
    headers = ["search", "trials", "k", f"best of k: {report}{' (%)' if percent else ''}"]
    headers += ["quartiles", *(["all diverged"] if lost else []), "remark"]
    return Sheet(
        "search",
        "Search efficiency",
        NOTE.format(select=words(c.metric.select), report=report, enough=ENOUGH),
        headers,
        [_cells(line, percent, lost) for line in shown],
        pd.DataFrame(lines).drop(columns="shown").assign(metric=c.metric.report),
    )


def _lines(search: RandomSearch, direction: Direction) -> list[dict[str, Any]]:
    """Every k for the frame; powers of 2, the greatest and those of the grids to be shown."""
    common = {"search": search.label, "kind": "random", "trials": search.trials}
    nothing = {"k": None, "mean": None, "q25": None, "median": None, "q75": None, "lost": None}
    if search.reason:
        lines = [common | nothing | {"remark": f"no estimate: {search.reason}", "shown": True}]
    else:
        shown = {2**i for i in range(20)} | {grid.points for grid in search.grids}
        shown.add(search.best[-1].k)
        lines = [common | _best(best) | {"shown": best.k in shown} for best in search.best]
    for grid in search.grids:
        remark = grid.reason or _as_good(grid, search.best, direction)
        numbers = nothing | {"k": grid.points, "mean": grid.value}
        own = {"search": grid.label, "kind": "grid", "trials": grid.points, "remark": remark}
        lines.append(own | numbers | {"shown": True})
    return lines


def _best(best: BestOf) -> dict[str, Any]:
    q25, median, q75 = best.quartiles
    numbers = {"k": best.k, "mean": best.mean, "q25": q25, "median": median, "q75": q75}
    return numbers | {"lost": best.lost, "remark": ""}


def _as_good(grid: GridSearch, best: Sequence[BestOf], direction: Direction) -> str:
    """How many random trials may be expected to reach what the grid has."""
    sign = 1 if direction == "max" else -1
    for each in best:
        if each.mean is not None and sign * each.mean >= sign * (grid.value or 0.0):
            return f"grid; as much is expected of {each.k} random trials"
    return f"grid; more than is expected of {best[-1].k} random trials" if best else "grid"


def _cells(line: dict[str, Any], percent: bool, lost: bool) -> list[str]:
    k = "–" if line["k"] is None else str(line["k"])
    cells = [line["search"], str(line["trials"]), k, *texts([line["mean"]], percent)]
    cells.append(span((line["q25"], line["q75"]), percent))
    cells += ["–" if line["lost"] is None else f"{line['lost']:.1%}"] if lost else []
    return [*cells, line["remark"]]
