"""Which ended jobs are brought back, by what ``scontrol show job`` of Slurm 22.05 says of them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from launch import requeue, rescue
from launch.rescue import dead_jobs
from lrscale.run_state import State
from lrscale.store import Store

RUNS = [f"{n}{n}" * 10 for n in range(3)]
KILLED = "JobState=FAILED Reason=NonZeroExitCode Requeue=1 Restarts=2 ExitCode=0:9"
TIMED_OUT = "JobState=TIMEOUT Reason=TimeLimit Requeue=1 Restarts=0 ExitCode=0:15"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Of a submission of two elements: one run that was at work, and two in a job together."""
    store = Store(tmp_path / "runs")
    store.create()
    for run in RUNS[:2]:
        store.run(run).create({"config": {}})
        job, requeues = ("7_0", 2) if run == RUNS[0] else ("7_1", 0)
        state = State("running", store.run(run).begin(), job=job, requeues=requeues)
        store.run(run).write_state(state)
    submit(store, "s", "7")
    return store


def submit(store: Store, submission: str, job: str) -> None:
    elements = [RUNS[:1], RUNS[1:]]
    array = {"name": f"x.{submission}.0", "job_id": job, "elements": elements}
    record = {"id": submission, "backend": "slurm", "arrays": [array], "max_retries": 2}
    store.write_submission(submission, record)
    store.write_run_records(submission, {run: {"config": {}} for run in RUNS})


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """``slurm(store, _0=said)``: what it says of an element, by the name that its array has unless
    told otherwise; it returns what was requeued since."""
    folder = tmp_path / "bin"
    folder.mkdir()
    said, requeued = folder / "said", folder / "requeued"
    requeued.touch()
    script = f'[ "$1" = requeue ] && echo "$2" >> {requeued} || cat {said}'
    (folder / "scontrol").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "scontrol").chmod(0o700)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(requeue, "CONTROLLER_SECONDS", 0)

    def end(store: Store, name: str = "x.s.0", **elements: str) -> list[str]:
        lines = (
            f"JobId={90 + int(element[1:])} ArrayJobId=7 ArrayTaskId={element[1:]} "
            f"JobName={name} {what}\n"
            for element, what in elements.items()
        )
        said.write_text("".join(lines))
        rescue.look(store)
        found = requeued.read_text().split()
        requeued.write_text("")
        return found

    return end


@pytest.mark.parametrize(
    ("said", "dead"),
    [
        (KILLED, [("7_0", "running", 2)]),
        (TIMED_OUT, [("7_0", "timeout", 0)]),
        (KILLED.replace("Requeue=1", "Requeue=0"), []),  # nor may it be
        (KILLED.replace("0:9", "1:0"), []),  # its batch script has ended by itself
        (KILLED.replace("FAILED", "CANCELLED"), []),
        (KILLED.replace("FAILED", "PREEMPTED"), []),
        (KILLED.replace("FAILED", "COMPLETING"), []),
        (KILLED.replace("FAILED", "PENDING"), []),
        ("JobState=COMPLETED Requeue=1 Restarts=0 ExitCode=0:0", []),
    ],
)
def test_dead_jobs(store: Store, slurm, said: str, dead: list[tuple[str, str, int]]) -> None:
    slurm(store, _0=said)
    found = [(d.job, d.fate, d.restarts) for d in dead_jobs(store.read_submission("s"))]
    assert found == dead


def test_a_job_alone_and_one_whose_number_is_not_known(store: Store, slurm) -> None:
    slurm(store, _0=KILLED)
    (Path(os.environ["PATH"].split(":")[0]) / "said").write_text(f"JobId=8 JobName=x {KILLED}\n")
    alone = {"name": "x", "job_id": "8", "elements": [RUNS[:1]]}
    launching = {"name": "y", "job_id": None, "elements": [RUNS[1:]]}
    (found,) = dead_jobs({"id": "s", "arrays": [alone, launching]})
    assert (found.job, found.runs) == ("8", RUNS[:1])


def test_a_killed_run_goes_on_with_its_end_on_record(store: Store, slurm) -> None:
    assert slurm(store, _0=KILLED) == ["7_0"]
    state = store.run(RUNS[0]).state()
    assert state is not None
    assert (state.state, state.attempt) == ("killed", 1)


def test_of_several_runs_those_that_had_not_begun_too(store: Store, slurm) -> None:
    """One has its folder made, as its job would have done."""
    assert slurm(store, _1=TIMED_OUT) == ["7_1"]
    assert [store.run(run).state() is None for run in RUNS[1:]] == [False, True]
    state = store.run(RUNS[1]).state()
    assert state is not None
    assert state.state == "timeout"
    assert store.run(RUNS[2]).exists()


def test_it_is_given_up_like_any_that_dies_again_and_again(store: Store, slurm) -> None:
    requeued = [
        slurm(store, _0=KILLED.replace("Restarts=2", f"Restarts={restarts}"))
        for restarts in (2, 3, 4)
    ]
    assert requeued == [["7_0"], ["7_0"], []]
    state = store.run(RUNS[0]).state()
    assert state is not None
    assert state.state == "failed"


@pytest.mark.parametrize("state", ["done", "failed", "cancelled", "paused"])
def test_a_run_that_has_ended_does_not(store: Store, slurm, state) -> None:
    store.run(RUNS[0]).write_state(State(state, 1, job="7_0", requeues=2))
    assert slurm(store, _0=KILLED) == []
    assert slurm(store, _1=KILLED) == ["7_1"]


def test_nor_one_that_is_asked_to_pause(store: Store, slurm) -> None:
    store.run(RUNS[0]).ask("paused")
    assert slurm(store, _0=KILLED) == []


def test_nor_one_that_somebody_else_is_at(store: Store, slurm) -> None:
    store.run(RUNS[0]).write_state(State("running", 1))
    assert slurm(store, _0=KILLED) == []
    os.utime(store.run(RUNS[0]).state_path, (0, 0))
    assert slurm(store, _0=KILLED) == ["7_0"]


def test_nor_one_that_was_handed_over_again(store: Store, slurm) -> None:
    submit(store, "t", "8")
    assert slurm(store, _0=KILLED) == []


def test_nor_one_of_another_cluster(store: Store, slurm) -> None:
    """Whose job has the same number."""
    assert slurm(store, name="theirs", _0=KILLED) == []


def test_nor_one_of_a_submission_that_is_over(store: Store, slurm) -> None:
    store.close_submission("s")
    assert slurm(store, _0=KILLED) == []


def test_jobs_of_all_submissions_are_brought_back(store: Store, slurm) -> None:
    pool = {"name": "x.p.0", "job_id": None, "elements": [RUNS[2:]]}
    store.write_submission("p", {"id": "p", "backend": "local", "arrays": [pool]})
    submit(store, "r", "6")  # before s, and of the same runs
    assert slurm(store, _0=KILLED) == ["7_0"]
    submit(store, "t", "7")
    assert slurm(store, name="x.t.0", _0=KILLED) == ["7_0"]


def test_nothing_is_done_while_somebody_submits(
    store: Store, slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rescue, "LOCK_SECONDS", 0.0)
    with store.lock("submit"):
        assert slurm(store, _0=KILLED) == []
    assert slurm(store, _0=KILLED) == ["7_0"]


def test_several_that_watch_look_once_a_minute(
    store: Store, slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm(store, _0="JobState=RUNNING")
    looks: list[float] = []
    monkeypatch.setattr(rescue, "look", lambda *_: looks.append(now[0]))
    monkeypatch.setattr(Store, "clock", lambda _: now[0])
    stamp, now = store.root / "submissions" / "looked", [0.0]

    def sleep(seconds: float) -> None:
        """Another job's watcher wakes half-way; the file system's clock goes on."""
        assert 60 <= seconds <= 180
        if now[0] > 600:
            raise KeyboardInterrupt
        if stamp.exists():
            os.utime(stamp, (looks[-1], looks[-1]))
        now[0] += 40

    monkeypatch.setattr(rescue.time, "sleep", sleep)
    with pytest.raises(KeyboardInterrupt):
        rescue.main([str(store.root), "--watch"])
    assert looks == [40.0 + 80 * n for n in range(8)]
    assert stat.S_IMODE(stamp.stat().st_mode) == 0o600


def test_of_jobs_that_end_together_one_looks(
    store: Store, slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm(store, _0="JobState=RUNNING")
    stamp, looks = store.submission_dir("s").parent / "looked", []
    monkeypatch.setattr(rescue, "look", looks.append)
    for age, count in ((None, 1), (5, 1), (11, 2)):
        if age is not None:
            then = store.clock() - age
            os.utime(stamp, (then, then))
        assert rescue.main([str(store.root)]) == 0
        assert len(looks) == count


def test_where_the_controller_is_away(store: Store, slurm) -> None:
    """It has said nothing, and is not waited for."""
    (Path(os.environ["PATH"].split(":")[0]) / "scontrol").write_text("#!/bin/sh\nexit 1\n")
    assert slurm(store, _0=KILLED) == []
