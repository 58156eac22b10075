"""A run on a file system that is full for a while, and one whose disk is full when it is to end."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ranks import Runs, results

from lrscale import full_disk
from lrscale.config import decode
from lrscale.control import Control, Outcome
from lrscale.store import Store
from lrscale.train import run

RUN = {"workload": "digits_mlp", "epochs": 3, "checkpoint_minutes": 1e-9}

pytestmark = pytest.mark.usefixtures("save_at_every_look")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Of 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root may mount a small file system")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path) -> None:
    with open(folder / "filler", "wb", 0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass


def test_a_run_goes_on_and_ends_once_there_is_room(
    disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The disk is full from the first checkpoint until the results are to be written."""
    store, calm = Store(disk / "runs"), Store(tmp_path / "calm")
    store.create()
    calm.create()
    expected = Runs(calm).new(RUN)
    Runs(calm).here(expected)
    run_dir = Runs(store).new(RUN)
    Runs(store).once(run_dir, max_steps=20)
    fill(disk)
    waited = []

    def room(seconds: float) -> None:
        waited.append(seconds)
        (disk / "filler").unlink()

    monkeypatch.setattr(full_disk.time, "sleep", room)
    assert Runs(store).once(run_dir).state == "done"
    assert waited == [full_disk.LOOK_SECONDS]
    assert results(run_dir) == results(expected)


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
    (disk / "filler").unlink()
    assert Runs(store).once(run_dir) == Outcome("done", 111)
    assert [r["step"] for r in run_dir.metrics() if r["kind"] == "epoch"] == [37, 74, 111]


def test_it_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch):
    def write() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(full_disk, "WAIT_SECONDS", 0.0)
    monkeypatch.setattr(full_disk, "LOOK_SECONDS", 0.0)
    before = time.monotonic()
    with pytest.raises(OSError, match="No space"):
        full_disk.once_there_is_room(write)
    assert time.monotonic() > before
