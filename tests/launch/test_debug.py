"""One run in the foreground of the command."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from kept_files import check_kept_files
from local_launcher import SLEEP, LocalLauncher

WaitUntil = Callable[..., None]
DEBUG = ("--backend", "debug")
TRIED = """
name: tried
run: {{workload: digits_mlp, epochs: 1, batch_size: 50}}
arms:
  one: {{optimizer: {{name: trial, lr: 0.1, fault: {fault}, unless: {unless}, seconds: {seconds}}}}}
resources: {{gpus_per_node: 0, cpus_per_task: 1}}
"""


def test_the_first_run_and_one_that_is_named(
    local: LocalLauncher, uninterrupted: tuple[LocalLauncher, str]
) -> None:
    """Cut after some steps, by the same command to the end: to the last digit as in the pool."""
    sweep, pool = local.tiny(SLEEP), uninterrupted[0]
    output = local.submit(sweep, *DEBUG, "--max-steps", "40")
    (first,) = local.runs()
    assert output.startswith(f"run {first.id}: optimizer.lr=0.05, seed 0: submit, new\n")
    assert "stopped at step 40\n" in output
    assert first.state().state == "interrupted"
    output = local.submit(sweep, *DEBUG, "--max-steps", "40")
    assert "resume, interrupted at step 40\ndone at step 69\n" in output
    assert str(first.path) in output
    check_kept_files(first)
    assert first.summary()["weights"] == pool.store.run(first.id).summary()["weights"]

    named = next(run.id for run in pool.runs() if run.id != first.id)
    output = local.submit(sweep, *DEBUG, "--run", named[:6], "--max-steps", "1")
    assert output.startswith(f"run {named}: ")
    assert local.store.run(named).state().step == 1
    assert "skip, done" in local.submit(sweep, *DEBUG)
    assert local.states() == ["done", "interrupted"]


def trying(local: LocalLauncher, fault: str, seconds: float = 0.0) -> Path:
    return local.sweep(
        TRIED.format(fault=fault, unless=local.folder / "mended", seconds=seconds), "tried.yaml"
    )


def test_breakpoints_work(local: LocalLauncher) -> None:
    command = local.command(trying(local, "breakpoint"), *DEBUG)
    done = subprocess.run(
        command, env=local.env, input="p os.getpid() == os.getppid()\nc\n", text=True,
        capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "(Pdb) False" in done.stdout
    assert "done at step 23" in done.stdout


def test_a_failure_keeps_its_traceback_and_is_tried_again(local: LocalLauncher) -> None:
    sweep = trying(local, "raise")
    output = local.submit(sweep, *DEBUG, code=1)
    assert "Traceback" in output
    assert output.rstrip().endswith("RuntimeError: as was wished")
    (run,) = local.runs()
    assert run.state().cause == "RuntimeError: as was wished"
    (local.folder / "mended").touch()
    assert "retry, failed: RuntimeError: as was wished" in local.submit(sweep, *DEBUG)
    assert run.state().state == "done"


def test_ctrl_c_saves_and_nobody_else_takes_the_run(
    local: LocalLauncher, wait_until: WaitUntil
) -> None:
    sweep = trying(local, "none", seconds=1.0)
    command = local.start(sweep, *DEBUG)
    wait_until(lambda: local.root.exists() and "running" in local.states(), 60, "it runs")
    assert "1  queued  running on debug as " in local.submit(sweep, "--dry-run")
    (run,) = local.runs()
    os.killpg(command.pid, signal.SIGINT)
    output, _ = command.communicate(timeout=60)
    assert command.returncode == 130, output
    assert "stopped at step" in output
    assert run.state().state == "interrupted"

    component = local.folder / "tree" / "lrscale" / "optim" / "trial.py"
    subprocess.run(["cp", "-r", local.tree, component.parents[2]], check=True)
    component.write_text(component.read_text() + "\n# edited\n")
    edited = replace(local, tree=component.parents[2])
    output = edited.submit(sweep, *DEBUG, code=2)
    assert "was begun by other code, and this process has only the present one: --force" in output
    assert "1  retry  forced" in edited.submit(sweep, *DEBUG, "--force", "--dry-run")
