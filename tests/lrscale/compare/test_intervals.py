from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from lrscale.compare.intervals import (
    binomial_error,
    bootstrap_interval,
    paired_test_error,
    t_interval,
)

values = st.lists(st.floats(0.5, 1.0), min_size=2, max_size=12)


def test_by_hand() -> None:
    """1, 2, 3: mean 2, s = 1, t₂ at 97.5 % = 4.3027."""
    low, high = t_interval([1.0, 2.0, 3.0]) or (0, 0)
    assert (low, high) == pytest.approx((2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)))
    assert t_interval([1.0]) is None
    assert t_interval([0.5, 0.5]) == (0.5, 0.5)


@given(values.filter(lambda v: np.std(v) > 1e-9))
def test_t_as_scipy_has_it(sample: list[float]) -> None:
    expected = stats.ttest_1samp(sample, 0.0).confidence_interval(0.95)
    assert t_interval(sample) == pytest.approx(tuple(expected))


def test_the_bootstrap_waits_for_eight_seeds() -> None:
    sample = list(np.random.default_rng(1).normal(size=8))
    assert bootstrap_interval(sample[:7]) is None
    assert bootstrap_interval([0.9] * 8) == (0.9, 0.9)
    assert bootstrap_interval(sample) == bootstrap_interval(sample[::-1])


def test_the_bootstrap_is_as_wide_as_t_where_values_are_normal() -> None:
    sample = list(stats.norm.ppf((np.arange(30) + 0.5) / 30))
    assert bootstrap_interval(sample) == pytest.approx(t_interval(sample), abs=0.03)


def test_the_bootstrap_reaches_out_to_the_longer_tail() -> None:
    sample = list(np.exp(stats.norm.ppf((np.arange(12) + 0.5) / 12)))
    (low, high), mean = bootstrap_interval(sample) or (0, 0), np.mean(sample)
    assert high - mean > 1.5 * (mean - low)


@pytest.mark.parametrize("right", [0, 3, 950, 1000])
def test_wilson_as_statsmodels_has_it(right: int) -> None:
    low, high = proportion_confint(right, 1000, method="wilson")
    assert binomial_error(right / 1000, 1000) == pytest.approx((high - low) / 2)


def test_pairs_by_hand_and_as_mcnemar_has_it() -> None:
    """b = 5 only we have right, c = 2 only they, of 100: Var(b − c) = b + c − (b − c)²/N."""
    ours, theirs = np.ones(100, bool), np.ones(100, bool)
    theirs[:5] = False
    ours[5:7] = False
    ours[90:] = theirs[90:] = False
    z = stats.norm.ppf(0.975)
    error = paired_test_error(ours[None], theirs[None])
    assert error == pytest.approx(z * math.sqrt((7 - 9 / 100) / 99 / 100))
    table = [[83, 5], [2, 10]]
    score = mcnemar(table, exact=False, correction=False).statistic  # (b − c)²/(b + c)
    assert (0.03 / (error / z)) ** 2 == pytest.approx(score, rel=0.03)


def test_seeds_that_err_alike_leave_no_error() -> None:
    right = np.random.default_rng(0).random((3, 50)) < 0.9
    assert paired_test_error(right, right[::-1]) == pytest.approx(0.0)
    apart = math.hypot(*[binomial_error(float(right.mean()), 50)] * 2)
    other = right.copy()
    other[0, 0] = ~other[0, 0]
    assert paired_test_error(right, other) < apart / 5
