from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lrscale import files
from lrscale.compare.load import load_runs
from lrscale.files import write_json
from lrscale.run_dir import RunDir
from lrscale.run_state import State
from lrscale.store import Store

MakeSweep = Callable[..., Store]
ENDS = ("done", "failed", "diverged", "running", "preempted", "missing", "queued")


@pytest.fixture
def store(make_sweep: MakeSweep) -> Store:
    states = {("sgd", 0.1, seed): state for seed, state in enumerate(ENDS)}
    return make_sweep(rates={"sgd": [0.1]}, seeds=range(9), states=states, epochs=1)


def ids(store: Store) -> list[str]:
    return [entry["id"] for entry in store.read_sweep("demo")["runs"]]


def index(store: Store) -> Path:
    return store.root / "index" / "results" / "demo.json"


def table(store: Store) -> pd.DataFrame:
    return load_runs(store, store.read_sweep("demo"))


def truth(store: Store) -> pd.DataFrame:
    """Without any index, of a copy of the runs, whose files are others."""
    copy = Store(store.root.parent / "copy")
    shutil.copytree(store.root, copy.root, ignore=shutil.ignore_patterns("index"))
    found = load_runs(copy, copy.read_sweep("demo"), keep=False)
    assert not (copy.root / "index").exists()
    shutil.rmtree(copy.root)
    return found


def same(ours: pd.DataFrame, theirs: pd.DataFrame) -> None:
    """To the last digit; two infinities are equal, and so are two absences."""
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)


def opened(store: Store, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The runs of which a file is opened by a look."""
    seen: set[str] = set()
    honest = files.read_bytes

    def watched(path: Path) -> bytes:
        seen.add(path.parent.name)
        return honest(path)

    with monkeypatch.context() as patch:
        patch.setattr(files, "read_bytes", watched)
        table(store)
    return seen & set(ids(store))


def test_only_ended_runs_are_kept_and_none_of_them_is_opened_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    same(table(store), truth(store))
    kept = set(json.loads(index(store).read_text())["runs"])
    ended = {run for run, end in zip(ids(store), [*ENDS, "done", "done"], strict=True)
             if end in ("done", "failed", "diverged")}  # fmt: skip
    assert kept == ended
    # Those that may still move are read; a missing one has nothing to be read.
    assert opened(store, monkeypatch).isdisjoint(ended)
    same(table(store), truth(store))


def finish_again(run: RunDir) -> None:
    summary, state = run.summary(), run.state()
    if summary is None or state is None:
        return
    run.reset()
    summary["metrics"]["val_accuracy"] /= 2
    run.finish(State("done", attempt=run.begin(), step=state.step), summary)


def alter(run: RunDir) -> None:
    """In place, to a number of the same length, as no program does."""
    path = run.path / "summary.json"
    if path.exists():
        path.write_text(path.read_text().replace("0.", "1."))


def forget(run: RunDir) -> None:
    (run.path / "summary.json").unlink(missing_ok=True)


def fail(run: RunDir) -> None:
    if run.state_path.exists():
        write_json(run.state_path, json.loads(run.state_path.read_text()) | {"state": "failed"})


def rename_optimizer(run: RunDir) -> None:
    if not run.exists():
        return
    record = run.record()
    record["config"]["optimizer"]["name"] = "other"
    run.create(record)


def remove(run: RunDir) -> None:
    shutil.rmtree(run.path, ignore_errors=True)


def reset(run: RunDir) -> None:
    if run.exists():
        run.reset()


CHANGES = [finish_again, alter, forget, fail, rename_optimizer, remove, reset]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_run_that_has_changed_is_read_again(
    store: Store, change: Callable[[RunDir], None]
) -> None:
    before = table(store)
    change(store.run(ids(store)[0]))
    after = table(store)
    same(after, truth(store))
    assert not after.equals(before)
    same(table(store), after)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 8), st.sampled_from(CHANGES)), max_size=5))
def test_whatever_happens_to_runs(
    store: Store, steps: Iterable[tuple[int, Callable[[RunDir], None]]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        changed = Store(Path(folder) / "runs")
        shutil.copytree(store.root, changed.root)
        table(changed)
        for place, change in steps:
            change(changed.run(ids(changed)[place]))
            same(table(changed), truth(changed))


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "\0", "{}", '{"format": 0, "runs": {}}', '{"format": 1, "runs": {"x": 1}}',
     '{"format": 1, "runs": {"x": [[1], []]}}', '{"format": 1, "runs": []}'],
)  # fmt: skip
def test_a_damaged_or_older_index_costs_nothing_but_time(store: Store, text: str) -> None:
    expected = table(store)
    index(store).write_text(text)
    same(table(store), expected)
    assert json.loads(index(store).read_text())["runs"]


def test_a_store_that_cannot_be_written(store: Store) -> None:
    (store.root / "index").write_text("a file where the folder would be")
    same(table(store), truth(store))


def test_a_run_that_cannot_be_read_is_said_to_be_so(store: Store) -> None:
    table(store)
    run = store.run(ids(store)[0])
    run.state_path.unlink()
    os.symlink("state.json", run.state_path)  # a loop, which nobody can read, root neither
    with pytest.warns(UserWarning, match="cannot be read and counts as missing: .*state.json"):
        assert table(store)["state"][0] == "missing"


def test_several_at_once(store: Store) -> None:
    expected, wrong = table(store), []

    def look() -> None:
        for _ in range(5):
            if not table(store).equals(expected):
                wrong.append(1)

    threads = [threading.Thread(target=look) for _ in range(4)]
    index(store).unlink()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
