"""That benchmarks/chaos.py would find what it says is not there: each fault of a run is planted."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import _truth
from benchmarks._chaos_runs import MAX_RETRIES
from benchmarks._storm import Storm
from benchmarks._trace import Unsaved, redone
from benchmarks._truth import Findings, Witness, check_runs, check_settled
from lrscale.files import write_json
from lrscale.run_state import State
from lrscale.store import Store

RUN, DOOMED = "aa0001", "dd0001"
GIVEN_UP = State(
    "failed", 1 + MAX_RETRIES, cause="killed, 6 times in a row, without a new checkpoint",
    interruptions={"killed": MAX_RETRIES}, retries=MAX_RETRIES,
)  # fmt: skip


def write_runs(store: Store) -> None:
    """One that took four steps in two chunks, with an evaluation each, and one given up."""
    store.create()
    entries = [
        {"id": RUN, "arm": "digits", "seed": 0},
        {"id": DOOMED, "arm": "doomed", "seed": 0},
    ]
    store.write_sweep("chaos", {"runs": entries})
    store.write_sweep("chaos_packed", {"runs": []})
    done = store.run(RUN)
    done.create({"config": {}})
    writer = done.open_metrics(done.begin(), 0)
    for step in (2, 4):
        writer.write({"kind": "steps", "step": step, "loss": [1.0 / step] * 2, "lr": [0.1] * 2})
        writer.write({"kind": "epoch", "step": step, "val_loss": 1.0 / step, "seconds": 1.0})
    writer.close()
    done.finish(State("done", 1, step=4), {"weights": "7f", "metrics": {"val_loss": 0.25}}, b"0 1")
    doomed = store.run(DOOMED)
    doomed.create({"config": {}})
    write_json(doomed.state_path, GIVEN_UP.record())


@pytest.fixture
def calm(tmp_path: Path) -> Store:
    store = Store(tmp_path / "calm")
    write_runs(store)
    return store


@pytest.fixture
def storm(calm: Store, tmp_path: Path) -> Storm:
    """Over, on the same runs as nothing interrupted."""
    shutil.copytree(calm.root, tmp_path / "runs")
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "slurmctld.log").touch()
    (tmp_path / "trace").mkdir()
    store, nodes = Store(tmp_path / "runs"), tmp_path / "nodes"
    return Storm(tmp_path, store, tmp_path / "trace", nodes, random.Random(0), None, {})


Change = Callable[[list[str]], list[str]]


def metrics(change: Change) -> Callable[[Storm], None]:
    """Puts other lines in the place of those that the run has on record."""

    def plant(storm: Storm) -> None:
        path = storm.store.run(RUN).path / "metrics.jsonl"
        lines = change(path.read_text().splitlines())
        path.write_text("".join(line + "\n" for line in lines))

    return plant


def summary(**values: object) -> Callable[[Storm], None]:
    def plant(storm: Storm) -> None:
        path = storm.store.run(RUN).path / "summary.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return plant


def state(run: str, hits: int = 0, **values: object) -> Callable[[Storm], None]:
    def plant(storm: Storm) -> None:
        written = storm.store.run(run).state()
        assert written is not None
        now = replace(written, **values).record() | {"pid": os.getpid()}
        write_json(storm.store.run(run).state_path, now)
        storm.hits[run] += hits

    return plant


def without(name: str) -> Callable[[Storm], None]:
    return lambda storm: (storm.store.run(RUN).path / name).unlink()


# What is planted, as what it is to be found, and a word of the line that says so.
PLANTED = [
    (metrics(lambda lines: [lines[0], *lines]), "doubled", RUN),
    (metrics(lambda lines: lines[2:]), "doubled", RUN),
    (metrics(lambda lines: [*lines, lines[-1]]), "doubled", RUN),
    (metrics(lambda lines: [*lines[2:], *lines[:2]]), "doubled", RUN),
    (metrics(lambda lines: lines[:2]), "wrong", "losses"),
    (metrics(lambda lines: [lines[0], lines[2], lines[3]]), "wrong", "evaluations"),
    (metrics(lambda lines: [lines[0].replace("0.5", "0.50001"), *lines[1:]]), "wrong", "losses"),
    (metrics(lambda lines: [lines[0].replace("0.1", "0.2"), *lines[1:]]), "wrong", "rates"),
    (summary(weights="7e"), "wrong", "weights"),
    (summary(metrics={"val_loss": 0.26}), "wrong", "metrics"),
    (summary(mixed=["torch"]), "wrong", "mixed"),
    (without("predictions.npz"), "wrong", "predictions"),
    (without("summary.json"), "lost", RUN),
    (without("state.json"), "lost", RUN),
    (state(RUN, state="diverged"), "wrong", "state"),
    (state(RUN, attempt=2, interruptions={"killed": 1}), "wrong", "hit 0 times, attempt 2"),
    (state(RUN, attempt=2, hits=1), "wrong", "2 attempts, and of these ended {}"),
    (state(DOOMED, retries=MAX_RETRIES - 1), "wrong", "tried again 4 times"),
    (state(DOOMED, hits=2, interruptions={"preempted": MAX_RETRIES}), "wrong", "ended"),
]  # fmt: skip


def test_nothing_is_found_where_nothing_is_wrong(calm: Store, storm: Storm):
    findings = Findings()
    check_runs(calm, storm, findings)
    assert findings == Findings()
    state(RUN, attempt=3, hits=2, interruptions={"killed": 1, "preempted": 1})(storm)
    check_runs(calm, storm, findings)
    assert findings == Findings()


@pytest.mark.parametrize(("plant", "found_as", "word"), PLANTED)
def test_what_is_planted_in_a_run_is_found(
    calm: Store, storm: Storm, plant: Callable[[Storm], None], found_as: str, word: str
):
    plant(storm)
    findings = Findings()
    check_runs(calm, storm, findings)
    assert any(word in line for line in vars(findings).pop(found_as))


# --- the end, and what is shown


class Shown(Witness):
    """A witness to whom status.py shows what ``states`` holds, and the truth of other runs."""

    states: dict[str, str]

    def shown(self) -> dict[str, str]:
        truth = {run: self.store.run(run).state() for run in (RUN, DOOMED)}
        return {run: now.state if now else "missing" for run, now in truth.items()} | self.states


@pytest.fixture
def witness(storm: Storm, monkeypatch: pytest.MonkeyPatch) -> Shown:
    monkeypatch.setattr(_truth, "SECONDS_TO_SETTLE", 0.0)
    witness = Shown(storm.store.root, storm.store, Findings())
    witness.states = {}
    return witness


def test_all_ended(storm: Storm, witness: Shown):
    check_settled(storm, witness)
    assert witness.findings == Findings()


@pytest.mark.parametrize("run", [RUN, DOOMED])
def test_a_run_that_does_not_end_is_lost(storm: Storm, witness: Shown, run: str):
    state(run, state="killed")(storm)
    check_settled(storm, witness)
    (line,) = witness.findings.lost
    assert run in line


def test_a_run_is_given_time_to_be_given_up(
    storm: Storm, witness: Shown, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(_truth, "SECONDS_TO_SETTLE", 60.0)
    state(DOOMED, state="killed")(storm)
    monkeypatch.setattr(time, "sleep", lambda _: state(DOOMED, state="failed")(storm))
    check_settled(storm, witness)
    assert witness.findings == Findings()


def test_what_is_shown_in_the_end_and_is_not_so(storm: Storm, witness: Shown):
    witness.states = {RUN: "running"}
    check_settled(storm, witness)
    (line,) = witness.findings.wrong
    assert "shown as running" in line


def tell(storm: Storm, run: str, *lines: tuple[float, int, int]) -> None:
    """Time, attempt and step; checkpoints every two seconds."""
    text = "".join(f"{at} {attempt} {step} 2.0\n" for at, attempt, step in lines)
    (storm.trace / run).write_text(text)


@pytest.mark.parametrize("shown", ["lost", "cancelled"])
def test_cancelled_runs(storm: Storm, witness: Shown, shown: str):
    state(RUN, state="killed")(storm)
    storm.cancelled[RUN] = 1000.0
    tell(storm, RUN, (900.0, 1, 0), (1001.0, 1, 5))
    witness.states = {RUN: shown}  # its processes did not live to say so
    check_settled(storm, witness)
    assert witness.findings == Findings()
    witness.states = {RUN: "killed"}
    check_settled(storm, witness)
    assert len(witness.findings.lost) == 1
    tell(storm, RUN, (900.0, 1, 0), (1040.0, 2, 5))
    check_settled(storm, witness)
    assert any("went on after it was cancelled" in line for line in witness.findings.wrong)


KILLED = """\
[2026-11-26T12:00:00.500] sched: Allocate JobId=7_1(8) NodeList=127.0.0.3 #CPUs=1 Partition=main
[2026-11-26T12:00:40.500] requeue job JobId=7_1(8) due to failure of node 127.0.0.3
{registered}
[2026-11-26T12:01:00.500] sched: Allocate JobId=7_1(8) NodeList=127.0.0.3 #CPUs=1 Partition=main
{completed}
{after}
"""
COMPLETED = "[2026-11-26T12:01:01.500] _job_complete: JobId=7_1(8) WTERMSIG 9"
TIMED_OUT = "[2026-11-26T12:01:01.500] Time limit exhausted for JobId=7_1(8)"
EXITED = "[2026-11-26T12:01:02.500] _job_complete: JobId=7_1(8) WEXITSTATUS 0"
AGAIN = "[2026-11-26T12:01:02.500] sched: Allocate JobId=7_1(8) NodeList=127.0.0.1"
REGISTERED = (
    "[2026-11-26T12:00:59.500] error: Registered PENDING JobId=7_1(8) StepId=8.0 on node 127.0.0.3"
)


@pytest.mark.parametrize(
    ("registered", "completed", "after", "shown", "lost", "wrong"),
    [
        (REGISTERED, COMPLETED, "", "lost", 0, 0),
        (REGISTERED, COMPLETED, "", "running", 0, 1),
        (REGISTERED.replace("7_1(8)", "7_11(18)"), COMPLETED, "", "lost", 1, 1),
        (REGISTERED, COMPLETED, AGAIN, "lost", 1, 1),
        ("", TIMED_OUT, "", "lost", 0, 0),
        ("", TIMED_OUT, EXITED, "lost", 1, 1),
    ],
)
def test_only_what_slurm_itself_has_ended_may_wait_for_the_same_command(
    storm: Storm,
    witness: Shown,
    registered: str,
    completed: str,
    after: str,
    shown: str,
    lost: int,
    wrong: int,
):
    elements = {"job_id": "7", "elements": [[DOOMED], [RUN]]}
    storm.store.write_submission("s", {"arrays": [elements]})
    storm = replace(storm)  # reads the submissions
    log = KILLED.format(registered=registered, completed=completed, after=after)
    (storm.state_dir / "log" / "slurmctld.log").write_text(log)
    state(RUN, state="running")(storm)
    witness.states = {RUN: shown}
    check_settled(storm, witness)
    assert (len(witness.findings.lost), len(witness.findings.wrong)) == (lost, wrong)


def test_runs_at_work_must_be_shown_so(storm: Storm, witness: Shown):
    state(RUN, state="running")(storm)
    witness.look()
    witness.states = {RUN: "silent"}
    witness.look()
    assert witness.findings == Findings()
    assert witness.looks == 2
    witness.states = {RUN: "lost"}
    witness.look()
    (line,) = witness.findings.wrong
    assert line == f"{RUN}: shown as lost while attempt 1 was at work"


@pytest.fixture
def overtaken(storm: Storm, witness: Shown) -> Callable[..., list[str]]:
    """What is found of a run that was shown so, and of which there was another attempt; after
    ``more`` is done."""

    def find(shown: str, more: Callable[[Storm], object]) -> list[str]:
        storm.store.write_submission("s", {"arrays": [{"job_id": "7", "elements": [[RUN]]}]})
        witness.states = {RUN: shown}
        witness.look()
        storm.store.run(RUN).begin()
        now = replace(storm)  # reads the submissions
        more(now)
        witness.look_back(now)
        return witness.findings.wrong

    return find


def says_brought_back(job: str) -> Callable[[Storm], object]:
    said = f"lrscale: Slurm has ended {job} with its batch script: it is requeued\n"
    log = Path("submissions", "s", "7_9_0_log.out")
    return lambda storm: (storm.store.root / log).write_text(said)


def test_what_was_shown_as_over_must_have_been(overtaken: Callable[..., list[str]]):
    (line,) = overtaken("lost", lambda _: None)
    assert "shown as lost at attempt 1, of 2 in the end" in line


def test_but_for_what_was_cancelled(overtaken: Callable[..., list[str]]):
    assert overtaken("cancelled", lambda storm: storm.cancelled.update({RUN: 1000.0})) == []


@pytest.mark.parametrize(
    ("shown", "job", "wrong"), [("lost", "7", 0), ("lost", "77", 1), ("failed", "7", 1)]
)
def test_and_for_what_was_lost_until_another_job_brought_it_back(
    overtaken: Callable[..., list[str]], shown: str, job: str, wrong: int
):
    assert len(overtaken(shown, says_brought_back(job))) == wrong


# --- work done twice


TEN_SECONDS = [(float(second), 1, second) for second in range(11)]


@pytest.mark.parametrize(
    ("resumed_from", "seconds", "late"), [(10, [], 0), (8, [2.0], 0), (5, [5.0], 1), (0, [10.0], 1)]
)
def test_work_done_twice(storm: Storm, resumed_from: int, seconds: list[float], late: int):
    """Looks a second apart, checkpoints two: up to four are allowed."""
    tell(storm, RUN, *TEN_SECONDS, (20.0, 2, resumed_from), (21.0, 2, resumed_from + 1))
    twice = redone([RUN, DOOMED], storm.trace, Unsaved())
    assert (twice.cut, twice.seconds, len(twice.late)) == (1, seconds, late)


def test_work_done_twice_over_several_attempts(storm: Storm):
    """The first resumes from nothing and is killed before it has a checkpoint of its own."""
    tell(storm, RUN, *TEN_SECONDS, (20.0, 2, 8), (21.0, 2, 9), (31.0, 3, 8), (32.0, 3, 9))
    twice = redone([RUN], storm.trace, Unsaved())
    assert (twice.cut, twice.seconds, twice.late) == (2, [2.0, 1.0], [])


@pytest.mark.parametrize(("damaged", "excused"), [(8.0, 1), (15.0, 1), (25.0, 0)])
def test_a_damaged_checkpoint_excuses_its_own_run_alone(storm: Storm, damaged: float, excused: int):
    """Where it was damaged before the run was resumed."""
    for run in (RUN, DOOMED):
        tell(storm, run, *TEN_SECONDS, (20.0, 2, 0), (21.0, 2, 1))
    twice = redone([RUN, DOOMED], storm.trace, Unsaved({RUN: [damaged], DOOMED: []}))
    assert (twice.cut, twice.excused, len(twice.late)) == (2, excused, 2 - excused)


@pytest.mark.parametrize(("full", "excused"), [((9.0, 11.0), 2), ((11.0, 15.0), 0)])
def test_a_full_disk_excuses_what_was_done_meanwhile(
    storm: Storm, full: tuple[float, float], excused: int
):
    for run in (RUN, DOOMED):
        tell(storm, run, *TEN_SECONDS, (20.0, 2, 0), (21.0, 2, 1))
    assert redone([RUN, DOOMED], storm.trace, Unsaved(full=[full])).excused == excused


def test_in_which_phase_a_run_is(storm: Storm):
    run = storm.store.run(RUN)
    assert storm.phase_of(run) == "import or earlier"  # it is done
    state(RUN, state="running", attempt=2)(storm)
    assert storm.phase_of(run) == "set-up"
    tell(storm, RUN, *TEN_SECONDS, (20.0, 2, 10))
    assert storm.phase_of(run) == "set-up"
    tell(storm, RUN, *TEN_SECONDS, (20.0, 2, 10), (21.0, 2, 11))
    assert storm.phase_of(run) == "training"
    write_json(run.state_path, json.loads(run.state_path.read_text()) | {"pid": _ended_process()})
    assert storm.phase_of(run) == "import or earlier"


def _ended_process() -> int:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid
