"""The run store: who may read it, and how things in it are found."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from lrscale.errors import UserError
from lrscale.files import write_json
from lrscale.run_dir import RunDir
from lrscale.run_state import State
from lrscale.store import Store


def new_run(store: Store, run_id: str) -> RunDir:
    run = store.run(run_id)
    run.create({"config": {"workload": "none"}})
    return run


def test_only_the_owner_may_read(store: Store):
    previous = os.umask(0)  # the most liberal user
    try:
        fresh = Store(store.root.parent / "liberal" / "runs")
        fresh.create()
        run = new_run(fresh, "ef" + "2" * 18)
        attempt = run.begin()
        run.open_metrics(attempt, 0).close()
        run.write_state(State("running", attempt))
        run.finish(State("done", attempt), {})
        fresh.write_sweep("s", {"runs": []})
        fresh.write_submission("20260101-000000", {})
        with fresh.lock("plan"):
            modes = {
                path.relative_to(fresh.root): stat.S_IMODE(path.stat().st_mode)
                for path in [fresh.root, *fresh.root.rglob("*")]
            }
    finally:
        os.umask(previous)
    folders = {path for path in modes if (fresh.root / path).is_dir()} | {Path("locks/plan")}
    assert {modes[path] for path in folders} == {0o700}
    assert {mode for path, mode in modes.items() if path not in folders} == {0o600}


def test_what_is_made_where_the_group_may_read_is_for_the_group_too(store: Store):
    subprocess.run(["chmod", "-R", "g+rX", store.root], check=True)
    (store.root / "runs").chmod(0o2750)  # whose group is handed down
    run = new_run(store, "ef" + "2" * 18)
    attempt = run.begin()
    run.open_metrics(attempt, 0).close()
    run.write_state(State("running", attempt))
    store.write_submission("20260101-000000", {})
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in store.root.rglob("*")}
    assert {modes[path] for path in (run.path, run.path.parent)} == {0o2750}
    assert {modes[path] for path in run.path.iterdir()} == {0o640}
    (submission,) = (store.root / "submissions").iterdir()  # has pickles, which jobs run
    assert modes[submission] == 0o700
    assert {modes[path] for path in submission.iterdir()} == {0o600}


def test_a_folder_that_was_there_is_not_opened_by_its_mode(tmp_path: Path):
    """As `mkdir runs` leaves it: nobody has asked for anything."""
    root = tmp_path / "runs"
    root.mkdir()
    root.chmod(0o755)
    store = Store(root)
    store.create()
    run = new_run(store, "ab" + "0" * 18)
    found = [path for path in root.rglob("*") if path.stat().st_mode & 0o077]
    assert run.exists()
    assert found == [root / "store.json"]  # which holds a number


def test_a_store_that_others_could_fill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o700)
    (tmp_path / "runs").symlink_to(theirs)  # as anybody may leave in a shared folder
    monkeypatch.setattr(os, "geteuid", lambda: theirs.stat().st_uid + 1)
    with pytest.raises(UserError, match="belongs to another user"):
        Store(tmp_path / "runs").create()
    monkeypatch.undo()
    theirs.chmod(0o775)
    with pytest.raises(UserError, match=f"others may write to it.*chmod go-w {tmp_path}/runs"):
        Store(tmp_path / "runs").create()
    assert list(theirs.iterdir()) == []


@pytest.mark.parametrize("name", ["../runs/x", "/etc/passwd", "..", "", "*", "a/../x", "x\ny"])
def test_names_do_not_lead_out_of_the_store(store: Store, name: str):
    write_json(store.root / "runs" / "x.json", {})
    with pytest.raises(UserError, match="no run in"):
        store.find_run(name)
    with pytest.raises(UserError, match="no sweep '"):
        store.read_sweep(name)


def test_find_run(store: Store):
    new_run(store, "abc" + "0" * 17)
    new_run(store, "abd" + "0" * 17)
    assert store.find_run("abc") == "abc" + "0" * 17
    with pytest.raises(UserError, match="2 runs"):
        store.find_run("ab")
    with pytest.raises(UserError, match="no run"):
        store.find_run("*")


def test_an_unknown_sweep_names_those_that_are_known(store: Store):
    store.write_sweep("first", {"runs": []})
    with pytest.raises(UserError, match="known: first"):
        store.read_sweep("second")


def test_a_store_that_cannot_be_made_says_so(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="choose another with --runs"):
        Store(tmp_path / "file" / "runs").create()
