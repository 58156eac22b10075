"""What becomes of a job's runs when it ends before they do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from launch import requeue
from launch.requeue import EXIT_NO_STEP, Fate, may_go_on, record_deaths, settle
from lrscale import checkpoint
from lrscale.run_dir import RunDir
from lrscale.run_state import RunState, State
from lrscale.store import Store

IDS = [f"{n}{n}" * 10 for n in range(3)]


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[RunDir]:
    """Of a job that was started for the second time: running, left by the first start, new."""
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    store = Store(tmp_path)
    store.create()
    made = [store.run(run) for run in IDS]
    for run in made:
        run.create({"config": {}})
    made[0].write_state(State("running", made[0].begin(), job="7", requeues=1))
    made[1].write_state(State("preempted", made[1].begin(), job="7"))
    return made


def states(runs: list[RunDir]) -> list[RunState | None]:
    return [state.state if (state := run.state()) else None for run in runs]


def store_of(runs: list[RunDir]) -> Store:
    return Store(runs[0].path.parents[2])


@pytest.mark.parametrize(
    ("fate", "left", "after"),
    [
        ("running", True, ["killed", "preempted", None]),
        ("timeout", True, ["timeout", "preempted", None]),
        ("cancelled", False, ["cancelled"] * 3),
    ],
)
def test_a_step_that_is_killed(
    runs: list[RunDir], fate: Fate, left: bool, after: list[RunState | None]
):
    record_deaths(runs, "7", fate, 137, 1)
    assert settle(store_of(runs), IDS, "7", fate, 3) is left
    assert states(runs) == after


@pytest.mark.parametrize(
    ("code", "first", "others", "cause"),
    [
        (137, "killed", None, "killed by SIGKILL, perhaps for want of memory"),
        (140, "timeout", None, "killed by SIGUSR2"),
        (143, "preempted", None, "killed by SIGTERM"),
        (EXIT_NO_STEP, "killed", None, "srun could not start it, see its log"),
        (1, "failed", "failed", "ended with exit code 1, see its log"),
        (0, "killed", None, "srun gave it up, see its log"),
    ],
)
def test_a_step_that_ends_before_any_run_begins(
    runs: list[RunDir], code: int, first: RunState, others: RunState | None, cause: str
):
    """What was left for the element's first run counts against it; or nothing can begin."""
    record_deaths(runs[1:], "7", "running", code, 1)
    assert states(runs)[1:] == [first, others]
    state = runs[1].state()
    assert state is not None
    assert (state.attempt, state.requeues, state.interruptions) == (2, 1, {"preempted": 1})
    assert state.cause == f"{cause}, before it could begin"


def test_the_exit_code_of_a_step_is_told_as_it_was(runs: list[RunDir]):
    record_deaths(runs, "7", "running", 1, 1)
    state = runs[0].state()
    assert state is not None
    assert (state.state, state.cause) == ("killed", "ended with exit code 1, see its log")


def test_a_time_limit_is_told_as_such_where_the_batch_script_is_ended(runs: list[RunDir]):
    record_deaths(runs[1:], "7", "timeout", 0, 1)
    assert states(runs)[1:] == ["timeout", None]
    state = runs[1].state()
    assert state is not None
    assert state.cause == "reached its time limit, before it could begin"


def test_a_signal_to_one_of_several_ranks_may_come_from_srun(
    runs: list[RunDir], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "2")
    record_deaths(runs[1:], "7", "running", 143, 1)
    assert states(runs)[1] == "killed"


@pytest.mark.parametrize("state", ["killed", "timeout"])
def test_retries_are_bounded_unless_there_is_a_new_checkpoint(runs: list[RunDir], state: RunState):
    run = runs[0]
    left = State(state, 1, resumed_from=4, retries=2, job="7", cause="why")
    assert may_go_on(run, left, 3)
    assert not may_go_on(run, left, 2)
    now = run.state()
    assert now is not None
    assert (now.state, now.cause) == ("failed", "why, 3 times in a row, without a new checkpoint")
    checkpoint.save(run.path, 5, {})
    assert may_go_on(run, left, 2)


def test_preemptions_are_no_failures(runs: list[RunDir]):
    assert may_go_on(runs[0], State("preempted", 1, retries=100), 0)


@pytest.mark.parametrize(
    ("said", "fate"),
    [
        ("JobState=RUNNING Restarts=1", "running"),
        ("JobState=COMPLETING Restarts=2", "requeued"),
        ("JobState=COMPLETING Restarts=1 PreemptTime=2026-11-26T08:42:50", "preempted"),
        ("JobState=COMPLETING Restarts=1 PreemptTime=None Reason=TimeLimit", "timeout"),
        ("JobState=COMPLETING Restarts=1 Reason=None", "cancelled"),
        ("", "unknown"),
    ],
)
def test_what_the_scheduler_says(
    runs: list[RunDir], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str, fate: Fate
):
    """Lines as Slurm 22.05 prints them."""
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f"#!/bin/sh\necho 'JobId=7 {said}'\n" if said else "#!/bin/sh\nexit 1\n")
    scontrol.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(requeue, "CONTROLLER_SECONDS", 0)
    assert requeue.fate_of("7") == fate


@pytest.fixture
def ends_well(runs: list[RunDir], monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """What is asked of the controller at the end of job 7, whose srun says that all is well."""
    store, asked = store_of(runs), []
    store.write_submission("s", {"arrays": [{"job_id": "7", "elements": [IDS]}]})
    store.write_run_records("s", {run: {"config": {}} for run in IDS})
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(requeue, "fate_of", lambda _: asked.append("fate") or "running")
    monkeypatch.setattr(requeue, "requeue", lambda job: asked.append(f"requeue {job}"))

    def end() -> list[str]:
        asked.clear()
        requeue.main([str(store.root), "s", "0", "0"])
        return list(asked)

    return end


def test_a_step_that_srun_gives_up_as_if_it_had_ended_well(
    runs: list[RunDir], ends_well: Callable[[], list[str]]
):
    assert ends_well() == ["fate", "requeue 7"]
    assert states(runs) == ["killed", "preempted", None]


@pytest.mark.parametrize("state", ["done", "diverged", "failed", "cancelled", "paused"])
def test_the_controller_is_left_alone_where_all_has_ended(
    runs: list[RunDir], ends_well: Callable[[], list[str]], state: RunState
):
    runs[2].begin()
    for run in runs:
        run.write_state(State(state, 1, job="7", requeues=1))
    assert ends_well() == []
    runs[1].write_state(State("preempted", 1, job="7", requeues=1))  # one of several that share it
    assert ends_well() == ["fate", "requeue 7"]


def test_what_was_given_to_another_job_is_left_to_that(
    runs: list[RunDir], ends_well: Callable[[], list[str]]
):
    again = {"arrays": [{"job_id": None, "elements": [[run] for run in IDS]}]}
    store_of(runs).write_submission("t", again)
    assert ends_well() == []
    assert states(runs) == ["running", "preempted", None]


def test_a_step_that_cannot_start_is_given_time(
    runs: list[RunDir], monkeypatch: pytest.MonkeyPatch
):
    """Longer each time, until it is given up."""
    store, done = store_of(runs), []
    submission = {"arrays": [{"job_id": "7", "elements": [[IDS[2]]]}], "max_retries": 2}
    store.write_submission("s", submission)
    store.write_run_records("s", {IDS[2]: {"config": {}}})
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(requeue.time, "sleep", lambda seconds: done.append(seconds))
    monkeypatch.setattr(requeue, "fate_of", lambda _: done.append("asked") or "running")
    monkeypatch.setattr(requeue, "requeue", lambda job: done.append(f"requeue {job}"))

    def start(number: int, code: int) -> None:
        monkeypatch.setenv("SLURM_RESTART_COUNT", str(number))
        requeue.main([str(store.root), "s", "0", str(code)])

    start(1, EXIT_NO_STEP)
    start(2, EXIT_NO_STEP)
    start(3, EXIT_NO_STEP)
    assert done == ["asked", 30, "asked", "requeue 7", "asked", 60, "asked", "requeue 7", "asked"]
    state = runs[2].state()
    assert state is not None
    assert state.cause.startswith("srun could not start it, see its log, before it could begin, 3")


def test_what_was_cancelled_meanwhile_is_not_brought_back(
    runs: list[RunDir], monkeypatch: pytest.MonkeyPatch
):
    store, fates = store_of(runs), iter(["running", "cancelled"])
    store.write_submission("s", {"arrays": [{"job_id": "7", "elements": [[IDS[2]]]}]})
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(requeue.time, "sleep", lambda _: None)
    monkeypatch.setattr(requeue, "fate_of", lambda _: next(fates))
    monkeypatch.setattr(requeue, "requeue", lambda job: pytest.fail(f"{job} was requeued"))
    assert requeue.main([str(store.root), "s", "0", str(EXIT_NO_STEP)]) == 0
    assert states(runs)[2] == "killed"
    assert next(fates, None) is None
