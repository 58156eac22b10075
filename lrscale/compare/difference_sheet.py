"""The table of the one test: each arm against the baseline that the sweep file names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lrscale.compare.comparison import Comparison
from lrscale.compare.difference import UNEQUAL, Difference, Method, differences
from lrscale.compare.intervals import paired_test_error
from lrscale.compare.load import is_share
from lrscale.compare.mean_sheet import span, texts
from lrscale.compare.provenance import words
from lrscale.compare.samples import Sample, samples, scope_name
from lrscale.compare.sheet import Sheet

Correct = Callable[[Sample], "np.ndarray | None"]
"""Whether each test example was right: (seeds, examples); None where that is not on record."""

METHODS: dict[Method, str] = {
    "paired t": "paired t of the differences between equal seeds, as the sweep file declares",
    "pooled t": (
        "t with the standard deviation pooled over all arms, none of which is more than "
        f"{UNEQUAL:g} times another"
    ),
    "Welch t": (
        "Welch's t, since the arms' standard deviations differ by more than a factor "
        f"{UNEQUAL:g} (else they would be pooled); p with n − 1 degrees of freedom, which holds "
        "whatever the deviations, the interval with Satterthwaite's"
    ),
}
TEST_SET = " Test set ±: 95 %, from the test examples, paired by example."
NOTE = (
    "{method}; p after Holm over the {count} comparison{s}, 5 % in all. g: Hedges' effect, in "
    "standard deviations. Better in: share of pairs of runs. Could show: the least true difference "
    "that this many seeds find four times out of five. A difference that cannot be shown is not "
    "shown to be none."
)


def difference_sheets(comparison: Comparison, correct: Correct) -> list[Sheet]:
    """A table for every workload (and joined sweep) in which the baseline has runs."""
    baseline = comparison.protocol.baseline
    if baseline is None or "arm" not in comparison.by:
        return []
    found = samples(comparison)
    scopes = list(dict.fromkeys(s.scope for s in found if s.arm == baseline))
    made = []
    for scope in scopes:
        within = [sample for sample in found if sample.scope == scope]
        sheet = _sheet(comparison, within, baseline, correct)
        if sheet is not None:
            several = len(scopes) > 1
            made.append(sheet.within(scope_name(scope)) if several else sheet)
    return made


def _sheet(
    c: Comparison, within: Sequence[Sample], baseline: str, correct: Correct
) -> Sheet | None:
    """None for a single sample."""
    base = next(sample for sample in within if sample.arm == baseline)
    others = [sample for sample in within if sample is not base]
    if not others:
        return None
    values = {s.label: v for s in within if (v := _testable(c, s, base)) is not None}
    tested = {name: v for name, v in values.items() if name != base.label}
    method: Method = "paired t" if c.protocol.paired else "pooled t"
    results: dict[str, Difference] = {}
    if base.label in values and tested:
        method, results = differences(values, base.label, c.protocol.paired)
    lines = [_line(c, sample, base, results.get(sample.label), correct) for sample in others]
    ranked = any(line["rank_p"] is not None for line in lines)
    what = words(c.metric.report)
    headers = [
        "arm",
        "difference",
        "interval (95 %)",
        "p",
        "verdict",
        "g",
        "better in",
        "could show",
    ]
    s = "" if len(results) == 1 else "s"
    shared = "" if not base.shared or len(c.points) == len(c.groups) else (
        " The points were chosen on these very seeds, which favours arms with more trials: p is "
        "too small, submit.py --final makes runs for a fair one."
    )  # fmt: skip
    return Sheet(
        "differences",
        f"Difference in {what} to {base.label}" + (" (points)" if is_share(what) else ""),
        NOTE.format(method=_capital(METHODS[method]), count=len(results), s=s) + TEST_SET + shared,
        [*headers, "test set ±", *(["rank test p"] if ranked else [])],
        [_cells(line, is_share(what), ranked) for line in lines],
        pd.DataFrame(lines).assign(baseline=base.label, test=method),
    )


def _testable(c: Comparison, sample: Sample, base: Sample) -> list[float] | None:
    """Values that a test can use: complete, two or more; of the baseline's seeds where paired."""
    values = sample.complete(f"metrics.{c.metric.report}", c.metric.direction)
    if values is None or len(values) < 2:
        return None
    return None if c.protocol.paired and sample.seeds != base.seeds else values


def _line(
    c: Comparison, sample: Sample, base: Sample, found: Difference | None, correct: Correct
) -> dict[str, Any]:
    low, high = (found.interval if found else None) or (None, None)
    right = (correct(sample), correct(base)) if found else (None, None)
    error = None
    if right[0] is not None and right[1] is not None and right[0].shape[1] == right[1].shape[1]:
        error = paired_test_error(right[0], right[1])
    higher = found.superiority if found else None
    better = higher if higher is None or c.metric.direction == "max" else 1 - higher
    return {
        "arm": sample.label,
        "n": len(sample.seeds),
        "difference": found.difference if found else None,
        "interval_low": low,
        "interval_high": high,
        "df": found.df if found else None,
        "p": found.p if found else None,
        "p_holm": found.holm if found else None,
        "shown": found.shown if found else None,
        "verdict": _verdict(c, sample, base, found),
        "effect": found.effect if found else None,
        "better_in": better,
        "detectable": found.detectable if found else None,
        "test_error": error,
        "rank_p": found.rank_p if found else None,
    }


def _verdict(c: Comparison, sample: Sample, base: Sample, found: Difference | None) -> str:
    if found is None:
        return _why_not(c, sample, base)
    if found.interval is None:
        return "no spread over seeds: no test"
    if not found.shown:
        return f"cannot be shown with {len(sample.seeds)} seeds"
    better = (found.difference > 0) == (c.metric.direction == "max")
    return "better" if better else "worse"


def _why_not(c: Comparison, sample: Sample, base: Sample) -> str:
    for s in (sample, base):
        whose = "" if s is sample else f"{base.label}: "
        values = s.values(f"metrics.{c.metric.report}", c.metric.direction)
        finite = sum(abs(value) < float("inf") for value in values)
        if finite < len(values):
            return f"no test: {whose}{finite}/{len(values)} seeds finished"
        if finite < 2:
            return f"no test: {whose}one seed"
    return "no test: other seeds than the baseline's"


def _cells(line: dict[str, Any], percent: bool, ranked: bool) -> list[str]:
    difference = texts([line["difference"]], percent)[0]
    if line["difference"] is not None and line["difference"] > 0:
        difference = f"+{difference}"
    ends = (line["interval_low"], line["interval_high"])
    cells = [line["arm"], difference, span(ends, percent), p_text(line["p_holm"]), line["verdict"]]
    cells += [f"{v:.1f}" if (v := line["effect"]) is not None else "–"]
    cells += [f"{v:.0%}" if (v := line["better_in"]) is not None else "–"]
    cells += [detectable_text(line["detectable"], percent), *texts([line["test_error"]], percent)]
    return [*cells, *([p_text(line["rank_p"])] if ranked else [])]


def detectable_text(value: float | None, percent: bool) -> str:
    """``2.00``; ``> 100`` where no two shares differ by so many points."""
    return "> 100" if percent and value is not None and value > 1 else texts([value], percent)[0]


def p_text(p: float | None) -> str:
    """In three decimals, as a journal has it."""
    return "–" if p is None else "< .001" if p < 0.001 else f"{p:.3f}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
