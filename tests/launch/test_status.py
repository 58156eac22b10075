from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from launch import status, submissions
from launch.claims import STALE_SECONDS
from launch.survey import RunStatus
from launch.survey import survey as survey_of
from lrscale.files import write_json
from lrscale.run_state import State
from lrscale.store import Store

MakeSweep = Callable[..., Store]
ONE = {"rates": {"sgd": [0.1]}, "seeds": [0]}


def survey(store: Store) -> list[RunStatus]:
    return list(survey_of(store, [store.read_sweep("demo")]).runs["demo"])


def submit(store: Store, runs: list[str], backend: str = "local") -> dict[str, Any]:
    """A submission that this process, which lives, has made."""
    array = {"name": "demo.x.0", "elements": [[run] for run in runs], "job_id": None, "after": None}
    record = submissions.new_record(
        submissions.new_id(), "demo", backend, [array | {"throttle": 1, "resources": {}}]
    )
    store.write_submission(record["id"], record)
    return record


def age(store: Store, run: str, seconds: float) -> None:
    """Let a run's last sign of life be that long ago."""
    then = time.time() - seconds
    os.utime(store.run(run).state_path, (then, then))


def test_states_of_the_store(make_sweep: MakeSweep) -> None:
    ends = ["done", "running", "failed", "diverged", "preempted", "missing"]
    states = {("sgd", 0.1, seed): state for seed, state in enumerate(ends)}
    store = make_sweep(rates={"sgd": [0.1]}, seeds=range(6), states=states)
    runs = survey(store)
    assert [run.state for run in runs] == ends
    done, running, failed, diverged, _, missing = runs
    assert (done.progress, running.progress, missing.progress) == (1.0, 0.25, None)
    assert running.epoch == 1
    assert running.loss is not None
    assert running.steps_per_second == pytest.approx(2.0, rel=0.2)  # 20 steps in 10 s
    assert failed.cause == "RuntimeError: no space"
    assert diverged.cause == "loss not finite at step 20"
    assert missing.job == ""


def test_without_a_sign_of_life_a_run_is_silent_and_not_dead(make_sweep: MakeSweep) -> None:
    store = make_sweep(**ONE, states={("sgd", 0.1, 0): "running"})
    (run,) = survey(store)
    age(store, run.id, STALE_SECONDS - 30)
    assert survey(store)[0].state == "running"
    age(store, run.id, STALE_SECONDS + 30)
    assert survey(store)[0].state == "silent"


def test_what_somebody_still_has_is_queued(make_sweep: MakeSweep) -> None:
    names = ["missing", "preempted", "done", "failed", "running"]
    states = {("sgd", 0.1, seed): name for seed, name in enumerate(names)}
    store = make_sweep(rates={"sgd": [0.1]}, seeds=range(5), states=states)
    submit(store, [run.id for run in survey(store)])
    age(store, survey(store)[3].id, -1)  # in the hands of who has it
    runs = survey(store)
    assert [run.state for run in runs] == ["queued", "queued", "done", "failed", "running"]
    assert runs[0].job.endswith(f":{os.getpid()}")
    assert runs[1].progress == 0.25  # of the attempt before


def test_the_rate_of_a_resumed_run(make_sweep: MakeSweep) -> None:
    """Of this attempt alone: what was done before took no time of it."""
    store = make_sweep(**ONE, states={("sgd", 0.1, 0): "preempted"})
    run = store.run(survey(store)[0].id)
    state = State("running", run.begin(), 40, 80, resumed_from=20, started=time.time() - 10)
    run.write_state(state)
    (again,) = survey(store)
    assert (again.attempts, again.progress) == (2, 0.5)
    assert again.steps_per_second == pytest.approx(2, rel=0.2)


@pytest.mark.parametrize("count", [1, 2])
def test_a_job_that_ended_before_its_run_began(make_sweep: MakeSweep, count: int) -> None:
    seeds = range(count)
    store = make_sweep(
        rates={"sgd": [0.1]}, seeds=seeds, states={("sgd", 0.1, seed): "missing" for seed in seeds}
    )
    record = submit(store, [run.id for run in survey(store)], backend="slurm")
    submissions.record_job(store, record["id"], 0, "77")
    store.close_submission(record["id"])
    assert {run.state for run in survey(store)} == {"cancelled"}  # it left the queue without a log

    job = "77" if count == 1 else "77_1"
    log = store.submission_dir(record["id"]) / f"{job}_0_log.out"
    log.write_text("submitit INFO: cancelled while it was busy with another of its runs\n")
    assert survey(store)[-1].state == "missing"
    log.write_text("lrscale: the run store /x is not visible from this node: n1\n")
    run = survey(store)[-1]
    assert (run.state, run.job, run.log) == ("failed", job, str(log))
    assert run.cause.endswith("could begin: the run store /x is not visible from this node: n1")


def test_where_the_logs_are(make_sweep: MakeSweep) -> None:
    states = {("sgd", 0.1, 0): "failed", ("sgd", 0.1, 1): "failed", ("sgd", 0.1, 2): "failed"}
    store = make_sweep(rates={"sgd": [0.1]}, states=states)
    pool, element, neither = [store.run(run.id) for run in survey(store)]
    pool.log_path.write_text("Traceback …")
    record = submit(store, [element.id, neither.id], backend="slurm")
    submissions.record_job(store, record["id"], 0, "77")
    log = store.submission_dir(record["id"]) / "77_0_0_log.out"
    log.write_text("Traceback …")
    for run, job in ((element, "77_0"), (neither, "78_0")):
        path = run.path / "state.json"
        later = {"job": job, "updated": time.time() + 1}
        write_json(path, json.loads(path.read_text()) | later)
    assert [run.log for run in survey(store)] == [str(pool.log_path), str(log), ""]


def test_the_printed_table(make_sweep: MakeSweep, capsys: pytest.CaptureFixture[str]) -> None:
    states = {("sgd", 0.1, 0): "failed", ("adam", 1e-3, 2): "running", ("adam", 1e-4, 0): "missing"}
    store = make_sweep(states=states)
    (log,) = (store.run(r.id).log_path for r in survey(store) if r.state == "failed")
    log.write_text("Traceback …")
    assert status.main(["demo", "--runs", str(store.root)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("demo: 15 runs: 12 done, 1 missing, 1 running, 1 failed\n")
    assert out.index("RuntimeError: no space") < out.index("lr 0.001")  # failed runs come first
    assert f"{log.parent.name[:8]}: RuntimeError: no space" in out
    assert "25%" in out


def test_a_finished_sweep_is_one_line(
    make_sweep: MakeSweep, capsys: pytest.CaptureFixture[str]
) -> None:
    store = make_sweep(**ONE)
    assert status.main(["demo", "--runs", str(store.root)]) == 0
    assert capsys.readouterr().out == "demo: 1 run: 1 done\n"


def test_long_lists_are_cut(make_sweep: MakeSweep, capsys: pytest.CaptureFixture[str]) -> None:
    seeds = range(status.TABLE_ROWS + 3)
    states = {("sgd", 0.1, seed): "failed" for seed in seeds}
    store = make_sweep(rates={"sgd": [0.1]}, seeds=seeds, states=states, epochs=1)
    assert status.main(["demo", "--runs", str(store.root)]) == 0
    assert "… and 3 more" in capsys.readouterr().out
    assert status.main(["demo", "--runs", str(store.root), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["runs"]) == len(seeds)


def test_json(make_sweep: MakeSweep, capsys: pytest.CaptureFixture[str]) -> None:
    store = make_sweep(**ONE, states={("sgd", 0.1, 0): "failed"})
    assert status.main(["demo", "--runs", str(store.root), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["counts"] == {"failed": 1}
    (run,) = value["runs"]
    assert (run["arm"], run["point"], run["state"]) == ("sgd", {"optimizer.lr": 0.1}, "failed")


def test_an_unknown_sweep(make_sweep: MakeSweep, capsys: pytest.CaptureFixture[str]) -> None:
    store = make_sweep(**ONE)
    assert status.main(["dmeo", "--runs", str(store.root)]) == 2
    assert "no sweep 'dmeo'" in capsys.readouterr().err


def test_a_squeue_that_does_not_answer_is_said(
    make_sweep: MakeSweep,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    store = make_sweep(**ONE, states={("sgd", 0.1, 0): "missing"})
    submit(store, [survey(store)[0].id], backend="slurm")
    monkeypatch.setenv("PATH", str(tmp_path))  # no squeue there
    assert status.main(["demo", "--runs", str(store.root)]) == 0
    captured = capsys.readouterr()
    assert "1 queued" in captured.out
    assert "squeue does not answer" in captured.err


def test_neither_torch_nor_pandas_is_imported(make_sweep: MakeSweep) -> None:
    """By the commands that read the store, or only ask something of runs."""
    store = make_sweep(**ONE, states={("sgd", 0.1, 0): "failed"})
    script = (
        "import sys; from launch import clean, logs, status, steer\n"
        f"of = ['--runs', {str(store.root)!r}]\n"
        "assert status.main(['demo', *of]) == 0\n"
        "assert logs.main(['demo', *of]) == 0\n"
        "assert steer.main(['cancel', 'demo', '--dry-run', *of]) == 0\n"
        "assert clean.main(of) == 0\n"
        "assert not {'torch', 'pandas', 'numpy', 'submitit'} & set(sys.modules)\n"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "\x1b" not in out.stdout


def test_filters(make_sweep: MakeSweep, capsys: pytest.CaptureFixture[str]) -> None:
    store = make_sweep(states={("sgd", 0.1, 0): "failed"})
    command = ["demo", "--runs", str(store.root), "--arm", "sgd", "optimizer.lr=0.1"]
    assert status.main(command) == 0
    out = capsys.readouterr().out
    assert out.startswith("demo: 3 of 15 runs: 2 done, 1 failed\n")
    assert out.count("lr 0.1") == 3  # what was asked for is listed, done or not
    assert status.main([*command, "--json", "--state", "failed"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert [run["state"] for run in value["runs"]] == ["failed"]
    assert status.main([*command, "--state", "fialed"]) == 2
    assert "did you mean 'failed'?" in capsys.readouterr().err


def test_failures_are_grouped(make_sweep: MakeSweep, capsys: pytest.CaptureFixture[str]) -> None:
    store = make_sweep(states={("sgd", 1.0, seed): "failed" for seed in range(3)})
    assert status.main(["demo", "--runs", str(store.root)]) == 0
    out = capsys.readouterr().out
    assert "3 runs: RuntimeError, all with optimizer.lr 1\n" in out
    assert "try: python launch/logs.py RUN" in out
    assert status.main(["demo", "--runs", str(store.root), "--json"]) == 0
    (group,) = json.loads(capsys.readouterr().out)["failures"]
    assert len(group["runs"]) == 3


def test_all_sweeps(make_sweep: MakeSweep, capsys: pytest.CaptureFixture[str]) -> None:
    store = make_sweep(**ONE)
    make_sweep(**ONE, name="another", epochs=2, states={("sgd", 0.1, 0): "failed"})
    assert status.main(["--runs", str(store.root)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "another: 1 run: 1 failed",
        "demo: 1 run: 1 done",
    ]
    assert status.main(["--runs", str(store.root), "--json"]) == 0
    assert [one["sweep"] for one in json.loads(capsys.readouterr().out)] == ["another", "demo"]


def test_a_store_without_sweeps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status.main(["--runs", str(tmp_path)]) == 2
    assert "no sweep in the run store" in capsys.readouterr().err


class Clock:
    """In place of ``time.sleep``: the run goes on, then ends."""

    def __init__(self, store: Store, states: list[str]) -> None:
        self.run = store.run(store.read_sweep("demo")["runs"][0]["id"])
        self.states = states

    def __call__(self, seconds: float) -> None:
        state = self.run.state()
        assert state is not None
        name = self.states.pop(0)
        self.run.write_state(replace(state, state=name, step=state.step + 20))


def test_watching_into_a_pipe(
    make_sweep: MakeSweep, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line whenever something has changed, until nothing can any more."""
    store = make_sweep(**ONE, states={("sgd", 0.1, 0): "running"})
    monkeypatch.setattr(status.time, "sleep", Clock(store, ["running", "running", "failed"]))
    assert status.main(["demo", "--runs", str(store.root), "--watch"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(" ")[2] for line in lines] == [
        "demo: 1 run: 1 running",
        "demo: 1 run: 1 failed",
    ]


def test_watching_on_a_terminal(make_sweep: MakeSweep, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_sweep(**ONE, states={("sgd", 0.1, 0): "running"})
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120, height=20)
    monkeypatch.setattr(status.terminal, "console", lambda: console)
    monkeypatch.setattr(status.time, "sleep", Clock(store, ["running", "failed"]))
    assert status.main(["demo", "--runs", str(store.root), "--watch"]) == 0
    text = screen.getvalue()
    assert text.index("25%") < text.index("50%") < text.index("1 failed")
    assert "\x1b[" in text


def test_leaving_a_watch(make_sweep: MakeSweep, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    store = make_sweep(**ONE, states={("sgd", 0.1, 0): "running"})
    monkeypatch.setattr(status.time, "sleep", interrupt)
    assert status.main(["demo", "--runs", str(store.root), "--watch"]) == 0
