"""Steering a pool of this machine from the command line, as another person in another terminal."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from launch import steer
from launch.steering import Step
from launch.survey import RunStatus
from lrscale.store import Store

MakeSweep = Callable[..., Store]

SLOW = """
name: tiny
run:
  workload: digits_mlp
  epochs: 3
  batch_size: 50
  optimizer: {name: trial, lr: 0.1}
arms:
  slow: {optimizer: {seconds: 0.5}, seeds: [0, 1]}
  quick: {seeds: [2, 3, 4]}
parallel: 1
resources: {gpus_per_node: 0, cpus_per_task: 1}
"""


def test_a_local_pool(local, wait_until) -> None:
    def command(action: str, *words: str) -> str:
        script = local.tree / "launch" / "steer.py"
        done = subprocess.run(
            [sys.executable, script, action, "tiny", *words, "--runs", local.root, "--yes"],
            env=local.env, cwd=local.folder, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def states() -> dict[int, str]:
        found = {run.record()["config"]["seed"]: run.state() for run in local.runs()}
        return {seed: state.state for seed, state in sorted(found.items()) if state}

    sweep = local.sweep(SLOW)
    pool = local.start(sweep)
    wait_until(lambda: states().get(0) == "running", 60)
    command("pause", "seed=3")  # all three of which nobody has begun
    command("cancel", "seed=1")
    command("cancel", "seed=4")
    assert states() == {0: "running", 1: "cancelled", 3: "paused", 4: "cancelled"}
    assert "1  running" in command("cancel", "seed=0")
    output, _ = pool.communicate(timeout=120)
    assert pool.returncode == 0, output
    assert states() == {0: "cancelled", 1: "cancelled", 2: "done", 3: "paused", 4: "cancelled"}
    assert local.run(seed=0).state().step > 0

    assert "3  skip  cancelled" in local.submit(sweep, "--dry-run")
    assert "done" in command("resume")
    assert states()[3] == "done"
    assert "nothing to do" in command("retry")  # cancelled ones only when they are asked for
    command("retry", "seed=4", "--state", "cancelled")
    assert states() == {0: "cancelled", 1: "cancelled", 2: "done", 3: "done", 4: "done"}
    assert not list(local.root.glob("runs/*/*/asked-*"))[2:]  # of the two that are cancelled


@pytest.fixture
def demo(make_sweep: MakeSweep, monkeypatch: pytest.MonkeyPatch) -> Store:
    states = {("sgd", 0.1, 0): "preempted", ("sgd", 0.1, 1): "failed"}
    store = make_sweep(rates={"sgd": [0.1]}, states=states)
    monkeypatch.setenv("LRSCALE_RUNS", str(store.root))
    return store


def test_nobody_to_ask(
    demo: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would be done is shown; nothing is."""
    before = {path: path.stat().st_mtime_ns for path in demo.root.glob("runs/**/*")}
    assert steer.main(["cancel", "demo"]) == 2
    shown = capsys.readouterr()
    assert "cancel demo: 1 run" in shown.out
    assert "--yes does it" in shown.err
    assert steer.main(["cancel", "demo", "--dry-run"]) == 0
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda prompt: "")
    assert steer.main(["cancel", "demo"]) == 1
    assert {path: path.stat().st_mtime_ns for path in demo.root.glob("runs/**/*")} == before
    monkeypatch.setattr("builtins.input", lambda prompt: "y")
    assert steer.main(["cancel", "demo"]) == 0
    run = demo.run(demo.read_sweep("demo")["runs"][0]["id"])
    assert run.state().state == "cancelled"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cancel", "dmeo"], "no sweep 'dmeo'"),
        (["cancel", "demo", "--arm", "adam"], "--arm adam: known: sgd"),
        (["cancel", "demo", "lr=1"], "no run has such a key: known: "),
        (["priority", "demo", "--nice", "-5"], "--nice -5: 0 (as usual) to"),
        (["retry", "demo", "--yes"], "were never handed over: python launch/submit.py"),
    ],
)
def test_mistakes(
    demo: Store, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert steer.main(words) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("jobs", "expressions"),
    [
        (["7"], ["7"]),
        (["7_0", "7_2", "9", "8_1"], ["7_[0,2]", "9", "8_[1]"]),
        ([f"7_{i}" for i in range(501)], None),
    ],
)
def test_job_expressions(jobs: list[str], expressions: list[str] | None) -> None:
    made = list(steer._expressions(jobs))
    assert made == expressions if expressions else len(made) == 2


def test_slurm_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "scancel"
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    program.write_text("#!/bin/sh\necho 'Kill job error: Access/permission denied' >&2\nexit 1\n")
    program.chmod(0o700)
    with pytest.raises(steer.UserError, match="permission denied"):
        steer._slurm(["scancel"], ["7_0"])
    program.write_text("#!/bin/sh\necho 'Invalid job id specified' >&2\nexit 1\n")
    steer._slurm(["scancel"], ["7_0"])


def test_where_users_may_not_requeue(
    demo: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The runs are asked, until their jobs are released."""
    program = tmp_path / "scontrol"
    program.write_text(
        "#!/bin/sh\n[ $1 = release ] && exit\n"
        "echo '7_0: Requested operation is presently disabled' >&2\nexit 1\n"
    )
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    run = RunStatus(demo.read_sweep("demo")["runs"][0]["id"], "sgd", 0, {}, "running")
    pause = argparse.Namespace(action="pause")
    steer._carry_out(demo, Step("requeuehold", "", [run], ["7_0"]), pause)
    assert "presently disabled; its runs leave by themselves" in capsys.readouterr().err
    assert demo.run(run.id).asked() == "paused"
    steer._carry_out(demo, Step("release", "", [run], ["7_0"]), argparse.Namespace(action="resume"))
    assert demo.run(run.id).asked() is None
