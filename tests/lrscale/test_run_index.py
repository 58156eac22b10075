from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrscale import files
from lrscale.compare.load import load_runs
from lrscale.files import write_json
from lrscale.run_dir import RunDir
from lrscale.run_index import RunIndex, read_results, read_states
from lrscale.run_state import FINISHED, State
from lrscale.store import Store

MakeSweep = Callable[..., Store]
Read = Callable[[Store, str, Iterable[str]], RunIndex]
Found = dict[str, object]
ENDS = ("done", "failed", "diverged", "running", "preempted", "missing", "queued")
BOTH = pytest.mark.parametrize("read", [read_states, read_results])


@pytest.fixture
def store(make_sweep: MakeSweep) -> Store:
    states = {("sgd", 0.1, seed): state for seed, state in enumerate(ENDS)}
    return make_sweep(rates={"sgd": [0.1]}, seeds=range(9), states=states, epochs=1)


def ids(store: Store) -> list[str]:
    return [entry["id"] for entry in store.read_sweep("demo")["runs"]]


def place(store: Store, read: Read) -> Path:
    return (store.index_path if read is read_states else store.result_index_path)("demo")


def look(store: Store, read: Read) -> Found:
    """Each run through the index, which is then written."""
    index = read(store, "demo", ids(store))
    index.save()
    if read is read_states:
        return dict(index.states())
    return {run: index.results(run) for run in ids(store)}


def truth(store: Store, read: Read) -> Found:
    """From the runs' own files."""
    runs = [store.run(run) for run in ids(store)]
    states = {run.id: state for run in runs if (state := run.state())}
    if read is read_states:
        return dict(states)
    finished = {run for run, state in states.items() if state.state in FINISHED}
    return {
        run.id: (
            states.get(run.id),
            run.record() if run.exists() else None,
            run.summary() if run.id in finished else None,
        )
        for run in runs
    }


def opened(store: Store, read: Read, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The runs of which a file is opened by a look."""
    seen: set[str] = set()
    honest = files.read_bytes

    def watched(path: Path) -> bytes:
        seen.add(path.parent.name)
        return honest(path)

    with monkeypatch.context() as patch:
        patch.setattr(files, "read_bytes", watched)
        look(store, read)
    return seen


@BOTH
def test_only_ended_runs_are_kept_and_none_of_them_is_opened_again(
    store: Store, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = look(store, read)
    assert before == truth(store, read)
    kept = json.loads(place(store, read).read_text())["runs"]
    ends = dict(zip(ids(store), [*ENDS, "done", "done"], strict=True))
    ended = {run for run, end in ends.items() if end in ("done", "failed", "diverged")}
    assert set(kept) == ended
    # Those that may still move are read; a missing one has nothing to be read.
    may_move = {run for run, end in ends.items() if end in ("running", "preempted")}
    again = opened(store, read, monkeypatch)
    assert again.isdisjoint(ended)
    assert again >= may_move
    assert look(store, read) == before


def test_when_a_state_was_written_is_kept(store: Store) -> None:
    run = store.run(ids(store)[0])
    os.utime(run.state_path, ns=(0, 1_234_500_000_000))
    for _ in range(2):
        state = look(store, read_states)[run.id]
        assert isinstance(state, State)
        assert state.heard == 1234.5


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


OF_STATES = [fail, remove, reset]
CHANGES = [*OF_STATES, finish_again, alter, forget, rename_optimizer]


@pytest.mark.parametrize(
    ("read", "change"),
    [(read_states, c) for c in OF_STATES] + [(read_results, c) for c in CHANGES],
)
def test_a_run_that_has_changed_is_read_again(
    store: Store, read: Read, change: Callable[[RunDir], None]
) -> None:
    before = look(store, read)
    change(store.run(ids(store)[0]))
    after = look(store, read)
    assert after == truth(store, read)
    assert after != before
    assert look(store, read) == after


@BOTH
def test_a_run_that_ends_is_kept_from_then_on(store: Store, read: Read) -> None:
    look(store, read)
    run = store.run(ids(store)[ENDS.index("preempted")])
    write_json(run.state_path, json.loads(run.state_path.read_text()) | {"state": "cancelled"})
    assert look(store, read) == truth(store, read)
    assert run.id in json.loads(place(store, read).read_text())["runs"]


@settings(max_examples=25)
@given(
    st.sampled_from([read_states, read_results]),
    st.lists(st.tuples(st.integers(0, 8), st.sampled_from(CHANGES)), max_size=5),
)
def test_whatever_happens_to_runs(
    store: Store, read: Read, steps: Iterable[tuple[int, Callable[[RunDir], None]]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        changed = Store(Path(folder) / "runs")
        shutil.copytree(store.root, changed.root)
        look(changed, read)
        for which, change in steps:
            change(changed.run(ids(changed)[which]))
            assert look(changed, read) == truth(changed, read)


@BOTH
@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "\0", "{}", '{"runs": {"x": [[1, 2, 3], {"state": "done"}, {}]}}',
     '{"format": 1, "runs": {}}', '{"format": 2, "runs": {"x": 1}}',
     '{"format": 2, "runs": {"x": [[1], []]}}', '{"format": 2, "runs": []}'],
)  # fmt: skip
def test_a_damaged_or_older_index_costs_nothing_but_time(
    store: Store, read: Read, text: str
) -> None:
    look(store, read)
    place(store, read).write_text(text)
    assert look(store, read) == truth(store, read)
    assert json.loads(place(store, read).read_text())["runs"].keys() <= set(ids(store))


@BOTH
def test_a_store_that_cannot_be_written(store: Store, read: Read) -> None:
    (store.root / "index").write_text("a file where the folder would be")
    assert look(store, read) == truth(store, read)


@BOTH
def test_a_run_that_cannot_be_read_is_said_to_be_so(store: Store, read: Read) -> None:
    look(store, read)
    run = store.run(ids(store)[0])
    run.state_path.unlink()
    os.symlink("state.json", run.state_path)  # a loop, which nobody can read, root neither
    index = read(store, "demo", ids(store))
    assert list(index.unreadable) == [run.id]
    assert index.unreadable[run.id].startswith(f"{run.state_path}: ")
    assert run.id not in index.states()


def test_a_table_need_not_leave_an_index(store: Store) -> None:
    fresh = load_runs(store, store.read_sweep("demo"), keep=False)
    assert not (store.root / "index").exists()
    assert load_runs(store, store.read_sweep("demo")).equals(fresh)
    assert load_runs(store, store.read_sweep("demo")).equals(fresh)
    assert place(store, read_results).exists()


def test_a_note_lasts_as_long_as_the_state(store: Store) -> None:
    runs = ids(store)
    index = read_states(store, "demo", runs)
    for run in runs:
        index.keep_note(run, {"cause": run})
    index.save()
    store.run(runs[1]).reset()
    again = read_states(store, "demo", runs)
    noted = [again.note(run).get("cause") for run in runs]
    # Of runs that have not ended too, but not of one without a state.
    assert noted == [runs[0], None, *runs[2:5], None, None, *runs[7:]]


@BOTH
def test_several_at_once(store: Store, read: Read) -> None:
    expected = truth(store, read)
    found: list[Found] = []

    def repeat() -> None:
        found.extend(look(store, read) for _ in range(5))

    threads = [threading.Thread(target=repeat) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 20
