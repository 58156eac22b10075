"""The one test of a comparison: every arm against the baseline, on values over seeds. Pure.

Which test is fixed in advance: paired t where the sweep declares pairs; else t with the standard
deviation pooled over all arms, or Welch's where the largest of the arms' standard deviations is
more than ``UNEQUAL`` times the smallest. p values are Holm's over the comparisons.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import optimize, special, stats

from lrscale.compare.intervals import ENOUGH_TO_RESAMPLE, LEVEL, Interval

Method = Literal["pooled t", "Welch t", "paired t"]

ALPHA = 1 - LEVEL  # over all comparisons together
POWER = 0.8
UNEQUAL = 2.0


@dataclass(frozen=True)
class Difference:
    """An arm less the baseline.

    Attributes:
        difference: of the means.
        interval: 95 %, of this difference alone; None without spread.
        df: degrees of freedom.
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
class _Measured:
    """A difference with its standard error; ``spread`` is the standard deviation of single
    values, of ``spread_df`` degrees of freedom."""

    difference: float
    error: float
    df: float
    spread: float
    spread_df: float


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
    method = method_for(list(samples.values()), paired)
    pooled, freedom = _pooled([base, *others.values()])
    measured = {}
    for name, x in others.items():
        if method == "paired t":
            measured[name] = _paired(x, base)
        elif method == "Welch t":
            measured[name] = _welch(x, base)
        else:
            error = pooled * math.sqrt(1 / len(x) + 1 / len(base))
            measured[name] = _Measured(x.mean() - base.mean(), error, freedom, pooled, freedom)
    p = {name: _p(m) for name, m in measured.items()}
    adjusted, ranks = holm(p), _rank_p(others, base, paired)
    return method, {
        name: Difference(
            difference=float(m.difference),
            interval=_interval(m),
            df=m.df,
            p=p[name],
            holm=adjusted[name],
            effect=_hedges(m),
            superiority=_superiority(others[name], base, paired),
            detectable=detectable(m.error, m.df, len(measured)) if m.error else None,
            rank_p=ranks.get(name),
        )
        for name, m in measured.items()
    }


def method_for(samples: Sequence[Sequence[float]], paired: bool) -> Method:
    """The test, by the rule that stands above. Samples without any spread are no reason."""
    if paired:
        return "paired t"
    spreads = [float(np.std(x, ddof=1)) for x in samples]
    return "Welch t" if max(spreads) > UNEQUAL * min(spreads) else "pooled t"


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Holm's (1979) step-down p values: max over the smaller ones of (m − i) p₍ᵢ₎, at most 1."""
    adjusted: dict[str, float] = {}
    greatest = 0.0
    for i, name in enumerate(sorted(p, key=lambda name: (p[name], name))):
        greatest = max(greatest, min(1.0, (len(p) - i) * p[name]))
        adjusted[name] = greatest
    return adjusted


def detectable(error: float, df: float, comparisons: int) -> float:
    """The true difference δ that a two-sided t test at level α/m finds with 80 % power.

    P(|T| > c) = 0.8 for T noncentral t, c = t_{1−α/2m}: over s²/σ² = V/df with V chi-squared, the
    mean of Φ(δ/error − c√(V/df)) + Φ(−δ/error − c√(V/df)), here over 4,000 quantiles of V. (SciPy's
    noncentral t is not defined for all that occurs here.)
    """
    critical = float(stats.t.isf(ALPHA / comparisons / 2, df))
    needed = critical * np.sqrt(stats.chi2.ppf((np.arange(4000) + 0.5) / 4000, df) / df)

    def lacking(shift: float) -> float:
        found = special.ndtr(shift - needed) + special.ndtr(-shift - needed)
        return float(found.mean()) - POWER

    upper = critical + 2.0
    while lacking(upper) < 0:
        upper *= 1.5
    return error * float(optimize.brentq(lacking, 0.0, upper))


def _pooled(samples: Sequence[np.ndarray]) -> tuple[float, float]:
    """√(Σ(nᵢ − 1)sᵢ² / Σ(nᵢ − 1)), and the degrees of freedom Σ(nᵢ − 1)."""
    freedom = sum(len(x) - 1 for x in samples)
    return math.sqrt(sum((len(x) - 1) * x.var(ddof=1) for x in samples) / freedom), freedom


def _welch(x: np.ndarray, base: np.ndarray) -> _Measured:
    """Welch (1947): each sample's own variance, Satterthwaite's degrees of freedom."""
    a, b = x.var(ddof=1) / len(x), base.var(ddof=1) / len(base)
    parts = a**2 / (len(x) - 1) + b**2 / (len(base) - 1)
    df = float((a + b) ** 2 / parts) if parts > 0 else math.inf
    return _Measured(x.mean() - base.mean(), math.sqrt(a + b), df, *_pooled([x, base]))


def _paired(x: np.ndarray, base: np.ndarray) -> _Measured:
    """Of the differences; the effect is in deviations of single values, as elsewhere."""
    each = x - base
    error = float(each.std(ddof=1)) / math.sqrt(len(each))
    return _Measured(float(each.mean()), error, len(each) - 1, *_pooled([x, base]))


def _p(m: _Measured) -> float:
    if m.error == 0:
        return 1.0
    return float(2 * stats.t.sf(abs(m.difference) / m.error, m.df))


def _interval(m: _Measured) -> Interval | None:
    if m.error == 0:
        return None
    half = float(stats.t.ppf((1 + LEVEL) / 2, m.df)) * m.error
    return float(m.difference) - half, float(m.difference) + half


def _hedges(m: _Measured) -> float | None:
    """g = J·difference/spread with J = Γ(ν/2) / (√(ν/2) Γ((ν − 1)/2)), ν of the spread."""
    if m.spread == 0:
        return None
    half = m.spread_df / 2
    logarithm = special.gammaln(half) - special.gammaln(half - 0.5)
    return float(math.exp(logarithm) / math.sqrt(half) * m.difference / m.spread)


def _superiority(x: np.ndarray, base: np.ndarray, paired: bool) -> float:
    signs = np.sign(x - base) if paired else np.sign(x[:, None] - base[None, :])
    return float((1 + signs).mean() / 2)


def _rank_p(others: Mapping[str, np.ndarray], base: np.ndarray, paired: bool) -> dict[str, float]:
    if min(map(len, (base, *others.values()))) < ENOUGH_TO_RESAMPLE:
        return {}
    return holm({name: _one_rank_p(x, base, paired) for name, x in others.items()})


def _one_rank_p(x: np.ndarray, base: np.ndarray, paired: bool) -> float:
    if paired:
        return float(stats.wilcoxon(x, base).pvalue) if (x != base).any() else 1.0
    return float(stats.mannwhitneyu(x, base).pvalue)
