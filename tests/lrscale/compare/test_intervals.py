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
    ratio_interval,
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


def test_ratio_by_hand() -> None:
    """Deviations of a tenth of the mean, three of each: e² = 2·0.01/3, four degrees of freedom."""
    low, high = ratio_interval([1.8, 2.0, 2.2], [0.9, 1.0, 1.1]) or (0, 0)
    half = 2.776445 * math.sqrt(2 * 0.01 / 3)
    assert (low, high) == pytest.approx((2 * math.exp(-half), 2 * math.exp(half)))
    assert ratio_interval([1.0], [1.0, 2.0]) is None
    assert ratio_interval([1.0, 1.0], [2.0, 2.0]) is None


@given(values, values, st.floats(0.1, 10))
def test_a_ratio_has_no_unit_and_can_be_turned_over(
    x: list[float], y: list[float], unit: float
) -> None:
    found, inverse = ratio_interval(x, y), ratio_interval(y, x)
    assert (found is None) == (inverse is None)
    if found is None or inverse is None:
        return
    assert 0 <= found[0] <= sum(x) / len(x) / (sum(y) / len(y)) * (1 + 1e-9)
    if found[0] > 1e-9 and np.std(x) + np.std(y) > 1e-6:  # not all of it rounding
        assert found == pytest.approx((1 / inverse[1], 1 / inverse[0]), rel=1e-6)
        scaled = ratio_interval([unit * v for v in x], y)
        assert scaled == pytest.approx((unit * found[0], unit * found[1]), rel=1e-6)


def test_a_ratio_is_covered_as_often_as_is_said() -> None:
    """Log-normal times, disturbed by a tenth; the error of 1,000 tables' coverage is 0.7 %."""
    rng = np.random.default_rng(0)
    within = 0
    for _ in range(1000):
        low, high = ratio_interval(
            3 * np.exp(0.1 * rng.normal(size=5)), np.exp(0.1 * rng.normal(size=5))
        ) or (0, 0)
        within += low <= 3 <= high
    assert 930 <= within <= 975
