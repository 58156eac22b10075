from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrscale.compare.profiles import TAU_MAX, mean_speed_up, profile
from lrscale.compare.targets import NEVER, Cost, Target, cost_of, speed_up, spent

INF, NAN = math.inf, math.nan
ACCURACY = Target("val_accuracy", 0.9, "max", "the workload's target")
LOSS = Target("val_loss", 0.5, "min", "the workload's target")
RECORDS: list[dict[str, Any]] = [
    {"step": 10, "epoch": 1, "seconds": 1.5, "val_accuracy": 0.7, "val_loss": None},
    {"step": 20, "epoch": 2, "seconds": 3.0, "val_accuracy": 0.9, "val_loss": 0.6},
    {"step": 30, "epoch": 3, "seconds": 4.5, "val_accuracy": 0.8, "val_loss": 0.4},
]


def test_the_first_evaluation_that_is_as_good() -> None:
    assert cost_of("done", RECORDS, ACCURACY) == Cost(20, 2, 3.0)
    assert cost_of("done", RECORDS[::-1], ACCURACY) == Cost(20, 2, 3.0)
    assert cost_of("done", RECORDS, LOSS) == Cost(30, 3, 4.5)  # a loss of None was not finite
    assert cost_of("done", RECORDS[:1], ACCURACY) == NEVER
    assert cost_of("done", [], ACCURACY) == NEVER


def test_only_what_has_ended_says_anything() -> None:
    assert cost_of("diverged", RECORDS, ACCURACY) == NEVER
    for state in ("missing", "failed", "running", "killed"):
        assert math.isnan(cost_of(state, RECORDS, ACCURACY).steps)


@pytest.mark.parametrize(
    ("values", "counts", "numbers"),
    [
        ([30.0, 10.0, 20.0], (3, 3, 3), (20, 10, 30)),
        ([30.0, INF, 20.0], (3, 3, 2), (30, 20, INF)),
        ([INF, INF, 20.0], (3, 3, 1), (INF, 20, INF)),
        ([30.0, INF], (2, 2, 1), (INF, 30, INF)),  # halfway to never is never
        ([30.0, NAN, 10.0], (3, 2, 2), (20, 10, 30)),
        ([NAN, NAN], (2, 0, 0), (None, None, None)),
    ],
)
def test_medians_with_misses(values: list[float], counts: tuple[Any], numbers: tuple[Any]) -> None:
    found = spent(values)
    assert (found.planned, found.ended, found.reached) == counts
    assert (found.median, found.low, found.high) == numbers


@given(
    st.lists(st.one_of(st.floats(1, 1e6), st.just(INF), st.just(NAN)), max_size=9),
    st.randoms(use_true_random=False),
)
def test_order_does_not_matter(values: list[float], random: Any) -> None:
    assert spent(random.sample(values, len(values))) == spent(values)


def test_speed_up_where_both_reach() -> None:
    assert speed_up(30.0, 10.0) == 3.0
    assert [speed_up(*pair) for pair in ((INF, 10.0), (10.0, INF), (None, 1.0), (1.0, None))] == (
        [None] * 4
    )


# --- over workloads

COSTS: dict[str, dict[str, float | None]] = {
    "a": {"sgd": 10.0, "adam": 20.0, "lion": INF},
    "b": {"sgd": 30.0, "adam": 10.0, "lion": 15.0},
    "c": {"sgd": INF, "adam": INF, "lion": INF, "extra": 1.0},
    "d": {"sgd": 80.0, "adam": 10.0, "lion": 10.0},
}


def test_a_profile_by_hand() -> None:
    found = profile("steps", COSTS)
    assert found is not None
    assert found.workloads == ["a", "b", "c", "d"]
    assert found.ratios == {  # extra was not run on every workload
        "sgd": [1, 3, INF, 8],
        "adam": [2, 1, INF, 1],
        "lion": [INF, 1.5, INF, 1],
    }
    assert [found.share("sgd", tau) for tau in (1, 2.9, 3, 8)] == [0.25, 0.25, 0.5, 0.75]
    # (τmax − r) summed over the workloads, of 3 for each of 4
    assert found.area("sgd") == pytest.approx((3 + 1 + 0 + 0) / 12)
    assert found.area("adam") == pytest.approx((2 + 3 + 0 + 3) / 12)
    assert found.area("lion") == pytest.approx((0 + 2.5 + 0 + 3) / 12)
    assert found.corners("sgd") == [(1, 0.25), (3, 0.25), (3, 0.5), (4, 0.5)]
    assert found.ranked() == ["adam", "lion", "sgd"]


def test_no_profile_of_one_workload_or_arm() -> None:
    assert profile("steps", {"a": COSTS["a"]}) is None
    assert profile("steps", {name: {"sgd": 1.0} for name in "ab"}) is None
    assert profile("steps", {"a": {"x": 1.0, "y": None}, "b": {"x": 1.0, "y": 2.0}}) is None
    assert profile("steps", {}) is None


def test_mean_speed_up_by_hand() -> None:
    found = mean_speed_up(COSTS, "adam", "sgd")
    assert found.mean == pytest.approx((0.5 * 3 * 8) ** (1 / 3))
    assert (found.both, found.workloads) == (3, 4)
    lion = mean_speed_up(COSTS, "lion", "sgd")
    assert (lion.mean, lion.both) == (pytest.approx(math.sqrt(2 * 8)), 2)
    extra = mean_speed_up(COSTS, "extra", "sgd")
    assert (extra.mean, extra.both, extra.workloads) == (None, 0, 1)


costs = st.dictionaries(
    st.sampled_from("pqrst"),
    st.fixed_dictionaries(
        {arm: st.one_of(st.floats(0.01, 1e6), st.just(INF)) for arm in ("x", "y", "z")}
    ),
    min_size=2,
)


@given(costs, st.randoms(use_true_random=False))
def test_profiles_rise_and_no_order_matters(own: dict[str, Any], random: Any) -> None:
    found = profile("steps", own)
    assert found is not None
    for arm in found.ratios:
        shares = [found.share(arm, 1 + 0.1 * i) for i in range(31)]
        assert shares == sorted(shares)
        # the area lies between the lower and upper sums of the step function
        width = 0.1 / (TAU_MAX - 1)
        assert width * sum(shares[:-1]) - 1e-9 <= found.area(arm) <= width * sum(shares[1:]) + 1e-9
    shuffled = {
        name: {arm: own[name][arm] for arm in random.sample(["x", "y", "z"], 3)}
        for name in random.sample(list(own), len(own))
    }
    assert profile("steps", shuffled) == found
    assert mean_speed_up(shuffled, "x", "y") == mean_speed_up(own, "x", "y")
    there, back = mean_speed_up(own, "x", "y").mean, mean_speed_up(own, "y", "x").mean
    assert (there is None) == (back is None)
    if there is not None and back is not None:
        assert there * back == pytest.approx(1)
