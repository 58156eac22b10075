from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from launch.submissions import (
    Found,
    new_id,
    new_record,
    process_lives,
    process_stamp,
    record_job,
    survey,
)
from lrscale.errors import UserError
from lrscale.run_state import State
from lrscale.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "store")
    made.create()
    return made


def test_ids_sort_by_time_and_differ_within_a_second() -> None:
    ids = {new_id() for _ in range(100)}
    assert len(ids) == 100
    assert max(i[:15] for i in ids) >= min(ids)[:15]


def test_a_record_is_json_and_a_job_id_is_noted_in_it(store: Store) -> None:
    arrays = [{"name": "s.1.0", "elements": [["a"], ["b"]], "job_id": None}]
    record = new_record("id1", "s", "slurm", arrays, per_gpu=2)
    store.write_submission("id1", record)
    assert json.loads(json.dumps(record)) == store.read_submission("id1")
    record_job(store, "id1", 0, "77")
    assert store.read_submission("id1")["arrays"][0]["job_id"] == "77"
    assert store.read_submission("id1")["per_gpu"] == 2
    with pytest.raises(UserError, match="no submission 'id2'"):
        record_job(store, "id2", 0, "77")


def test_closed_submissions_are_left_unread(store: Store) -> None:
    for name in ("id1", "id2"):
        store.write_submission(name, new_record(name, "s", "local", []))
    store.close_submission("id1")
    (store.submission_dir("id1") / "submission.json").write_text("not even JSON")
    assert list(store.read_submissions(open_only=True)) == ["id2"]


def test_a_process_is_known_from_a_later_one_with_its_id() -> None:
    mine = process_stamp(os.getpid())
    assert process_lives(mine)
    assert not process_lives(mine | {"pid_started": "another boot:123"})
    assert not process_lives(mine | {"host": "elsewhere"})


def test_a_process_that_ended_is_dead_even_before_it_is_waited_for() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    stamp = process_stamp(process.pid)
    assert process_lives(stamp)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie from here on
    assert not process_lives(stamp)
    process.wait()
    assert not process_lives(stamp)


def test_a_survey_tells_what_the_store_holds(store: Store) -> None:
    new, queued, cut, done = ("aa01", "aa02", "ab03", "ac04")
    record = {"config": {"seed": 1}, "snapshot": "s1", "code": {"digest": "c1"}}
    for run in (queued, cut, done):
        store.run(run).create(record)
    for run, state in ((cut, "preempted"), (done, "done")):
        attempt = store.run(run).begin()
        store.run(run).write_state(State(state, attempt, step=5))  # type: ignore[arg-type]
        name = f"checkpoint-{5:012d}-{'0' * 16}.pt"
        (store.run(run).path / name).touch()
    found = survey(store, [new, queued, cut, done, cut])
    assert list(found) == [new, queued, cut, done]
    assert found[new] == Found()
    assert (found[queued].state, found[queued].code) == (None, "c1")
    assert found[cut].has_checkpoint
    assert found[cut].snapshot == "s1"
    assert found[done].state is not None
    assert not found[done].has_checkpoint  # of no use, so not looked for
