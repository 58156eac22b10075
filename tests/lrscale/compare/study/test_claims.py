"""Verdicts on runs made by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lrscale.compare.protocol import Protocol
from lrscale.compare.study.claims import all_of, judge, within
from lrscale.compare.study.data import SweepData, load
from lrscale.compare.study.file import Claim
from lrscale.errors import UserError

Values = Mapping[str, Sequence[float | None]]


def sweep(values: Values, quick: bool = False, data: str = "mnist", **columns: Any) -> SweepData:
    """Arms with a test accuracy for each seed; None for a run that diverged."""
    rows = [
        {
            "id": f"{arm}{seed}",
            "arm": arm,
            "seed": seed,
            "point": json.dumps({"lr": 0.1}),
            "state": "done" if value is not None else "diverged",
            "cause": "",
            "config.workload": "mnist_mlp",
            "config.data.name": data,
            "config.quick": quick,
            "data": f"{data} (a package), 10 images",
            "metrics.val_accuracy": 0.5 if value is None else value,
            "metrics.test_accuracy": 0.5 if value is None else value,
            "seconds.training": 10.0 if value is None else 100 * value,
            "flag": value is not None and value > 0.9,
            **columns,
        }
        for arm, seeds in values.items()
        for seed, value in enumerate(seeds)
    ]
    return load("s", pd.DataFrame(rows), Protocol(baseline=next(iter(values))), [])


def claim(check: Any, **fields: Any) -> Claim:
    return Claim("it is so", "somebody", "s", check, **fields)


LOW, HIGH = [0.80, 0.81, 0.82], [0.90, 0.91, 0.92]
NEAR = [0.81, 0.80, 0.825]


@pytest.mark.parametrize(
    ("other", "expect", "verdict"),
    [
        (HIGH, "above", "supported"),
        (HIGH, "below", "contradicted"),
        (NEAR, "above", "not shown"),
        (NEAR, "below", "not shown"),
    ],
)
def test_a_difference_is_the_test_of_the_sweep(
    other: list[float], expect: Any, verdict: str
) -> None:
    found = judge(
        claim("difference", arms={"b": "a"}, expect=expect), sweep({"a": LOW, "b": other})
    )
    assert (found.verdict, found.why) == (verdict, "")
    difference = sum(other) / 3 - sum(LOW) / 3
    assert found.effect.startswith(f"b +{100 * difference:.2f} points (")
    ends = stats.ttest_ind(other, LOW).confidence_interval()
    assert f"({100 * ends.low:.2f}" in found.effect
    assert found.on == "mnist, 10 images"


def test_holm_is_over_all_arms_of_the_sweep_where_its_baseline_is_meant() -> None:
    """The same two arms, alone and beside six others."""
    base, better = [0.80, 0.82, 0.84], [0.86, 0.88, 0.90]
    alone = sweep({"a": base, "b": better})
    amid = sweep({"a": base, "b": better, **{f"c{i}": base for i in range(6)}})
    said = claim("difference", arms={"b": "a"})
    assert stats.ttest_ind(better, base).pvalue == pytest.approx(0.0213, abs=1e-3)
    assert judge(said, alone).verdict == "supported"
    # Pooled over eight arms there are 16 degrees of freedom: p = 0.0021, and seven times that.
    assert judge(said, amid).verdict == "supported"
    spread = {f"c{i}": [0.75, 0.80, 0.85] for i in range(6)}
    assert judge(said, sweep({"a": base, "b": better, **spread})).verdict == "not shown"


def test_every_arm_that_a_claim_names_must_show_it() -> None:
    arms = {"b": "a", "c": "a"}
    both = judge(claim("difference", arms=arms), sweep({"a": LOW, "b": HIGH, "c": HIGH}))
    one = judge(claim("difference", arms=arms), sweep({"a": LOW, "b": HIGH, "c": NEAR}))
    against = judge(claim("difference", arms=arms), sweep({"a": HIGH, "b": HIGH, "c": LOW}))
    assert [f.verdict for f in (both, one, against)] == ["supported", "not shown", "contradicted"]


def test_several_baselines_are_one_family() -> None:
    runs = sweep({"x": [0.1, 0.2, 0.3], "a": LOW, "b": HIGH, "c": LOW, "d": HIGH})
    found = judge(claim("difference", arms={"b": "a", "d": "c"}), runs)
    assert found.verdict == "supported"
    assert found.effect.count("+10.00 points") == 2


def test_no_verdict_from_survivors() -> None:
    runs = sweep({"a": LOW, "b": [0.90, 0.91, None]})
    found = judge(claim("difference", arms={"b": "a"}), runs)
    assert (found.verdict, found.effect) == ("not shown", "")
    assert found.why == "too few finished runs of b"
    mean = judge(claim("mean", arm="b", between=[0.5, None]), runs)
    assert (mean.verdict, mean.why) == ("not shown", "not every planned run has finished")


def test_nothing_is_shown_without_runs() -> None:
    found = judge(claim("difference", arms={"b": "a"}), None)
    assert (found.verdict, found.effect) == ("not shown", "")
    assert found.why == "these runs have not been made"


@pytest.mark.parametrize(
    ("between", "verdict"),
    [
        ([0.80, None], "supported"),
        ([None, 0.80], "contradicted"),
        ([0.91, None], "not shown"),
        ([0.80, 0.95], "supported"),
        ([0.95, 0.99], "contradicted"),
    ],
)
def test_a_mean_by_its_interval(between: list[float | None], verdict: str) -> None:
    found = judge(claim("mean", arm="b", between=between), sweep({"a": LOW, "b": HIGH}))
    assert found.verdict == verdict
    half = stats.t.ppf(0.975, 2) * 0.01 / 3**0.5
    interval = f"91.00 % ({91 - 100 * half:.2f}–{91 + 100 * half:.2f}, 3 runs)"
    assert found.effect.startswith(f"{interval}; asked: ")


@pytest.mark.parametrize(
    ("between", "asked"),
    [([0.8, None], "≥ 80"), ([None, 0.985], "≤ 98.5"), ([0.747, 0.767], "74.7 to 76.7")],
)
def test_the_bounds_stand_beside_what_was_found(between: list[float | None], asked: str) -> None:
    runs = sweep({"a": LOW, "b": HIGH})
    mean = judge(claim("mean", arm="b", between=between), runs)
    every = judge(claim("every", of="`metrics.test_accuracy`", share=True, between=between), runs)
    ratio = judge(claim("ratio", arms={"b": "a"}, between=[None, 1.15]), runs)
    assert mean.effect.endswith(f"; asked: {asked}")
    assert every.effect.endswith(f"; asked: {asked}")
    assert ratio.effect.endswith("; asked: ≤ 1.15")


def test_one_run_has_no_interval() -> None:
    found = judge(claim("mean", arm="b", between=[0.1, None]), sweep({"a": LOW, "b": [0.9]}))
    assert (found.verdict, found.why) == ("not shown", "one run has no interval")


def test_one_run_each_has_no_interval_either() -> None:
    found = judge(claim("difference", arms={"b": "a"}), sweep({"a": [0.8], "b": [0.9]}))
    assert found.verdict == "not shown"
    assert found.effect == "b +10.00 points (no interval: one run)"


def test_quick_runs_and_stand_ins_say_nothing_of_a_dataset() -> None:
    values = {"a": LOW, "b": HIGH}
    said = claim("mean", arm="b", between=[0.8, None], about="cifar10")
    stand_in = judge(said, sweep(values, data="photo_patches"))
    assert (stand_in.verdict, stand_in.effect[:5]) == ("not shown", "91.00")
    assert "no run on cifar10" in stand_in.why
    quick = judge(said, sweep(values, data="cifar10", quick=True))
    assert (quick.verdict, quick.why) == ("not shown", "quick runs only")
    assert quick.on == "quick: cifar10, 10 images"
    assert judge(said, sweep(values, data="cifar10")).verdict == "supported"


def test_a_share_of_runs_by_the_exact_binomial() -> None:
    runs = sweep({"a": [0.95] * 100})
    found = judge(claim("mean", of="flag", between=[0.95, 1.0]), runs)
    low = 0.025 ** (1 / 100)  # the lower end of Clopper and Pearson's interval for 100 of 100
    assert found.verdict == "supported"
    assert found.effect == f"100 of 100 ({100 * low:.2f}–100.00 %); asked: 95 to 100"
    assert judge(claim("mean", of="flag", between=[0.97, 1.0]), runs).verdict == "not shown"
    assert judge(claim("mean", of="not flag", between=[0.97, 1.0]), runs).verdict == "contradicted"


def test_what_holds_in_every_run() -> None:
    runs = sweep({"a": LOW, "b": HIGH})
    accuracy = "`metrics.test_accuracy`"
    assert judge(claim("every", of=accuracy, between=[0.8, 1.0]), runs).verdict == "supported"
    one = judge(claim("every", of=accuracy, between=[0.805, None]), runs)
    assert one.verdict == "contradicted"
    assert one.effect.startswith("5 of 6 runs")
    lost = judge(claim("every", of=accuracy, between=[0.8, 1]), sweep({"a": [0.9, None]}))
    assert (lost.verdict, lost.why) == ("not shown", "one run has no such value")


def test_a_ratio_of_times() -> None:
    """Seconds are 100 times the accuracies, so that the ratio is theirs: 0.91 / 0.81."""
    runs = sweep({"a": LOW, "b": HIGH})
    said = claim("ratio", arms={"b": "a"}, of="`seconds.training`", between=[None, 1.3])
    found = judge(said, runs)
    assert found.verdict == "supported"
    assert found.effect.startswith("b 1.12 × (1.0")
    strict = claim("ratio", arms={"b": "a"}, of="`seconds.training`", between=[None, 1.0])
    assert judge(strict, runs).verdict == "contradicted"


def test_only_some_runs_may_count() -> None:
    runs = sweep({"a": LOW, "b": HIGH})
    found = judge(claim("every", of="seed", where="arm == 'b' and seed > 0", between=[1, 2]), runs)
    assert found.effect == "2 of 2 runs; 1.000 to 2.000; asked: 1 to 2"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"check": "mean", "of": "accuracy", "between": [0, 1]}, "accuracy"),
        ({"check": "mean", "of": "1 +", "between": [0, 1]}, "1 +"),
        ({"check": "difference", "arms": {"c": "a"}}, "no arm 'c'"),
    ],
)
def test_mistakes_in_a_claim_are_said(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message.replace("+", r"\+")):
        judge(claim(**fields), sweep({"a": LOW, "b": HIGH}))


@given(
    st.lists(st.floats(-1, 1), min_size=2, max_size=2).map(sorted),
    st.lists(st.floats(-1, 1), min_size=2, max_size=2).map(sorted),
)
def test_bounds(interval: list[float], bounds: list[float]) -> None:
    low, high = interval
    verdict = within((low, high), [*bounds])
    assert (verdict == "supported") == (bounds[0] <= low and high <= bounds[1])
    assert (verdict == "contradicted") == (high < bounds[0] or bounds[1] < low)


def test_one_false_part_makes_a_claim_false() -> None:
    assert all_of(["supported", "not shown", "contradicted"]) == "contradicted"
    assert all_of(["supported", "not shown"]) == "not shown"
    assert all_of(["supported", "supported"]) == "supported"
