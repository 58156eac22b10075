"""The task of every backend, and launchers of one's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from local_launcher import LocalLauncher

from launch.job import execute
from lrscale.config import decode, encode, identity
from lrscale.control import Control
from lrscale.errors import UserError
from lrscale.store import Store

TREE = Path(__file__).parents[2]
CONFIG = {"workload": "digits_mlp", "epochs": 1, "batch_size": 50, "device": "cpu"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "runs")
    made.create()
    return made


def records(*changes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What ``config.json`` is to hold of each run, by id."""
    configs = [decode(CONFIG | change) for change in changes]
    return {identity(config): {"config": encode(config)} for config in configs}


def test_a_run_that_has_ended_is_left_alone(store: Store) -> None:
    ((run_id, record),) = records({}).items()
    store.run(run_id).create(record)
    outcome = execute(store, run_id, Control())
    assert outcome is not None
    assert outcome.state == "done"
    before = {path: path.stat().st_mtime_ns for path in store.run(run_id).path.iterdir()}
    assert execute(store, run_id, Control()) is None
    assert before == {path: path.stat().st_mtime_ns for path in store.run(run_id).path.iterdir()}


def test_data_that_has_changed_since_the_submission(store: Store) -> None:
    ((run_id, record),) = records({"data": {"name": "digits", "fingerprint": "0" * 12}}).items()
    store.run(run_id).create(record)
    with pytest.raises(UserError):
        execute(store, run_id, Control())
    state = store.run(run_id).state()
    assert state is not None
    assert state.state == "failed"
    assert "has changed since the run was submitted" in state.cause
    assert "digits" in state.cause


def test_a_packed_element_runs_what_is_unfinished(local: LocalLauncher) -> None:
    """One run was done before, one fails, one is new."""
    faulty = {"optimizer": {"name": "trial", "lr": 0.1, "fault": "exit"}}
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from launch.job import RunsFailed, Task, execute
from lrscale.config import decode, encode, identity
from lrscale.control import Control
from lrscale.store import Store
configs = [decode({CONFIG!r} | change) for change in ({{"seed": 1}}, {faulty!r}, {{"seed": 2}})]
records = {{identity(config): {{"config": encode(config)}} for config in configs}}
store = Store({str(local.root)!r})
store.create()
first, faulty, last = records
store.run(first).create(records[first])
execute(store, first, Control())
try:
    Task({str(local.root)!r}, [records], concurrency=2)()
except RunsFailed as error:
    assert str(error) == f"failed: {{faulty}}"
    print(first, faulty, last)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=local.tree,
        env=local.env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    first, failing, last = map(local.store.run, done.stdout.split())
    assert [run.state().state for run in (first, failing, last)] == ["done", "failed", "done"]
    assert failing.state().cause == "ended with exit code 7, see its log"
    assert first.summary()["attempts"] == 1
    assert last.summary()["attempts"] == 1


LAUNCHERS = {
    "torchrun": ["torch.distributed.run", "--standalone", "--nproc-per-node=2"],
    "accelerate launch": [
        "accelerate.commands.launch",
        "--multi_gpu",  # several processes, that is: the run's own device says where
        "--num_processes=2",
        "--num_machines=1",
        "--mixed_precision=no",
        "--dynamo_backend=no",
        "--main_process_port=0",
    ],
}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_launchers_of_ones_own(launcher: str, store: Store, local: LocalLauncher) -> None:
    ((run_id, record),) = records({}).items()
    store.run(run_id).create(record)
    command = [sys.executable, "-m", *LAUNCHERS[launcher], "-m", "launch.job"]
    done = subprocess.run(
        [*command, str(store.root), run_id[:6]],
        cwd=TREE, env=local.env, timeout=240, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary = store.run(run_id).summary()
    assert summary is not None
    assert summary["world_size"] == 2
    state = store.run(run_id).state()
    assert state is not None
    assert state.state == "done"


def test_a_run_that_is_not_there(store: Store, capfd: pytest.CaptureFixture[str]) -> None:
    from launch import job

    assert job.main([str(store.root), "3f2a"]) == 2
    assert f"no run in {store.root} whose id starts with '3f2a'" in capfd.readouterr().err
