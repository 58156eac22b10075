"""How often a run saves, and what it costs."""

from __future__ import annotations

import time
from typing import Any

import pytest
from ranks import Runs

from lrscale import checkpoint
from lrscale.config import decode
from lrscale.control import Control
from lrscale.train.journal import Journal
from lrscale.train.runtime import Runtime


class FakeTime:
    """The module ``time``, whose clock moves when it is told to."""

    now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    time = monotonic


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    fake = FakeTime()
    monkeypatch.setattr("lrscale.train.journal.time", fake)
    return fake


@pytest.mark.parametrize(("cost", "interval"), [(0.1, 60.0), (1.2, 60.0), (3.0, 150.0)])
def test_the_interval_grows_until_saving_is_2_percent_of_the_time(
    runs: Runs,
    clock: FakeTime,
    monkeypatch: pytest.MonkeyPatch,
    cost: float,
    interval: float,
):
    def slow(*args: Any) -> None:
        clock.now += cost

    monkeypatch.setattr(checkpoint, "save", slow)
    raw = {"workload": "digits_mlp", "checkpoint_minutes": 1}
    config = decode(raw)
    with Runtime(config) as runtime:
        journal = Journal(config, runs.new(raw), runtime, Control())
        assert not journal.save_due(ahead=59)
        assert journal.save_due(ahead=61)  # before a long evaluation
        clock.now += 61
        assert journal.save_due(ahead=0)
        journal.save(1, {})
        clock.now += interval - 1
        assert not journal.save_due(ahead=0)
        clock.now += 2
        assert journal.save_due(ahead=0)


def test_saving_costs_little_in_a_real_run(runs: Runs):
    """Asked to save all the time, a run still spends nearly all of it on training."""
    run_dir = runs.new({"workload": "digits_mlp", "epochs": 40, "checkpoint_minutes": 1e-9})
    started = time.perf_counter()
    runs.here(run_dir)
    wall = time.perf_counter() - started
    summary = run_dir.summary()
    assert summary is not None
    seconds = summary["seconds"]
    assert 0 < seconds["checkpoint"] < 0.2 * wall
    assert sum(seconds.values()) == pytest.approx(wall, rel=0.2)
