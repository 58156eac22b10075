"""Whether runs support what others claim: supported, not shown or contradicted. Pure.

The rules are few, and none of them can be turned by hand:

- a difference between arms is the sweep's own test (``lrscale.compare.difference``), at their
  chosen points and after Holm; all arms that the claim names must show it;
- a mean, a share or a ratio is supported when its 95 % interval lies within the claimed bounds,
  contradicted when it lies outside them, and not shown when it does both;
- what is claimed of every run is contradicted by one;
- without the runs, or with too few of them, nothing is shown, and the page says why.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import stats

from lrscale.compare.comparison import Comparison, compare
from lrscale.compare.difference import ALPHA, Difference, differences, holm
from lrscale.compare.intervals import LEVEL, Interval, t_interval
from lrscale.compare.load import is_share
from lrscale.compare.mean_sheet import span, texts
from lrscale.compare.samples import Sample, complete, samples
from lrscale.compare.study.data import SweepData
from lrscale.compare.study.file import Bounds, Claim
from lrscale.compare.study.queries import evaluate, matching
from lrscale.errors import UserError

Verdict = Literal["supported", "not shown", "contradicted"]

NOT_RUN = "these runs have not been made"


@dataclass(frozen=True)
class Finding:
    """What became of a claim.

    Attributes:
        verdict: see the module.
        effect: the size of it with its 95 % interval; empty where there are no runs.
        why: what a reader must know about the verdict; may be empty.
        on: the data of the runs, and whether they are quick ones.
        quick: likewise.
    """

    verdict: Verdict
    effect: str
    why: str = ""
    on: str = ""
    quick: bool = False


def judge(claim: Claim, data: SweepData | None) -> Finding:
    """The verdict on a claim; ``data`` is None where the sweep has not run.

    Raises:
        UserError: an expression, a query or an arm that the runs do not have.
    """
    if data is None:
        return Finding("not shown", "", NOT_RUN)
    on = _data(data)
    found = CHECKS[claim.check](claim, data)
    about = _not_about(claim, data)
    if about:
        found = Finding("not shown", found.effect, about)
    return replace(found, on=on, quick=data.provenance.quick)


def within(interval: Interval, bounds: Bounds) -> Verdict:
    """``supported`` inside the bounds, ``contradicted`` outside, else ``not shown``."""
    low, high = _ends(bounds)
    if low <= interval[0] and interval[1] <= high:
        return "supported"
    return "contradicted" if interval[1] < low or high < interval[0] else "not shown"


def all_of(verdicts: Sequence[Verdict]) -> Verdict:
    """A claim about several things: true of each, or false of one."""
    if "contradicted" in verdicts:
        return "contradicted"
    return "not shown" if "not shown" in verdicts else "supported"


def _difference(claim: Claim, data: SweepData) -> Finding:
    chosen = _chosen(claim, data)
    values = {arm: own for arm, s in chosen.items() if (own := _values(claim, s, data))}
    tested: dict[str, Difference] = {}
    for base in dict.fromkeys(claim.arms.values()):
        meant = [arm for arm, other in claim.arms.items() if other == base]
        # The sweep's own test is over all its arms, whichever of them a claim is about.
        others = list(values) if _is_baseline(data, base) else [*meant, base]
        several = {arm: values[arm] for arm in others if len(values.get(arm, ())) > 1}
        if base in several and any(arm in several for arm in meant):
            _, found = differences(several, base)
            tested |= {arm: found[arm] for arm in meant if arm in found}
    if len(set(claim.arms.values())) == 1:
        p = {arm: d.holm for arm, d in tested.items()}
    else:
        p = dict(zip(tested, map(float, holm([d.p for d in tested.values()])), strict=True))
    share = _is_share(claim, data)
    verdicts: list[Verdict] = [
        _direction(tested[arm], p[arm], claim) if arm in tested else "not shown"
        for arm in claim.arms
    ]
    effects = []
    for arm, base in claim.arms.items():
        if arm in tested:
            d, interval = tested[arm].difference, _span(tested[arm].interval, share)
        elif arm in values and base in values:
            d, interval = values[arm][0] - values[base][0], "no interval: one run"
        else:
            continue
        effects.append(f"{arm} {_signed(d, share)}{' points' if share else ''} ({interval})")
    lacking = [arm for arm in claim.arms if arm not in tested]
    why = f"too few finished runs of {', '.join(lacking)}" if lacking else ""
    return Finding(all_of(verdicts), "; ".join(effects), why)


def _direction(d: Difference, p: float, claim: Claim) -> Verdict:
    if d.interval is None or p >= ALPHA:
        return "not shown"
    return "supported" if (d.difference > 0) == (claim.expect == "above") else "contradicted"


def _ratio(claim: Claim, data: SweepData) -> Finding:
    """Of means of positive values: exp of the difference of their logarithms."""
    chosen = _chosen(claim, data)
    logs = {arm: list(np.log(own)) for arm, s in chosen.items() if (own := _values(claim, s, data))}
    verdicts: list[Verdict] = []
    effects = []
    for arm, base in claim.arms.items():
        if min(len(logs.get(arm, ())), len(logs.get(base, ()))) < 2:
            verdicts.append("not shown")
            effects.append(f"{arm}: too few finished runs")
            continue
        _, found = differences({arm: logs[arm], base: logs[base]}, base)
        d = found[arm]
        interval = d.interval or (d.difference, d.difference)
        ends = (math.exp(interval[0]), math.exp(interval[1]))
        verdicts.append(within(ends, claim.between))
        effects.append(f"{arm} {math.exp(d.difference):.2f} × ({ends[0]:.2f}–{ends[1]:.2f})")
    return Finding(all_of(verdicts), "; ".join([*effects, _asked(claim)]))


def _mean(claim: Claim, data: SweepData) -> Finding:
    if claim.arm is not None:
        found = _values(claim, _chosen(claim, data)[claim.arm], data)
        if found is None:
            return Finding("not shown", "", "not every planned run has finished")
        return _of_numbers(found, claim, _is_share(claim, data))
    rows = matching(data.runs, claim.where)
    values = evaluate(rows, claim.of)
    if values.dtype == bool:
        return _of_truths(int(values.sum()), len(values), claim)
    own = complete(list(values.where(rows["state"] == "done").astype(float)))
    if own is None:
        return Finding("not shown", "", "not every planned run has finished")
    return _of_numbers(own, claim, claim.share)


def _of_numbers(values: Sequence[float], claim: Claim, share: bool) -> Finding:
    mean, unit = math.fsum(values) / len(values), " %" if share else ""
    text, count = f"{texts([mean], share)[0]}{unit}", len(values)
    interval = t_interval(values)
    if interval is None:
        return Finding("not shown", f"{text}; {_asked(claim, share)}", "one run has no interval")
    effect = f"{text} ({_span(interval, share)}, {count} runs); {_asked(claim, share)}"
    return Finding(within(interval, claim.between), effect)


def _of_truths(count: int, of: int, claim: Claim) -> Finding:
    """A share of runs, with Clopper and Pearson's (1934) interval."""
    if not of:
        return Finding("not shown", "", NOT_RUN)
    ci = stats.binomtest(count, of).proportion_ci(LEVEL)
    interval = (float(ci.low), float(ci.high))
    effect = f"{count} of {of} ({_span(interval, True)} %); {_asked(claim, share=True)}"
    return Finding(within(interval, claim.between), effect)


def _every(claim: Claim, data: SweepData) -> Finding:
    rows = matching(data.runs, claim.where)
    values = evaluate(rows, claim.of).where(rows["state"] == "done").astype(float)
    low, high = _ends(claim.between)
    inside, known = int(values.between(low, high).sum()), values.dropna()
    if known.empty:
        return Finding("not shown", "", NOT_RUN)
    numbers = texts([known.min(), known.max()], claim.share)
    seen = " to ".join(dict.fromkeys(numbers))
    effect = f"{inside} of {len(values)} runs; {seen}; {_asked(claim, claim.share)}"
    if inside < len(known):
        return Finding("contradicted", effect)
    lost = len(values) - len(known)
    return Finding("not shown" if lost else "supported", effect, _lost(lost))


def _lost(count: int) -> str:
    if not count:
        return ""
    return "one run has no such value" if count == 1 else f"{count} runs have no such value"


CHECKS = {"difference": _difference, "ratio": _ratio, "mean": _mean, "every": _every}


def _data(data: SweepData) -> str:
    """The title of the data, without what stands in brackets; quick runs say so."""
    if "data" not in data.runs:
        return ""
    made = data.provenance
    titles = dict.fromkeys(re.sub(r" \([^)]*\)", "", title) for title in made.data)
    return ("quick: " if made.quick else "") + "; ".join(titles)


def _not_about(claim: Claim, data: SweepData) -> str:
    """Why the runs say nothing of what the claim is about; empty if they do."""
    if claim.about is None:
        return ""
    names = set(data.runs["config.data.name"].dropna())
    if names != {claim.about}:
        return f"no run on {claim.about}, only on a stand-in"
    return "quick runs only" if data.provenance.quick else ""


def _chosen(claim: Claim, data: SweepData) -> Mapping[str, Sample]:
    """The arms at their chosen points, those of the claim among them."""
    comparison = _comparison(claim, data)
    found = {sample.arm: sample for sample in samples(comparison)}
    for arm in {*claim.arms, *claim.arms.values(), *filter(None, [claim.arm])}:
        if arm not in found and arm not in set(comparison.runs["arm"]):
            raise UserError(f"claim '{claim.says}': the sweep {claim.sweep} has no arm '{arm}'")
    return found


def _comparison(claim: Claim, data: SweepData) -> Comparison:
    """Of the runs that count: the sweep's own, or without others' choices for some of them."""
    c = data.comparison
    if c is None:
        raise UserError(f"claim '{claim.says}': the runs of {claim.sweep} have no arms to compare")
    if not claim.where:
        return c
    runs = matching(c.runs, claim.where)
    return compare(runs, {"name": c.sweep, "notes": ""}, protocol=c.protocol)


def _values(claim: Claim, sample: Sample, data: SweepData) -> list[float] | None:
    """A value for each planned run, if every one has a finite value."""
    assert data.comparison is not None
    if not claim.of:
        metric = data.comparison.metric
        return sample.complete(f"metrics.{metric.report}", metric.direction)
    rows = sample.reported
    found = evaluate(rows, claim.of).where(rows["state"] == "done").astype(float)
    return complete(list(found))


def _is_baseline(data: SweepData, arm: str) -> bool:
    return data.comparison is not None and data.comparison.protocol.baseline == arm


def _is_share(claim: Claim, data: SweepData) -> bool:
    if claim.of or data.comparison is None:
        return claim.share
    return is_share(data.comparison.metric.report)


def _ends(bounds: Bounds) -> Interval:
    low, high = bounds
    return -math.inf if low is None else low, math.inf if high is None else high


def _asked(claim: Claim, share: bool = False) -> str:
    """The bounds that a claim is held against."""
    low, high = (
        None if end is None else f"{100 * end if share else end:g}" for end in claim.between
    )
    if high is None:
        return f"asked: ≥ {low}"
    return f"asked: ≤ {high}" if low is None else f"asked: {low} to {high}"


def _signed(value: float, share: bool) -> str:
    text = texts([value], share)[0]
    return text if value < 0 else f"+{text}"


def _span(interval: Interval | None, share: bool) -> str:
    return "no spread" if interval is None else span(interval, share)
