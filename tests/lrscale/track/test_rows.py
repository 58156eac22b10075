from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrscale.track.rows import EVALUATIONS, WINDOWS, digest, evaluation_stride, rows, window

CONFIG = {"epochs": 4}


def steps(last: int, count: int) -> dict[str, Any]:
    losses = [float(step) for step in range(last - count + 1, last + 1)]
    return {"kind": "steps", "step": last, "loss": losses, "lr": [0.1] * count}


def evaluation(step: int, **metrics: Any) -> dict[str, Any]:
    return {"kind": "epoch", "epoch": 1, "step": step, **metrics}


def run(per_epoch: int, epochs: int, cuts: Sequence[int]) -> list[dict[str, Any]]:
    """Records of a run whose steps were written down at ``cuts`` and at every evaluation."""
    found: list[dict[str, Any]] = []
    last = 0
    for step in sorted({*cuts, *range(per_epoch, per_epoch * epochs + 1, per_epoch)}):
        found.append(steps(step, step - last))
        last = step
        if step % per_epoch == 0:
            found.append(evaluation(step, val_loss=1 / step))
    return found


@settings(max_examples=50)
@given(st.integers(1, 1500), st.integers(1, 6), st.sets(st.integers(1, 9_000)))
def test_rows_do_not_depend_on_how_the_records_were_cut(
    per_epoch: int, epochs: int, cuts: set[int]
) -> None:
    total = per_epoch * epochs
    inside = [cut for cut in cuts if cut <= total]
    config = {"epochs": epochs}
    found = rows(run(per_epoch, epochs, inside), config, total, ended=True)
    assert found == rows(run(per_epoch, epochs, []), config, total, ended=True)
    marks = [row["global_step"] for row in found]
    assert marks == sorted(set(marks))
    assert len(found) <= WINDOWS + epochs
    assert [row["val_loss"] for row in found if "val_loss" in row] == [
        1 / step for step in range(per_epoch, total + 1, per_epoch)
    ]
    # Nothing is lost: each row's mean stands for the steps since the row before.
    widths = [b - a for a, b in zip([0, *marks], marks, strict=False)]
    weighted = math.fsum(w * row["loss"] for w, row in zip(widths, found, strict=True))
    assert weighted == pytest.approx(total * (total + 1) / 2)


@given(st.integers(1, 200), st.data())
def test_an_unfinished_run_shows_the_first_of_the_same_rows(
    per_epoch: int, data: st.DataObject
) -> None:
    records, total = run(per_epoch, 4, []), 4 * per_epoch
    whole = rows(records, CONFIG, total, ended=True)
    part = rows(records[: data.draw(st.integers(0, len(records)))], CONFIG, total, ended=False)
    assert part == whole[: len(part)]


@pytest.mark.parametrize("total", [1, 7, WINDOWS, WINDOWS + 1, 1_000_000])
def test_windows_are_as_narrow_as_the_limit_allows(total: int) -> None:
    assert math.ceil(total / window(total)) <= WINDOWS
    assert window(total) == 1 or total / (window(total) - 1) > WINDOWS


@pytest.mark.parametrize(
    "config",
    [
        {"epochs": 100_000},
        {"epochs": 8_001, "eval_every": 1},
        {"epochs": 10**6, "records_per_decade": 5_000, "sharpness_per_decade": 10},
    ],
)
def test_no_more_than_ten_thousand_rows(config: Mapping[str, Any]) -> None:
    epochs = config["epochs"]
    places: Sequence[int] = range(1, epochs + 1)
    if "records_per_decade" in config:
        exponents = range(int(math.log10(epochs) * config["records_per_decade"]) + 1)
        places = sorted({round(10 ** (n / config["records_per_decade"])) for n in exponents})
    found = rows([evaluation(step, loss=1.0) for step in places], config, epochs, ended=True)
    assert len(found) <= EVALUATIONS
    assert [found[0]["global_step"], found[-1]["global_step"]] == [1, epochs]


def test_few_evaluations_are_all_shown() -> None:
    gd = {"epochs": 10**6, "records_per_decade": 20, "sharpness_per_decade": 2, "record_at": []}
    assert evaluation_stride(gd) == evaluation_stride({"epochs": 90}) == 1


def test_only_numbers_are_sent_and_blocks_are_unfolded() -> None:
    monitor = {"scale": 0.5, "did": ["cut"]}
    record = evaluation(2, val_loss=None, val_accuracy=0.5, note="x", monitor=monitor)
    (row,) = rows([steps(2, 2), record], CONFIG, 4000, ended=True)
    assert row == {
        "global_step": 2, "loss": 1.5, "lr": 0.1, "epoch": 1, "val_accuracy": 0.5,
        "monitor.scale": 0.5,
    }  # fmt: skip


def test_a_window_with_a_loss_that_is_not_finite_has_none() -> None:
    diverged = {"kind": "steps", "step": 2, "loss": [1.0, None], "lr": [0.1, 0.1]}
    found = rows([diverged], CONFIG, 2, ended=True)
    assert found == [{"global_step": 1, "loss": 1.0, "lr": 0.1}, {"global_step": 2, "lr": 0.1}]


def test_nothing_is_shown_before_the_length_of_the_run_is_known() -> None:
    assert rows([steps(10, 10)], CONFIG, 0, ended=False) == []


def test_a_digest_tells_other_losses_and_not_other_times() -> None:
    sent = [{"global_step": 1, "loss": 0.25, "seconds": 3.0}]
    assert digest(sent) == digest([sent[0] | {"seconds": 4.0}])
    assert digest(sent) != digest([sent[0] | {"loss": 0.26}])
