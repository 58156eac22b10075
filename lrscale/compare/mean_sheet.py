"""The table of means: how many seeds, how far they spread, and how well the mean is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from lrscale.compare.aggregate import Summary, summarise
from lrscale.compare.comparison import Comparison
from lrscale.compare.intervals import (
    ENOUGH_TO_RESAMPLE,
    Interval,
    binomial_error,
    bootstrap_interval,
    t_interval,
)
from lrscale.compare.load import is_share
from lrscale.compare.provenance import seeds_text, words
from lrscale.compare.render.cells import numbers
from lrscale.compare.samples import complete, direction_of, samples, values_of
from lrscale.compare.sheet import Sheet

NOTE = (
    "Of the chosen points. Interval: of the mean, 95 %, Student's t{bootstrap}. Test set ±: 95 %, "
    "what one model's share may differ by on other examples, by their number (Wilson); seeds do "
    "not lessen it. No interval without spread. Where a planned seed has no finite result there is "
    "no mean: the count, and the median with divergence as worst."
)
UNTESTED = (
    " No test: the sweep file names no baseline (compare: {baseline: ARM}), and a test is fixed in "
    "advance."
)


def mean_sheet(comparison: Comparison) -> Sheet | None:
    """A row for each chosen point and metric: validation over the runs that chose it, all else
    over those that report it. None while nothing has been measured."""
    metric = comparison.metric
    lines = []
    for sample in samples(comparison):
        lines.append(_line(comparison, sample.label, "tuning", sample.tuning, metric.select))
        phase = "shared" if sample.shared else "reporting"
        for name in dict.fromkeys([metric.report, *metric.also]):
            if name != metric.select or not sample.shared:
                lines.append(_line(comparison, sample.label, phase, sample.reported, name))
    if not any(line["n"] or line["diverged"] for line in lines):
        return None
    resampled = any(line["bootstrap_low"] is not None for line in lines)
    more = f"; by bootstrap-t from {ENOUGH_TO_RESAMPLE} seeds on" if resampled else ""
    headers = ["group", "metric", "seeds", "n", "mean", "sd", "median", "range", "interval (95 %)"]
    headers += ["bootstrap"] if resampled else []
    return Sheet(
        "means",
        "Means over seeds",
        NOTE.format(bootstrap=more) + ("" if comparison.protocol.baseline else UNTESTED),
        [*headers, "test set ±"],
        [_cells(line, resampled) for line in lines],
        pd.DataFrame(lines),
    )


def _line(c: Comparison, label: str, phase: str, runs: pd.DataFrame, name: str) -> dict[str, Any]:
    values = values_of(runs, f"metrics.{name}", direction_of(c, name))
    summary, finite = summarise(values), complete(values)
    spread = finite if finite and summary.sd else []  # equal values say nothing of their spread
    low, high = t_interval(spread) or (None, None)
    resampled = bootstrap_interval(spread) or (None, None)
    examples = _test_examples(runs) if name.startswith("test_") else None
    exact = examples is not None and summary.mean is not None and name.endswith("accuracy")
    return {
        "group": label,
        "metric": name,
        "phase": phase,
        "seeds": seeds_text([int(seed) for seed in runs["seed"]]),
        **vars(summary),
        "interval_low": low,
        "interval_high": high,
        "bootstrap_low": resampled[0],
        "bootstrap_high": resampled[1],
        "test_examples": examples,
        "test_error": binomial_error(summary.mean, examples) if exact else None,  # type: ignore[arg-type]
    }


def _test_examples(runs: pd.DataFrame) -> int | None:
    """The size of the test set, if the runs know it and it is the same for all."""
    sizes = set(runs["examples.test"].dropna()) if "examples.test" in runs else set()
    return int(sizes.pop()) if len(sizes) == 1 else None


def _cells(line: dict[str, Any], resampled: bool) -> list[str]:
    percent = is_share(line["metric"])
    summary = Summary(**{name: line[name] for name in Summary.__dataclass_fields__})
    n = str(summary.n) if summary.n == summary.planned else f"{summary.n}/{summary.planned}"
    name = words(line["metric"]) + (" (%)" if percent else "")
    seeds = line["seeds"] + (" tuning" if line["phase"] == "tuning" else "")
    cells = [line["group"], name, seeds, n]
    cells += texts([summary.mean, summary.sd, summary.median], percent)
    cells += [span((summary.min, summary.max), percent)]
    cells += [span((line["interval_low"], line["interval_high"]), percent)]
    cells += [span((line["bootstrap_low"], line["bootstrap_high"]), percent)] if resampled else []
    return [*cells, *texts([line["test_error"]], percent)]


def texts(values: Sequence[float | None], percent: bool = False) -> list[str]:
    """Each as ``numbers`` has it, in the digits that the first one needs; ``–`` for none."""
    known = [v for v in values if v is not None and math.isfinite(v)]
    found = iter(numbers(known, percent)) if known else iter(())
    return [next(found) if v is not None and math.isfinite(v) else "–" for v in values]


def span(ends: Interval | tuple[float | None, float | None], percent: bool = False) -> str:
    """``94.10–95.30``; ``–`` without ends. Negative numbers need more than a dash between them."""
    low, high = texts(ends, percent)
    if low == "–":
        return "–"
    return f"{low} … {high}" if "-" in low + high else f"{low}–{high}"
