from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.claims import STALE_SECONDS, Claims, LiveArray, QueueRow, ask_squeue, live_claims
from launch.submissions import new_record, process_stamp
from lrscale.files import write_json
from lrscale.run_state import State
from lrscale.store import Store


def array(name: str, elements: list[list[str]], job_id: str | None, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "elements": elements,
        "job_id": job_id,
        "throttle": 2,
        "after": None,
        **more,
    }


def submit(
    store: Store, backend: str, *arrays: dict[str, Any], name: str = "id1", **changes: Any
) -> None:
    store.write_submission(name, new_record(name, "sweep", backend, arrays) | changes)


def set_state(store: Store, run: str, state: str, age: float = 0.0) -> None:
    """As another process would have left it, ``age`` seconds ago."""
    store.run(run).create({"config": {}})
    path = store.run(run).state_path
    write_json(path, State(state, 1, job="7_0").record())  # type: ignore[arg-type]
    os.utime(path, (time.time() - age,) * 2)


def look(store: Store, *answers: list[QueueRow] | None) -> Claims:
    """``live_claims`` with a queue that gives these answers, the last of them for ever."""
    left = list(answers)

    def squeue(names: Sequence[str], mine: bool) -> list[QueueRow] | None:
        return left.pop(0) if len(left) > 1 else left[0]

    return live_claims(store, squeue, second_look=0.001)


NAMES = [["a"], ["b"], ["c", "d"]]
DEAD_PROCESS = {"host": socket.gethostname(), "pid": 2**22 + 1, "pid_started": "boot:1"}
DEAD = {"processes": [DEAD_PROCESS]}


def test_elements_in_the_queue_claim_their_runs(store: Store) -> None:
    submit(store, "slurm", array("s.0", NAMES, "7"), **DEAD)
    rows = [QueueRow("7_0", "RUNNING", "s.0"), QueueRow("7_2", "PENDING", "s.0")]
    claims = look(store, rows)
    assert {run: claim.job for run, claim in claims.runs.items()} == {
        "a": "7_0",
        "c": "7_2",
        "d": "7_2",
    }
    assert claims.runs["a"].state == "RUNNING"
    assert claims.lost == {"b"}
    assert claims.arrays == [LiveArray("sweep", "7", 2, False)]
    assert not claims.over


def test_an_array_of_one_has_no_index(store: Store) -> None:
    submit(store, "slurm", array("s.0", [["a", "b"]], "7"), **DEAD)
    assert set(look(store, [QueueRow("7", "PENDING", "s.0")]).runs) == {"a", "b"}


def test_unknown_never_means_dead(store: Store) -> None:
    submit(store, "slurm", array("s.0", NAMES, "7"), **DEAD)
    claims = look(store, None)
    assert set(claims.runs) == {"a", "b", "c", "d"}
    assert claims.arrays == [LiveArray("sweep", "7", 2, False)]
    assert len(claims.warnings) == 1
    assert not claims.over


def test_a_job_is_gone_only_when_two_answers_lack_it(store: Store) -> None:
    submit(store, "slurm", array("s.0", [["a"]], "7"), **DEAD)
    back = [QueueRow("7_0", "PENDING", "s.0")]
    assert set(look(store, [], back).runs) == {"a"}
    assert set(look(store, [], None).runs) == {"a"}
    gone = look(store, [], [])
    assert (gone.runs, gone.lost, gone.over) == ({}, {"a"}, ["id1"])


def test_squeue_is_asked_once_when_all_is_well(store: Store) -> None:
    submit(store, "slurm", array("s.0", [["a"], ["b"]], "7"), **DEAD)
    set_state(store, "a", "done")
    asked = []

    def squeue(names: Sequence[str], mine: bool) -> list[QueueRow]:
        asked.append((tuple(names), mine))
        return [QueueRow("7_1", "PENDING", "s.0")]

    assert set(live_claims(store, squeue).runs) == {"b"}
    assert asked == [(("s.0",), True)]


def test_a_run_that_beats_is_alive_although_its_job_is_not_listed(store: Store) -> None:
    submit(store, "slurm", array("s.0", [["a"], ["b"], ["c"]], "7"), **DEAD)
    set_state(store, "a", "running")
    set_state(store, "b", "running", age=STALE_SECONDS + 5)
    set_state(store, "c", "preempted")
    claims = look(store, [])
    assert set(claims.runs) == {"a"}
    assert claims.runs["a"].state == "heartbeat"
    assert claims.lost == {"b", "c"}
    assert not claims.over


def test_an_array_whose_launcher_died_is_found_by_its_name(store: Store) -> None:
    submit(store, "slurm", array("s.0", NAMES, None), array("s.1", [["e"]], None), **DEAD)
    claims = look(store, [QueueRow(f"9_{i}", "PENDING", "s.0") for i in range(3)])
    assert claims.adopted == {("id1", 0): "9"}
    assert set(claims.runs) == {"a", "b", "c", "d"}
    assert claims.arrays == [LiveArray("sweep", "9", 2, False)]
    assert claims.lost == {"e"}  # it never got as far as sbatch


def test_while_the_launcher_lives_its_arrays_are_being_queued(store: Store) -> None:
    submit(store, "slurm", array("s.0", [["a"]], None))
    claims = look(store, [])
    assert claims.runs["a"].state == "launching"
    assert claims.arrays == [LiveArray("sweep", None, 1, False)]


def test_another_job_with_the_same_id_claims_nothing(store: Store) -> None:
    submit(store, "slurm", array("s.0", [["a"]], "7"), **DEAD)
    assert not look(store, [QueueRow("7_0", "RUNNING", "other")]).runs


def test_an_array_that_waits_for_a_live_one_is_chained(store: Store) -> None:
    first, second = array("s.0", [["a"]], "7"), array("s.1", [["b"]], "8", after=0)
    submit(store, "slurm", first, second, **DEAD)
    set_state(store, "a", "done")
    rows = [QueueRow("7_0", "RUNNING", "s.0"), QueueRow("8_0", "PENDING", "s.1")]
    assert [live.chained for live in look(store, rows).arrays] == [False, True]
    assert [live.chained for live in look(store, rows[1:]).arrays] == [False]


def test_a_local_pool_claims_its_runs_while_it_lives(store: Store) -> None:
    submit(store, "local", array("s.0", NAMES, None))
    assert set(look(store, None).runs) == {"a", "b", "c", "d"}
    between_pools = [process_stamp(os.getpid()), DEAD_PROCESS]
    submit(store, "local", array("s.0", NAMES, None), processes=between_pools)
    assert set(look(store, None).runs) == {"a", "b", "c", "d"}
    submit(store, "local", array("s.0", NAMES, None), **DEAD)
    set_state(store, "a", "running")  # killed with its pool a moment ago
    claims = look(store, None)
    assert (claims.runs, claims.over, claims.warnings) == ({}, ["id1"], [])


@pytest.mark.parametrize(
    ("created", "beat", "alive"),
    [
        (0.0, None, True),
        (1000.0, None, False),
        (1000.0, 5.0, True),
        (1000.0, STALE_SECONDS + 5, False),
    ],
)
def test_a_pool_on_another_host_lives_while_one_of_its_runs_beats(
    store: Store, created: float, beat: float | None, alive: bool
) -> None:
    if beat is not None:
        set_state(store, "b", "running", age=beat)
    since = time.time() - created
    there = [process_stamp(os.getpid()) | {"host": "elsewhere"}]
    submit(store, "local", array("s.0", NAMES, None), processes=there, created=since)
    claims = look(store, None)
    assert set(claims.runs) == ({"a", "b", "c", "d"} if alive else set())
    assert claims.over == ([] if alive else ["id1"])


def test_the_newest_claim_is_shown(store: Store) -> None:
    for name, job in (("id1", "7"), ("id2", "8")):
        submit(store, "slurm", array(f"{name}.0", [["a"]], job), name=name, **DEAD)
    rows = [QueueRow("7_0", "RUNNING", "id1.0"), QueueRow("8_0", "PENDING", "id2.0")]
    assert look(store, rows).runs["a"].submission == "id2"


def test_closed_submissions_are_not_read(store: Store) -> None:
    for i in range(3):
        submit(store, "slurm", array(f"s{i}.0", [["a"]] * 100, str(i)), name=f"id{i}", **DEAD)
        store.close_submission(f"id{i}")
        (store.submission_dir(f"id{i}") / "submission.json").write_text("not to be read")
    submit(store, "local", array("s.0", [["a"]], None), name="live")
    assert set(look(store, None).runs) == {"a"}


@given(st.sets(st.integers(0, 30), min_size=1), st.integers(31, 40))
def test_exactly_the_listed_elements_are_claimed(listed: set[int], count: int) -> None:
    record = new_record("id1", "s", "slurm", [array("n", [[f"r{i}"] for i in range(count)], "7")])
    rows = [QueueRow(f"7_{i}", "PENDING", "n") for i in sorted(listed)]

    class Records:
        def clock(self) -> float:
            return time.time()

        def read_submissions(self, open_only: bool) -> dict[str, dict[str, Any]]:
            return {"id1": record}

    claims = live_claims(Records(), lambda *_: rows, lambda run: None, 0)  # type: ignore[arg-type]
    assert set(claims.runs) == {f"r{i}" for i in listed}
    assert claims.lost == {f"r{i}" for i in range(count)} - set(claims.runs)


def test_no_slurm_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert ask_squeue(["x"], True) is None


def test_no_controller_is_no_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    conf = tmp_path / "slurm.conf"
    conf.write_text(
        "ClusterName=none\nSlurmctldHost=localhost\nSlurmctldPort=1\nMessageTimeout=1\n"
        "AuthType=auth/none\nCredType=cred/none\n"
    )
    monkeypatch.setenv("SLURM_CONF", str(conf))
    assert ask_squeue(["x"], True) is None


def test_a_real_queue(
    slurm: Any, monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., None], store: Store
) -> None:
    monkeypatch.setenv("SLURM_CONF", slurm.env["SLURM_CONF"])

    def sbatch(name: str, *options: str) -> str:
        command = ("sbatch", "--parsable", "--hold", "--output=/dev/null", f"--job-name={name}")
        return str(slurm.run(*command, *options, "--wrap=sleep 60").stdout.strip())

    elements = [[f"r{i}"] for i in range(5)]
    first = sbatch("sweep.id1.0", "--array=0-4%2")
    single = sbatch("sweep.id1.1")
    sbatch("not-ours", "--array=0-4")
    arrays = [
        array("sweep.id1.0", elements, None),  # its launcher did not live to see the id
        array("sweep.id1.1", [["s0", "s1"]], single),
        array("sweep.id1.2", [["t0"]], None),
    ]
    submit(store, "slurm", *arrays, **DEAD)
    claims = live_claims(store, second_look=0.1)
    assert {run: claim.job for run, claim in claims.runs.items()} == {
        **{f"r{i}": f"{first}_{i}" for i in range(5)},
        "s0": single,
        "s1": single,
    }
    assert claims.adopted == {("id1", 0): first}
    assert [live.width for live in claims.arrays] == [2, 1]
    assert claims.lost == {"t0"}

    slurm.run("scancel", f"{first}_3", single)
    wait_until(lambda: len(live_claims(store, second_look=0).runs) == 4, 20, "two are cancelled")
    slurm.run("scancel", "--me")
    wait_until(lambda: live_claims(store, second_look=0).over == ["id1"], 20, "all are cancelled")
