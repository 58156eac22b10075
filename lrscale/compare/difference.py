"""The one test of a comparison: every arm against the baseline, on values over seeds. Pure.

Which test is fixed in advance: paired t where the sweep declares pairs; else t with the standard
deviation pooled over all arms, or Welch's where the largest of the arms' standard deviations is
more than ``UNEQUAL`` times the smallest. p values are Holm's over the comparisons, and find a
difference among equal arms in at most 5 % of tables (benchmarks/error_rates.py).

What is measured has an array's leading axes, so that a simulation of many tables takes the same
way as one table does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from lrscale.compare.intervals import ENOUGH_TO_RESAMPLE, LEVEL, Interval

Method = Literal["pooled t", "Welch t", "paired t"]
Numbers = NDArray[np.float64]

ALPHA = 1 - LEVEL  # over all comparisons together
POWER = 0.8
UNEQUAL = 1.5


@dataclass(frozen=True)
class Difference:
    """An arm less the baseline.

    Attributes:
        difference: of the means.
        interval: 95 %, of this difference alone; None without spread.
        interval_df: its degrees of freedom.
        df: those of the test.
        p: of the two-sided t test, before Holm.
        holm: after it.
        effect: Hedges' g (1981): the difference in standard deviations, less its small-sample
            bias; None without spread.
        superiority: the share of pairs of runs in which the arm's is the higher, ties for half.
        detectable: the least true difference that would be found four times out of five at
            the strictest of Holm's levels, α/m; None without spread.
        rank_p: after Holm, of Mann and Whitney's test, of Wilcoxon's signed ranks for pairs;
            None below ``ENOUGH_TO_RESAMPLE`` seeds.
    """

    difference: float
    interval: Interval | None
    interval_df: float
    df: float
    p: float
    holm: float
    effect: float | None
    superiority: float
    detectable: float | None
    rank_p: float | None

    @property
    def shown(self) -> bool:
        """Whether it is told from zero, at 5 % over all comparisons together."""
        return self.interval is not None and self.holm < ALPHA


@dataclass(frozen=True)
class Measured:
    """Differences to the baseline, each attribute with a value for each table.

    Attributes:
        difference, error: of the means, and its standard error.
        interval_df: degrees of freedom of the interval.
        df: those of the test; fewer where those of the interval are an estimate.
        spread, spread_df: the standard deviation of single values, and its degrees of freedom.
    """

    difference: Numbers
    error: Numbers
    interval_df: Numbers
    df: Numbers
    spread: Numbers
    spread_df: Numbers

    @property
    def p(self) -> Numbers:
        """Two-sided, before Holm; 1 without spread."""
        size = np.abs(self.difference) / np.where(self.error > 0, self.error, 1.0)
        found: Numbers = np.where(self.error > 0, 2 * special.stdtr(self.df, -size), 1.0)
        return found

    @property
    def margin(self) -> Numbers:
        """Half of the 95 % interval of each difference alone."""
        found: Numbers = special.stdtrit(self.interval_df, (1 + LEVEL) / 2) * self.error
        return found


def differences(
    samples: Mapping[str, Sequence[float]], baseline: str, paired: bool = False
) -> tuple[Method, dict[str, Difference]]:
    """Which test was made, and every other sample's difference to the baseline's.

    Args:
        samples: finite values over seeds, at least two of each; where ``paired``, equally many
            and in the order of the same seeds.
    """
    base = np.asarray(samples[baseline], dtype=float)
    others = {name: np.asarray(v, dtype=float) for name, v in samples.items() if name != baseline}
    measured = measure([base, *others.values()], paired)
    p = np.array([m.p for m in measured])
    adjusted, ranks = holm(p), _rank_p(others, base, paired)
    return method_for(list(samples.values()), paired), {
        name: Difference(
            difference=float(m.difference),
            interval=_interval(m),
            interval_df=float(m.interval_df),
            df=float(m.df),
            p=float(p[i]),
            holm=float(adjusted[i]),
            effect=_hedges(m),
            superiority=_superiority(others[name], base, paired),
            detectable=detectable(float(m.error), float(m.df), len(p)) if m.error else None,
            rank_p=ranks.get(name),
        )
        for i, (name, m) in enumerate(zip(others, measured, strict=True))
    }


def method_for(samples: Sequence[Sequence[float]], paired: bool) -> Method:
    """The test, by the rule that stands above. Samples without any spread are no reason."""
    if paired:
        return "paired t"
    return "Welch t" if _unequal([np.asarray(x, dtype=float) for x in samples]) else "pooled t"


def measure(samples: Sequence[Numbers], paired: bool) -> list[Measured]:
    """Every sample but the first, the baseline, against that one.

    Args:
        samples: each (…, n) with n ≥ 2 of its own; the leading axes are tables.
    """
    base, *others = samples
    if paired:
        return [_paired(x, base) for x in others]
    apart, pooled = _unequal(samples), _pooled(samples)
    return [_either(apart, _welch(x, base), _student(x, base, pooled)) for x in others]


def holm(p: ArrayLike) -> Numbers:
    """Holm's (1979) step-down p values: max over the smaller ones of (m − i) p₍ᵢ₎, at most 1.

    Args:
        p: (m, …): the comparisons come first.
    """
    values = np.asarray(p, dtype=float)
    order = np.argsort(values, axis=0, kind="stable")
    left = len(values) - np.arange(len(values)).reshape(-1, *[1] * (values.ndim - 1))
    greatest = np.maximum.accumulate(np.take_along_axis(values, order, 0) * left, axis=0)
    adjusted = np.empty_like(values)
    np.put_along_axis(adjusted, order, np.minimum(greatest, 1.0), 0)
    return adjusted


def detectable(error: float, df: float, comparisons: int) -> float:
    """The true difference δ that a two-sided t test at level α/m finds with 80 % power.

    P(|T| > c) = 0.8 for T noncentral t, c = t_{1−α/2m}: over s²/σ² = V/df with V chi-squared, the
    mean of Φ(δ/error − c√(V/df)) + Φ(−δ/error − c√(V/df)), here over 4,000 quantiles of V. (SciPy's
    noncentral t is not defined for all that occurs here.)
    """
    from scipy import optimize  # not for reports without a baseline: 0.2 s to import

    critical = -float(special.stdtrit(df, ALPHA / comparisons / 2))
    needed = critical * np.sqrt(
        2 * special.gammaincinv(df / 2, (np.arange(4000) + 0.5) / 4000) / df
    )

    def lacking(shift: float) -> float:
        found = special.ndtr(shift - needed) + special.ndtr(-shift - needed)
        return float(found.mean()) - POWER

    upper = critical + 2.0
    while lacking(upper) < 0:
        upper *= 1.5
    return error * float(optimize.brentq(lacking, 0.0, upper))


def _unequal(samples: Sequence[Numbers]) -> NDArray[np.bool_]:
    spreads = np.stack([x.std(axis=-1, ddof=1) for x in samples])
    found: NDArray[np.bool_] = spreads.max(axis=0) > UNEQUAL * spreads.min(axis=0)
    return found


def _pooled(samples: Sequence[Numbers]) -> tuple[Numbers, float]:
    """√(Σ(nᵢ − 1)sᵢ² / Σ(nᵢ − 1)), and the degrees of freedom Σ(nᵢ − 1)."""
    freedom = sum(x.shape[-1] - 1 for x in samples)
    squares = sum((x.shape[-1] - 1) * x.var(axis=-1, ddof=1) for x in samples)
    return np.sqrt(squares / freedom), freedom


def _student(x: Numbers, base: Numbers, pooled: tuple[Numbers, float]) -> Measured:
    spread, freedom = pooled
    error = spread * math.sqrt(1 / x.shape[-1] + 1 / base.shape[-1])
    df = np.full_like(error, freedom)
    return Measured(_difference(x, base), error, df, df, spread, df)


def _welch(x: Numbers, base: Numbers) -> Measured:
    """Welch (1947): each sample's own variance.

    Satterthwaite's degrees of freedom give the interval. At Holm's small levels they are too
    many: of eight arms with three seeds they find a difference among equal ones in 9 % of tables.
    The test has those of the smaller sample, with which it is no test at a higher level than it
    says, whatever the variances (Mickey and Brown 1966).
    """
    n, m = x.shape[-1], base.shape[-1]
    a, b = x.var(axis=-1, ddof=1) / n, base.var(axis=-1, ddof=1) / m
    parts = a**2 / (n - 1) + b**2 / (m - 1)
    estimated = (a + b) ** 2 / np.where(parts > 0, parts, 1.0)
    least = min(n, m) - 1
    spread, freedom = _pooled([x, base])
    return Measured(
        difference=_difference(x, base),
        error=np.sqrt(a + b),
        interval_df=np.where(parts > 0, estimated, least),
        df=np.full_like(a, least),
        spread=spread,
        spread_df=np.full_like(a, freedom),
    )


def _paired(x: Numbers, base: Numbers) -> Measured:
    """Of the differences; the effect is in deviations of single values, as elsewhere."""
    each = x - base
    error = each.std(axis=-1, ddof=1) / math.sqrt(each.shape[-1])
    df = np.full_like(error, each.shape[-1] - 1)
    spread, freedom = _pooled([x, base])
    return Measured(each.mean(axis=-1), error, df, df, spread, np.full_like(error, freedom))


def _either(which: NDArray[np.bool_], one: Measured, other: Measured) -> Measured:
    pairs = zip(astuple(one), astuple(other), strict=True)
    return Measured(*(np.where(which, ours, theirs) for ours, theirs in pairs))


def _difference(x: Numbers, base: Numbers) -> Numbers:
    found: Numbers = x.mean(axis=-1) - base.mean(axis=-1)
    return found


def _interval(m: Measured) -> Interval | None:
    if not m.error:
        return None
    return float(m.difference - m.margin), float(m.difference + m.margin)


def _hedges(m: Measured) -> float | None:
    """g = J·difference/spread with J = Γ(ν/2) / (√(ν/2) Γ((ν − 1)/2)), ν of the spread."""
    if not m.spread:
        return None
    half = m.spread_df / 2
    logarithm = special.gammaln(half) - special.gammaln(half - 0.5)
    return float(np.exp(logarithm) / np.sqrt(half) * m.difference / m.spread)


def _superiority(x: np.ndarray, base: np.ndarray, paired: bool) -> float:
    signs = np.sign(x - base) if paired else np.sign(x[:, None] - base[None, :])
    return float((1 + signs).mean() / 2)


def _rank_p(others: Mapping[str, np.ndarray], base: np.ndarray, paired: bool) -> dict[str, float]:
    if min(map(len, (base, *others.values()))) < ENOUGH_TO_RESAMPLE:
        return {}
    adjusted = holm([_one_rank_p(x, base, paired) for x in others.values()])
    return dict(zip(others, map(float, adjusted), strict=True))


def _one_rank_p(x: np.ndarray, base: np.ndarray, paired: bool) -> float:
    from scipy import stats  # 0.4 s to import

    if paired:
        return float(stats.wilcoxon(x, base).pvalue) if (x != base).any() else 1.0
    return float(stats.mannwhitneyu(x, base).pvalue)
