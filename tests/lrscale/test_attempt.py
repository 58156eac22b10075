"""How often a run saves, and what it costs; how its attempts are counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lrscale import checkpoint
from lrscale.attempt import Attempt, record_end
from lrscale.control import Control, Request
from lrscale.run_dir import RunDir
from lrscale.run_state import RunState, State
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
    attempt = begin(new_run(tmp_path))
    assert not attempt.save_due(ahead=59)
    assert attempt.save_due(ahead=61)  # before a long evaluation
    clock.now += 61
    assert attempt.save_due()
    attempt.save(1, {})
    clock.now += interval - 1
    assert not attempt.save_due()
    clock.now += 2
    assert attempt.save_due()


def new_run(folder: Path) -> RunDir:
    store = Store(folder)
    store.create()
    run_dir = store.run("0123456789abcdef0123")
    run_dir.create({"config": {}})
    return run_dir


def begin(run_dir: RunDir, job: str = "", requeues: int = 0) -> Attempt:
    control = Control(job=job, requeues=requeues)
    return Attempt(run_dir, control, checkpoint_minutes=1, recorded=lambda records: 10**9)


def state_of(run_dir: RunDir) -> State:
    state = run_dir.state()
    assert state is not None
    return state


def test_how_earlier_attempts_ended_is_counted(tmp_path: Path):
    """A retry is an attempt after a bad end without a new checkpoint; preemptions are none."""
    run_dir = new_run(tmp_path)
    begin(run_dir, "7")
    assert state_of(run_dir).interruptions == {}
    begin(run_dir, "7", 1).leave("preempted")  # the first was taken away by the scheduler
    assert state_of(run_dir).interruptions == {"preempted": 1}
    begin(run_dir, "8").leave("timeout")
    begin(run_dir, "8", 1)
    assert (state_of(run_dir).retries, state_of(run_dir).requeues) == (1, 1)
    begin(run_dir, "9")  # another job: the one before was killed
    state = state_of(run_dir)
    assert state.interruptions == {"preempted": 2, "timeout": 1, "killed": 1}
    assert (state.retries, state.attempt) == (2, 5)
    begun = begin(run_dir, "10")
    begun.save(5, {})
    begun.leave("timeout")
    begin(run_dir, "10", 1)
    assert state_of(run_dir).retries == 0
    assert state_of(run_dir).interruptions["timeout"] == 2


def test_attempts_that_left_no_state_are_counted(tmp_path: Path):
    """The disk was full for one of them; the other was overtaken as it began."""
    run_dir = new_run(tmp_path)
    begin(run_dir, "7").leave("preempted")
    run_dir.begin()
    run_dir.begin()
    begin(run_dir, "7", 3)
    state = state_of(run_dir)
    assert (state.attempt, state.retries) == (4, 0)
    assert state.interruptions == {"preempted": 1, "killed": 2}


@pytest.mark.parametrize("afresh", [False, True])
def test_no_attempt_at_all_left_a_state(tmp_path: Path, afresh: bool):
    """The disk was full from the start. One that begins afresh counts what came after that."""
    run_dir = new_run(tmp_path)
    if afresh:
        run_dir.reset()  # there was nothing to forget
        assert run_dir.newest_attempt() == 0
        begin(run_dir, "7").leave("preempted")
        run_dir.reset()
    run_dir.begin()
    run_dir.begin()
    begin(run_dir, "8", 3)
    assert state_of(run_dir).interruptions == {"killed": 2}
    run_dir.reset()
    begin(run_dir, "9")
    assert state_of(run_dir).interruptions == {}


@pytest.mark.parametrize("ended", ["failed", "killed"])
def test_an_end_that_the_attempt_could_not_record(tmp_path: Path, ended: RunState):
    run_dir = new_run(tmp_path)
    begin(run_dir, "7")
    record_end(run_dir, ended, "why", "7", 0)
    assert (state_of(run_dir).state, state_of(run_dir).cause) == (ended, "why")
    # Before the next process had an attempt of its own, it died as well.
    record_end(run_dir, "killed", "why again", "7", 1, since=1)
    state = state_of(run_dir)
    assert (state.attempt, state.state, state.requeues) == (2, "killed", 1)
    assert (state.interruptions, state.retries) == ({ended: 1}, 1)
    # What another process has taken over, or has brought to its end, is left alone.
    begin(run_dir, "8")
    record_end(run_dir, "failed", "a straggler", "7", 1)
    begin(run_dir, "8", 1)
    record_end(run_dir, "failed", "a straggler of the start before", "8", 0)
    assert state_of(run_dir).state == "running"
    begin(run_dir, "8").finish("done", 5, 1, {})
    record_end(run_dir, "failed", "a straggler", "8", 0)
    assert state_of(run_dir).state == "done"


def test_a_rank_that_failed_is_the_cause_and_not_its_peer_that_lost_it(tmp_path: Path):
    run_dir = new_run(tmp_path)
    begin(run_dir, "7")
    record_end(run_dir, "failed", "RuntimeError: as was wished", "7", 0)
    record_end(run_dir, "killed", "Connection closed by peer", "7", 0)
    assert state_of(run_dir).cause == "RuntimeError: as was wished"


@pytest.mark.parametrize("request_", ["cancelled", "paused"])
def test_what_a_person_asks_for_is_heeded_at_a_heartbeat(tmp_path: Path, request_: Request):
    run_dir, control = new_run(tmp_path), Control(heartbeat_seconds=0.0)
    attempt = Attempt(run_dir, control, 10.0, lambda records: 0)
    attempt.heartbeat()
    assert control.stop is None
    run_dir.ask("cancelled" if request_ == "paused" else "paused")
    run_dir.ask(request_)  # the last wish counts
    attempt.heartbeat()
    assert control.stop == request_
    attempt.leave(control.stop)
    assert state_of(run_dir).state == request_
    run_dir.grant_retries()
    assert run_dir.asked() is None


def test_a_wish_from_before_the_attempt(tmp_path: Path):
    """Of a run with several ranks: it begins, that all may agree to leave."""
    run_dir, control = new_run(tmp_path), Control()
    run_dir.ask("cancelled")
    Attempt(run_dir, control, 10.0, lambda records: 0)
    assert control.stop == "cancelled"


def test_what_is_asked_of_another_run_interrupts(tmp_path: Path):
    """Runs that are stepped together share a ``Control``."""
    run_dir = new_run(tmp_path)
    begin(run_dir).leave("cancelled")
    assert state_of(run_dir).state == "interrupted"


def test_a_finished_run_has_no_wish_left(tmp_path: Path):
    run_dir = new_run(tmp_path)
    attempt = begin(run_dir)
    run_dir.ask("paused")
    attempt.finish("done", 1, 1, {})
    assert run_dir.asked() is None
