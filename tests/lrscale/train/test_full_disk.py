"""Runs whose disk is full, or whose quota is used up, for a while or when they are to end."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kept_files import check_kept_files
from ranks import Runs, results

from launch import job
from launch.diagnose import Evidence, diagnose
from lrscale import checkpoint, full_disk
from lrscale.config import decode
from lrscale.control import Control, Outcome
from lrscale.store import Store
from lrscale.train import run

RUN = {"workload": "digits_mlp", "epochs": 3, "checkpoint_minutes": 1e-9}

pytestmark = pytest.mark.usefixtures("save_at_every_look")


SIZE = "4m"  # of a disk, or a user's part of one


@pytest.fixture(params=["disk", "quota"])
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system that holds 4 MB; or a larger one with a quota of that much."""
    folder = tmp_path / "disk"
    folder.mkdir(mode=0o700)
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    if request.param == "disk":
        _mount("-t", "tmpfs", "-o", f"size={SIZE},mode=0700", "tmpfs", folder)
    else:
        if not shutil.which("mkfs.btrfs"):
            pytest.skip("not installed: btrfs-progs, whose file system has quotas")
        image = tmp_path / "image"
        image.touch()
        os.truncate(image, 128 << 20)
        subprocess.run(["mkfs.btrfs", "-q", "--mixed", image], capture_output=True, check=True)
        _mount("-o", "loop", image, folder)
    try:
        if request.param == "quota":
            subprocess.run(["btrfs", "quota", "enable", folder], check=True)
            subprocess.run(["btrfs", "qgroup", "limit", SIZE, folder], check=True)
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def _mount(*what: str | Path) -> None:
    done = subprocess.run(["mount", *what], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"cannot be mounted here: {done.stderr.strip()}")


def fill(folder: Path) -> str:
    """What it says once nothing fits any more."""
    with open(folder / "filler", "ab", 0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError as error:
            return str(error)
    raise AssertionError("it never gets full")


def make_room(folder: Path) -> None:
    (folder / "filler").unlink()
    subprocess.run(["sync", "--file-system", folder], check=True)  # what is gone counts until then


def test_a_run_goes_on_and_ends_once_there_is_room(
    disk: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    """Nothing fits from its first checkpoint on, until its results are to be written."""
    store, calm = Store(disk / "runs"), Store(tmp_path / "calm")
    store.create()
    calm.create()
    expected = Runs(calm).new(RUN)
    Runs(calm).here(expected)
    run_dir = Runs(store).new(RUN)
    Runs(store).once(run_dir, max_steps=20)
    waited, save = list[float](), checkpoint.save

    def save_without_room(*what: Any) -> Path:
        fill(disk)
        return save(*what)

    def room(seconds: float) -> None:
        waited.append(seconds)
        make_room(disk)

    monkeypatch.setattr(checkpoint, "save", save_without_room)
    monkeypatch.setattr(full_disk.time, "sleep", room)
    assert Runs(store).once(run_dir).state == "done"
    assert waited == [full_disk.LOOK_SECONDS]
    said = capfd.readouterr().err
    assert "going on without" in said.partition("waiting for room")[0]
    assert results(run_dir) == results(expected)
    check_kept_files(run_dir)


def test_a_run_that_waits_for_room_can_be_stopped(
    disk: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    store = Store(disk / "runs")
    store.create()
    run_dir, control = Runs(store).new(RUN), Control()
    Runs(store).once(run_dir, max_steps=20)
    fill(disk)
    monkeypatch.setattr(full_disk.time, "sleep", lambda _: setattr(control, "stop", "timeout"))
    outcome = run(decode(RUN), run_dir, control)
    assert (outcome.state, outcome.reason) == ("stopped", "timeout")
    assert "waiting for room" in capfd.readouterr().err
    monkeypatch.undo()
    make_room(disk)
    assert Runs(store).once(run_dir) == Outcome("done", 111)
    assert [r["step"] for r in run_dir.metrics() if r["kind"] == "epoch"] == [37, 74, 111]


def test_a_run_that_ends_of_it_says_what_is_full(disk: Path, monkeypatch: pytest.MonkeyPatch):
    """Nobody makes room before it gives up."""
    store = Store(disk / "runs")
    store.create()
    run_dir, record = Runs(store).new(RUN), job.record_end
    Runs(store).once(run_dir, max_steps=20)
    said = fill(disk)
    monkeypatch.setattr(full_disk, "WAIT_SECONDS", 0.0)
    monkeypatch.setattr(job, "record_end", lambda *end: (make_room(disk), record(*end)))
    with pytest.raises(OSError, match=re.escape(said)):
        job.execute(store, run_dir.id, Control())
    state = run_dir.state()
    assert state is not None
    assert (state.state, state.cause.startswith(f"OSError: {said}")) == ("failed", True)
    found = diagnose(Evidence(state.state, state.cause))
    assert found.kind == ("quota" if "quota" in said else "disk full")


def test_it_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch):
    def write() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(full_disk, "WAIT_SECONDS", 0.0)
    monkeypatch.setattr(full_disk, "LOOK_SECONDS", 0.0)
    with pytest.raises(OSError, match="No space"):
        full_disk.once_there_is_room(write)
