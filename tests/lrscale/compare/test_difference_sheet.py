"""The table of the one test. The statistics themselves are tested in test_difference."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lrscale.compare.comparison import Comparison, compare
from lrscale.compare.difference_sheet import difference_sheets, p_text
from lrscale.compare.load import load_runs
from lrscale.compare.protocol import Protocol
from lrscale.compare.samples import Sample
from lrscale.compare.sheet import Sheet
from lrscale.store import Store

MakeSweep = Callable[..., Store]
Accuracies = Mapping[str, Sequence[float]]  # of each arm's seeds; NaN for a run without a result

SGD, ADAM, LION = [0.90, 0.91, 0.92], [0.94, 0.95, 0.96], [0.91, 0.91, 0.925]


def compared(
    make_sweep: MakeSweep, accuracies: Accuracies, metric: str = "accuracy", **fixed: Any
) -> Comparison:
    """Arms of one point each, with these test accuracies and, as much lower, test losses."""
    seeds = range(max(map(len, accuracies.values())))
    store = make_sweep({arm: [0.1] for arm in accuracies}, seeds=seeds)
    manifest = store.read_sweep("demo")
    runs = load_runs(store, manifest)
    values = [value for arm in accuracies for value in accuracies[arm]]
    made = runs.assign(**{
        "metrics.test_accuracy": values,
        "metrics.test_loss": [1 - value for value in values],
        "state": ["failed" if math.isnan(value) else "done" for value in values],
    })  # fmt: skip
    return compare(made, manifest, metric, protocol=Protocol(**{"baseline": "sgd", **fixed}))


def unknown(sample: Sample) -> None:
    """No predictions are on record."""


def only(sheets: Sequence[Sheet]) -> tuple[Sheet, dict[str, dict[Any, Any]]]:
    """The one sheet, and the rows of its frame by arm."""
    (sheet,) = sheets
    return sheet, {row["arm"]: row for row in sheet.frame.to_dict("records")}


def test_rows_by_hand(make_sweep: MakeSweep) -> None:
    """Deviations of 1 and 0.866 points: pooled over the three arms √((1 + 1 + 0.75)/3) = 0.957,
    an error of 0.782 with six degrees of freedom, and half an interval of 2.447 times that."""
    c = compared(make_sweep, {"sgd": SGD, "adam": ADAM, "lion": LION})
    sheet, rows = only(difference_sheets(c, unknown))
    assert sheet.title == "Difference in test accuracy to sgd (points)"
    assert "pooled over all arms" in sheet.note
    assert "Holm over the 2 comparisons" in sheet.note
    adam, lion = rows["adam"], rows["lion"]
    half = 2.446912 * 0.7817360 / 100
    assert (adam["difference"], adam["df"], adam["n"]) == (pytest.approx(0.04), 6, 3)
    assert adam["interval_low"] == pytest.approx(0.04 - half, rel=1e-5)
    assert adam["interval_high"] == pytest.approx(0.04 + half, rel=1e-5)
    assert (adam["verdict"], lion["verdict"]) == ("better", "cannot be shown with 3 seeds")
    assert adam["p_holm"] == pytest.approx(2 * adam["p"])
    assert lion["better_in"] == pytest.approx(6 / 9)  # 1½ of 3, twice, and 3
    texts = {row[0]: row for row in sheet.rows}
    assert texts["adam"][1:5] == ["+4.00", "2.09–5.91", p_text(adam["p_holm"]), "better"]
    assert texts["lion"][2] == "-1.41 … 2.41"  # a dash would not be told from a minus
    assert sheet.headers[-1] == "test set ±"  # no rank tests below eight seeds
    assert texts["adam"][-1] == "–"


def test_where_the_lowest_is_best(make_sweep: MakeSweep) -> None:
    c = compared(make_sweep, {"sgd": SGD, "adam": ADAM}, metric="loss")
    sheet, rows = only(difference_sheets(c, unknown))
    assert sheet.title == "Difference in test loss to sgd"
    assert rows["adam"]["difference"] == pytest.approx(-0.04)
    assert (rows["adam"]["verdict"], rows["adam"]["better_in"]) == ("better", 1.0)
    worse = compared(make_sweep, {"sgd": ADAM, "adam": SGD}, metric="loss")
    assert only(difference_sheets(worse, unknown))[1]["adam"]["verdict"] == "worse"


def test_why_there_is_no_test(make_sweep: MakeSweep) -> None:
    arms = {"sgd": SGD, "adam": ADAM, "lion": [0.91, math.nan, 0.92]}
    _, rows = only(difference_sheets(compared(make_sweep, arms), unknown))
    assert rows["lion"]["verdict"] == "no test: 2/3 seeds finished"
    assert rows["lion"]["difference"] is None or math.isnan(rows["lion"]["difference"])
    assert rows["adam"]["verdict"] == "better"  # the others are tested all the same

    lost = {"sgd": [0.9, math.nan, 0.92], "adam": ADAM}
    sheet, rows = only(difference_sheets(compared(make_sweep, lost), unknown))
    assert rows["adam"]["verdict"] == "no test: sgd: 2/3 seeds finished"
    assert sheet.rows[0][1:4] == ["–", "–", "–"]

    single = {"sgd": [0.9], "adam": [0.95]}
    assert only(difference_sheets(compared(make_sweep, single), unknown))[1]["adam"]["verdict"] == (
        "no test: one seed"
    )
    equal = {"sgd": [0.9, 0.9], "adam": [0.95, 0.95]}
    assert only(difference_sheets(compared(make_sweep, equal), unknown))[1]["adam"]["verdict"] == (
        "no spread over seeds: no test"
    )


def test_pairs_need_the_same_seeds(make_sweep: MakeSweep) -> None:
    """Differences of 4 points each, less and more 0.1: far surer than unpaired."""
    arms = {"sgd": SGD, "adam": [0.939, 0.95, 0.961]}
    c = compared(make_sweep, arms, paired=True)
    sheet, rows = only(difference_sheets(c, unknown))
    assert "equal seeds, as the sweep file declares" in sheet.note
    half = 4.302653 * 0.001 / math.sqrt(3)
    assert rows["adam"]["interval_low"] == pytest.approx(0.04 - half, rel=1e-5)
    others = c.runs["seed"].where(c.runs["arm"] == "sgd", c.runs["seed"] + 5)
    moved = compare(c.runs.assign(seed=others), {"name": "demo"}, protocol=c.protocol)
    _, rows = only(difference_sheets(moved, unknown))
    assert rows["adam"]["verdict"] == "no test: other seeds than the baseline's"


def test_what_the_test_set_adds(make_sweep: MakeSweep) -> None:
    """Of four examples the arms' single answers differ in one: 1.96 √(var(0, 0, 0, 1)/4)."""

    def correct(sample: Sample) -> np.ndarray:
        return np.array([[1, 1, 0, sample.arm == "adam"]] * 3)

    c = compared(make_sweep, {"sgd": SGD, "adam": ADAM})
    sheet, rows = only(difference_sheets(c, correct))
    assert rows["adam"]["test_error"] == pytest.approx(1.959964 * 0.5 / 2)
    assert sheet.rows[0][-1] == "49.00"


def test_ranks_from_eight_seeds_on(make_sweep: MakeSweep) -> None:
    values = [0.90 + 0.001 * i for i in range(8)]
    arms = {"sgd": values, "adam": [value + 0.05 for value in values]}
    sheet, _ = only(difference_sheets(compared(make_sweep, arms), unknown))
    assert sheet.headers[-1] == "rank test p"
    assert sheet.rows[0][-1] == "< .001"  # 2/12,870: the least that eight seeds can give


def test_no_table_without_a_baseline_or_another_arm(make_sweep: MakeSweep) -> None:
    assert difference_sheets(compared(make_sweep, {"sgd": SGD}), unknown) == []
    arms = {"sgd": SGD, "adam": ADAM}
    assert difference_sheets(compared(make_sweep, arms, baseline=None), unknown) == []
    assert difference_sheets(compared(make_sweep, arms, baseline="gone"), unknown) == []


def test_a_table_for_every_workload(make_sweep: MakeSweep) -> None:
    c = compared(make_sweep, {"sgd": SGD, "adam": ADAM})
    points = c.runs.assign(point='{"optimizer.lr": 0.1, "workload": "other"}')
    both = c.runs.assign(point='{"optimizer.lr": 0.1, "workload": "mnist_mlp"}')
    runs = [both, points.assign(**{"config.workload": "other", "metrics.test_accuracy": 0.9})]
    crossed = compare(pd.concat(runs), {"name": "demo"}, protocol=c.protocol)
    sheets = {sheet.name: sheet for sheet in difference_sheets(crossed, unknown)}
    assert sorted(sheets) == ["differences_mnist_mlp", "differences_other"]
    assert sheets["differences_other"].title.endswith(", other")
    assert len(sheets["differences_mnist_mlp"].rows) == 1


def test_points_that_these_seeds_chose_are_said_to_be(make_sweep: MakeSweep) -> None:
    store = make_sweep()
    manifest = store.read_sweep("demo")
    c = compare(load_runs(store, manifest), manifest, protocol=Protocol(baseline="sgd"))
    assert "p is too small" in only(difference_sheets(c, unknown))[0].note
    single = compared(make_sweep, {"sgd": SGD, "adam": ADAM})
    assert "p is too small" not in only(difference_sheets(single, unknown))[0].note


@pytest.mark.parametrize(
    ("p", "text"), [(None, "–"), (0.0009, "< .001"), (0.0512, "0.051"), (1.0, "1.000")]
)
def test_p_as_a_journal_has_it(p: float | None, text: str) -> None:
    assert p_text(p) == text
