"""What stands at the top of a report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from lrscale.compare.answer import answer
from lrscale.compare.comparison import Comparison, compare
from lrscale.compare.difference_sheet import detectable_text
from lrscale.compare.load import load_runs
from lrscale.compare.sheet import Sheet
from lrscale.store import Store

MakeSweep = Callable[..., Store]
TESTED = {
    "arm": "adam", "difference": 0.04, "interval_low": 0.02, "interval_high": 0.06,
    "p_holm": 0.012, "shown": True, "verdict": "better", "detectable": 0.03,
}  # fmt: skip
FIRST = {
    "arm": "adam", "steps_median": 40.0, "seconds_median": 1.25, "speed_up_steps": 2.0,
    "speed_up_seconds": 0.8, "times": "",
}  # fmt: skip


@pytest.fixture
def comparison(make_sweep: MakeSweep) -> Comparison:
    store = make_sweep({"sgd": [0.1], "adam": [1e-3]})
    manifest = store.read_sweep("demo")
    return compare(load_runs(store, manifest), manifest)


def said(c: Comparison, name: str, title: str, *lines: dict[str, Any]) -> list[str]:
    """The sentences that a sheet adds."""
    sheet = Sheet(name, title, "", [], [], pd.DataFrame(list(lines)))
    return answer(replace(c, sheets=[sheet]))[1:]


def differences(c: Comparison, *lines: dict[str, Any]) -> list[str]:
    return said(c, "differences", "Difference in test accuracy to sgd (points)", *lines)


def to_target(c: Comparison, *lines: dict[str, Any]) -> list[str]:
    return said(c, "time_to_target", "Steps and time to 90 %, the median of sgd", *lines)


def test_why_there_is_no_result(make_sweep: MakeSweep) -> None:
    states = {("sgd", 0.1, 0): "diverged", ("sgd", 0.1, 1): "missing", ("sgd", 0.1, 2): "diverged"}
    store = make_sweep({"sgd": [0.1]}, states=states)
    manifest = store.read_sweep("demo")
    c = compare(load_runs(store, manifest), manifest)
    assert answer(c) == ["None of 3 runs has a result: 2 diverged, 1 missing."]


def test_differences_by_their_verdicts(comparison: Comparison) -> None:
    hidden = {**TESTED, "shown": False, "verdict": "cannot be shown with 3 seeds"}
    worse = {"verdict": "worse", "difference": -0.04, "interval_low": -0.06, "interval_high": -0.02}
    untested = {"arm": "lamb", "shown": None, "verdict": "no test: 2/3 seeds finished"}
    assert differences(
        comparison,
        TESTED,
        {**TESTED, **worse, "arm": "lars"},
        {**hidden, "arm": "lion"},
        {**hidden, "arm": "muon", "detectable": 0.05},
        untested,
    ) == [
        "Difference in test accuracy to sgd, in points: adam is better by 4.00 (2.00–6.00, "
        "p = 0.012); lars is worse by 4.00 (2.00–6.00, p = 0.012).",
        "None can be shown for lion and muon, which is not to say that there is none: to be found "
        "four times out of five it has to be 3.00 to 5.00 or more.",
        "Without a test: lamb (no test: 2/3 seeds finished).",
    ]
    (none,) = differences(comparison, *({**hidden, "arm": f"arm{i}"} for i in range(6)))
    assert none.startswith("Difference in test accuracy to sgd, in points: none can be shown for 6")


def test_no_difference_is_of_more_than_a_hundred_points(comparison: Comparison) -> None:
    hidden = {**TESTED, "shown": False, "detectable": 12.6}
    (none,) = differences(comparison, hidden)
    assert none.endswith("there is none: with so few seeds no difference would be found.")
    (some,) = differences(comparison, hidden, {**hidden, "detectable": 0.3})
    assert some.endswith("it has to be 30.00 or more.")
    assert detectable_text(12.6, percent=True) == "> 100"
    assert detectable_text(12.6, percent=False) == "12.60"
    assert detectable_text(None, percent=True) == "–"


def test_a_very_small_p(comparison: Comparison) -> None:
    (sentence,) = differences(comparison, {**TESTED, "p_holm": 0.0004})
    assert sentence.endswith("adam is better by 4.00 (2.00–6.00, p < .001).")


def test_who_is_first_at_the_target(comparison: Comparison) -> None:
    base = {**FIRST, "arm": "sgd", "steps_median": 80.0, "seconds_median": 1.0}
    base |= {"speed_up_steps": 1.0, "speed_up_seconds": 1.0}
    assert to_target(comparison, FIRST, base) == [
        "To 90 %, the median of sgd: the fewest steps adam (40, a speed-up of 2.00 ×), the least "
        "training time sgd (1.00 s)."
    ]
    equal = {**FIRST, "arm": "lion"}
    assert "the fewest steps adam and lion (40," in to_target(comparison, FIRST, equal)[0]


def test_no_times_that_cannot_be_compared(comparison: Comparison) -> None:
    line = {**FIRST, "seconds_median": None, "speed_up_seconds": None, "times": "arms ran on x"}
    assert to_target(comparison, line) == [
        "To 90 %, the median of sgd: the fewest steps adam (40, a speed-up of 2.00 ×).",
        "Times are not compared: arms ran on x.",
    ]


def test_from_the_shortest_to_the_longest_training(comparison: Comparison) -> None:
    title = "Training time relative to sgd"
    lines = [
        {"arm": arm, "relative": ratio, "interval_low": ratio - 0.1, "interval_high": ratio + 0.1}
        for arm, ratio in (("adam", 1.2), ("kfac", 1.7), ("lion", 1.1))
    ]
    base = {"arm": "sgd", "relative": 1.0, "interval_low": None, "interval_high": None}
    assert said(comparison, "training_time", title, *lines, base) == [
        "Training time relative to sgd: from 1.10 (1.00–1.20) of lion to 1.70 (1.60–1.80) of kfac."
    ]
    assert said(comparison, "training_time", title, lines[0], base) == [
        "Training time relative to sgd: 1.20 (1.10–1.30) of adam."
    ]
    assert said(comparison, "training_time", title, base) == []


def test_nobody_at_the_target(comparison: Comparison) -> None:
    never = {**FIRST, "steps_median": float("inf"), "seconds_median": float("inf")}
    (sentence,) = to_target(comparison, never)
    assert sentence == "No median run comes to 90 %, the median of sgd."


def test_over_workloads(comparison: Comparison) -> None:
    line = {"arm": "adam", "workloads": 3, "area_steps": 0.8333}
    (sentence,) = said(comparison, "profiles", "Performance profiles over workloads", line)
    assert sentence.startswith("Over 3 workloads adam has the greatest area")
    assert sentence.endswith("in steps, 0.83.")


def test_the_best_of_each_workload(comparison: Comparison) -> None:
    """Accuracies on different data are no contest."""
    one = answer(comparison)
    assert len(one) == 1
    workload = comparison.runs["config.workload"].mask(comparison.runs["arm"] == "adam", "other")
    runs = comparison.runs.assign(**{"config.workload": workload})
    best = answer(compare(runs, {"name": "demo"}))
    assert sorted(sentence.split()[0] for sentence in best) == ["adam", "sgd"]
