"""``launch/publish.py`` with the real client and a server on loopback, faults included."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from publishing import no_key_in, run_ids, send, send_through, send_to_hanging, start
from wandb_server import KEY, WandbServer

from launch import publish
from lrscale.run_dir import RunDir
from lrscale.store import Store
from lrscale.track import publisher
from lrscale.track.live import mirrored
from lrscale.track.rows import rows

MakeSweep = Callable[..., Store]


def steps_of(run_dir: RunDir, ended: bool = True) -> list[int]:
    state = run_dir.state()
    assert state is not None
    config = run_dir.record()["config"]
    shown = rows(run_dir.metrics(), config, state.total_steps, ended)
    return [row["global_step"] for row in shown]


def check(store: Store, server: WandbServer, project: str) -> None:
    """Every run that has ended is on the server, row by row, once."""
    ids = run_ids(store)
    assert set(server.runs(project)) == set(ids)
    for run in ids:
        assert server.run(project, run).steps == steps_of(store.run(run))
    assert not server.unknown
    no_key_in(store)
    assert not list((store.root / "locks").iterdir())


def writes(server: WandbServer) -> int:
    return sum(operation in ("UpsertBucket", "file_stream") for operation, _ in server.requests)


def go_on(run_dir: RunDir, start: int, stop: int, state: str, loss: float | None = None) -> None:
    """Another attempt, from a checkpoint at ``start``; an epoch has 20 steps."""
    before, known = run_dir.state(), run_dir.metrics()
    assert before is not None
    steps = [r for r in known if r["kind"] == "steps"]
    epoch = {"kind": "epoch", "epoch": 1, "step": 20, "val_loss": 0.5}
    epochs = [r for r in known if r["kind"] == "epoch"] or [epoch]
    loss = loss or (steps[0]["loss"][0] if steps else 0.5)
    metrics = run_dir.open_metrics(run_dir.begin(), start)
    for step in range(start + 1, stop + 1):
        metrics.write({"kind": "steps", "step": step, "loss": [loss], "lr": [0.1]})
        if step % 20 == 0:
            metrics.write(epochs[0] | {"step": step, "epoch": step // 20})
    metrics.close()
    left = replace(before, attempt=before.attempt + 1, state=state, step=stop)
    if state == "done":
        run_dir.finish(left, {"metrics": {}, "seconds": {}})
    else:
        run_dir.write_state(left)


# Sent and sent again ---------------------------------------------------------------------------


def test_a_sweep_is_sent_once(
    make_sweep: MakeSweep,
    wandb_server: WandbServer,
    project: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    states = {("sgd", 0.01, 0): "diverged", ("sgd", 0.1, 0): "failed", ("sgd", 0.1, 1): "missing"}
    store = make_sweep(rates={"sgd": [0.01, 0.1]}, seeds=[0, 1], states=states)
    assert send(store) == 0
    out = capfd.readouterr().out
    assert f"demo → {wandb_server.url}/lab/{project}" in out
    assert "4 runs in" in out
    assert "3 sent and read back" in out
    assert "1 not begun" in out
    diverged, done, failed, _ = (wandb_server.runs(project).get(run) for run in run_ids(store))
    assert diverged is not None
    assert done is not None
    assert failed is not None
    assert [run.state for run in (diverged, done, failed)] == ["finished", "finished", "failed"]
    assert diverged.summary["state"] == "diverged"
    assert done.fields["tags"] == ["demo"]
    assert done.fields["jobProgram"] == "lrscale"
    assert not {"host", "commit", "repo"} & set(done.fields)
    assert done.steps == steps_of(store.run(run_ids(store)[1]))
    assert done.rows[-1]["val_accuracy"] == done.summary["val_accuracy"]
    assert done.plain_config == store.run(run_ids(store)[1]).record()["config"]

    before = writes(wandb_server)
    assert send(store) == 0
    out = capfd.readouterr().out
    assert "0 rows sent" in out
    assert "3 had nothing new" in out
    assert writes(wandb_server) == before
    assert KEY not in out


def test_a_preempted_run_is_finished_later(
    make_sweep: MakeSweep, wandb_server: WandbServer, project: str
) -> None:
    store = make_sweep(rates={"sgd": [0.1]}, seeds=[0], states={("sgd", 0.1, 0): "preempted"})
    (run,) = run_ids(store)
    run_dir = store.run(run)
    assert send(store) == 0
    held = wandb_server.run(project, run)
    assert (held.state, held.steps) == ("preempted", steps_of(run_dir, ended=False))
    go_on(run_dir, 10, 80, "done")  # cut back to a checkpoint
    assert send(store) == 0
    assert held.state == "finished"
    check(store, wandb_server, project)


def test_live_first_and_published_later(
    make_sweep: MakeSweep,
    wandb_server: WandbServer,
    project: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lrscale.track.live.CLOSE_SECONDS", 120.0)
    store = make_sweep(rates={"sgd": [0.1]}, seeds=[0], states={("sgd", 0.1, 0): "queued"})
    (run,) = run_ids(store)
    run_dir = store.run(run)
    with mirrored(store, run):
        metrics = run_dir.open_metrics(run_dir.begin(), 0)
        metrics.write({"kind": "steps", "step": 30, "loss": [0.5] * 30, "lr": [0.1] * 30})
        metrics.close()
        state = publisher.State("preempted", 1, 30, 80)
        run_dir.write_state(state)
    assert wandb_server.run(project, run).steps == list(range(1, 30))
    go_on(run_dir, 30, 80, "done")
    assert send(store) == 0
    check(store, wandb_server, project)


def test_a_run_that_grows_is_watched_to_its_end(
    make_sweep: MakeSweep,
    wandb_server: WandbServer,
    project: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lrscale.track.mirror.SEND_SECONDS", 1.0)
    store = make_sweep(rates={"sgd": [0.1]}, seeds=[0], states={("sgd", 0.1, 0): "running"})
    (run,) = run_ids(store)
    run_dir = store.run(run)
    seen: list[tuple[str, int]] = []

    def grow() -> None:
        for stop in (40, 60, 80):
            while not wandb_server.runs(project) or not wandb_server.run(project, run).steps:
                time.sleep(0.05)
            held = wandb_server.run(project, run)
            seen.append((held.state, len(held.steps)))
            go_on(run_dir, stop - 20, stop, "running")
            while len(wandb_server.run(project, run).steps) < stop - 1:
                time.sleep(0.05)
        go_on(run_dir, 80, 80, "done")

    growing = threading.Thread(target=grow, daemon=True)
    growing.start()
    assert send(store, "--watch", "--every", "0.2") == 0
    growing.join()
    assert seen == [("running", 19), ("running", 39), ("running", 59)]
    assert wandb_server.run(project, run).state == "finished"
    check(store, wandb_server, project)


@pytest.mark.parametrize("watched", [True, False])
def test_a_run_that_ends_during_a_pass(
    make_sweep: MakeSweep,
    wandb_server: WandbServer,
    project: str,
    monkeypatch: pytest.MonkeyPatch,
    watched: bool,
) -> None:
    """Watching goes on to its last row. Left before that, it is not shown as finished there."""
    store = make_sweep(rates={"sgd": [0.1]}, seeds=[0], states={("sgd", 0.1, 0): "running"})
    (run,) = run_ids(store)
    run_dir, one_pass = store.run(run), publish._pass

    def pass_and_end(*arguments: Any) -> bool:
        complete = one_pass(*arguments)
        state = run_dir.state()
        if state is not None and state.state == "running":
            go_on(run_dir, 20, 40, "done")
            if not watched:
                raise KeyboardInterrupt
        return complete

    monkeypatch.setattr(publish, "_pass", pass_and_end)
    if not watched:
        send(store, "--watch", "--every", "0.2")
        assert wandb_server.run(project, run).state != "finished"
    assert send(store, "--watch", "--every", "0.2") == 0
    assert wandb_server.run(project, run).state == "finished"
    check(store, wandb_server, project)


# Faults ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "kind", "times"),
    [
        ("file_stream", 409, 2),  # the client gives up silently, and says that all is well
        ("file_stream", 429, 2),
        ("UpsertBucket", 500, 2),
        ("file_stream", "cut", 3),
        ("file_stream|UpsertBucket", "lost", 2),
        ("RunResumeStatus", 409, 1),
    ],
)
def test_faults_that_pass(
    operation: str,
    kind: int | str,
    times: int,
    make_sweep: MakeSweep,
    wandb_server: WandbServer,
    project: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publisher, "READ_BACK_SECONDS", 0.5)
    store = make_sweep(rates={"sgd": [0.1]}, seeds=[0, 1, 2])
    send_through(wandb_server, operation, kind, times, store)
    check(store, wandb_server, project)


def test_a_server_that_hangs_is_given_up(
    make_sweep: MakeSweep,
    wandb_server: WandbServer,
    project: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    store = make_sweep(rates={"sgd": [0.1]}, seeds=[0])
    assert send_to_hanging(wandb_server, "file_stream", store) == 1
    assert "1 failed: the same command tries again" in capfd.readouterr().out
    while send(store) != 0:  # until the client has let go of the run
        time.sleep(0.2)
    check(store, wandb_server, project)


def test_a_publisher_that_is_killed_and_two_at_once(
    make_sweep: MakeSweep, wandb_server: WandbServer, project: str
) -> None:
    store = make_sweep()  # 15 runs
    first = start(store)
    while not wandb_server.runs(project):
        time.sleep(0.01)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    two = [start(store), start(store)]
    outputs = [one.communicate(timeout=240)[0] for one in two]
    assert [one.returncode for one in two] == [0, 0], "\n".join(outputs)
    assert send(store) == 0
    check(store, wandb_server, project)
    assert "nothing new" in "".join(outputs) or "by another process" in "".join(outputs)


# What needs a person ---------------------------------------------------------------------------


def test_a_deleted_run_is_sent_again_only_when_asked(
    make_sweep: MakeSweep,
    wandb_server: WandbServer,
    project: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    store = make_sweep(rates={"sgd": [0.1]}, seeds=[0, 1], states={("sgd", 0.1, 1): "running"})
    kept_by_cursor, run = run_ids(store)
    assert send(store) == 0
    wandb_server.delete(project, kept_by_cursor)
    wandb_server.delete(project, run)
    go_on(store.run(run), 20, 80, "done")
    assert send(store) == 1
    assert "1 deleted on the server: --again" in capfd.readouterr().out
    assert wandb_server.runs(project) == {}
    assert send(store, "--again") == 0
    assert wandb_server.run(project, f"{run}-2").steps == steps_of(store.run(run))
    assert send(store) == 0
    assert len(wandb_server.runs(project)) == 1


def test_a_run_that_was_done_again_is_not_mixed_with_the_old_one(
    make_sweep: MakeSweep, wandb_server: WandbServer, project: str
) -> None:
    store = make_sweep(rates={"sgd": [0.1]}, seeds=[0])
    (run,) = run_ids(store)
    run_dir = store.run(run)
    assert send(store) == 0
    state = run_dir.state()
    assert state is not None
    run_dir.reset()
    run_dir.write_state(replace(state, attempt=2, state="running"))
    go_on(run_dir, 0, 80, "done", loss=0.7)
    assert send(store) == 1
    assert send(store, "--again") == 0
    assert set(wandb_server.runs(project)) == {run, f"{run}-2"}
    assert wandb_server.run(project, f"{run}-2").steps == steps_of(run_dir)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo2"], "no sweep 'demo2' in the run store"),
        (["demo", "--every", "0"], "--every: expected a number of seconds"),
    ],
)
def test_mistakes(
    arguments: list[str],
    message: str,
    make_sweep: MakeSweep,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = make_sweep(rates={"sgd": [0.1]}, seeds=[0])
    assert publish.main([*arguments, "--runs", str(store.root)]) == 2
    assert message in capsys.readouterr().err


def test_without_a_login_nothing_is_asked(
    make_sweep: MakeSweep,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = make_sweep(rates={"sgd": [0.1]}, seeds=[0])
    monkeypatch.setenv("HOME", str(tmp_path))
    assert send(store) == 2
    assert "nobody is logged in to api.wandb.ai: run `wandb login`" in capsys.readouterr().err
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert send(store) == 2
    assert "WANDB_MODE is offline" in capsys.readouterr().err
