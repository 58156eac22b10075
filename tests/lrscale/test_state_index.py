from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable

import pytest

from lrscale.files import write_json
from lrscale.state_index import read_states
from lrscale.store import Store

MakeSweep = Callable[..., Store]


@pytest.fixture
def store(make_sweep: MakeSweep) -> Store:
    ends = ("done", "failed", "diverged", "running", "preempted", "missing")
    states = {("sgd", 0.1, seed): state for seed, state in enumerate(ends)}
    return make_sweep(rates={"sgd": [0.1]}, seeds=range(8), states=states, epochs=1)


def ids(store: Store) -> list[str]:
    return [entry["id"] for entry in store.read_sweep("demo")["runs"]]


def names(store: Store) -> list[str | None]:
    """The states through the index, which is then written."""
    index = read_states(store, "demo", ids(store))
    index.save()
    states = [index.states.get(run) for run in ids(store)]
    return [state.state if state else None for state in states]


def truth(store: Store) -> list[str | None]:
    states = [store.run(run).state() for run in ids(store)]
    return [state.state if state else None for state in states]


def test_only_ended_runs_are_kept(store: Store) -> None:
    assert names(store) == truth(store)
    kept = json.loads(store.index_path("demo").read_text())["runs"]
    assert [kept[run][1]["state"] if run in kept else None for run in ids(store)] == [
        "done", "failed", "diverged", None, None, None, "done", "done",
    ]  # fmt: skip
    assert names(store) == truth(store)


@pytest.mark.parametrize("what", ["reset", "rewritten", "removed", "ended"])
def test_a_run_that_has_changed_is_read_again(store: Store, what: str) -> None:
    before = names(store)
    done, *_, preempted = (store.run(ids(store)[i]) for i in (0, 1, 4))
    if what == "reset":
        done.reset()
    elif what == "rewritten":
        changed = json.loads(done.state_path.read_text()) | {"state": "failed"}
        write_json(done.state_path, changed)
    elif what == "removed":
        shutil.rmtree(done.path)
    else:
        write_json(
            preempted.state_path,
            json.loads(preempted.state_path.read_text()) | {"state": "cancelled"},
        )
    assert names(store) == truth(store) != before


@pytest.mark.parametrize("text", ["", "{", "[]", '{"runs": {"x": 1}}', '{"runs": []}', "\0"])
def test_a_damaged_index_costs_nothing_but_time(store: Store, text: str) -> None:
    names(store)
    store.index_path("demo").write_text(text)
    assert names(store) == truth(store)
    assert json.loads(store.index_path("demo").read_text())["runs"]


def test_a_store_that_cannot_be_written(store: Store) -> None:
    (store.root / "index").write_text("a file where the folder would be")
    assert names(store) == truth(store)


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
    assert noted == [runs[0], None, *runs[2:5], None, *runs[6:]]


def test_several_at_once(store: Store) -> None:
    wrong: list[list[str | None]] = []

    def look() -> None:
        for _ in range(10):
            found = names(store)
            if found != truth(store):
                wrong.append(found)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
