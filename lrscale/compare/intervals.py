"""Intervals of a mean over seeds, and what a finite test set adds. Pure.

All are two-sided at 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import special

Interval = tuple[float, float]

LEVEL = 0.95
ENOUGH_TO_RESAMPLE = 8
"""Seeds from which on the bootstrap and rank tests mean something: with 3, a percentile
bootstrap's 95 % interval covers 75 %, and the least p of a sign-flip test is 0.25."""
RESAMPLES = 9_999


def t_interval(values: Sequence[float]) -> Interval | None:
    """x̄ ± t_{n−1} s/√n (Student 1908); None for fewer than two values."""
    n = len(values)
    if n < 2:
        return None
    half = (
        float(special.stdtrit(n - 1, (1 + LEVEL) / 2))
        * float(np.std(values, ddof=1))
        / math.sqrt(n)
    )
    mean = math.fsum(values) / n
    return mean - half, mean + half


def ratio_interval(values: Sequence[float], others: Sequence[float]) -> Interval | None:
    """Of the ratio x̄/ȳ of two means of positive values: x̄/ȳ · exp(± t_ν e).

    e² = s²_x/(n x̄²) + s²_y/(m ȳ²) is the variance of log(x̄/ȳ) by the delta method, and ν
    Satterthwaite's (1946) degrees of freedom of that sum. It is never negative or unbounded, as
    Fieller's (1954) can be, and that of ȳ/x̄ has the reciprocal ends.

    None for fewer than two values of either, and without any spread.
    """
    x, y = np.asarray(values, dtype=float), np.asarray(others, dtype=float)
    if min(len(x), len(y)) < 2:
        return None
    parts = [float(v.var(ddof=1)) / (len(v) * float(v.mean()) ** 2) for v in (x, y)]
    if sum(parts) == 0:
        return None
    freedom = sum(parts) ** 2 / sum(p**2 / (len(v) - 1) for p, v in zip(parts, (x, y), strict=True))
    half = float(special.stdtrit(freedom, (1 + LEVEL) / 2)) * math.sqrt(sum(parts))
    ratio = float(x.mean() / y.mean())
    return ratio * math.exp(-half), ratio * math.exp(half)


def bootstrap_interval(values: Sequence[float]) -> Interval | None:
    """The bootstrap-t interval of the mean (Efron and Tibshirani 1993, section 12.5).

    [x̄ − q_{97.5} s/√n, x̄ − q_{2.5} s/√n], with q the quantiles of (x̄* − x̄)/(s*/√n) over
    resamples. Unlike the percentile interval, which is too short for few values, it keeps its
    level and may be skewed. The resamples are a function of the values alone, in whatever order.

    None for fewer than ``ENOUGH_TO_RESAMPLE`` values.
    """
    x = np.sort(np.asarray(values, dtype=float))
    n = len(x)
    if n < ENOUGH_TO_RESAMPLE:
        return None
    mean, error = float(x.mean()), float(x.std(ddof=1)) / math.sqrt(n)
    if error == 0:
        return mean, mean
    drawn = x[np.random.default_rng(0).integers(0, n, size=(RESAMPLES, n))]
    spread = drawn.std(axis=1, ddof=1)
    varied = spread > 0  # a resample of one value n times has no t
    t = (drawn[varied].mean(axis=1) - mean) / (spread[varied] / math.sqrt(n))
    low, high = np.quantile(t, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return mean - float(high) * error, mean - float(low) * error


def binomial_error(share: float, examples: int) -> float:
    """Half the width of the Wilson score interval of a share of ``examples`` (Wilson 1927).

    What one model's accuracy may differ from that on other test examples of the same kind:
    z/(1 + z²/N) √(p(1 − p)/N + z²/4N²). Seeds do not lessen it, for all share the test set.
    """
    z = float(special.ndtri((1 + LEVEL) / 2))
    root = math.sqrt(share * (1 - share) / examples + z * z / (4 * examples**2))
    return z / (1 + z * z / examples) * root


def paired_test_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Half the 95 % interval, from the test set, of the difference of two mean accuracies.

    Each test example e has d_e, the share of our seeds that have it right less the share of
    theirs; the difference is the mean of d_e over the N examples and its error z·sd(d)/√N. With
    one seed each, N²·error²/z² is b + c − (b − c)²/N of McNemar's (1947) discordant counts, up
    to N/(N − 1). Examples that both have right or wrong do not enter, so that it is far smaller
    than from two accuracies apart.

    Args:
        ours, theirs: whether each example was right: (seeds, examples), at least two examples.
    """
    difference = ours.mean(axis=0) - theirs.mean(axis=0)
    z = float(special.ndtri((1 + LEVEL) / 2))
    return z * float(difference.std(ddof=1)) / math.sqrt(len(difference))
