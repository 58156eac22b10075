"""One run's folder: reconciled metrics, claims, and what a cut at any point leaves."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrscale.run_dir import RunDir, Superseded
from lrscale.run_state import State
from lrscale.store import Store

FORK = multiprocessing.get_context("fork")
TOTAL = 40
EPOCH = 8


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
    ready, claims = FORK.Barrier(4), FORK.Queue()
    processes = [FORK.Process(target=claim, args=(run_dir.path, ready, claims)) for _ in range(4)]
    for process in processes:
        process.start()
    attempts = [attempt for _ in processes for attempt in claims.get(timeout=60)]
    for process in processes:
        process.join()
    assert sorted(attempts) == list(range(1, 81))


def test_metrics_of_a_run_that_never_began(run_dir: RunDir):
    assert run_dir.metrics() == []
    assert run_dir.state() is None
    assert json.loads((run_dir.path / "config.json").read_text())["config"]
