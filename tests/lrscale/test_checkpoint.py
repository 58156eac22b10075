"""Checkpoints: whole or absent, the one before as a reserve, and never able to run code."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import signal
import stat
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lrscale import checkpoint


def state(step: int) -> dict[str, Any]:
    return {"model": {"w": torch.full((1_000,), float(step))}, "loss_sum": 0.1 + 0.2, "note": "é"}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path: Path):
    tensor = torch.tensor([float("nan"), -0.0, 1e-45], dtype=torch.float32)
    checkpoint.save(tmp_path, 7, {"w": tensor, "nested": [{"x": 0.1 + 0.2}], "none": None})
    step, loaded = checkpoint.load(tmp_path) or (0, {})
    assert step == 7
    assert torch.equal(loaded["w"].view(torch.int32), tensor.view(torch.int32))
    assert loaded["nested"] == [{"x": 0.1 + 0.2}]


def test_none_yet(tmp_path: Path):
    assert checkpoint.load(tmp_path) is None


def test_the_last_two_are_kept_and_the_newest_is_loaded(tmp_path: Path):
    for step in (1, 2, 10):
        checkpoint.save(tmp_path, step, state(step))
    assert [checkpoint._step(path) for path in checkpoint.checkpoints(tmp_path)] == [10, 2]
    assert (checkpoint.load(tmp_path) or (0,))[0] == 10


def test_none_after_the_step_asked_for(tmp_path: Path):
    for step in (5, 9):
        checkpoint.save(tmp_path, step, state(step))
    assert (checkpoint.load(tmp_path, up_to=8) or (0,))[0] == 5
    assert checkpoint.load(tmp_path, up_to=4) is None


def test_those_of_later_steps_are_of_another_attempt_and_go(tmp_path: Path):
    """Two of them would otherwise push the live attempt's own out."""
    for step in (90, 100, 50):
        checkpoint.save(tmp_path, step, state(step))
    assert [checkpoint._step(path) for path in checkpoint.checkpoints(tmp_path)] == [50]


@settings(max_examples=30)
@given(damage=st.data())
def test_a_damaged_one_is_passed_over(tmp_path: Path, damage: st.DataObject):
    checkpoint.remove(tmp_path)
    checkpoint.save(tmp_path, 1, state(1))
    newest = checkpoint.save(tmp_path, 2, state(2))
    content = bytearray(newest.read_bytes())
    if damage.draw(st.booleans(), "truncated"):
        del content[damage.draw(st.integers(0, len(content) - 1)) :]
    else:
        content[damage.draw(st.integers(0, len(content) - 1))] ^= 1 << damage.draw(
            st.integers(0, 7)
        )
    newest.write_bytes(content)
    with pytest.warns(UserWarning, match="is damaged; falling back"):
        step, loaded = checkpoint.load(tmp_path) or (0, {})
    assert step == 1
    assert torch.equal(loaded["model"]["w"], state(1)["model"]["w"])


def test_all_damaged(tmp_path: Path):
    checkpoint.save(tmp_path, 1, state(1)).write_bytes(b"")
    with pytest.warns(UserWarning, match="is damaged"):
        assert checkpoint.load(tmp_path) is None


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_what_a_checkpoint_holds_is_never_executed(tmp_path: Path):
    """Its digest is right, as an attacker's would be."""
    buffer = io.BytesIO()
    torch.save({"model": Malicious(tmp_path / "executed")}, buffer)
    for content in (buffer.getvalue(), pickle.dumps(Malicious(tmp_path / "executed"))):
        digest = hashlib.sha256(content).hexdigest()[:16]
        (tmp_path / f"checkpoint-{1:012d}-{digest}.pt").write_bytes(content)
        with pytest.raises(pickle.UnpicklingError):
            checkpoint.load(tmp_path)
        checkpoint.remove(tmp_path)
    assert not (tmp_path / "executed").exists()


def test_what_a_killed_writer_left_is_ignored_and_cleaned(tmp_path: Path):
    stale = tmp_path / ".checkpoint-000000000001-ab.pt.elsewhere.123.tmp"
    stale.write_bytes(b"half")
    assert checkpoint.load(tmp_path) is None
    kept = checkpoint.save(tmp_path, 1, state(1))
    assert names(tmp_path) == [kept.name]
    stale.write_bytes(b"half")
    checkpoint.remove(tmp_path)
    assert names(tmp_path) == []


def test_a_writer_killed_at_any_time_leaves_something_whole(tmp_path: Path):
    checkpoint.save(tmp_path, 0, state(0))
    child = os.fork()
    if child == 0:
        for step in range(1, 1_000_000):
            checkpoint.save(tmp_path, step, state(step))
        os._exit(0)
    time.sleep(0.3)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    step, loaded = checkpoint.load(tmp_path) or (0, {})
    assert loaded["model"]["w"][0] == step
    assert step > 0


def test_only_the_owner_may_read(tmp_path: Path):
    previous = os.umask(0)
    try:
        path = checkpoint.save(tmp_path, 1, state(1))
    finally:
        os.umask(previous)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
