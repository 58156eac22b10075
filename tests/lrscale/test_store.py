"""The run store: reconciled metrics, claims, locks, and what a cut at any point leaves."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrscale import lock as lock_module
from lrscale.errors import UserError
from lrscale.files import read_json, write_json
from lrscale.run_dir import RunDir, Superseded
from lrscale.run_state import State
from lrscale.store import Store

SPAWN = multiprocessing.get_context("fork")
TOTAL = 40
EPOCH = 8


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "runs")
    made.create()
    return made


@pytest.fixture
def run_dir(store: Store) -> RunDir:
    return new_run(store, "ab" + "0" * 18)


def new_run(store: Store, run_id: str) -> RunDir:
    run = store.run(run_id)
    run.create({"config": {"workload": "none"}})
    return run


def loss(step: int) -> float:
    """What any attempt measures at a step: the runs are reproducible."""
    return 1 / step


def work(run: RunDir, resumed_from: int, steps: int, chunk: int) -> None:
    """One attempt, killed after ``steps`` steps: it leaves records in chunks of its own."""
    metrics = run.open_metrics(run.begin(), resumed_from)
    step = resumed_from
    while step < resumed_from + steps:
        end = min(step + chunk, resumed_from + steps, (step // EPOCH + 1) * EPOCH)
        losses = [loss(s) for s in range(step + 1, end + 1)]
        metrics.write({"kind": "steps", "step": end, "loss": losses, "lr": [0.1] * len(losses)})
        if end % EPOCH == 0:
            metrics.write({"kind": "epoch", "step": end, "epoch": end // EPOCH})
        step = end
    metrics.close()


def test_what_an_overtaken_attempt_adds_late_counts_once(run_dir: RunDir) -> None:
    """Its evaluation of the very step that its successor began with, and has repeated."""
    evaluation = {"kind": "epoch", "step": 2, "epoch": 1}
    first = run_dir.open_metrics(run_dir.begin(), 0, -1)
    first.write({"kind": "steps", "step": 2, "loss": [1.0, 0.5], "lr": [0.1, 0.1]})
    first.flush()
    second = run_dir.open_metrics(run_dir.begin(), 2, -1)
    second.write(evaluation)
    second.close()
    first.write(evaluation)
    first.close()
    assert [record["kind"] for record in run_dir.metrics()] == ["steps", "epoch"]


def steps_of(records: list[dict[str, Any]]) -> list[tuple[int, float]]:
    """(step, loss), expanded in the order of the records."""
    return [
        (record["step"] - len(record["loss"]) + i + 1, value)
        for record in records
        if record["kind"] == "steps"
        for i, value in enumerate(record["loss"])
    ]


# --- reconciliation


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[int, int, int, int]]:
    """Attempts (resumed from, steps done, chunk, characters torn off the end)."""
    history: list[tuple[int, int, int, int]] = []
    recorded = 0
    for _ in range(draw(st.integers(0, 5))):
        start = draw(st.integers(0, recorded))  # a checkpoint never lies ahead of the record
        steps = draw(st.integers(0, TOTAL - start))
        torn = draw(st.integers(0, 60))
        history.append((start, steps, draw(st.integers(1, 9)), torn))
        recorded = start if torn else start + steps  # what was torn off is not counted on
    return [*history, (draw(st.integers(0, recorded)), 0, draw(st.integers(1, 9)), 0)]


@settings(max_examples=50)
@given(histories())
def test_each_step_is_recorded_once_whatever_was_interrupted(tmp_path_factory, history):
    store = Store(tmp_path_factory.mktemp("runs"))
    store.create()
    run = new_run(store, "cd" + "1" * 18)
    for start, steps, chunk, torn in history[:-1]:
        work(run, start, steps, chunk)
        last = sorted(run.path.glob("metrics-*.jsonl"))[-1]
        header = len(last.read_text().splitlines()[0]) + 1
        os.truncate(last, max(header, last.stat().st_size - torn))
    start, _, chunk, _ = history[-1]
    work(run, start, TOTAL - start, chunk)

    assert steps_of(run.metrics()) == [(s, loss(s)) for s in range(1, TOTAL + 1)]
    epochs = [r["epoch"] for r in run.metrics() if r["kind"] == "epoch"]
    assert epochs == list(range(1, TOTAL // EPOCH + 1))


def test_a_torn_line_and_what_follows_it_do_not_count(run_dir: RunDir):
    work(run_dir, 0, 10, chunk=5)
    (path,) = run_dir.path.glob("metrics-*.jsonl")
    content = path.read_bytes()
    cut = content.index(b"\n", content.index(b'"step": 8'))
    path.write_bytes(content[: cut - 3] + b"\xff\x00" + content[cut:])
    assert steps_of(run_dir.metrics())[-1][0] == 5


def test_numbers_that_are_not_finite_become_null(run_dir: RunDir):
    metrics = run_dir.open_metrics(run_dir.begin(), 0)
    metrics.write({"kind": "steps", "step": 2, "loss": [0.1, float("nan")], "lr": [0.1, 0.1]})
    metrics.close()
    assert run_dir.metrics()[0]["loss"] == [0.1, None]


def test_full_resolution(run_dir: RunDir):
    value = 0.1 + 0.2
    metrics = run_dir.open_metrics(run_dir.begin(), 0)
    metrics.write({"kind": "steps", "step": 1, "loss": [value], "lr": [1e-17]})
    metrics.close()
    assert run_dir.metrics()[0]["loss"] == [value]


# --- ending


def test_finish_joins_the_attempts_into_one_file(run_dir: RunDir):
    (run_dir.path / ".state.json.elsewhere.1.tmp").write_text("what a killed writer left")
    work(run_dir, 0, 13, chunk=5)
    work(run_dir, 8, TOTAL - 8, chunk=5)
    before = run_dir.metrics()
    run_dir.finish(State("done", 2, step=TOTAL), {"weights": "x"})
    assert run_dir.metrics() == before
    assert run_dir.summary() == {"weights": "x"}
    names = {path.name for path in run_dir.path.iterdir()}
    assert names == {"config.json", "metrics.jsonl", "state.json", "summary.json"}


class PowerCut(BaseException):
    pass


@pytest.mark.parametrize("calls", range(8))
def test_a_cut_while_finishing_leaves_a_run_that_finishes_to_the_same(
    run_dir: RunDir, monkeypatch: pytest.MonkeyPatch, calls: int
):
    """The ``calls``-th write, rename or removal does not happen, nor anything after it."""
    work(run_dir, 0, 20, chunk=5)
    work(run_dir, 16, TOTAL - 16, chunk=7)
    expected = run_dir.metrics()
    left = calls

    def cut_after(function: Any) -> Any:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            if left == 0:
                raise PowerCut
            left -= 1
            return function(*args, **kwargs)

        return wrapped

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", cut_after(os.fsync))
        patch.setattr(os, "replace", cut_after(os.replace))
        patch.setattr(Path, "unlink", cut_after(Path.unlink))
        with contextlib.suppress(PowerCut):
            run_dir.finish(State("done", 2, step=TOTAL), {"weights": "x"})
    assert run_dir.metrics() == expected
    state = run_dir.state()
    if state is None or state.state != "done":
        attempt = run_dir.begin()
        run_dir.open_metrics(attempt, resumed_from=TOTAL).close()
        run_dir.finish(State("done", attempt, step=TOTAL), {"weights": "x"})
    assert run_dir.metrics() == expected
    assert run_dir.summary() == {"weights": "x"}


def test_reset_forgets_all_but_the_configuration(run_dir: RunDir):
    work(run_dir, 0, 10, chunk=5)
    run_dir.write_state(State("running", 1))
    run_dir.reset()
    assert {path.name for path in run_dir.path.iterdir()} == {"config.json", "metrics-0002.jsonl"}
    assert run_dir.state() is None
    assert run_dir.metrics() == []
    with pytest.raises(Superseded):  # a process that was still at it
        run_dir.check_current(1)
    assert run_dir.begin() == 3


# --- one writer


def test_an_overtaken_attempt_may_not_write(run_dir: RunDir):
    first = run_dir.begin()
    run_dir.write_state(State("running", first))
    second = run_dir.begin()
    with pytest.raises(Superseded):
        run_dir.write_state(State("running", first))
    with pytest.raises(Superseded):
        run_dir.finish(State("done", first), {})
    run_dir.finish(State("done", second), {})
    with pytest.raises(Superseded):
        run_dir.write_state(State("running", first))
    assert run_dir.state().state == "done"  # type: ignore[union-attr]


def claim(path: Path, ready: Any, claims: Any) -> None:
    ready.wait()
    claims.put([RunDir(path).begin() for _ in range(20)])


def test_no_two_processes_begin_the_same_attempt(run_dir: RunDir):
    ready, claims = SPAWN.Barrier(4), SPAWN.Queue()
    processes = [SPAWN.Process(target=claim, args=(run_dir.path, ready, claims)) for _ in range(4)]
    for process in processes:
        process.start()
    attempts = [attempt for _ in processes for attempt in claims.get(timeout=60)]
    for process in processes:
        process.join()
    assert sorted(attempts) == list(range(1, 81))


# --- atomic files


def rewrite(path: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    number = 0
    while time.monotonic() < deadline:
        number += 1
        write_json(path, {"number": number, "filler": "x" * 20_000})


def test_a_reader_never_sees_half_a_file(tmp_path: Path):
    path = tmp_path / "state.json"
    write_json(path, {"number": 0})
    writers = [SPAWN.Process(target=rewrite, args=(path, 0.5)) for _ in range(2)]
    for writer in writers:
        writer.start()
    seen = 0
    while any(writer.is_alive() for writer in writers):
        assert "number" in (read_json(path) or {})
        seen += 1
    for writer in writers:
        writer.join()
    assert seen > 10
    assert [p.name for p in tmp_path.iterdir()] == ["state.json"]


def test_a_killed_writer_leaves_the_old_content(tmp_path: Path):
    path = tmp_path / "state.json"
    write_json(path, {"number": 0})
    writer = SPAWN.Process(target=rewrite, args=(path, 60.0))
    writer.start()
    time.sleep(0.2)
    os.kill(writer.pid or 0, signal.SIGKILL)
    writer.join()
    assert (read_json(path) or {})["number"] > 0


def test_only_the_owner_may_read(store: Store, run_dir: RunDir):
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


# --- the store's lock


def hold(store: Store, order: Any, held: Any) -> None:
    for _ in range(20):
        with store.lock("plan"):
            with held.get_lock():
                held.value += 1
                order.put(held.value)
            time.sleep(0.001)
            with held.get_lock():
                held.value -= 1


def test_one_process_at_a_time_holds_a_lock(store: Store):
    order, held = SPAWN.Queue(), SPAWN.Value("i", 0)
    processes = [SPAWN.Process(target=hold, args=(store, order, held)) for _ in range(4)]
    for process in processes:
        process.start()
    counts = [order.get(timeout=60) for _ in range(80)]
    for process in processes:
        process.join()
    assert set(counts) == {1}
    assert list((store.root / "locks").iterdir()) == []


def die_holding(store: Store) -> None:
    with store.lock("plan"):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_dead_holders_lock_is_taken_over_by_one(store: Store):
    dead = SPAWN.Process(target=die_holding, args=(store,))
    dead.start()
    dead.join()
    assert (store.root / "locks" / "plan").exists()
    test_one_process_at_a_time_holds_a_lock(store)


def test_a_waiter_who_saw_a_dead_holder_does_not_take_a_living_ones_lock(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    """Between its look at the holder and its act, another has taken the lock over."""
    lock = store.root / "locks" / "plan"
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host = lock_module._me().rpartition(".")[0]
    lock.mkdir()
    (lock / f"{host}.{dead.pid}").touch()

    def overtaken(path: Path) -> tuple[str, str] | None:
        (lock / f"{host}.{dead.pid}").rename(lock / f"{host}.1")
        return (host, str(dead.pid))

    monkeypatch.setattr(lock_module, "_lock_owner", overtaken)
    assert not lock_module._acquire(lock)
    assert [path.name for path in lock.iterdir()] == [f"{host}.1"]


def test_a_lock_that_stays_held_is_an_error_naming_its_holder(store: Store):
    lock = store.root / "locks" / "plan"
    lock.mkdir()
    (lock / "elsewhere.example.123").touch()
    message = r"pid 123 on elsewhere\.example.*remove that folder"
    with pytest.raises(UserError, match=message), store.lock("plan", wait_seconds=0.1):
        pass


# --- finding


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


def test_metrics_of_a_run_that_never_began(run_dir: RunDir):
    assert run_dir.metrics() == []
    assert run_dir.state() is None
    assert json.loads((run_dir.path / "config.json").read_text())["config"]
