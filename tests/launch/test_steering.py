from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from launch import steering
from launch.claims import Claim
from launch.steering import AT_WORK, UNTOUCHED, Step
from launch.survey import STATES, RunStatus

ELEMENTS = {"7_0": ("a", "b"), "7_1": ("c",), "7_2": ("d",), "8": ("e",)}


def run(name: str, state: str) -> RunStatus:
    return RunStatus(name, "", 0, {}, state, job="7")


def claim(job: str, state: str = "PENDING", held: bool = False, backend: str = "slurm") -> Claim:
    element = ELEMENTS.get(job, ())
    return Claim("s", "demo", backend, job, state, 0.0, "", held, element)


def told(steps: list[Step]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for step in steps:
        found.setdefault(step.kind, []).extend(step.jobs or [one.id for one in step.runs])
    return found


def none_ended(run: str) -> bool:
    return False


def test_cancel() -> None:
    runs = [run("a", "running"), run("b", "queued"), run("c", "running"), run("f", "preempted"),
            run("g", "done"), run("h", "failed"), run("i", "missing")]  # fmt: skip
    claims = {"a": claim("7_0", "RUNNING"), "b": claim("7_0", "RUNNING"),
              "c": claim("7_1", "RUNNING")}  # fmt: skip
    steps = steering.cancel(runs, claims, none_ended)
    assert told(steps) == {
        "ask": ["a", "c", "b", "f"],
        "record": ["b", "f"],
        "scancel": ["7_0", "7_1"],
    }
    # Without b, its element is left alone, and a leaves it by itself; unless b has ended.
    assert told(steering.cancel([runs[0]], claims, none_ended)) == {"ask": ["a"]}
    some = steering.cancel([runs[0]], claims, lambda other: other == "b")
    assert told(some) == {"ask": ["a"], "scancel": ["7_0"]}


def test_cancel_of_a_local_pool() -> None:
    claims = {name: claim("host:1", "RUNNING", backend="local") for name in "ab"}
    steps = steering.cancel([run("a", "running"), run("b", "queued")], claims, none_ended)
    assert told(steps) == {"ask": ["a", "b"], "record": ["b"]}


def test_pause_and_resume() -> None:
    runs = [run("a", "running"), run("c", "queued"), run("d", "running"), run("e", "paused")]
    claims = {"a": claim("7_0", "RUNNING"), "c": claim("7_1"), "d": claim("7_2", "RUNNING"),
              "e": claim("8", held=True)}  # fmt: skip
    steps = steering.pause(runs, claims, none_ended)
    assert told(steps) == {"uhold": ["7_1"], "requeuehold": ["7_2"], "ask": ["a"]}
    claims["c"] = claim("7_1", "RUNNING")
    runs[1] = run("c", "running")
    again = steering.pause(runs, claims, none_ended)
    assert told(steering.begun(again, {"7_1", "8"})) == {"requeuehold": ["7_1"]}
    assert steering.begun(again, {"8"}) == []
    paused = [run("a", "paused"), run("c", "paused"), run("e", "paused"), run("d", "running")]
    claims["c"] = claim("7_1", held=True)
    del claims["a"]
    steps = steering.resume(paused, claims)
    assert told(steps) == {"release": ["7_1", "8"], "hand over": ["a"]}


def test_retry_and_priority() -> None:
    runs = [run("a", "failed"), run("b", "cancelled"), run("c", "queued"), run("d", "running")]
    assert told(steering.retry(runs, ["failed", "lost"])) == {"hand over": ["a"]}
    claims = {"c": claim("7_1"), "d": claim("7_2", "RUNNING"), "e": claim("8", held=True)}
    runs.append(run("e", "paused"))
    assert told(steering.priority(runs, claims, none_ended)) == {"nice": ["7_1"]}


states = st.fixed_dictionaries({name: st.sampled_from(STATES) for name in "abcde"})
queue = st.fixed_dictionaries(
    {}, optional={job: st.sampled_from(["PENDING", "RUNNING"]) for job in ELEMENTS}
)


@given(states, queue, st.sets(st.sampled_from("abcde")))
def test_nobody_is_touched_who_was_not_meant(
    states: dict[str, str], queue: dict[str, str], chosen: set[str]
) -> None:
    claims = {one: claim(job, queue[job]) for job in queue for one in ELEMENTS[job]}
    runs = [run(name, states[name]) for name in sorted(chosen)]

    def ended(name: str) -> bool:
        return states[name] in UNTOUCHED - {"missing"}

    for plan in (steering.cancel, steering.pause, steering.priority):
        for step in plan(runs, claims, ended):
            assert {one.id for one in step.runs} <= chosen
            assert not any(one.state in UNTOUCHED for one in step.runs)
            for job in step.jobs:
                assert all(one in chosen or ended(one) for one in ELEMENTS[job])
    cancelled = steering.cancel(runs, claims, ended)
    asked = {one.id for step in cancelled if step.kind == "ask" for one in step.runs}
    assert asked == {one.id for one in runs if one.state not in UNTOUCHED}
    recorded = {one.id for step in cancelled if step.kind == "record" for one in step.runs}
    assert recorded == {one.id for one in runs if one.id in asked and one.state not in AT_WORK}
