from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launch import clean, submissions
from lrscale import checkpoint
from lrscale.store import Store

MakeSweep = Callable[..., Store]
ENDS = ("done", "diverged", "failed", "running", "preempted", "missing")
OTHER = "f" * 20  # digest of code that no run of the store was given


@pytest.fixture
def demo(make_sweep: MakeSweep, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Each run has a checkpoint and an old temporary, as if killed at the wrong moment."""
    states = {("sgd", 0.1, seed): state for seed, state in enumerate(ENDS)}
    store = make_sweep(rates={"sgd": [0.1]}, seeds=range(len(ENDS)), states=states)
    monkeypatch.setenv("LRSCALE_RUNS", str(store.root))
    for run in ids(store)[:-1]:
        folder = store.run(run).path
        checkpoint.save(folder, 1, {"step": 1})
        old(folder / ".summary.json.host.1.tmp")
        (folder / ".state.json.host.1.tmp").touch()  # somebody may be writing it just now
    for digest in ("0" * 20, OTHER):
        (store.snapshot_dir(digest) / "launch").mkdir(parents=True)
        (store.snapshot_dir(digest) / "launch" / "job.py").write_text("pass")
    return store


def ids(store: Store) -> list[str]:
    return [entry["id"] for entry in store.read_sweep("demo")["runs"]]


def old(path: Path) -> None:
    path.touch()
    os.utime(path, (time.time() - 2 * clean.ABANDONED_SECONDS,) * 2)


def submission(store: Store, runs: list[str], snapshot: str = "0" * 20) -> None:
    """One of this process, which lives, and so has its runs."""
    array = {"name": "demo.x.0", "elements": [runs], "job_id": None, "after": None}
    record = submissions.new_record(
        submissions.new_id(), "demo", "local", [array | {"snapshot": snapshot}]
    )
    store.write_submission(record["id"], record)


def files(store: Store) -> set[str]:
    every = (path for path in store.root.rglob("*") if not path.is_dir())
    return {str(path.relative_to(store.root)) for path in every}


def gone(store: Store, before: set[str]) -> set[str]:
    """What is there no more, by run or folder and a shortened name."""
    names = {run: str(place) for place, run in enumerate(ids(store))}
    lost = (Path(name).parts for name in before - files(store))
    return {f"{names.get(parts[-2], parts[-2])}/{parts[-1][:14]}" for parts in lost}


def test_what_can_go(demo: Store, capsys: pytest.CaptureFixture[str]) -> None:
    before, results = files(demo), [demo.run(run).summary() for run in ids(demo)]
    metrics = [demo.run(run).metrics() for run in ids(demo)]
    demo.run(ids(demo)[0]).ask("paused")  # too late
    assert clean.main([]) == 0
    out = capsys.readouterr().out
    assert "checkpoints of finished runs" in out
    assert "nothing was removed: --yes does it" in out
    assert clean.main(["--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert before <= files(demo)
    assert clean.main(["--yes"]) == 0
    assert gone(demo, before) == {
        "0/checkpoint-000",
        "1/checkpoint-000",  # of those that can go on it stays
        "0/.summary.json.",
        "1/.summary.json.",
        "2/.summary.json.",
        "4/.summary.json.",  # not that of the run which beats
        "launch/job.py",
    }
    assert not any(Path(one["path"]).exists() for one in listed)
    assert len(listed) == 8  # with what was asked too late
    assert not demo.snapshot_dir(OTHER).exists()
    assert [demo.run(run).summary() for run in ids(demo)] == results
    assert [demo.run(run).metrics() for run in ids(demo)] == metrics
    capsys.readouterr()
    assert clean.main(["--yes"]) == 0
    assert "nothing to remove" in capsys.readouterr().out


def test_nothing_of_what_somebody_has(demo: Store) -> None:
    """Not even of runs of the submission that have finished; nor code that is still to be run."""
    submission(demo, ids(demo), OTHER)
    before = files(demo)
    assert clean.main(["--yes"]) == 0
    assert gone(demo, before) == set()


def test_a_finish_that_was_cut_short(demo: Store) -> None:
    """What its attempts measured goes only once it has been joined."""
    finished, cut = (demo.run(run) for run in ids(demo)[:2])
    for run in (finished, cut):
        for name in ("metrics-0001.jsonl", "metrics-0002.jsonl"):
            (run.path / name).write_text("{}\n")
    (cut.path / "metrics.jsonl").unlink()
    before = files(demo)
    assert clean.main(["--yes"]) == 0
    assert {name for name in gone(demo, before) if "metrics" in name} == {
        "0/metrics-0001.j",
        "0/metrics-0002.j",
    }


def test_under_the_lock_that_submissions_hold(demo: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A submission that holds it before has its code on record when clean looks."""
    look, held = clean.live_claims, []

    def looking(store: Store) -> Any:
        held.append(bool(list((store.root / "locks" / "submit").glob("*"))))
        return look(store)

    monkeypatch.setattr(clean, "live_claims", looking)
    assert clean.main(["--yes"]) == 0
    assert clean.main([]) == 0
    assert held == [True, False]


def test_a_record_that_cannot_be_read(demo: Store, capsys: pytest.CaptureFixture[str]) -> None:
    (demo.run(ids(demo)[2]).path / "config.json").write_text("{")
    before = files(demo)
    assert clean.main(["--yes"]) == 2
    assert "cannot be read, nothing was removed" in capsys.readouterr().err
    assert files(demo) == before


def test_a_folder_that_is_no_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "snapshots" / "mine").mkdir(parents=True)
    assert clean.main(["--runs", str(tmp_path), "--yes"]) == 2
    assert "no run store at" in capsys.readouterr().err
    assert (tmp_path / "snapshots" / "mine").exists()


def test_the_folder_goes_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed half-way, it leaves nothing that looks like a snapshot."""
    folder = tmp_path / "abc"
    (folder / "launch").mkdir(parents=True)

    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        clean._remove(folder)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".abc.")
