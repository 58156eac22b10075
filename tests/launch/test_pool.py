"""Runs forked from one parent; what happens to one happens to no other."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from kept_files import check_kept_files
from local_launcher import LocalLauncher

from lrscale import checkpoint

WaitUntil = Callable[..., None]

# A pool in a process of its own: this one may have threads.
POOL = """
import json, sys
from launch.pool import Slot, run_pool
from lrscale.config import decode, encode, identity
from lrscale.control import Control
from lrscale.store import Store

root, slots, *changes = json.load(sys.stdin)
digits = {"workload": "digits_mlp", "epochs": 1, "batch_size": 50}
theory = {"workload": "gd", "epochs": 300, "dim": 6, "rank": 3}
gpus = None if slots > 0 else "0"  # as if there were one; torch computes on the CPU
base = digits if slots > 0 else theory
configs = [decode({**base, "seed": seed, **change}) for seed, change in enumerate(changes)]
records = {identity(config): {"config": encode(config)} for config in configs}
store = Store(root)
store.create()
control = Control(heartbeat_seconds=0.1, job="7")
control.listen()
names = {run: number for number, run in enumerate(records)}
events = []
codes = run_pool(
    store, records, [Slot(gpus, threads=1, sharing=max(slots, 1))] * max(slots, 1), control,
    lambda event, run: events.append((event, names[run])),
)
assert "accelerate.state" not in sys.modules or not sys.modules["accelerate.state"].is_initialized()
print(json.dumps({
    "runs": list(records), "events": events, "stop": control.stop,
    "codes": [codes.get(run) for run in records],
}))
"""


def pool(local: LocalLauncher, slots: int, *changes: dict[str, Any]) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", POOL],
        cwd=local.tree,
        env=local.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    local.started.append(process)
    assert process.stdin is not None
    process.stdin.write(json.dumps([str(local.root), slots, *changes]))
    process.stdin.close()
    process.stdin = None
    return process


def answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    said: dict[str, Any] = json.loads(out)
    return said


def trial(fault: str = "", **more: Any) -> dict[str, Any]:
    return {"optimizer": {"name": "trial", "lr": 0.1, "fault": fault, **more}}


def test_more_runs_than_slots(local: LocalLauncher) -> None:
    """In order, each in a process of its own, whatever becomes of the others."""
    said = answer(
        pool(
            local,
            2,
            trial("raise"),
            trial("kill"),
            trial("exit"),
            trial(),
            trial(lr=1e30),
            {"data": {"name": "digits", "fingerprint": "0" * 12}},
            {"precision": "bf16"},
        )
    )
    assert said["codes"] == [1, -signal.SIGKILL, 7, 0, 0, 1, 0]
    starts = [run for event, run in said["events"] if event == "start"]
    assert list(dict.fromkeys(starts)) == list(range(7))
    assert starts.count(1) == 4  # what was killed is tried again
    assert len(starts) == 10
    assert sorted(run for event, run in said["events"] if event == "end") == sorted(starts)
    under_way = 0
    for event, _ in said["events"]:
        under_way += 1 if event == "start" else -1
        assert 0 <= under_way <= 2
    states = [local.store.run(run).state() for run in said["runs"]]
    assert [state.state for state in states] == ["failed"] * 3 + [
        "done",
        "diverged",
        "failed",
        "done",
    ]
    assert [state.cause for state in states[:3]] == [
        "RuntimeError: as was wished",
        "killed by SIGKILL, perhaps for want of memory, 4 times in a row, without a new checkpoint",
        "ended with exit code 7, see its log",
    ]
    assert "has changed since the run was submitted" in states[5].cause
    assert states[1].interruptions == {"killed": 3}
    assert {state.job for state in states} == {"7"}
    assert len({state.pid for state in states if state.state != "failed"}) == 3
    assert "as was wished" in local.store.run(said["runs"][0]).log_path.read_text()
    provenances = [local.store.run(run).summary() for run in said["runs"]]
    assert {(s["threads"], s["sharing"]) for s in provenances if s} == {(1, 2)}


def test_runs_that_share_a_gpu(local: LocalLauncher) -> None:
    """In one process, as their trainer steps them together; what fails is a run's own."""
    said = answer(pool(local, 0, {"depth": 2}, {"depth": 3}, {"depth": 2}))
    assert said["codes"] == [0, 0, 0]
    assert local.states() == ["done"] * 3
    assert len({state.pid for run in local.runs() if (state := run.state())}) == 1
    first, *others = (local.store.run(run) for run in said["runs"])
    for run in others:  # says who has the log
        assert str(first.log_path) in run.log_path.read_text()
    assert "What it prints" not in first.log_path.read_text()
    for run in local.runs():
        check_kept_files(run)

    few = {"input": {"name": "gaussian", "samples": 4}}
    said = answer(pool(local, 0, {"dim": 8}, few, {"dim": 9}))
    assert said["codes"] == [0, 1, 0]
    states = {run.id: run.state() for run in local.runs()}
    assert "full rank" in states[said["runs"][1]].cause
    assert local.states() == ["done"] * 5 + ["failed"]


def test_a_stop(local: LocalLauncher, wait_until: WaitUntil) -> None:
    """Runs under way save and leave, and say why; no more are started."""
    slow = trial(seconds=1.0)
    process = pool(local, 2, slow, slow, slow)
    wait_until(lambda: len([s for s in local.states() if s == "running"]) == 2, 60, "two run")
    process.send_signal(signal.SIGUSR2)
    said = answer(process)
    assert said["stop"] == "timeout"
    assert said["codes"] == [143, 143, None]
    assert local.states() == ["timeout", "timeout"]
    assert all(checkpoint.checkpoints(run.path) for run in local.runs())


def test_a_run_that_another_process_has_taken_over(
    local: LocalLauncher, wait_until: WaitUntil
) -> None:
    """Its death is no failure of the one that has it now."""
    process = pool(local, 1, trial(seconds=1.0))
    wait_until(lambda: local.states() == ["running"], 60, "it runs")
    (run,) = local.runs()
    victim = run.state()
    attempt = run.begin()
    taken = victim.__class__("running", attempt)
    run.write_state(taken)
    said = answer(process)
    assert said["codes"] == [0]
    assert run.state().attempt == attempt
    assert run.state().state == "running"
    assert "was overtaken" in run.log_path.read_text()
