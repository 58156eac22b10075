from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrscale.compare.best_of import best_of
from lrscale.compare.load import Direction

LOST = -math.inf
# Few different validation values, so that there are ties; None has diverged.
trials = st.lists(
    st.tuples(
        st.sampled_from([0.1, 0.2, 0.3, 0.4, None]), st.integers(0, 50).map(lambda i: i / 50)
    ),
    min_size=1,
    max_size=7,
).map(lambda rows: [(s, r) if s is not None else (LOST, LOST) for s, r in rows])


def test_by_hand() -> None:
    """Validation ranks the trials 0.5, 0.9, 0.7 by test; pairs hold (.9, .7, .7) or their like."""
    found = best_of([0.1, 0.2, 0.3], [0.5, 0.9, 0.7], "max", [1, 2, 3])
    assert [best.k for best in found] == [1, 2, 3]
    means = [best.mean for best in found]
    assert means == pytest.approx([(0.5 + 0.9 + 0.7) / 3, (0.9 + 0.7 + 0.7) / 3, 0.7])
    assert found[0].quartiles == pytest.approx((0.5, 0.7, 0.9))
    assert found[1].quartiles == pytest.approx((0.7, 0.7, 0.9))
    assert [best.lost for best in found] == [0, 0, 0]


def test_of_a_loss_the_lowest_is_best() -> None:
    up = best_of([1.0, 2.0, 3.0, 4.0], [5.0, 7.0, 6.0, 9.0], "max", [1, 2])
    down = best_of([-1.0, -2.0, -3.0, -4.0], [-5.0, -7.0, -6.0, -9.0], "min", [1, 2])
    for high, low in zip(up, down, strict=True):
        assert low.mean == pytest.approx(-(high.mean or 0))
        assert low.quartiles[0] is not None
        assert low.quartiles[0] <= (low.quartiles[2] or 0)


def test_no_mean_while_a_set_may_have_diverged_as_a_whole() -> None:
    """Two of four trials diverged: one of six pairs has nothing else, no set of three."""
    one, two, three = best_of([0.3, LOST, LOST, 0.4], [0.5, LOST, LOST, 0.6], "max", [1, 2, 3])
    assert (one.mean, two.mean) == (None, None)
    assert (one.lost, two.lost, three.lost) == pytest.approx((0.5, 1 / 6, 0))
    assert one.quartiles == (None, None, 0.5)  # the middle of the sets is where they diverge
    assert two.quartiles == (0.5, 0.5, 0.6)
    # Of the four sets of three, one has no trial with 0.4 by validation, and takes that with 0.3.
    assert three.mean == pytest.approx((3 * 0.6 + 0.5) / 4)


@given(trials, st.sampled_from(["max", "min"]))
def test_it_is_the_mean_over_all_sets(
    rows: list[tuple[float, float]], direction: Direction
) -> None:
    sign = 1.0 if direction == "max" else -1.0
    select, report = ([sign * row[i] for row in rows] for i in (0, 1))
    ks = range(1, len(rows) + 1)
    found = best_of(select, report, direction, ks)
    for best in found:
        sets = [_best(chosen) for chosen in itertools.combinations(rows, best.k)]
        lost = statistics.fmean(value == LOST for value in sets)
        assert best.lost == pytest.approx(lost, abs=1e-12)
        assert (best.mean is None) == (lost > 0)
        if best.mean is not None:
            assert best.mean == pytest.approx(sign * statistics.fmean(sets), abs=1e-12)
    turned = best_of(select[::-1], report[::-1], direction, ks)
    assert [best.mean for best in found] == pytest.approx([best.mean for best in turned])


def _best(chosen: Sequence[tuple[float, float]]) -> float:
    """The reported value of a set's best, the mean of those that are best alike."""
    top = max(select for select, _ in chosen)
    return statistics.fmean(report for select, report in chosen if select == top)


def test_unbiased() -> None:
    """Validation as test: the expected maximum of 4 uniform draws is 4/5."""
    rng = np.random.default_rng(0)
    means = []
    for _ in range(400):
        drawn = rng.uniform(size=12).tolist()
        [best] = best_of(drawn, drawn, "max", [4])
        means.append(best.mean or 0.0)
    error = statistics.stdev(means) / math.sqrt(len(means))
    assert abs(statistics.fmean(means) - 0.8) < 4 * error


def test_many_trials_keep_their_digits() -> None:
    n, k = 2000, 1000
    [best] = best_of(list(range(n)), list(range(n)), "max", [k])
    # Maximum of k of 0 … n − 1: k(n + 1)/(k + 1) − 1 on average.
    assert best.mean == pytest.approx(k * (n + 1) / (k + 1) - 1, rel=1e-12)
