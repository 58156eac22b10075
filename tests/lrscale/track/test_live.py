"""The live mirror: the real client in a process of its own, a server on loopback or none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from wandb_server import KEY, WandbServer

from lrscale.run_dir import RunDir
from lrscale.run_state import State
from lrscale.store import Store
from lrscale.track import live
from lrscale.track.live import mirrored
from lrscale.track.rows import rows

RUN = "0123456789abcdef0123"
CONFIG = {"workload": "digits_mlp", "epochs": 2, "optimizer": {"name": "sgd", "lr": 0.1}}
TOTAL = 100


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "runs")
    made.create()
    made.run(RUN).create({"config": CONFIG, "sweep": "demo", "arm": "sgd"})
    return made


def attempt(run_dir: RunDir, start: int, stop: int, state: str) -> None:
    """Steps after ``start``, evaluations every 50, and what state the run is left in."""
    number = run_dir.begin()
    metrics = run_dir.open_metrics(number, start)
    for step in range(start + 1, stop + 1):
        metrics.write({"kind": "steps", "step": step, "loss": [1 / step], "lr": [0.1]})
        if step % 50 == 0:
            metrics.write({"kind": "epoch", "epoch": step // 50, "step": step, "val_loss": 0.5})
    metrics.close()
    left = State("running", number, stop, TOTAL)
    if state == "done":
        summary = {"metrics": {"val_loss": 0.5}, "seconds": {"training": 2.0}, "parameters": 10}
        run_dir.finish(replace(left, state="done"), summary)
    else:
        run_dir.write_state(replace(left, state=state))  # type: ignore[arg-type]


def expected(run_dir: RunDir) -> list[int]:
    shown = rows(run_dir.metrics(), CONFIG, TOTAL, ended=True)
    return [row["global_step"] for row in shown]


def no_key_in(store: Store, output: Any) -> None:
    for path in store.root.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes()
    assert KEY not in output.out + output.err


def test_a_resumed_run_goes_on_where_the_server_is(
    store: Store,
    wandb_server: WandbServer,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(live, "CLOSE_SECONDS", 120.0)  # a busy machine starts the client slowly
    monkeypatch.setenv("WANDB_SERVICE", "3-1-unix-/tmp/gone/socket")  # of a client that has ended
    run_dir, project = store.run(RUN), request.node.name
    with mirrored(store, RUN):
        attempt(run_dir, 0, 70, "preempted")
    held = wandb_server.run(project, RUN)
    assert held.state == "preempted"
    assert held.steps == list(range(1, 70))  # an evaluation may still join the last
    with mirrored(store, RUN):
        attempt(run_dir, 30, TOTAL, "done")
    assert held.steps == expected(run_dir) == list(range(1, TOTAL + 1))
    assert held.state == "finished"
    assert held.rows[49]["val_loss"] == 0.5
    assert held.plain_config == CONFIG
    assert held.fields["groupName"] == "demo"
    assert held.fields["jobType"] == "sgd"
    assert held.summary["state"] == "done"
    assert held.summary["total_training_seconds"] == 2.0
    assert not list((store.root / "locks").iterdir())
    assert not wandb_server.unknown
    no_key_in(store, capfd.readouterr())


def test_another_process_of_the_run_does_nothing(
    store: Store, wandb_server: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    before = len(wandb_server.requests)
    with mirrored(store, RUN):
        attempt(store.run(RUN), 0, 10, "preempted")
    assert len(wandb_server.requests) == before


def test_offline_nothing_is_sent_and_that_is_said(
    store: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    with mirrored(store, RUN):
        pass
    assert "WANDB_MODE is offline" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("operation", "fault", "seconds"), [("Viewer", 409, 30.0), ("RunResumeStatus", "hang", 3.0)]
)
def test_a_server_that_refuses_or_hangs_does_not_keep_a_run(
    operation: str,
    fault: int | str,
    seconds: float,
    store: Store,
    wandb_server: WandbServer,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(live, "CLOSE_SECONDS", seconds)
    wandb_server.fail(operation, fault, times=100)
    run_dir = store.run(RUN)
    with mirrored(store, RUN):
        attempt(run_dir, 0, TOTAL, "done")
    state = run_dir.state()
    assert state is not None
    assert state.state == "done"
    output = capfd.readouterr()
    assert "warning: Weights & Biases: not everything was sent" in output.err
    no_key_in(store, output)


def test_nor_does_one_that_is_not_there(
    store: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # the discard port: nobody listens
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setattr(live, "CLOSE_SECONDS", 3.0)
    with mirrored(store, RUN):
        attempt(store.run(RUN), 0, TOTAL, "done")
    output = capfd.readouterr()
    assert "not everything was sent" in output.err
    no_key_in(store, output)
