from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from launch import submissions
from launch import survey as module
from launch.accounting import JobEnd, ask_sacct
from launch.claims import STALE_SECONDS, QueueRow
from launch.survey import RunStatus, survey
from lrscale.files import write_json
from lrscale.run_state import State
from lrscale.store import Store

MakeSweep = Callable[..., Store]
TREE = Path(__file__).parents[2]


def entries(store: Store) -> list[str]:
    return [entry["id"] for entry in store.read_sweep("demo")["runs"]]


def queue(store: Store, packed: bool = False) -> str:
    """Hand the sweep's runs to Slurm as array 77, ``packed`` all in one element; the submission."""
    runs = entries(store)
    elements = [runs] if packed else [[run] for run in runs]
    array = {"name": "demo.x.0", "elements": elements, "job_id": "77"}
    record = submissions.new_record(
        submissions.new_id(),
        "demo",
        "slurm",
        [array | {"after": None, "throttle": 1, "resources": {}}],
    )
    store.write_submission(record["id"], record)
    return str(record["id"])


def rewrite(store: Store, run: str, heard: float | None = None, **values: Any) -> None:
    """``heard``: when, if not when it was."""
    path = store.run(run).state_path
    then = path.stat().st_mtime if heard is None else heard
    write_json(path, json.loads(path.read_text()) | values)
    os.utime(path, (then, then))


class Squeue:
    """Answers what it is given, one after the other, and counts."""

    def __init__(self, *answers: list[QueueRow] | None) -> None:
        self.answers = list(answers)
        self.asked = 0

    def __call__(self, names: Sequence[str], mine: bool) -> list[QueueRow] | None:
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def no_sacct(names: Mapping[str, str]) -> dict[str, JobEnd]:
    return {}


def look(store: Store, squeue: Squeue, sacct: Any = no_sacct) -> list[RunStatus]:
    return list(survey(store, [store.read_sweep("demo")], squeue, sacct).runs["demo"])


@pytest.fixture
def silent(make_sweep: MakeSweep, monkeypatch: pytest.MonkeyPatch) -> Store:
    """One run in Slurm's hands that has given no sign of life for long."""
    monkeypatch.setattr(module, "SECOND_LOOK_SECONDS", 0.01)
    store = make_sweep(rates={"sgd": [0.1]}, seeds=[0], states={("sgd", 0.1, 0): "running"})
    queue(store)
    rewrite(store, entries(store)[0], job="77", heard=time.time() - 2 * STALE_SECONDS)
    return store


IN_QUEUE = [QueueRow("77", "RUNNING", "demo.x.0", "n1", "None")]


@pytest.mark.parametrize(
    ("answers", "state", "asked"),
    [
        ([IN_QUEUE], "silent", 1),
        ([None], "silent", 1),  # unknown never means dead
        ([[], []], "lost", 2),
        ([[], None], "silent", 2),
        ([[], IN_QUEUE], "silent", 2),
    ],
)
def test_lost_after_two_answers_only(
    silent: Store, answers: list[list[QueueRow] | None], state: str, asked: int
) -> None:
    squeue = Squeue(*answers)
    (run,) = look(silent, squeue)
    assert (run.state, squeue.asked) == (state, asked)


def test_a_heartbeat_counts_more_than_the_queue(silent: Store) -> None:
    rewrite(silent, entries(silent)[0], heard=time.time())
    squeue = Squeue([])
    assert look(silent, squeue)[0].state == "running"
    assert squeue.asked == 1


def test_a_heartbeat_between_the_two_answers(silent: Store) -> None:
    squeue = Squeue([])

    def answer(names: Sequence[str], mine: bool) -> list[QueueRow] | None:
        rewrite(silent, entries(silent)[0], heard=time.time())
        return squeue(names, mine)

    (run,) = survey(silent, [silent.read_sweep("demo")], answer, no_sacct).runs["demo"]
    assert (run.state, squeue.asked) == ("running", 2)


@pytest.mark.parametrize("ahead", [-3600.0, 3600.0])
def test_a_node_whose_clock_is_another(
    silent: Store, monkeypatch: pytest.MonkeyPatch, ahead: float
) -> None:
    """What counts is when the file system heard of a run."""
    run, here = silent.run(entries(silent)[0]), time.time
    state = run.state()
    assert state is not None
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: here() + ahead)
        run.write_state(state)
    (seen,) = look(silent, Squeue([]))
    assert seen.state == "running"
    assert seen.updated == pytest.approx(here(), abs=60)
    rewrite(silent, run.id, heard=here() - 2 * STALE_SECONDS)
    assert look(silent, Squeue([]))[0].state == "lost"


@pytest.mark.parametrize("ahead", [-3600.0, 3600.0])
def test_a_reader_whose_clock_is_another(
    silent: Store, monkeypatch: pytest.MonkeyPatch, ahead: float
) -> None:
    here = time.time
    monkeypatch.setattr(time, "time", lambda: here() + ahead)
    assert look(silent, Squeue([]))[0].state == "lost"
    rewrite(silent, entries(silent)[0], heard=here())
    assert look(silent, Squeue([]))[0].state == "running"


def test_of_a_job_that_was_cancelled_when_its_processes_had_died(silent: Store) -> None:
    rewrite(silent, entries(silent)[0], job="77")
    ends = {"77": JobEnd("CANCELLED")}
    assert look(silent, Squeue([]), lambda _: ends)[0].state == "cancelled"
    ends = {"77": JobEnd("NODE_FAIL")}
    assert look(silent, Squeue([]), lambda _: ends)[0].state == "lost"


def test_a_lost_run_is_explained_by_the_job_that_it_was_lost_in(silent: Store) -> None:
    """It was handed over again, to a job that ended before the run could begin."""
    run = entries(silent)[0]
    rewrite(silent, run, job="77")
    array = {"name": "demo.y.0", "elements": [[run]], "job_id": "78"}
    record = submissions.new_record(
        "99991231-235959-000000",
        "demo",
        "slurm",
        [array | {"after": None, "throttle": 1, "resources": {}}],
    )
    silent.write_submission(record["id"], record)

    def sacct(names: Mapping[str, str]) -> dict[str, JobEnd]:
        ends = {"77": JobEnd("OUT_OF_MEMORY", 0, 9), "78": JobEnd("NODE_FAIL")}
        return {job: ends[job] for job in names}

    (seen,) = look(silent, Squeue([]), sacct)
    assert (seen.state, seen.failure) == ("lost", "host OOM")


def test_lost_once_its_submission_is_closed(silent: Store) -> None:
    """Closing takes two answers of squeue; it is not asked again."""
    (submission,) = silent.read_submissions()
    silent.close_submission(submission)
    squeue = Squeue(None)
    assert look(silent, squeue)[0].state == "lost"
    assert squeue.asked == 0


def test_a_run_of_no_submission_in_a_job_is_silent(silent: Store) -> None:
    """As of torchrun in an allocation of one's own, of which the queue's names say nothing."""
    rewrite(silent, entries(silent)[0], job="5")
    for submission in silent.read_submissions():
        shutil.rmtree(silent.submission_dir(submission))
    assert look(silent, Squeue([]))[0].state == "silent"


@pytest.mark.parametrize("host", ["here", "elsewhere"])
def test_a_local_process_that_is_gone(make_sweep: MakeSweep, host: str) -> None:
    store = make_sweep(rates={"sgd": [0.1]}, seeds=[0], states={("sgd", 0.1, 0): "running"})
    process = subprocess.Popen(["true"])
    process.wait()
    (run,) = entries(store)
    rewrite(store, run, pid=process.pid, heard=time.time() - 2 * STALE_SECONDS)
    if host == "elsewhere":
        rewrite(store, run, host="another-host")
    assert look(store, Squeue([]))[0].state == ("lost" if host == "here" else "silent")


def test_what_the_queue_says(make_sweep: MakeSweep) -> None:
    states = {("sgd", 0.1, seed): "missing" for seed in range(4)}
    store = make_sweep(rates={"sgd": [0.1]}, seeds=range(4), states=states)
    queue(store)
    rows = [
        QueueRow("77_0", "PENDING", "demo.x.0", "", "Priority"),
        QueueRow("77_1", "PENDING", "demo.x.0", "", "JobHeldUser"),
        QueueRow("77_2", "PENDING", "demo.x.0", "", "job requeued in held state"),
        QueueRow("77_3", "RUNNING", "demo.x.0", "n3", "None"),
    ]
    runs = look(store, Squeue(rows))
    assert [run.state for run in runs] == ["queued", "paused", "paused", "queued"]
    assert [run.node for run in runs] == ["", "", "", "n3"]


def test_a_run_that_is_tried_again(make_sweep: MakeSweep) -> None:
    """It waits, until its new job has said something of it."""
    states = {("sgd", 0.1, 0): "failed", ("sgd", 0.1, 1): "cancelled"}
    store = make_sweep(rates={"sgd": [0.1]}, seeds=range(3), states=states)
    queue(store)
    rows = [QueueRow(f"77_{i}", "PENDING", "demo.x.0", "", "Priority") for i in range(3)]
    assert [run.state for run in look(store, Squeue(rows))] == ["queued", "queued", "done"]
    rewrite(store, entries(store)[0], heard=time.time() + 1)
    assert [run.state for run in look(store, Squeue(rows))] == ["failed", "queued", "done"]


def test_time_to_go(make_sweep: MakeSweep) -> None:
    store = make_sweep(rates={"sgd": [0.1]}, seeds=[0], states={("sgd", 0.1, 0): "running"})
    (run,) = look(store, Squeue([]))
    assert run.eta_seconds == pytest.approx(60 / run.steps_per_second)  # 20 of 80 steps taken
    assert run.restarts == 0
    attempt = store.run(run.id).begin()
    state = State("running", attempt, 20, 80, 20, interruptions={"preempted": 1})
    store.run(run.id).write_state(state)
    (again,) = look(store, Squeue([]))
    assert (again.restarts, again.eta_seconds) == (1, None)


def test_how_jobs_ended_that_never_began(make_sweep: MakeSweep) -> None:
    """One question for all; what the accounting does not say, because it lags, is just missing."""
    states = {("sgd", 0.1, seed): "missing" for seed in range(4)}
    store = make_sweep(rates={"sgd": [0.1]}, seeds=range(4), states=states)
    store.close_submission(queue(store))
    asked: list[Mapping[str, str]] = []

    def sacct(names: Mapping[str, str]) -> dict[str, JobEnd]:
        asked.append(names)
        ends = {"77_0": JobEnd("NODE_FAIL", nodes="n7"), "77_1": JobEnd("OUT_OF_MEMORY", 0, 9)}
        return ends | {"77_2": JobEnd("CANCELLED")}

    runs = look(store, Squeue([]), sacct)
    assert asked == [{"77": "demo.x.0"}]
    assert [(run.state, run.failure) for run in runs] == [
        ("failed", "node failure"),
        ("failed", "host OOM"),
        ("cancelled", ""),
        ("cancelled", ""),  # left the queue without an account and without a log
    ]
    assert runs[0].node == "n7"
    assert "before the run could begin" in runs[0].cause


def test_what_another_run_of_the_job_died_of_is_not_the_cause(make_sweep: MakeSweep) -> None:
    """One was killed for want of memory, which is how their job ended; the other raised."""
    states = {("sgd", 0.1, seed): "failed" for seed in (0, 1)}
    store = make_sweep(rates={"sgd": [0.1]}, seeds=[0, 1], states=states)
    queue(store, packed=True)
    killed, raised = entries(store)
    rewrite(store, killed, job="77", cause="killed by SIGKILL, perhaps for want of memory")
    rewrite(store, raised, job="77", cause="ValueError: no such thing")

    def sacct(names: Mapping[str, str]) -> dict[str, JobEnd]:
        return {"77": JobEnd("OUT_OF_MEMORY", 0, 9)}

    assert [run.failure for run in look(store, Squeue([]), sacct)] == ["host OOM", "ValueError"]


@pytest.mark.parametrize("left_as", ["preempted", "timeout", "killed"])
def test_cancelled_while_it_waited_to_go_on(make_sweep: MakeSweep, left_as: str) -> None:
    store = make_sweep(rates={"sgd": [0.1]}, seeds=[0], states={("sgd", 0.1, 0): "running"})
    queue(store)
    rewrite(store, entries(store)[0], state=left_as, job="77")

    def sacct(names: Mapping[str, str]) -> dict[str, JobEnd]:
        return {"77": JobEnd("CANCELLED")}

    waiting = Squeue([QueueRow("77", "PENDING", "demo.x.0", "", "BeginTime")])
    assert look(store, waiting, sacct)[0].state == "queued"
    assert look(store, Squeue([]), sacct)[0].state == "cancelled"
    assert look(store, Squeue([]))[0].state == left_as  # nobody knows


def test_what_was_found_out_is_not_asked_again(make_sweep: MakeSweep) -> None:
    store = make_sweep(rates={"sgd": [0.1]}, seeds=[0], states={("sgd", 0.1, 0): "failed"})
    queue(store)
    (run,) = entries(store)
    asked: list[Mapping[str, str]] = []

    def sacct(names: Mapping[str, str]) -> dict[str, JobEnd]:
        asked.append(names)
        return {"77": JobEnd("TIMEOUT")}

    old = time.time() - 1000
    rewrite(store, run, job="77", cause="killed by SIGKILL", heard=old)
    first, second = look(store, Squeue([]), sacct), look(store, Squeue([]), sacct)
    assert first == second
    assert first[0].failure == "time-out before the first checkpoint"
    assert len(asked) == 1
    rewrite(store, run, job="77", cause="MemoryError", heard=old)  # failed once more
    assert look(store, Squeue([]), sacct)[0].failure == "host OOM"


@pytest.mark.parametrize(
    ("tells", "shown"),
    [("CANCELLED", ("cancelled", "")), ("NODE_FAIL", ("lost", "node failure"))],
)
def test_an_accounting_that_was_away_is_asked_until_it_tells(
    silent: Store, tells: str, shown: tuple[str, str]
) -> None:
    """Of a run that was lost long ago; not again when that is explained."""
    (run,) = entries(silent)
    rewrite(silent, run, heard=time.time() - 1000)
    answers: list[dict[str, JobEnd]] = [{}, {"77": JobEnd("RUNNING")}, {"77": JobEnd(tells)}]
    asked = 0

    def sacct(names: Mapping[str, str]) -> dict[str, JobEnd]:
        nonlocal asked
        asked += 1
        return answers[min(asked, len(answers)) - 1]

    found = [look(silent, Squeue([]), sacct)[0] for _ in range(5)]
    assert [one.state for one in found[:2]] == ["lost", "lost"]
    assert [(one.state, one.failure) for one in found[2:]] == [shown] * 3
    assert asked == {"CANCELLED": 5, "NODE_FAIL": 3}[tells]  # the former leaves no note


def test_sacct_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        "1_0|COMPLETED|0:0|n1|demo",
        "1_1|CANCELLED by 1000|0:15|None assigned|demo",
        "1_[2-5]|PENDING|0:0|None assigned|demo",
        "2|FAILED|2:0|n[1-2]|an old job of this id",
    ]
    program = tmp_path / "sacct"
    program.write_text("#!/bin/sh\ncat <<'END'\n" + "\n".join(rows) + "\nEND\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    ends = ask_sacct({"1": "demo", "2": "demo"})
    assert ends["1_0"] == JobEnd("COMPLETED", 0, 0, "n1")
    assert ends["1_1"] == JobEnd("CANCELLED", 0, 15, "")
    assert "2" not in ends
    program.write_text("#!/bin/sh\necho 'Slurm accounting storage is disabled' >&2\nexit 1\n")
    assert ask_sacct({"1": "demo"}) == {}


@pytest.fixture
def mixed(make_sweep: MakeSweep) -> Store:
    ends = ("done", "failed", "diverged", "running", "preempted", "missing")
    states = {("sgd", 0.1, seed): state for seed, state in enumerate(ends)}
    store = make_sweep(rates={"sgd": [0.1]}, seeds=range(8), states=states, epochs=1)
    for run in entries(store)[1:3]:
        rewrite(store, run, heard=time.time() - 1000)  # no word of it is still to come
    return store


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_what_status_opens_the_second_time(mixed: Store, tmp_path: Path) -> None:
    """Of a finished run nothing, of an unfinished one its state."""
    script = [sys.executable, TREE / "launch/status.py", "demo", "--runs", mixed.root, "--json"]
    environment = {**os.environ, "PYTHONPATH": str(TREE)}
    trace = tmp_path / "trace"
    subprocess.run(script, env=environment, check=True, capture_output=True)
    if subprocess.run(["strace", "-o", trace, "true"], capture_output=True).returncode:
        pytest.skip("strace may not trace here")
    subprocess.run(
        ["strace", "-f", "-e", "trace=open,openat", "-o", trace, *script],
        env=environment,
        check=True,
        capture_output=True,
    )
    opened = re.findall(rf'"{re.escape(str(mixed.root))}/runs/../(\w+)/([^"]*)"', trace.read_text())
    unfinished = entries(mixed)[3:5]
    assert sorted(opened) == sorted((run, "state.json") for run in unfinished)
