from __future__ import annotations

import gc
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestIndPower

from lrscale.compare.difference import detectable, differences, holm, method_for

ALIKE = {"a": [1.0, 2.0, 3.0], "b": [3.0, 4.0, 5.0], "c": [2.0, 3.0, 4.5]}
UNLIKE = {"a": [1.0, 2.0, 3.0], "b": [3.0, 3.1, 3.2], "c": [0.0, 4.0, 9.0]}
numbers = st.integers(0, 1000).map(lambda i: i / 1000)
samples = st.lists(st.lists(numbers, min_size=2, max_size=9), min_size=2, max_size=5).map(
    lambda rows: {f"arm{i}": row for i, row in enumerate(rows)}
)


def test_pooled_by_hand() -> None:
    """Two arms of deviation 1, three seeds: error √(2/3), four degrees of freedom."""
    method, found = differences({"a": [1.0, 2.0, 3.0], "b": [3.0, 4.0, 5.0]}, "a")
    b = found["b"]
    assert (method, b.difference, b.df) == ("pooled t", 2.0, 4)
    assert b.interval == pytest.approx((2 - 2.776445 * 0.8164966, 2 + 2.776445 * 0.8164966))
    expected = stats.ttest_ind(ALIKE["b"], ALIKE["a"])
    assert b.p == b.holm == pytest.approx(expected.pvalue)
    assert b.effect == pytest.approx(2 * math.gamma(2) / math.sqrt(2) / math.gamma(1.5))
    assert b.superiority == pytest.approx((8 + 0.5) / 9)  # one pair of nine is 3 and 3
    assert b.rank_p is None


def test_the_deviation_is_pooled_over_all_arms() -> None:
    """As the contrast in a one-way analysis of variance."""
    method, found = differences(ALIKE, "a")
    s2 = np.mean([np.var(x, ddof=1) for x in ALIKE.values()])
    t = found["b"].difference / math.sqrt(s2 * 2 / 3)
    assert method == "pooled t"
    assert found["b"].p == pytest.approx(2 * stats.t.sf(t, 6))


def test_welch_where_deviations_are_unlike() -> None:
    method, found = differences(UNLIKE, "a")
    assert method == "Welch t"
    for name in "bc":
        expected = stats.ttest_ind(UNLIKE[name], UNLIKE["a"], equal_var=False)
        assert found[name].df == 2  # the fewest that the true variances leave
        assert found[name].p == pytest.approx(2 * stats.t.sf(abs(expected.statistic), 2))
        assert found[name].p > expected.pvalue
        interval = expected.confidence_interval(0.95)
        assert found[name].interval == pytest.approx((interval.low, interval.high))


def test_the_rule_between_them() -> None:
    one, two = [0.0, 1.0], [0.0, 1.5]
    assert method_for([one, two], paired=False) == "pooled t"
    assert method_for([one, [0.0, 1.51]], paired=False) == "Welch t"
    assert method_for([one, [0.0, 9.0]], paired=True) == "paired t"
    assert method_for([[1.0, 1.0], [2.0, 2.0]], paired=False) == "pooled t"


def test_pairs() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(size=9)
    arms = {"a": base, "b": base + 0.5 + 0.1 * rng.normal(size=9), "c": rng.normal(size=9)}
    method, found = differences(arms, "a", paired=True)
    assert method == "paired t"
    ranks = []
    for name in "bc":
        expected = stats.ttest_rel(arms[name], base)
        assert found[name].p == pytest.approx(expected.pvalue)
        interval = expected.confidence_interval(0.95)
        assert found[name].interval == pytest.approx((interval.low, interval.high))
        ranks.append(float(stats.wilcoxon(arms[name], base).pvalue))
    assert found["b"].superiority == 1.0
    assert [found[name].rank_p for name in "bc"] == pytest.approx(list(holm(ranks)))


def test_ranks_from_eight_seeds_on() -> None:
    rng = np.random.default_rng(0)
    eight = {"a": list(rng.normal(size=8)), "b": list(rng.normal(1, size=8))}
    _, found = differences(eight, "a")
    expected = stats.mannwhitneyu(eight["b"], eight["a"]).pvalue
    assert found["b"].rank_p == pytest.approx(expected)
    _, found = differences({"a": eight["a"][:7], "b": eight["b"]}, "a")
    assert found["b"].rank_p is None


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_holm_as_statsmodels_has_it(p: list[float]) -> None:
    gc.freeze()  # the oracle collects garbage, which takes 0.1 s with all that is imported here
    expected = multipletests(p, method="holm")[1]
    gc.unfreeze()
    assert holm(p) == pytest.approx(expected)


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_what_could_have_been_shown_as_statsmodels_has_it(n: int) -> None:
    effect = TTestIndPower().solve_power(nobs1=n, alpha=0.05, power=0.8, alternative="two-sided")
    found = detectable(math.sqrt(2 / n), 2 * n - 2, comparisons=1)
    assert found == pytest.approx(effect, rel=1e-3)
    assert detectable(math.sqrt(2 / n), 2 * n - 2, comparisons=4) > found


def test_without_any_spread_nothing_is_shown() -> None:
    _, found = differences({"a": [1.0, 1.0], "b": [2.0, 2.0]}, "a")
    b = found["b"]
    assert (b.difference, b.interval, b.effect, b.detectable) == (1.0, None, None, None)
    assert not b.shown


@settings(max_examples=30)
@given(samples, st.randoms(use_true_random=False))
def test_neither_order_nor_sign_matters(arms: dict[str, list[float]], random: object) -> None:
    def shuffled(items: list) -> list:
        return random.sample(items, len(items))  # type: ignore[attr-defined]

    method, found = differences(arms, "arm0")
    other = {name: shuffled(arms[name]) for name in shuffled(list(arms))}
    same_method, same = differences(other, "arm0")
    mirrored = differences({name: [-v for v in x] for name, x in arms.items()}, "arm0")[1]
    assert method == same_method
    for name, d in found.items():
        assert same[name].difference == pytest.approx(d.difference, abs=1e-12)
        assert same[name].holm == pytest.approx(d.holm, abs=1e-9)
        assert same[name].shown == d.shown == mirrored[name].shown
        assert mirrored[name].difference == pytest.approx(-d.difference, abs=1e-12)
        assert d.p <= d.holm <= 1
