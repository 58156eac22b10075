"""How often a run saves, and what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lrscale import checkpoint
from lrscale.attempt import Attempt
from lrscale.control import Control
from lrscale.store import Store


class FakeTime:
    """The module ``time``, whose clock moves when it is told to."""

    now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    time = monotonic


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    fake = FakeTime()
    monkeypatch.setattr("lrscale.attempt.time", fake)
    return fake


@pytest.mark.parametrize(("cost", "interval"), [(0.1, 60.0), (1.2, 60.0), (3.0, 150.0)])
def test_the_interval_grows_until_saving_is_2_percent_of_the_time(
    tmp_path: Path,
    clock: FakeTime,
    monkeypatch: pytest.MonkeyPatch,
    cost: float,
    interval: float,
):
    def slow(*args: Any) -> None:
        clock.now += cost

    monkeypatch.setattr(checkpoint, "save", slow)
    store = Store(tmp_path)
    store.create()
    run_dir = store.run("0123456789abcdef0123")
    run_dir.create({"config": {}})
    attempt = Attempt(run_dir, Control(), checkpoint_minutes=1, recorded=lambda records: 0)
    assert not attempt.save_due(ahead=59)
    assert attempt.save_due(ahead=61)  # before a long evaluation
    clock.now += 61
    assert attempt.save_due()
    attempt.save(1, {})
    clock.now += interval - 1
    assert not attempt.save_due()
    clock.now += 2
    assert attempt.save_due()
