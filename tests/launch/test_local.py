"""A sweep on this machine: whatever is killed, the same command ends in the same numbers."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from kept_files import check_kept_files
from local_launcher import SLEEP, LocalLauncher

WaitUntil = Callable[..., None]

FAULTS = """
name: faults
run: {workload: digits_mlp, epochs: 2, batch_size: 50, checkpoint_minutes: 0.0001}
arms:
  raises: {optimizer: {name: trial, lr: 0.1, fault: raise, unless: mended}}
  killed: {optimizer: {name: trial, lr: 0.1, fault: kill, at: 0, unless: mended}}
  exits: {optimizer: {name: trial, lr: 0.1, fault: exit, unless: mended}}
  diverges: {optimizer: {name: trial, lr: 1.0e+30}}
  fine: {optimizer: {name: trial, lr: 0.1}}
resources: {gpus_per_node: 0, cpus_per_task: 1}
"""


def test_a_sweep_ends_in_a_report(uninterrupted: tuple[LocalLauncher, str]) -> None:
    launcher, output = uninterrupted
    assert "no sbatch on PATH: running on this machine" in output
    assert launcher.states() == ["done"] * 4
    assert launcher.root.stat().st_mode & 0o077 == 0
    assert "4  submit  new" in output
    assert "4 runs, " in output
    assert "[4/4]" in output
    assert "lr 0.2" in output
    assert "Data: digits, 1,797 images" in output
    for name in ("report.md", "report.json", "runs.csv", "curves.png"):
        path = launcher.root / "reports" / "tiny" / name
        assert path.stat().st_size > 0
        assert name.endswith((".json", ".csv")) or str(path) in output
    assert f"run store: {launcher.root}" in output
    summaries = [run.summary() for run in launcher.runs()]
    assert {(s["attempts"], s["threads"], s["mixed"]) for s in summaries if s} == {(1, 1, False)}
    assert launcher.results()["tables"]

    output = launcher.submit(launcher.tiny(SLEEP))
    assert "4  skip  done" in output
    assert len(launcher.store.read_submissions()) == 1


def test_two_commands_in_the_same_second(local: LocalLauncher) -> None:
    sweep = local.tiny(seeds=4)
    both = [local.start(sweep) for _ in range(2)]
    outputs = [command.communicate(timeout=120)[0] for command in both]
    assert [command.returncode for command in both] == [0, 0], outputs
    assert sorted("8  submit  new" in output for output in outputs) == [False, True]
    second = next(output for output in outputs if "8  submit  new" not in output)
    if "queued" in second:
        assert "to watch:  python launch/status.py tiny" in second
    assert len(local.store.read_submissions()) == 1
    assert local.states() == ["done"] * 8
    assert [run.summary()["attempts"] for run in local.runs()] == [1] * 8


def test_a_pool_killed_half_way(
    local: LocalLauncher, uninterrupted: tuple[LocalLauncher, str], wait_until: WaitUntil
) -> None:
    sweep = local.tiny(SLEEP)
    launcher = local.start(sweep)
    wait_until(local.half_way, 60, "half way")
    (pool,) = local.pools()
    os.killpg(pool, signal.SIGKILL)
    output, _ = launcher.communicate(timeout=60)
    assert launcher.returncode == 1, output
    assert "runs did not end, see " in output
    assert "the same command goes on" in output

    output = local.submit(sweep)
    assert "resume  its process is gone at step " in output
    assert max(run.summary()["attempts"] for run in local.runs()) > 1
    assert local.results() == uninterrupted[0].results()


def test_a_launcher_killed(
    local: LocalLauncher, uninterrupted: tuple[LocalLauncher, str], wait_until: WaitUntil
) -> None:
    sweep = local.tiny(SLEEP)
    launcher = local.start(sweep)
    wait_until(local.half_way, 60, "half way")
    launcher.kill()
    (pool,) = local.pools()
    output = local.submit(sweep, "--dry-run")
    if local.pools():
        assert f"running on local as {os.uname().nodename}:{pool}" in output
    wait_until(lambda: not local.pools(), 60, "the pool has ended")
    assert local.states() == ["done"] * 4
    assert {run.summary()["attempts"] for run in local.runs()} == {1}
    assert "4  skip  done" in local.submit(sweep)
    assert local.results() == uninterrupted[0].results()


def test_runs_that_die_take_no_others_along(local: LocalLauncher) -> None:
    sweep = local.sweep(FAULTS.replace("mended", str(local.folder / "mended")), "faults.yaml")
    output = local.submit(sweep, code=1)
    assert local.run(optimizer_lr=1e30).state().state == "diverged"
    causes = {
        run.record()["config"]["optimizer"]["fault"]: run.state().cause for run in local.runs()
    }
    assert causes == {
        "raise": "RuntimeError: as was wished",
        "kill": "killed by SIGKILL, perhaps for want of memory, 4 times in a row, without a new "
        "checkpoint",
        "exit": "ended with exit code 7, see its log",
        "": "",
    }
    assert local.states() == ["diverged", "done", "failed", "failed", "failed"]
    assert "failed: raises, seed 0: RuntimeError: as was wished (log: " in output
    assert "as was wished" in local.run(optimizer_fault="raise").log_path.read_text()

    (local.folder / "mended").touch()
    local.submit(sweep, "--retry", "failed")
    assert local.states() == ["diverged"] + ["done"] * 4
    results = local.results("faults")
    fine, *mended = (results[run.id] for run in local.runs() if run.state().state == "done")
    assert mended == [fine] * 3  # faults and their mending leave no trace
    assert "5  retry  forced" in local.submit(sweep, "--dry-run", "--force")


def test_what_an_edit_of_the_code_changes(
    local: LocalLauncher, trial_tree: Path, wait_until: WaitUntil
) -> None:
    """Nothing of what was submitted; afterwards results are stale, and are made anew if asked."""
    tree = local.folder / "tree"
    shutil.copytree(trial_tree, tree, ignore=shutil.ignore_patterns("__pycache__"))
    mine = replace(local, tree=tree)
    sweep = mine.tiny(0.02)
    launcher = mine.start(sweep)
    wait_until(mine.pools, 60, "a pool")
    component = tree / "lrscale" / "optim" / "trial.py"
    component.write_text(component.read_text().replace("FACTOR = 1.0", "FACTOR = 0.5"))
    (pool,) = mine.pools()
    assert Path(f"/proc/{pool}/cwd").resolve().parent == mine.root / "snapshots"
    output, _ = launcher.communicate(timeout=60)
    assert launcher.returncode == 0, output
    before = mine.results()
    rate = {run.id: run.record()["config"]["optimizer"]["lr"] for run in mine.runs()}

    assert "4  skip  done, by other code" in mine.submit(sweep, "--dry-run")
    output = mine.submit(sweep, "--retry", "stale")
    assert "4  retry  other code made it" in output
    after = mine.results()
    assert all(after[run]["weights"] != before[run]["weights"] for run in rate)
    output = mine.submit(sweep, "--dry-run")
    assert "4  skip  done" in output
    assert "other code" not in output


def test_a_run_of_two_processes(local: LocalLauncher) -> None:
    sweep = local.sweep(
        "name: pair\n"
        "run: {workload: digits_mlp, epochs: 1, batch_size: 50}\n"
        "resources: {gpus_per_node: 0, cpus_per_task: 1, tasks_per_node: 2}\n"
    )
    local.submit(sweep)
    (run,) = local.runs()
    assert run.summary()["world_size"] == 2
    assert run.state().state == "done"
    check_kept_files(run)


@pytest.mark.parametrize("signals", [1, 2])
def test_ctrl_c(
    signals: int,
    local: LocalLauncher,
    uninterrupted: tuple[LocalLauncher, str],
    wait_until: WaitUntil,
) -> None:
    sweep = local.tiny(SLEEP)
    launcher = local.start(sweep)
    wait_until(local.half_way, 60, "half way")
    for _ in range(signals):
        launcher.send_signal(signal.SIGINT)
    output, _ = launcher.communicate(timeout=60)
    assert launcher.returncode == 130, output
    assert "of 4 runs to go: the same command goes on" in output
    assert not local.pools()
    if signals == 1:  # the second one kills
        assert "interrupted" in local.states()
        assert "resume  interrupted at step " in local.submit(sweep)
        assert local.results() == uninterrupted[0].results()
