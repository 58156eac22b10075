from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrscale.compare.comparison import Comparison, compare
from lrscale.compare.load import Direction, load_runs
from lrscale.compare.sensitivity import TOLERANCE, Rate, sensitivity
from lrscale.compare.sensitivity_sheet import sensitivity_sheet
from lrscale.store import Store

MakeSweep = Callable[..., Store]

rates = st.dictionaries(
    st.integers(-30, 10).map(lambda i: 10 ** (i / 10)),
    st.tuples(
        st.integers(0, 100).map(lambda i: i / 100), st.sampled_from(["done", "diverged", ""])
    ),
    max_size=12,
).map(lambda found: [rate(value, *outcome) for value, outcome in found.items()])


def rate(value: float, mean: float, outcome: str = "done") -> Rate:
    return Rate(value, mean if outcome == "done" else None, 3 * (outcome == "diverged"), 3)


def test_the_interval_by_hand() -> None:
    """0.80 is best; 0.792 is 1 % of it below, halfway from 0.80 to 0.784 on the log axis."""
    tested = [(0.01, 0.70), (0.1, 0.784), (1.0, 0.80), (10.0, 0.796), (100.0, 0.788)]
    found = sensitivity([rate(*pair) for pair in tested], "max")
    assert found is not None
    assert (found.best.value, found.low_end, found.high_end) == (1.0, "crossed", "crossed")
    assert found.low == pytest.approx(10**-0.5)
    # From 0.796 down to 0.788, 0.792 lies halfway as well: the tolerance is the best one's.
    assert found.high == pytest.approx(10**1.5)
    assert found.decades == pytest.approx(2.0)
    assert found.factor == pytest.approx(100.0)
    assert found.bounded
    assert found.edge is None


def test_of_a_loss_the_lowest_is_best() -> None:
    found = sensitivity([rate(0.1, 0.203), rate(1.0, 0.2), rate(10.0, 0.204)], "min")
    assert found is not None
    assert found.best.value == 1.0
    assert found.low == pytest.approx(10 ** (-2 / 3))
    assert found.high == pytest.approx(10**0.5)


def test_it_ends_where_the_line_does() -> None:
    up = [rate(0.1, 0.9), rate(1.0, 0.9), rate(3.0, 0, "diverged"), rate(10.0, 0.9)]
    found = sensitivity(up, "max")
    assert found is not None
    assert (found.best.value, found.low, found.high) == (0.1, 0.1, 1.0)  # the lowest of equal ones
    assert (found.low_end, found.high_end) == ("grid", "diverged")
    assert not found.bounded
    assert found.edge == up[2]
    open_ = sensitivity([rate(0.1, 0, ""), *up[1:]], "max")
    assert open_ is not None
    assert (open_.low_end, open_.low) == ("unfinished", 1.0)


def test_divergence_below_the_best_is_no_edge() -> None:
    tested = [rate(0.1, 0, "diverged"), rate(1.0, 0.9), rate(10.0, 0.5)]
    found = sensitivity(tested, "max")
    assert found is not None
    assert found.edge is None
    assert found.low_end == "diverged"


def test_two_rates_or_none_with_a_mean_say_nothing() -> None:
    assert sensitivity([rate(0.1, 0.9), rate(1.0, 0.8)], "max") is None
    assert sensitivity([rate(v, 0, "diverged") for v in (0.1, 1.0, 10.0)], "max") is None
    assert sensitivity([rate(v, 0.9) for v in (0.0, 0.1, 1.0)], "max") is None


@given(rates, st.sampled_from(["max", "min"]), st.randoms())
def test_what_always_holds(tested: list[Rate], direction: Direction, shuffled: Any) -> None:
    found = sensitivity(tested, direction)
    others = list(tested)
    shuffled.shuffle(others)
    assert sensitivity(others, direction) == found
    if found is None:
        return
    values = sorted(each.value for each in tested)
    assert values[0] <= found.low <= found.best.value <= found.high <= values[-1]
    assert found.best.mean is not None
    for each in tested:
        if found.low <= each.value <= found.high:
            assert each.mean is not None
            assert abs(each.mean - found.best.mean) <= TOLERANCE * found.best.mean + 1e-12
    if found.edge is not None:
        assert found.edge.diverged
        assert found.edge.value > found.high or math.isclose(found.edge.value, found.high)


@given(rates, st.floats(0.1, 10))
def test_rates_may_be_scaled(tested: list[Rate], factor: float) -> None:
    """The width is a ratio: one of all rates times a constant is the same."""
    found = sensitivity(tested, "max")
    scaled = [Rate(factor * r.value, r.mean, r.diverged, r.planned) for r in tested]
    again = sensitivity(scaled, "max")
    assert (found is None) == (again is None)
    if found is not None and again is not None:
        assert again.decades == pytest.approx(found.decades, abs=1e-9)
        assert (again.low_end, again.high_end) == (found.low_end, found.high_end)


def compared(store: Store) -> Comparison:
    manifest = store.read_sweep("demo")
    return compare(load_runs(store, manifest), manifest)


def test_the_sheet_marks_what_was_not_seen(make_sweep: MakeSweep) -> None:
    grid = {"sgd": [0.01, 0.1, 1.0, 10.0], "adam": [1e-3, 1e-2]}
    states = {("sgd", 1.0, 0): "diverged", ("sgd", 10.0, 1): "diverged"}
    sheet = sensitivity_sheet(compared(make_sweep(grid, states=states)))
    assert sheet is not None
    [row] = sheet.rows  # adam has two rates
    cells = dict(zip(sheet.headers, row, strict=True))
    assert (cells["group"], cells["rates"], cells["best rate"]) == ("sgd", "4: 0.01–10", "0.1")
    assert cells["open ends"] == "diverges above"
    assert cells["divergence edge"] == "1 (1/3 seeds)"
    assert cells["decades"].startswith("≥ 0.")
    assert cells["within 1 %"].endswith("–0.1")
    line = sheet.frame.iloc[0]
    assert (line["low_end"], line["high_end"], line["edge"]) == ("crossed", "diverged", 1.0)


def test_two_rates_make_no_sheet(make_sweep: MakeSweep) -> None:
    assert sensitivity_sheet(compared(make_sweep({"sgd": [0.1, 1.0]}))) is None


def test_a_sweep_that_has_not_begun_makes_none(make_sweep: MakeSweep) -> None:
    grid = [0.1, 1.0, 10.0]
    missing = {("sgd", lr, seed): "missing" for lr in grid for seed in range(3)}
    assert sensitivity_sheet(compared(make_sweep({"sgd": grid}, states=missing))) is None


def test_drawn_rates_have_no_neighbours(make_sweep: MakeSweep) -> None:
    store = make_sweep({"sgd": [0.01, 0.1, 1.0]})
    manifest = store.read_sweep("demo")
    drawn = [{**entry, "trial": 0} for entry in manifest["runs"]]
    store.write_sweep("demo", {**manifest, "runs": drawn})
    assert sensitivity_sheet(compared(store)) is None
